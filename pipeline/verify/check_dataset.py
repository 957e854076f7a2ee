"""A whole dataset: its summary, its tables, every shard, and whether they are of one mind."""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import BrokenProcessPool
from numpy.typing import NDArray

from pipeline.built.build_summary import BuildSummary, OtherSchema
from pipeline.built.layout import Layout
from pipeline.built.reading import config_hash
from pipeline.built.records import PartRecord
from pipeline.built.tables import REQUESTS_AT_ONCE
from pipeline.built.upgrade_mark import was_interrupted
from pipeline.crew.crew import available_jobs
from pipeline.errors import Failure, UsageError
from pipeline.shards import SCHEMA_VERSION, dataset_digest, shard_schema
from pipeline.verify import check_tables
from pipeline.verify.check_embeddings import check_embeddings
from pipeline.verify.check_interfaces import check_interfaces, should_have_interfaces
from pipeline.verify.check_shard import (
    KEPT_COLUMNS,
    ShardJob,
    ShardReport,
    check_shard,
)
from pipeline.verify.check_strays import SPLITS, check_strays
from pipeline.verify.check_tables import BUILD_JSON
from pipeline.verify.findings import Expected, Findings, Problem

BYTES_PER_WORKER = 32 << 20
"""A worker takes a second or two to start, in which one process checks about so much."""


class NotADataset(UsageError):
    """There is nothing to verify; the sentence says what to give instead."""


class VerifyError(Failure):
    """The verification itself failed."""


@dataclasses.dataclass(frozen=True, slots=True)
class Thoroughness:
    """How closely to look.

    Attributes
    ----------
    quick : bool
        Hashes, schemas, tables and counts; the lists of the shards are not decoded.
    sample : float or None
        Chains whose derived columns are computed again: a share below 1, or a number of chains;
        None means all. Which ones is the same every time.
    n_jobs : int
        Processes; 0 means as many as this process may use.
    """

    quick: bool = False
    sample: float | None = None
    n_jobs: int = 0


OnShard = Callable[[int, int, int], None]
"""Called with (shards done, shards, chains done)."""


def check_dataset(
    layout: Layout,
    how: Thoroughness = Thoroughness(),
    on_shard: OnShard = lambda *_: None,
) -> Findings:
    """Verify a dataset; nothing is written.

    Parameters
    ----------
    layout : Layout
    how : Thoroughness
    on_shard : callable
        Called after each shard.

    Raises
    ------
    NotADataset
        The folder is not there, or no build has written to it.
    VerifyError
        A worker process died.
    StorageError, OSError
        The dataset's store does not answer or refuses, or there is no room here for one of its
        shards per process.
    """
    started = time.monotonic()
    check_is_dataset(layout)
    with _small_files_here(layout) as here:
        findings = _check_dataset(layout, here, how, on_shard)
    return dataclasses.replace(findings, seconds=time.monotonic() - started)


def _check_dataset(layout: Layout, here: Layout, how: Thoroughness, on_shard: OnShard) -> Findings:
    """Verify the dataset of `layout`; `here` has everything of it except the shards."""
    dataset = str(layout.folder)
    try:
        summary, problems = check_tables.read_summary(here)
    except OtherSchema as other:
        wrong_version = _other_version(other.version)
        return Findings(dataset, [wrong_version], n_files=1, digest=other.digest)
    records = check_tables.read_records(here)
    expected = (
        check_tables.expected_shards(summary)
        if summary is not None
        else check_tables.expected_by_records(here, records)
    )
    has_interfaces = should_have_interfaces(here, summary, records)
    without = () if has_interfaces else (layout.interfaces,)
    tables, wrong = check_tables.read_tables(here, without)
    problems += wrong
    problems += check_interfaces(here, summary, tables, records)
    config = check_tables.trusted_config(here, summary)
    jobs = _jobs(layout, here, expected, config, tables.get("index.parquet"), how)
    reports = _run(jobs, expected, how, on_shard)
    ordered = [reports[e.name] for e in expected]
    if was_interrupted(here):
        problems.append(_of_interrupted_upgrade(layout, ordered))
    problems += _of_shards(here, expected, ordered, records)
    rows = _all_rows(ordered, tables.get("index.parquet"))
    problems += _across(here, summary, tables, ordered, records, rows)
    all_read = all(r.rows is not None for r in ordered)
    digest = None if rows is None else _digest(rows)
    if summary is not None and digest is not None and digest != summary.digest:
        problems += _wrong_digest(summary.digest, digest, ordered, expected, records)
    problems += check_strays(layout, here, {e.name for e in expected})
    if summary is not None and (index := tables.get("index.parquet")) is not None:
        problems += check_embeddings(layout.folder, index, quick=how.quick)
    return Findings(
        dataset,
        _sorted(problems, expected),
        n_files=len(expected) + len(layout.results) - len(without),
        n_shards=len(expected),
        n_chains=sum(r.n_chains for r in ordered),
        n_residues=sum(r.n_residues for r in ordered),
        n_recomputed=sum(r.n_recomputed for r in ordered),
        digest=None if summary is None else summary.digest,
        recomputed_digest=digest if all_read else None,
        expected=expected,
        sha256={r.name: r.sha256 for r in ordered if r.sha256},
    )


