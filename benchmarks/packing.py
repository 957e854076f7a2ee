"""Packing of side chains with IGA and with IPA: training, evaluation, and the table of both.

    python benchmarks/packing.py run --structures FOLDER --work DIR [--steps 10000] [--minutes M]
    python benchmarks/packing.py run --dataset DATASET --work DIR --runs iga-0 ipa-0
    python benchmarks/packing.py table --work DIR [--plot FILE.png]

`run` does what is left to do in DIR: started again after a kill, or after `--minutes`, it keeps
what is finished and continues what is not from its last checkpoint. Two runs go at once, one thread
each, by equal steps; each is then evaluated on validation chains at several of its steps, and on
the test split at its last. `table` prints Markdown of what is there. benchmarks/README.md says
more.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pyarrow.parquet as pq
import torch
import yaml
from child_process import end_with_parent
from packing_runs import Folder, Run, Settings, keep_settings
from packing_table import Results, draw_curves, markdown

from model.network import FlowNetwork, NetworkConfig
from pipeline.commands.termination import terminable

CONFIG = Path(__file__).parents[1] / "model" / "configs" / "packing.yaml"
REPOSITORY = Path(__file__).parents[1]
TOLERATED_SPREAD = 0.02
"""Of the numbers of parameters."""
MARGIN = 60.0
"""Seconds before the end at which training stops: starting, validating and saving take some."""
WATCH_SECONDS = 0.5


@dataclass(frozen=True)
class Job:
    """A process that brings a run further.

    Attributes
    ----------
    words : list of str
        After ``python -m``.
    result : Path, optional
        Folder that appears when the job is done; it is written under another name before.
    """

    title: str
    words: list[str]
    result: Path | None = None

    @property
    def partial(self) -> Path:
        assert self.result is not None
        return self.result.with_name(self.result.name + ".partial")


# ---- what there is to do ------------------------------------------------------------------------


def next_job(
    work: Path, config: Path, settings: Settings, run: Run, seconds_left: float
) -> Job | None:
    """The next step of a run; none if it is finished."""
    folder = Folder(work, run)
    if folder.test.is_dir():
        return None
    steps = settings.steps_of(run)
    done, seconds = folder.progress()
    if done < steps:
        return training_job(work, config, settings, run, seconds, seconds_left)
    for step in settings.curve_of(run):
        snapshot = folder.snapshots / f"{step}.ckpt"
        if folder.curve(step).is_dir():
            snapshot.unlink(missing_ok=True)  # 16 bytes per parameter
        else:
            checkpoint = folder.last if step == steps else snapshot
            title = f"validation at step {step:,}"
            more = ["--split", "val", "--limit", str(settings.validation_chains)]
            return evaluation_job(title, config, settings, checkpoint, folder.curve(step), more)
    return evaluation_job("test", config, settings, folder.last, folder.test, ["--split", "test"])


def training_job(
    work: Path,
    config: Path,
    settings: Settings,
    run: Run,
    seconds: float,
    seconds_left: float,
) -> Job:
    """Train from the last checkpoint, or from the beginning."""
    folder = Folder(work, run)
    resumed = folder.last.is_file()
    if not resumed and folder.root.is_dir():
        shutil.rmtree(folder.root)  # killed before its first checkpoint
    folder.root.mkdir(parents=True, exist_ok=True)
    # Lightning's timer counts over all sessions; its state says how long training took. It stops
    # after a step, with a checkpoint of that step.
    every = settings.curve_of(run)[0]
    snapshots = {
        "dirpath": str(folder.snapshots.resolve()),
        "filename": "{step}",
        "auto_insert_metric_name": False,
        "every_n_train_steps": every,
        "save_top_k": -1,
        "enable_version_counter": False,
    }
    own = {
        "seed_everything": run.seed,
        "model": {"seed": run.seed, "network": {"attention": "iga", **run.network}},
        "data": {"path": settings.dataset, "seed": run.seed},
        "run": {"dir": str(folder.train), "notes": f"benchmarks/packing.py, {run.name}"},
        "trainer": {
            "accelerator": settings.accelerator,
            "devices": 1,
            "max_steps": settings.steps_of(run),
            "max_time": as_duration(seconds + seconds_left),
            "val_check_interval": every,
            "check_val_every_n_epoch": None,
            "callbacks": [
                {
                    "class_path": "pytorch_lightning.callbacks.ModelCheckpoint",
                    "init_args": snapshots,
                }
            ],
        },
    }
    own_config = folder.root / "run.yaml"
    own_config.write_text(yaml.safe_dump(own, sort_keys=False), encoding="utf-8")
    words = ["model.train", "fit", "--config", str(config), "--config", str(own_config)]
    if resumed:
        words += ["--ckpt_path", str(folder.last)]
    return Job("training", words)


def as_duration(seconds: float) -> str:
    """As Lightning's timer reads it: DD:HH:MM:SS."""
    minutes, rest = divmod(max(1, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days:02d}:{hours:02d}:{minutes:02d}:{rest:02d}"


def evaluation_job(
    title: str,
    config: Path,
    settings: Settings,
    checkpoint: Path,
    result: Path,
    more: Sequence[str],
) -> Job:
    where = yaml.safe_load(config.read_text(encoding="utf-8")).get("data", {}).get("where")
    job = Job(title, [], result)
    words = [
        *("model.evaluate", "--dataset", settings.dataset, "--ckpt", str(checkpoint)),
        *("--tasks", "packing", "--steps", str(settings.passes), "--seed", "0"),
        *("--device", "cpu" if settings.accelerator == "cpu" else "cuda", "--quiet"),
        *("--out-dir", str(job.partial), *more),
        *(["--where", where] if where else []),
    ]
    return Job(title, words, result)


def count_parameters(config: Path, runs: Sequence[Run]) -> dict[str, int]:
    """Run → parameters of its network.

    Raises
    ------
    SystemExit
        They differ by more than 2 %.
    """
    base = yaml.safe_load(config.read_text(encoding="utf-8"))["model"]["network"]
    counts = {}
    for run in runs:
        with torch.device("meta"):
            network = FlowNetwork(NetworkConfig(**{**base, "attention": "iga", **run.network}))
        counts[run.name] = sum(p.numel() for p in network.parameters())
    low, high = min(counts.values()), max(counts.values())
    if high > low * (1 + TOLERATED_SPREAD):
        raise SystemExit(f"error: the networks differ in size, {low:,} to {high:,} parameters")
    return counts


# ---- doing it -----------------------------------------------------------------------------------


def prepare_dataset(structures: Path, work: Path, n_jobs: int) -> Path:
    """Build a dataset of a folder of structures, and split it by clusters of sequences."""
    dataset = work / "dataset"
    print(f"building {dataset} of {structures}, and splitting it by clusters", flush=True)
    for words in (
        [
            *("pipeline.build", "--pdb-dir", str(structures), "--out-dir", str(dataset)),
            *("--n-jobs", str(n_jobs), "--quiet"),
        ],
        ["pipeline.split", str(dataset), "--method", "cluster"],
    ):
        if subprocess.run([sys.executable, "-m", *words], env=environment()).returncode:
            raise SystemExit(f"error: python -m {' '.join(words)} did not end well")
    return dataset


def digest_of(dataset: Path) -> str:
    try:
        pq.read_schema(dataset / "splits.parquet")
        return json.loads((dataset / "build.json").read_text(encoding="utf-8"))["digest"]
    except OSError as error:
        raise SystemExit(
            f"error: {dataset} is no dataset with splits ({error}): run pipeline.build and "
            "pipeline.split first, or give --structures"
        ) from None


def environment() -> dict[str, str]:
    one = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}
    path = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
    return {**os.environ, **one, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


@contextmanager
def locked(work: Path) -> Iterator[IO[str]]:
    """The folder is this process's and its children's alone.

    Children inherit the lock: where they outlive a killed parent, nobody else writes beside them.
    """
    with (work / "lock").open("w") as file:
        for remaining in range(20, -1, -1):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not remaining:
                    raise SystemExit(f"error: another process works in {work}") from None
                time.sleep(0.5)  # those of a killed one are about to end
        yield file


class Workers:
    """Jobs of several runs at once; each run has one at a time.

    Attributes
    ----------
    failed : list of str
        Runs of which a job ended with an error: they are left for another time.
    """

    def __init__(self, work: Path, config: Path, settings: Settings, lock: IO[str]):
        self.work, self.config, self.settings, self.lock = work, config, settings, lock
        self.failed: list[str] = []
        self._active: dict[Run, tuple[Job, subprocess.Popen[bytes], float]] = {}

    def work_off(
        self,
        runs: Sequence[Run],
        at_once: int,
        deadline: float,
        margin: float,
        report_seconds: float,
    ) -> bool:
        """Bring runs forward until all are finished (true), or the time is over.

        Training stops by itself `margin` seconds before the deadline, and nothing begins after
        that; an evaluation that is not finished then has to be done again.
        """
        waiting = list(runs)
        reported = time.monotonic()
        try:
            while True:
                for run in [run for run in list(self._active) if self._ended(run)]:
                    if run.name not in self.failed:
                        waiting.insert(0, run)
                left = deadline - time.monotonic()
                may_start = left > margin
                while may_start and waiting and len(self._active) < at_once:
                    self._start(waiting.pop(0), left - margin)
                if not self._active and not (waiting and may_start):
                    return not waiting
                if left <= 0:
                    print("the time is over", flush=True)
                    return False
                if time.monotonic() - reported >= report_seconds:
                    reported = time.monotonic()
                    for run in self._active:
                        self._say(run)
                time.sleep(WATCH_SECONDS)
        finally:
            self._stop()

    def _start(self, run: Run, left: float) -> None:
        job = next_job(self.work, self.config, self.settings, run, left)
        if job is None:
            say(f"{run.name}: finished")
            return
        if job.result is not None:
            shutil.rmtree(job.partial, ignore_errors=True)
            job.partial.parent.mkdir(parents=True, exist_ok=True)
        say(f"{run.name}: {job.title}{' goes on' if '--ckpt_path' in job.words else ''}")
        with Folder(self.work, run).log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *job.words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(),
                start_new_session=True,  # a Ctrl-C is for this process, which passes it on
                preexec_fn=end_with_parent,
                pass_fds=[self.lock.fileno()],
            )
        self._active[run] = (job, process, time.monotonic())

    def _ended(self, run: Run) -> bool:
        job, process, began = self._active[run]
        if process.poll() is None:
            return False
        del self._active[run]
        seconds = time.monotonic() - began
        if process.returncode:
            log = Folder(self.work, run).log
            tail = "\n    ".join(
                log.read_text(encoding="utf-8", errors="replace").splitlines()[-8:]
            )
            say(f"{run.name}: {job.title} failed after {seconds:.0f} s ({log}):\n    {tail}")
            self.failed.append(run.name)
        else:
            if job.result is not None:
                job.partial.rename(job.result)
            say(f"{run.name}: {job.title} ended after {seconds:.0f} s")
        return True

    def _say(self, run: Run) -> None:
        job, _, began = self._active[run]
        line = f"{time.monotonic() - began:.0f} s"
        if job.result is None:
            lines = Folder(self.work, run).log.read_bytes()[-2000:].decode(errors="replace")
            steps = [text for text in lines.splitlines() if text.startswith("step ")]
            line = steps[-1] if steps else line
        say(f"{run.name}: {job.title}  {line}")

    def _stop(self) -> None:
        processes = [process for _, process, _ in self._active.values()]
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._active = {}


