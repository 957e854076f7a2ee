"""A build on a Dask or Ray cluster: the single machine's dataset, whatever happens to workers."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

import pipeline.crew.cluster_crew
import pipeline.crew.clusters
import pipeline.crew.crew
from pipeline.build.command import main
from pipeline.built.layout import Layout
from pipeline.built.plan import Part, make_plan
from pipeline.built.reading import Reading
from pipeline.built.records import PartRecord, read_record
from pipeline.built.tables import versions
from pipeline.crew import cluster_task
from pipeline.crew.cluster_crew import ClusterCrew
from pipeline.crew.cluster_task import Order, build_on_cluster, lease
from pipeline.crew.clusters import WorkerLost
from pipeline.crew.crew import Job, WorkersFail
from pipeline.files.place import Place
from pipeline.sources import discover, group_entries
from tests.support import build_runs as runs
from tests.support.build_runs import Command, on_reading, wait_until
from tests.support.places import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

from local_clusters import dask_cluster, ray_cluster

SECONDS = 300


# ---- a part on another machine ----------------------------------------------------------------


@dataclass
class OnePart:
    part: Part
    layout: Layout
    job: Job


@pytest.fixture
def one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OnePart]:
    monkeypatch.setattr(cluster_task, "_idle", [])
    source = runs.write_peptides(tmp_path / "in", 3)
    found = discover(source)
    (part,) = make_plan(group_entries(found.files))
    layout = Layout(tmp_path / "out")
    layout.make_folders()
    yield OnePart(part, layout, Job(Place(source), Reading(), layout.place))
    for seat in cluster_task._idle:
        seat.stop()


def order(one: OnePart, token: str, **changes: object) -> Order:
    values = {"job": one.job, "config_hash": one.job.reading.config_hash, "token": token}
    return Order(**{**values, "software": versions(), "patience": 0.5, **changes})  # type: ignore[arg-type]


def test_a_part_leaves_its_shard_and_record_and_nothing_else(one: OnePart) -> None:
    with lease(one.layout) as token:
        reply = build_on_cluster(one.part, order(one, token))
    assert reply.problem is None
    record = read_record(one.layout, 0)
    assert record is not None
    assert record.fingerprint == one.part.fingerprint(one.job.reading.config_hash)
    assert (one.layout.root / one.layout.shard(0)).stat().st_size == record.shard_bytes
    assert runs.leftovers(one.layout.root) == []
    assert not (one.layout.root / one.layout.lease).exists()


def test_a_fault_of_ours_is_told_in_a_sentence_and_then_with_its_traceback(
    one: OnePart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline.crew.crew, "build_assigned", json.loads)
    with lease(one.layout) as token:
        reply = build_on_cluster(one.part, order(one, token))
    sentence, heading, *_, last = (reply.problem or "").splitlines()
    assert "part-00000 cannot be built, and this is our fault: please report it" in sentence
    assert heading == "In the worker:"
    assert last.startswith("TypeError: loads() takes 1 positional argument")


def test_parts_in_turn_are_built_by_one_warm_process(one: OnePart) -> None:
    pids = []
    with lease(one.layout) as token:
        for _ in range(2):
            assert build_on_cluster(one.part, order(one, token)).problem is None
            (seat,) = cluster_task._idle
            pids.append(seat.submit(os.getpid).result(SECONDS))
    assert pids[0] == pids[1]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"token": "another"}, "does not see the output folder"),
        ({"software": {"numpy": "0.1"}}, "the build was begun with numpy 0.1"),
        ({"config_hash": "0"}, "another ellipsoid-flow"),
        ({"job": "elsewhere"}, "sees none of the 3 files of part-00000"),
    ],
)
def test_a_machine_that_is_not_fit_builds_nothing_and_says_why(
    one: OnePart, tmp_path: Path, changes: dict, sentence: str
) -> None:
    if changes.get("job"):
        (tmp_path / "empty").mkdir()
        changes = {"job": Job(Place(tmp_path / "empty"), Reading(), one.layout.place)}
    with lease(one.layout) as token:
        reply = build_on_cluster(one.part, order(one, changes.pop("token", token), **changes))
    assert sentence in (reply.problem or "")
    assert (reply.problem or "").startswith(os.uname().nodename)
    assert not (one.layout.root / one.layout.shard(0)).exists()


def test_a_part_that_nobody_wants_any_more_is_given_up(
    one: OnePart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_task, "LEASE_SECONDS", 0.1)
    home = runs._appending(on_reading("*", "time.sleep(1000)"), tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(home))
    with lease(one.layout) as token:
        wanted = order(one, token)
        (one.layout.root / one.layout.lease).write_text('{"token": "somebody else\'s"}')
        monkeypatch.setattr(cluster_task, "_check_fit", lambda *_: None)
        reply = build_on_cluster(one.part, wanted)
    assert "has ended" in (reply.problem or "")
    assert not (one.layout.root / one.layout.shard(0)).exists()
    assert runs.leftovers(one.layout.root) == []


# ---- a cluster that loses workers, played -----------------------------------------------------


class Played:
    """A cluster of this process, whose workers are lost as `loses` says."""

    def __init__(self, loses: Callable[[Part, int], bool], tries: int = 1) -> None:
        self._loses, self.tries = loses, tries
        self.handed: list[int] = []
        self._calls: list[tuple[Part, Order, int]] = []

    def n_slots(self) -> int:
        return 2

    def submit(self, function: Callable, part: Part, order: Order) -> int:
        self.handed.append(part.number)
        self._calls.append((part, order, self.handed.count(part.number)))
        return len(self._calls) - 1

    def finished(self, handles: object, seconds: float) -> list[int]:
        return list(handles)[-1:]  # type: ignore[call-overload]

    def result(self, handle: int) -> object:
        part, order, times = self._calls[handle]
        if self._loses(part, times):
            raise WorkerLost("it is gone")
        return build_on_cluster(part, order)

    def cancel(self, handles: object) -> None: ...


def crew_on(
    cluster: Played, one: OnePart, monkeypatch: pytest.MonkeyPatch
) -> tuple[ClusterCrew, list[PartRecord], list[str]]:
    @contextmanager
    def connected(*_: str) -> Iterator[Played]:
        yield cluster

    monkeypatch.setattr(pipeline.crew.cluster_crew, "connected", connected)
    done: list[PartRecord] = []
    events: list[str] = []
    crew = ClusterCrew(
        one.job, 0, done.append, lambda _: None, lambda e, _: events.append(e), "dask", "x"
    )
    return crew, done, events


def parts_of(one: OnePart) -> list[Part]:
    return [Part(k, (entry,)) for k, entry in enumerate(one.part.entries)]


def test_the_part_of_a_lost_worker_is_handed_out_again(
    one: OnePart, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Played(lambda part, times: part.number == 1 and times < 3)
    crew, done, events = crew_on(cluster, one, monkeypatch)
    crew.run(parts_of(one))
    assert sorted(r.number for r in done) == [0, 1, 2]
    assert sorted(cluster.handed) == [0, 1, 1, 1, 2]
    assert events == ["cluster-worker-lost"] * 2


@pytest.mark.parametrize(("tries", "n_handed"), [(1, 4), (4, 1)])
def test_a_part_that_takes_four_workers_with_it_ends_the_build_by_name(
    one: OnePart, monkeypatch: pytest.MonkeyPatch, tries: int, n_handed: int
) -> None:
    cluster = Played(lambda part, _: part.number == 1, tries)
    crew, _, _ = crew_on(cluster, one, monkeypatch)
    with pytest.raises(WorkersFail, match=r"4 workers .* part-00001 \(p\d+\.pdb, …\).* memory"):
        crew.run(parts_of(one))
    assert cluster.handed.count(1) == n_handed
    assert not (one.layout.root / one.layout.lease).exists()


def test_a_worker_that_dies_after_its_work_was_done_costs_nothing(
    one: OnePart, monkeypatch: pytest.MonkeyPatch
) -> None:
    def builds_and_dies(part: Part, times: int) -> bool:
        runs.build_part(part, one.job.root, one.job.reading, one.job.out_dir)
        return True

    cluster = Played(builds_and_dies)
    crew, done, events = crew_on(cluster, one, monkeypatch)
    crew.run(parts_of(one))
    assert sorted(cluster.handed) == [0, 1, 2] == sorted(r.number for r in done)
    assert events == []


# ---- usage ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--backend", "dask"], "--backend dask needs --address: the scheduler's address"),
        (["--backend", "ray"], "--backend ray needs --address: the head's address"),
        (["--address", "tcp://x:1"], "say which kind, --backend dask or ray"),
        (["--backend", "dask", "--address", "nofile.json"], "--address nofile.json is no file"),
        (["--backend", "dask", "--address", "127.0.0.1:9"], "no Dask cluster answers at --address"),
    ],
)
def test_a_cluster_that_cannot_be_reached_is_wrong_usage(
    tmp_path: Path,
    capfd: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    sentence: str,
) -> None:
    monkeypatch.setattr(pipeline.crew.clusters, "CONNECT_SECONDS", 1.0)
    source = runs.write_peptides(tmp_path / "in", 1)
    command = ["--pdb-dir", str(source), "--out-dir", str(tmp_path / "out"), *arguments]
    assert main(command) == 2
    said = capfd.readouterr().err
    assert sentence in said
    assert "Traceback" not in said


@pytest.mark.parametrize(("backend", "module"), [("dask", "distributed"), ("ray", "ray")])
def test_a_missing_extra_is_named_with_its_pip_line(
    tmp_path: Path,
    capfd: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    backend: str,
    module: str,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    arguments = ["--pdb-dir", str(tmp_path), "--out-dir", str(tmp_path / "out")]
    assert main([*arguments, "--backend", backend, "--address", "x:1"]) == 2
    assert f'pip install "ellipsoid-flow[{backend}]"' in capfd.readouterr().err


# ---- real clusters ----------------------------------------------------------------------------

N_FILES = 30


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.write_peptides(tmp_path_factory.mktemp("clusters") / "in", N_FILES)


@pytest.fixture(scope="module")
def single(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("single") / "out"
    assert len(runs.build_here(source, out)["shards"]) >= 5
    return out


@contextmanager
def environment_of(faults: dict[str, str], folder: Path) -> Iterator[None]:
    """What processes that are started in the block, and theirs, run with."""
    with pytest.MonkeyPatch.context() as patch:
        home = runs._appending(faults, folder)
        patch.setenv("PYTHONPATH", os.pathsep.join((str(home), str(ROOT))))
        yield


@contextmanager
def cluster(backend: str, folder: Path, faults: dict[str, str]) -> Iterator[str]:
    """Two workers of one thread, whose processes run with faults; the address."""
    with ExitStack() as stack:
        with environment_of(faults, folder):
            address = stack.enter_context(CLUSTERS[backend](folder, 2))
        yield address


CLUSTERS = {"dask": dask_cluster, "ray": ray_cluster}
WORKERS = {"dask": r"spawn_main|dask_worker", "ray": r"ray::"}


def builders() -> list[psutil.Process]:
    """Processes that build parts, of any cluster here."""
    return [p for p in psutil.process_iter() if "pipeline.crew.worker" in words(p)]


def words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def check_single(out: Path, single: Path) -> None:
    assert runs.shards(out) == runs.shards(single)
    assert runs.build_json(out)["digest"] == runs.build_json(single)["digest"]
    assert runs.accounts_for_all(out)
    assert runs.leftovers(out) == []
    assert not (out / ".build" / "lease.json").exists()


def command_on(
    backend: str, address: str, source: Path, out: Path, folder: Path, *more: object
) -> Command:
    where = ["--backend", backend, "--address", address, "--log-file", folder / "log.jsonl"]
    return Command(
        *("--pdb-dir", source, "--out-dir", out, *where, *more),
        append=runs.SMALL_PARTS,
        folder=folder,
    )


@pytest.mark.slow
@pytest.mark.parametrize("backend", CLUSTERS)
def test_a_cluster_makes_the_single_machine_s_dataset_also_when_a_worker_is_killed(
    backend: str, source: Path, single: Path, tmp_path: Path
) -> None:
    before = {p.pid for p in builders()}
    with cluster(backend, tmp_path, on_reading("*", "time.sleep(0.3)")) as address:
        out = tmp_path / "out"
        command = command_on(backend, address, source, out, tmp_path)
        wait_until(lambda: list((out / ".build").glob("part-*.json")), SECONDS)
        builder = wait_until(lambda: [p for p in builders() if p.pid not in before], SECONDS)[0]
        worker = builder.parent()
        assert worker is not None
        assert re.search(WORKERS[backend], words(worker)), words(worker)
        assert not (out / "build.json").exists(), "it was over before a worker was killed"
        worker.kill()
        wait_until(lambda: not builder.is_running() or builder.status() == "zombie", SECONDS)
        result = command.wait(SECONDS)
        assert (result.status, result.err) == (0, "")
        check_single(out, single)
        again = command_on(backend, address, source, out, tmp_path).wait(SECONDS)
        assert "already built" in again.out


@pytest.mark.slow
@pytest.mark.parametrize("backend", CLUSTERS)
def test_a_bad_file_costs_itself_on_a_cluster_too(
    backend: str, source: Path, tmp_path: Path
) -> None:
    faults = on_reading("p007", "os.kill(os.getpid(), signal.SIGKILL)")
    with cluster(backend, tmp_path, faults) as address:
        out = tmp_path / "out"
        result = command_on(backend, address, source, out, tmp_path).wait(SECONDS)
    assert result.status == 1, result.err
    rows = runs.inputs(out)
    assert {n for n, r in rows.items() if r["status"] == "failed"} == {"p007.pdb"}
    assert rows["p007.pdb"]["reason"] == "worker-died"
    assert runs.accounts_for_all(out)


@pytest.mark.slow
@pytest.mark.parametrize("backend", CLUSTERS)
def test_ctrl_c_ends_what_the_cluster_does_and_one_machine_goes_on(
    backend: str, source: Path, single: Path, tmp_path: Path
) -> None:
    with cluster(backend, tmp_path, on_reading("*", "time.sleep(1)")) as address:
        out = tmp_path / "out"
        command = command_on(backend, address, source, out, tmp_path)
        wait_until(lambda: list((out / ".build").glob("part-*.json")), SECONDS)
        command.process.terminate()
        result = command.wait(SECONDS)
        assert result.status == 130
        assert "interrupted" in result.err
        assert "Traceback" not in result.err
        scratch = out / ".build" / "scratch"
        wait_until(lambda: not list(scratch.iterdir()), SECONDS)
        runs.build_here(source, out)
        check_single(out, single)
