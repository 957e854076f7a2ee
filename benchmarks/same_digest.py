"""One folder of structure files built in nine ways: is it the same dataset each time?

    python benchmarks/same_digest.py FOLDER [--ways dask ray] [--limit N] [--markdown]

Every way is ``python -m pipeline.build`` as a user runs it. One core comes first; the digests of
all others are compared with its digest, and the bytes of their shards where the plan is the same.
The exit status is 1 if anything differs that is promised to be the same, or if a way cannot be
tried.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq
from build_speed import describe_machine, format_table
from local_clusters import NoCluster, dask_cluster, ray_cluster

from pipeline.commands.termination import INTERRUPTED, terminable

OK, SOME_FILES_FAILED = 0, 1
WORKERS = 2
TASKS = 4
HEADER = ("way", "wall s", "shards", "chains", "shards' bytes", "digest", "same")


class NotDone(Exception):
    """A way cannot be tried, or did not come to its end; the message says why."""


@dataclass(frozen=True)
class Built:
    """What a way has left.

    Parameters
    ----------
    seconds : float
        Wall time of its commands, without what they need (a cluster, an archive, an upload).
    digest : str
    interfaces_digest : str
    n_chains : int
    shards : mapping
        Name → SHA-256 of the bytes that lie there.
    notes : tuple of str
        What was done on the way, as far as it differs from run to run.
    """

    seconds: float
    digest: str
    interfaces_digest: str
    n_chains: int
    shards: Mapping[str, str]
    notes: tuple[str, ...] = ()

    @property
    def digests(self) -> tuple[str, str]:
        """Of the dataset and of its interfaces."""
        return self.digest, self.interfaces_digest


@dataclass(frozen=True)
class Way:
    """A way to build.

    Parameters
    ----------
    title : str
        In the table.
    run : callable
        Builds, in a scene.
    same_bytes : bool
        Whether the plan is that of one core, so that the shards have to be the same bytes.
    module, extra : str
        A package that it needs, and the extra of this project that brings it.
    """

    title: str
    run: Callable[[Scene], Built]
    same_bytes: bool
    module: str = ""
    extra: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a way ended: with something built, or with a problem."""

    way: Way
    built: Built | None
    problem: str = ""


@dataclass
class Scene:
    """Where the ways play: the input, and a folder for what each of them makes.

    Parameters
    ----------
    source : Path
        Links to the files.
    files : list of str
        Their names in it.
    folder : Path
        Of one way.
    options : list of str
        Of all builds.
    usual_names : list of str
        Files of which one core has built chains.
    """

    source: Path
    files: list[str]
    folder: Path
    options: list[str]
    usual_names: list[str] = field(default_factory=list)

    @property
    def out(self) -> Path:
        """The dataset's folder, where it is a local one."""
        return self.folder / "out"

    def command(self, *words: object) -> list[str]:
        """The build's command line with this scene's options."""
        return [*build_words(*words), "--report", "false", *self.options]


def build_words(*words: object) -> list[str]:
    return [sys.executable, "-m", "pipeline.build", "--quiet", *map(str, words)]


# ---- the ways ---------------------------------------------------------------------------------


def one_core(scene: Scene) -> Built:
    return _built(scene, scene.source, "--n-jobs", 1)


def two_workers(scene: Scene) -> Built:
    return _built(scene, scene.source, "--n-jobs", WORKERS)


def on_dask(scene: Scene) -> Built:
    return _on_cluster(scene, "dask", dask_cluster(scene.folder, WORKERS))


def on_ray(scene: Scene) -> Built:
    return _on_cluster(scene, "ray", ray_cluster(scene.folder, WORKERS))


def _on_cluster(scene: Scene, backend: str, cluster: AbstractContextManager[str]) -> Built:
    with cluster as address:
        return _built(scene, scene.source, "--backend", backend, "--address", address)


def array_job(scene: Scene) -> Built:
    """Tasks two at once, the last ones first: in no order that a plan could rely on."""
    where = ("--out-dir", scene.out)
    started = time.perf_counter()
    finish(Command(scene.command("--pdb-dir", scene.source, *where, "--plan")))
    for first in range(TASKS - 1, 0, -WORKERS):
        tasks = [
            Command(build_words(*where, "--part", f"{task}/{TASKS}", "--n-jobs", 1))
            for task in range(first, first - WORKERS, -1)
        ]
        for task in tasks:
            finish(task)
    finish(Command(build_words(*where, "--finalise", "--report", "false")))
    return read_built(scene.out, time.perf_counter() - started)