def check_is_dataset(layout: Layout) -> None:
    """See that there is something to verify.

    Raises
    ------
    NotADataset
    """
    folder = layout.folder
    if folder.is_local:
        if not layout.root.exists():
            raise NotADataset(f"{folder}: there is no such folder")
        if not layout.root.is_dir():
            raise NotADataset(f"{folder} is a file; give the folder that pipeline.build made")
        has_shards = (layout.root / layout.shards).is_dir()
    else:
        folder.check()
        has_shards = bool(folder.list(layout.shards))
    there = folder.list()
    if BUILD_JSON not in there and not has_shards:
        raise NotADataset(
            f"{folder} has neither build.json nor shards/; give the folder that pipeline.build made"
        )
    if not any(name in there for name in layout.results):
        raise NotADataset(
            f"{folder} holds a build that was not finished; run its command again first"
        )


@contextlib.contextmanager
def _small_files_here(layout: Layout) -> Iterator[Layout]:
    """The dataset if it is on this machine, else a copy of all but its shards, for a while."""
    folder = layout.folder
    if folder.is_local:
        yield layout
        return
    with tempfile.TemporaryDirectory(
        prefix="pipeline-verify-", ignore_cleanup_errors=True
    ) as temporary:
        here = Layout(Path(temporary))
        for name in (here.shards, here.state):
            (here.root / name).mkdir()
        wanted = {*layout.results, layout.options, SPLITS}
        names = [name for name in folder.list() if name in wanted]
        for name in (f"{layout.state}/{file}" for file in folder.list(layout.state)):
            if name == layout.config or fnmatch.fnmatch(name, "*/part-*.json"):
                names.append(name)
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as threads:
            list(threads.map(lambda name: folder.fetch(name, here.root / name), names))
        yield here


def _other_version(version: int) -> Problem:
    return Problem(
        BUILD_JSON,
        "schema-version",
        f"the dataset is of schema version {version}, and this program verifies {SCHEMA_VERSION}",
        "other-version",
    )


# ---- shards -------------------------------------------------------------------------------------


def _jobs(
    layout: Layout,
    here: Layout,
    expected: Sequence[Expected],
    config: Mapping[str, Any] | None,
    index: pa.Table | None,
    how: Thoroughness,
) -> Iterator[ShardJob]:
    """One job a shard, made when a worker is free: each takes its rows of the index along."""
    others = {e.sha256: e.name for e in expected}
    chosen = _sample(expected, how.sample)
    places: dict[str, NDArray[np.int64]] = {}
    if index is not None:
        codes = index["shard"].combine_chunks()
        names = codes.dictionary.to_pylist()
        numbers = codes.indices.to_numpy(zero_copy_only=False)
        order = np.argsort(numbers, kind="stable")
        bounds = np.searchsorted(numbers[order], np.arange(len(names) + 1))
        places = {n: order[bounds[k] : bounds[k + 1]] for k, n in enumerate(names)}
    none = np.zeros(0, np.int64)
    for e in expected:
        recompute = none if config is None else None if chosen is None else chosen[e.name]
        yield ShardJob(
            path=here.root / here.shards / e.name,
            expected=e,
            others=others,
            # Rows that are taken, unlike a slice, do not carry the whole index to a worker.
            index=None if index is None else index.take(pa.array(places.get(e.name, none))),
            config_hash=None if config is None else config_hash(config),
            base_thickness=0.5 if config is None else config["base_thickness"],
            shape="axis_aligned" if config is None else config["shape"],
            recompute=recompute,
            quick=how.quick,
            store=None if layout.folder.is_local else layout.folder,
        )