def say(sentence: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {sentence}", flush=True)


def run_all(options: argparse.Namespace) -> int:
    began = time.monotonic()
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    with locked(work) as lock:
        if options.structures is not None:
            dataset = prepare_dataset(options.structures, work, options.at_once)
        else:
            dataset = options.dataset
        settings = Settings(
            dataset=str(dataset.resolve()),
            dataset_digest=digest_of(dataset),
            config=hashlib.sha256(options.config.read_bytes()).hexdigest(),
            steps=options.steps,
            ablation_steps=options.ablation_steps or options.steps,
            points=options.points,
            validation_chains=options.validation_chains,
            passes=options.passes,
            accelerator=options.accelerator,
        )
        keep_settings(work, settings)
        runs = chosen(settings.runs(), options.runs)
        counts = count_parameters(options.config, settings.runs())
        (work / "parameters.json").write_text(json.dumps(counts) + "\n", encoding="utf-8")
        for run in runs:
            done, seconds = Folder(work, run).progress()
            print(
                f"{run.name:14} {counts[run.name]:,} parameters, seed {run.seed}, "
                f"step {done:,} of {settings.steps_of(run):,}, {seconds / 60:.1f} min"
            )
        print(f"{min(counts.values()):,} to {max(counts.values()):,} parameters", flush=True)
        note_machine(work, options)
        workers = Workers(work, options.config, settings, lock)
        seconds_in_all = 60 * options.minutes
        deadline, margin = began + seconds_in_all, min(MARGIN, seconds_in_all / 4)
        try:
            with terminable():
                finished = workers.work_off(
                    runs, options.at_once, deadline, margin, options.report_seconds
                )
        except KeyboardInterrupt:
            print("interrupted: the same command goes on", file=sys.stderr)
            return 130
    if workers.failed:
        print(f"error: failed: {', '.join(workers.failed)}", file=sys.stderr)
        return 1
    print("all is finished: see `table`" if finished else "the same command goes on", flush=True)
    return 0


def chosen(runs: Sequence[Run], names: Sequence[str] | None) -> list[Run]:
    known = {run.name: run for run in runs}
    strange = [name for name in names or () if name not in known]
    if strange:
        raise SystemExit(f"error: no run {', '.join(strange)}: there are {', '.join(known)}")
    return [known[name] for name in names or known]


def note_machine(work: Path, options: argparse.Namespace) -> None:
    """Add what the times depend on to ``machine.txt``."""
    from build_speed import describe_machine

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    lines = [*describe_machine(), f"torch {torch.__version__}, {device}"]
    lines.append(f"{options.at_once} at once, one thread each, {options.accelerator}")
    with (work / "machine.txt").open("a", encoding="utf-8") as file:
        file.write("".join(f"- {line}\n" for line in lines) + "\n")


def print_table(options: argparse.Namespace) -> int:
    results = Results.read(options.work)
    machine = options.work / "machine.txt"
    if machine.is_file():
        print(machine.read_text(encoding="utf-8").split("\n\n")[0] + "\n")
    if options.plot is not None:
        options.plot.parent.mkdir(parents=True, exist_ok=True)
        draw_curves(results, options.plot)
    print(markdown(results, None if options.plot is None else options.plot.name), end="")
    return 0


# ---- the command --------------------------------------------------------------------------------


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="do what is left to do")
    data = run.add_mutually_exclusive_group(required=True)
    data.add_argument("--structures", type=Path, help="build and split a dataset of this folder")
    data.add_argument("--dataset", type=Path, help="a dataset with splits train, val and test")
    run.add_argument("--config", type=Path, default=CONFIG, help="of training, for all runs")
    run.add_argument("--runs", nargs="+", metavar="NAME", help="only these, in this order")
    run.add_argument("--steps", type=int, default=10_000)
    run.add_argument("--ablation-steps", type=int, help="by default --steps")
    run.add_argument("--points", type=int, default=8, help="of a learning curve")
    run.add_argument("--validation-chains", type=int, default=64, help="at each of these points")
    run.add_argument("--passes", type=int, default=4, help="of a packing")
    run.add_argument("--at-once", type=int, default=2)
    run.add_argument(
        "--minutes", type=float, default=30 * 1440, help="of wall time, in all; then stop"
    )
    run.add_argument("--accelerator", choices=["cpu", "gpu"], default="cpu")
    run.add_argument("--report-seconds", type=float, default=60.0)
    table = commands.add_parser("table", help="print Markdown of what is there")
    table.add_argument("--plot", type=Path, help="draw learning curves into this PNG")
    for command in (run, table):
        command.add_argument("--work", type=Path, required=True, help="folder of the comparison")
    options = parser.parse_args(arguments)
    if options.command == "run":
        for name in ("steps", "ablation_steps"):
            if (steps := getattr(options, name)) is not None and (
                steps < 1 or steps % options.points
            ):
                parser.error(
                    f"--{name.replace('_', '-')} is a multiple of --points ({options.points})"
                )
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    return run_all(options) if options.command == "run" else print_table(options)


if __name__ == "__main__":
    sys.exit(main())