def from_tar(scene: Scene) -> Built:
    return _built(scene, pack(scene, "all.tar", "w"), "--n-jobs", WORKERS)


def from_compressed_tar(scene: Scene) -> Built:
    return _built(scene, pack(scene, "all.tar.gz", "w:gz"), "--n-jobs", WORKERS)


def in_s3(scene: Scene) -> Built:
    """Input and output are prefixes of a bucket on a server of this machine."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
    from s3_server import BUCKET, s3_server

    with s3_server() as server:
        server.make_bucket(BUCKET)
        for name in scene.files:
            server.put(BUCKET, f"in/{name}", (scene.source / name).read_bytes())
        started = time.perf_counter()
        places = ("--pdb-dir", server.uri(f"{BUCKET}/in"), "--out-dir", server.uri(f"{BUCKET}/out"))
        finish(Command(scene.command(*places, "--n-jobs", WORKERS)))
        seconds = time.perf_counter() - started
        stored = server.objects(BUCKET, "out")
    if "build.json" not in stored:
        raise NotDone("no build.json in the bucket")
    shards = {name: data for name, data in stored.items() if name.startswith("shards/")}
    return describe(json.loads(stored["build.json"]), shards, seconds)


def interrupted_and_updated(scene: Scene) -> Built:
    """Three states of a folder, and two interruptions.

    A third of the files, of which one has another's content, and an entry that nobody wants:
    Ctrl-C, and the same command again. Two thirds, without one file of before and with another
    unwanted entry: an update, killed. All files: an update.
    """
    states = Scene(scene.folder / "in", scene.files, scene.folder, scene.options)
    changed, other, missing = _actors(scene)
    suffix = changed[changed.index(".") :]
    third = [name for k, name in enumerate(scene.files) if k % 3 == 0 or name in (changed, missing)]
    two_thirds = [n for k, n in enumerate(scene.files) if k % 3 != 1 and n != missing]
    two_thirds = sorted({*two_thirds, changed})

    def show(names: Iterable[str], more: Mapping[str, str]) -> int:
        wanted = {name: name for name in names} | dict(more)
        relink(wanted, scene.source, states.source)
        return len(wanted)

    build = states.command("--pdb-dir", states.source, "--out-dir", scene.out, "--n-jobs", WORKERS)
    update = [*build, "--update"]
    started = time.perf_counter()
    sizes = [show(third, {changed: other, f"zz-unwanted-1{suffix}": other})]
    notes = [interrupt(build, signal.SIGINT, scene)]
    finish(Command(build))
    sizes.append(show(two_thirds, {f"zz-unwanted-2{suffix}": other}))
    notes.append(interrupt(update, signal.SIGKILL, scene))
    sizes.append(show(scene.files, {}))
    log = scene.folder / "last.jsonl"
    said = finish(Command([*update, "--log-file", str(log)]))
    seconds = time.perf_counter() - started
    first, second, last = sizes
    sentence = next((s for s in said.splitlines() if s.startswith("update: ")), "")
    if not sentence:
        raise NotDone(f"the last build was no update; it said:\n{said}")
    steps = f"{first}, {second} and {last} files; {notes[0]}; {notes[1]}; {sentence}"
    return read_built(scene.out, seconds, steps)


WAYS = {
    "one-core": Way("one core", one_core, True),
    "two-workers": Way("two workers", two_workers, True),
    "dask": Way("Dask cluster", on_dask, True, "distributed", "dask"),
    "ray": Way("Ray cluster", on_ray, True, "ray", "ray"),
    "array-job": Way("array job of four tasks", array_job, True),
    "tar": Way("a tar", from_tar, False),
    "tar.gz": Way("a compressed tar", from_compressed_tar, False),
    "s3": Way("from S3 to S3", in_s3, True, "moto", "test"),
    "updates": Way("interrupted, updated twice", interrupted_and_updated, False),
}
"""The first is what the others are compared with."""


# ---- commands, from start to end --------------------------------------------------------------


class Command:
    """A command that runs. What it says goes to a file: the end of a pipe would come only when the
    workers of a killed build have gone, too."""

    def __init__(self, words: Sequence[str]):
        self._output = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self.process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=self._output, stderr=subprocess.STDOUT
        )

    def wait(self) -> tuple[int, str]:
        """Its status, and what it said."""
        try:
            status = self.process.wait()
        except BaseException:
            self.process.terminate()
            raise
        with self._output:
            self._output.seek(0)
            return status, self._output.read()


def finish(command: Command) -> str:
    """Wait for a command; what it said.

    Raises
    ------
    NotDone
        Its status is neither 0 nor 1, which says that some files failed.
    """
    status, said = command.wait()
    if status not in (OK, SOME_FILES_FAILED):
        raise NotDone(f"a command ended with status {status}; it said:\n{said}")
    return said


def interrupt(words: Sequence[str], by: signal.Signals, scene: Scene) -> str:
    """Start a build and end it by a signal, when a part is finished and others are not; a sentence.

    Raises
    ------
    NotDone
        It came to its end all the same.
    """
    log = scene.folder / f"{by.name}.jsonl"
    command = Command([*words, "--log-file", str(log)])
    while command.process.poll() is None:
        done, todo = progress(log)
        if todo is not None and done >= min(1, todo - 1):
            command.process.send_signal(by)
            break
        time.sleep(0.01)
    status, said = command.wait()
    ended_so = -by if by == signal.SIGKILL else INTERRUPTED
    if status != ended_so or (scene.out / "build.json").exists():
        raise NotDone(f"{by.name} did not interrupt it (status {status}): {said}")
    done, todo = progress(log)
    return f"{by.name} when {done} of {todo} parts were built"


def progress(log: Path) -> tuple[int, int | None]:
    """Parts that a build has finished, and those that it had to build when it began; by its log."""
    text = log.read_text() if log.exists() else ""
    events = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    todo = next((e["todo"] for e in events if e["event"] == "start"), None)
    return sum(e["event"] == "part" for e in events), todo


def _built(scene: Scene, source: Path, *words: object) -> Built:
    started = time.perf_counter()
    finish(Command(scene.command("--pdb-dir", source, "--out-dir", scene.out, *words)))
    return read_built(scene.out, time.perf_counter() - started)


def read_built(out: Path, seconds: float, *notes: str) -> Built:
    """What lies in a dataset's folder."""
    if not (out / "build.json").exists():
        raise NotDone("there is no build.json")
    shards = {f"shards/{p.name}": p.read_bytes() for p in (out / "shards").iterdir()}
    return describe(json.loads((out / "build.json").read_text()), shards, seconds, *notes)