def _sample(
    expected: Sequence[Expected], sample: float | None
) -> dict[str, NDArray[np.int64]] | None:
    """Shard → rows, drawn from all rows of the dataset with equal chances."""
    if sample is None:
        return None
    begins = np.concatenate(([0], np.cumsum([e.n_chains for e in expected])))
    total = int(begins[-1])
    n = min(total, int(np.ceil(sample * total)) if sample < 1 else int(sample))
    rows = np.sort(np.random.default_rng(0).choice(total, n, replace=False))
    cuts = np.searchsorted(rows, begins)
    return {e.name: rows[cuts[k] : cuts[k + 1]] - begins[k] for k, e in enumerate(expected)}


def _run(
    jobs: Iterator[ShardJob],
    expected: Sequence[Expected],
    how: Thoroughness,
    on_shard: OnShard,
) -> dict[str, ShardReport]:
    n_bytes = sum(e.n_bytes for e in expected)
    useful = min(len(expected), 1 + n_bytes // BYTES_PER_WORKER)
    n_jobs = max(1, min(how.n_jobs or available_jobs(), useful))
    if n_jobs == 1:
        results: Iterator[ShardReport] = map(check_shard, jobs)
    else:
        pool = Parallel(n_jobs=n_jobs, return_as="generator_unordered", max_nbytes=None)
        results = pool(delayed(check_shard)(job) for job in jobs)
    reports: dict[str, ShardReport] = {}
    n_chains = 0
    try:
        for report in results:
            reports[report.name] = report
            n_chains += report.n_chains
            on_shard(len(reports), len(expected), n_chains)
    except BrokenProcessPool as error:
        left = next(e.name for e in expected if e.name not in reports)
        raise VerifyError(
            f"a worker process died while it read {left} or a shard after it: out of memory, or a "
            "crash over damaged bytes; --quick names shards whose hashes are wrong without reading "
            "them"
        ) from error
    return reports


def _of_shards(
    layout: Layout,
    expected: Sequence[Expected],
    reports: Sequence[ShardReport],
    records: Mapping[str, PartRecord],
) -> list[Problem]:
    """The reports' problems; where a shard is what its record says, ``build.json`` is to blame."""
    problems = []
    for e, report in zip(expected, reports, strict=True):
        record = records.get(e.name)
        by_record = record is not None and (
            (record.shard_sha256, record.shard_bytes) == (report.sha256, report.n_bytes)
        )
        for problem in report.problems:
            miscounted = problem.check == "counts" and report.has_recorded_bytes
            other_file = problem.check in ("sha256", "size", "counts") and by_record
            if e.source == BUILD_JSON and (miscounted or other_file):
                sentence = f"what it says of {e.file} is wrong: {problem.message}"
                if record is not None:
                    sentence += f", but the shard is what {layout.record(record.number)} says"
                problem = Problem(BUILD_JSON, problem.check, sentence, "rewrite")
            problems.append(problem)
    return problems


# ---- across shards ------------------------------------------------------------------------------


def _of_interrupted_upgrade(layout: Layout, reports: Sequence[ShardReport]) -> Problem:
    """Take from the reports what an upgrade explains: the file is another, but all in it is right,
    which only who has read the rows can say."""
    for report in reports:
        checks = {problem.check for problem in report.problems}
        if report.rows is not None and checks and checks <= {"size", "sha256"}:
            report.problems.clear()
    command = f"`python -m pipeline.upgrade {layout.folder}`"
    sentence = f"an upgrade was interrupted, of which it does not tell yet: {command} goes on"
    return Problem(BUILD_JSON, "leftover", sentence, "upgrade", damage=False)


def _all_rows(reports: Sequence[ShardReport], index: pa.Table | None) -> pa.Table | None:
    """`KEPT_COLUMNS` of all rows; those of a shard that cannot be read are the index's."""
    fields = [shard_schema().field(name) for name in KEPT_COLUMNS]
    tables = [pa.schema(fields).empty_table()]
    for report in reports:
        if report.rows is not None:
            tables.append(report.rows)
        elif index is None:
            return None
        else:
            here = pc.equal(index["shard"].cast(pa.string()), report.name)
            tables.append(index.filter(here).select(list(KEPT_COLUMNS)).replace_schema_metadata())
    return pa.concat_tables(tables)


def _digest(rows: pa.Table) -> str:
    return dataset_digest(
        zip(rows["chain_uid"].to_pylist(), rows["row_sha256"].to_pylist(), strict=True)
    )


def _across(
    layout: Layout,
    summary: BuildSummary | None,
    tables: Mapping[str, pa.Table],
    reports: Sequence[ShardReport],
    records: Mapping[str, PartRecord],
    rows: pa.Table | None,
) -> Iterator[Problem]:
    if rows is not None:
        yield from _twice(rows, reports)
    if (index := tables.get("index.parquet")) is not None:
        sizes = {
            r.name: r.group_sizes if r.has_recorded_bytes and r.rows is not None else None
            for r in reports
        }
        yield from check_tables.check_index_order(index, sizes)
    # Numbers of parts are those of the names; of other names nothing is known.
    shards = {
        int(r.name[5:10]): (r.n_chains, r.n_residues)
        for r in reports
        if r.rows is not None and _is_part(r.name)
    }
    problems = list(check_tables.check_inputs(tables, rows, shards))
    if "plan.parquet" in tables:
        inputs = tables.get("inputs.parquet")
        problems += check_tables.check_plan(layout, inputs, records)
    yield from problems
    if summary is not None:
        # What is wrong itself is no witness against build.json.
        blamed = {problem.file for problem in problems}
        witnesses = {name: table for name, table in tables.items() if name not in blamed}
        yield from check_tables.check_summary(summary, witnesses, rows)


def _is_part(name: str) -> bool:
    return name.startswith("part-") and name[5:10].isdigit()


def _twice(rows: pa.Table, reports: Sequence[ShardReport]) -> Iterator[Problem]:
    uids = np.array(rows["chain_uid"].to_pylist(), object)
    if len(set(uids)) == len(uids):
        return
    names = np.repeat(
        [r.name for r in reports], [0 if r.rows is None else len(r.rows) for r in reports]
    )
    if len(names) != len(uids):
        return  # a shard is damaged, and that has been said
    first: dict[str, str] = {}
    for uid, name in zip(uids, names, strict=True):
        if uid in first:
            sentence = f"has the chain {uid}, and so has shards/{first[uid]}"
            yield Problem(f"shards/{name}", "identity", sentence, "rebuild")
            return
        first[uid] = str(name)


def _wrong_digest(
    said: str,
    digest: str,
    reports: Sequence[ShardReport],
    expected: Sequence[Expected],
    records: Mapping[str, PartRecord],
) -> list[Problem]:
    problems = [
        Problem(
            e.file,
            "sha256",
            "is not the shard of which its record in .build tells, though build.json lists it so",
            "rebuild",
        )
        for e, report in zip(expected, reports, strict=True)
        if report.has_recorded_bytes
        and e.source == BUILD_JSON
        and e.name in records
        and records[e.name].shard_sha256 != report.sha256
    ]
    whose = "the rows" if all(r.rows is not None for r in reports) else "the rows and the index"
    sentence = f"digest is {said[:12]}…, and {whose} give {digest[:12]}…"
    return [*problems, Problem(BUILD_JSON, "digest", sentence, "rewrite")]


def _sorted(problems: Sequence[Problem], expected: Sequence[Expected]) -> list[Problem]:
    """Shards first, in their order, then tables, then ``build.json``; damage before remarks."""
    order = {e.file: k for k, e in enumerate(expected)}
    files = [*check_tables.table_schemas(), BUILD_JSON]
    rank = {**order, **{name: len(order) + 1 + k for k, name in enumerate(files)}}
    unique = list(dict.fromkeys(problems))
    return sorted(unique, key=lambda p: (not p.damage, rank.get(p.file, len(order))))