def describe(summary: dict, shards: Mapping[str, bytes], seconds: float, *notes: str) -> Built:
    """A dataset by its build.json and its shards."""
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(shards.items())}
    digests = summary["digest"], summary["interfaces_digest"]
    return Built(seconds, *digests, summary["counts"]["chains"], hashes, notes)


# ---- inputs -----------------------------------------------------------------------------------


def choose(folder: Path, limit: int) -> list[str]:
    """Names of a folder's files; with a limit that many, at even steps through the list."""
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    if 0 < limit < len(names):
        names = [names[k * len(names) // limit] for k in range(limit)]
    return names


def relink(wanted: Mapping[str, str], source: Path, into: Path) -> None:
    """Make a folder hold these names and no others, each a link to a file of the source."""
    for old in [p for p in into.rglob("*") if p.is_symlink()]:
        old.unlink()
    for name, target in wanted.items():
        link = into / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to((source / target).resolve())


def pack(scene: Scene, name: str, mode: str) -> Path:
    """A tar of all files."""
    archive = scene.folder / name
    with tarfile.open(archive, mode, dereference=True) as tar:  # type: ignore[call-overload]
        for file in scene.files:
            tar.add(scene.source / file, file)
    return archive


def _actors(scene: Scene) -> tuple[str, str, str]:
    """Three files with chains: one that changes, one of the same kind whose content it has before,
    and one that goes and comes back."""

    def kind(name: str) -> str:
        return Path(name).name.partition(".")[2]

    for changed in scene.usual_names:
        alike = [n for n in scene.usual_names if kind(n) == kind(changed) and n != changed]
        others = [n for n in scene.usual_names if n not in (changed, *alike[:1])]
        if alike and others:
            return changed, alike[0], others[0]
    raise NotDone("too few files with chains: three, two of them of the same format")


def with_chains(out: Path) -> list[str]:
    """Input files that gave a dataset chains."""
    rows = pq.read_table(out / "inputs.parquet", columns=["input", "status"]).to_pylist()
    return sorted(row["input"] for row in rows if row["status"] == "ok")


# ---- comparison -------------------------------------------------------------------------------


def attempt(way: Way, scene: Scene) -> Outcome:
    """Go a way."""
    if way.module and importlib.util.find_spec(way.module) is None:
        line = f"pip install -e '.[{way.extra}]'"
        return Outcome(way, None, f"{way.module} is not installed: {line}")
    scene.folder.mkdir()
    try:
        return Outcome(way, way.run(scene))
    except (NotDone, NoCluster) as error:
        return Outcome(way, None, str(error))


def differences(outcomes: Sequence[Outcome]) -> list[str]:
    """What is not as promised, a sentence each; nothing where all is well.

    Parameters
    ----------
    outcomes : sequence of Outcome
        All are compared with the first.
    """
    found = []
    first = outcomes[0].built
    for outcome in outcomes:
        built, title = outcome.built, outcome.way.title
        if built is None:
            found.append(f"{title}: {outcome.problem}")
        elif first is None:
            found.append(f"{title}: there is nothing to compare it with")
        elif built.digest != first.digest:
            found.append(f"{title}: digest {built.digest}, not {first.digest}")
        elif built.interfaces_digest != first.interfaces_digest:
            other = f"{built.interfaces_digest}, not {first.interfaces_digest}"
            found.append(f"{title}: interfaces_digest {other}")
        elif outcome.way.same_bytes and (others := _unlike(built.shards, first.shards)):
            found.append(f"{title}: {', '.join(others)} of other bytes, or there and not there")
    return found


def table_rows(outcomes: Sequence[Outcome]) -> list[tuple[str, ...]]:
    """Rows below `HEADER`."""
    first = outcomes[0].built
    rows = []
    for outcome in outcomes:
        built, title = outcome.built, outcome.way.title
        if built is None:
            rows.append((title, *["–"] * (len(HEADER) - 2), "NO"))
            continue
        bytes_say = "same"
        if first is None or _unlike(built.shards, first.shards):
            bytes_say = "DIFFERENT" if outcome.way.same_bytes else "other cuts"
        rows.append(
            (
                title,
                f"{built.seconds:.1f}",
                f"{len(built.shards)}",
                f"{built.n_chains:,}",
                bytes_say,
                built.digest[:16],
                "yes" if first is not None and built.digests == first.digests else "NO",
            )
        )
    return rows


def _unlike(some: Mapping[str, str], others: Mapping[str, str]) -> list[str]:
    return sorted(k for k in {*some, *others} if some.get(k) != others.get(k))


def compare_ways(names: Sequence[str], scene: Scene) -> list[Outcome]:
    """Go the ways one after another, the first in `WAYS` before all; none but it if it fails."""
    outcomes: list[Outcome] = []
    first = next(iter(WAYS))
    for name in [n for n in WAYS if n in names or n == first]:
        _say(f"{time.strftime('%H:%M:%S')} {WAYS[name].title} …")
        here = Scene(
            scene.source, scene.files, scene.folder / name, scene.options, scene.usual_names
        )
        outcomes.append(attempt(WAYS[name], here))
        built = outcomes[-1].built
        if len(outcomes) == 1:
            if built is None:
                break
            if not built.n_chains:
                raise SystemExit("these files have no chains: any two builds of them are the same")
            scene.usual_names = with_chains(here.out)
    return outcomes


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--ways", nargs="+", choices=list(WAYS), default=list(WAYS), help="besides one core"
    )
    parser.add_argument("--limit", type=int, default=0, help="files; 0: all")
    parser.add_argument("--part-size", type=int, default=0, help="MiB, as for the build")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # So shells start what runs in the background, and the build would not hear Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    bullet = "- " if options.markdown else ""
    for line in describe_machine():
        print(bullet + line)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        files = choose(options.folder, options.limit)
        source = Path(scratch) / "in"
        relink({name: name for name in files}, options.folder, source)
        words = ["--part-size", str(options.part_size)]
        with terminable():
            outcomes = compare_ways(options.ways, Scene(source, files, Path(scratch), words))
    print(f"{bullet}input: {len(files)} files\n")
    print(format_table(HEADER, table_rows(outcomes), options.markdown))
    notes = [f"{o.way.title}: {note}" for o in outcomes if o.built for note in o.built.notes]
    if notes:
        print("\n" + "\n".join(bullet + note for note in notes))
    problems = differences(outcomes)
    for problem in problems:
        print(f"\nNOT THE SAME: {problem}")
    if problems or outcomes[0].built is None:
        return 1
    print(f"\n{len(outcomes)} ways, one digest: {outcomes[0].built.digest}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
