"""``build.json`` and the tables beside the shards: readable, complete, and of one mind."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.built.build_summary import OF_FILE, BuildSummary, NotASummary, count_reasons
from pipeline.built.layout import Layout
from pipeline.built.plan import PLAN_SCHEMA, read_plan
from pipeline.built.reading import config_hash
from pipeline.built.records import DropRecord, InputRecord, PartRecord, records_table
from pipeline.shards import INDEX_COLUMNS, UNITS, shard_schema
from pipeline.verify.check_shard import first_line
from pipeline.verify.columns import schema_differences
from pipeline.verify.findings import Expected, Problem
from pipeline.verify.probe import KILLS, deadly

BUILD_JSON = "build.json"

_FILES = ("ok", "skipped", "failed")


def table_schemas() -> dict[str, pa.Schema]:
    """Table → its columns, in the order in which problems are reported."""
    shard = shard_schema()
    index = [shard.field(name) for name in INDEX_COLUMNS]
    index += [
        pa.field("shard", pa.dictionary(pa.int32(), pa.string())),
        pa.field("row_group", pa.int32()),
        pa.field("row", pa.int32()),
    ]
    return {
        "index.parquet": pa.schema(index),
        "inputs.parquet": records_table(InputRecord, []).schema,
        "drops.parquet": records_table(DropRecord, []).schema,
        "plan.parquet": PLAN_SCHEMA,
    }


# ---- build.json ---------------------------------------------------------------------------------


def read_summary(layout: Layout) -> tuple[BuildSummary | None, list[Problem]]:
    """What ``build.json`` holds, if it can be relied upon to hold what it should, and what is
    wrong with it.

    Raises
    ------
    OtherSchema
    """

    def wrong(check: str, message: str) -> Problem:
        return Problem(BUILD_JSON, check, message, "rewrite")

    try:
        summary = BuildSummary.from_json((layout.root / layout.build_json).read_bytes())
    except FileNotFoundError:
        return None, [wrong("missing", "is missing")]
    except OSError as error:
        return None, [wrong("unreadable", f"cannot be read: {error.strerror}")]
    except NotASummary as error:
        return None, [wrong("unreadable", str(error))]
    if fault := _fault(summary):
        return None, [wrong("unreadable", fault)]
    problems = []
    if config_hash(summary.config) != summary.config_hash:
        problems.append(wrong("config", "config_hash is not that of config"))
    if summary.units != UNITS:
        problems.append(wrong("config", "units are not those of the format"))
    return summary, problems


def trusted_config(layout: Layout, summary: BuildSummary | None) -> dict[str, Any] | None:
    """The configuration that agrees with its hash in ``build.json``, or that which the build keeps
    for resuming; None if there is neither."""
    if summary is not None and config_hash(summary.config) == summary.config_hash:
        return summary.config
    try:
        config = json.loads((layout.root / layout.config).read_text(encoding="utf-8"))
        return config if {"base_thickness", "shape"} <= config.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


def _fault(summary: BuildSummary) -> str | None:
    names = set()
    for name in (shard.name for shard in summary.shards):
        if "/" in name or not name.endswith(".parquet") or name in names:
            return f"a shard cannot be named {name!r}"
        names.add(name)
    for key in ("base_thickness", "shape"):
        if key not in summary.config:
            return f"has no config.{key}"
    return None


def expected_shards(summary: BuildSummary) -> list[Expected]:
    """The shards that ``build.json`` lists."""
    return [Expected(s.name, s.sha256, s.bytes, s.chains, s.residues) for s in summary.shards]


def read_records(layout: Layout) -> dict[str, PartRecord]:
    """Shard → what its build left in ``.build``; the readable ones."""
    found = {}
    for path in sorted((layout.root / layout.state).glob("part-*.json")):
        record = PartRecord.read(path)
        if record is not None:
            found[record.shard] = record
    return found


def expected_by_records(layout: Layout, records: Mapping[str, PartRecord]) -> list[Expected]:
    """The same shards by the records of the build: where ``build.json`` cannot be read."""
    return [
        Expected(
            name,
            r.shard_sha256,
            r.shard_bytes,
            r.n_chains,
            r.n_residues,
            layout.record(r.number),
        )
        for name, r in sorted(records.items())
    ]


# ---- tables -------------------------------------------------------------------------------------


def read_tables(
    layout: Layout, without: Collection[str] = ()
) -> tuple[dict[str, pa.Table], list[Problem]]:
    """The tables that can be read, by file name, and what is wrong with the others."""
    tables, problems = {}, []
    schemas = {name: schema for name, schema in table_schemas().items() if name not in without}
    killing = {path.name for path in deadly([layout.root / name for name in schemas])}
    for name, schema in schemas.items():
        if name in killing:
            problems.append(Problem(name, "unreadable", f"cannot be read: {KILLS}", "rewrite"))
            continue
        table, wrong = _read_table(layout, name, schema)
        problems += wrong
        if table is not None:
            tables[name] = table
    return tables, problems


def _read_table(
    layout: Layout, name: str, schema: pa.Schema
) -> tuple[pa.Table | None, list[Problem]]:
    def wrong(check: str, message: str) -> Problem:
        return Problem(name, check, message, "rewrite")

    try:
        with pq.ParquetFile(layout.root / name, page_checksum_verification=True) as file:
            if found := schema_differences(file.schema_arrow, schema):
                return None, [wrong("schema", sentence) for sentence in found]
            table = file.read(use_threads=False)
            table.validate(full=True)
            bad = list(dict.fromkeys(_false_statistics(file, table)))
    except FileNotFoundError:
        return None, [wrong("missing", "is missing")]
    except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
        return None, [wrong("unreadable", f"cannot be read: {first_line(error)}")]
    sentence = "whoever filters by its statistics ({}) misses rows"
    return table, [wrong("statistics", sentence.format(", ".join(bad)))] if bad else []


def _false_statistics(file: pq.ParquetFile, table: pa.Table) -> Iterator[str]:
    """Columns whose statistics exclude values that are there: no checksum covers the footer."""
    start = 0
    for g in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(g)
        rows = table.slice(start, group.num_rows)
        start += group.num_rows
        for c in range(group.num_columns):
            chunk = group.column(c)
            name, said = chunk.path_in_schema, chunk.statistics
            if said is None or name not in table.column_names:  # elements of lists
                continue
            values = rows[name]
            if said.has_null_count and said.null_count != values.null_count:
                yield name
            there = len(values) > values.null_count
            if said.has_min_max and there and not _bounds(said, values):
                yield name


def _bounds(said: Any, values: pa.ChunkedArray) -> bool:
    kind = values.type
    if pa.types.is_dictionary(kind):
        values = values.cast(kind.value_type)
    if pa.types.is_fixed_size_binary(kind) or pa.types.is_boolean(kind):
        there = values.drop_null().to_pylist()
        least, most = min(there), max(there)
    else:
        least, most = (v.as_py() for v in pc.min_max(values).values())
    if isinstance(least, str):  # bytes order, as Parquet has it; a bound may be cut off
        least, most = least.encode(), most.encode()
        return _bytes(said.min) <= least and _bytes(said.max) >= most
    return said.min <= least and said.max >= most


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


# ---- the tables and the shards ------------------------------------------------------------------


def check_index_order(
    index: pa.Table, group_sizes: Mapping[str, list[int] | None]
) -> Iterator[Problem]:
    """Whether the index has as many rows of each shard as this has, in its order.

    Parameters
    ----------
    group_sizes : mapping
        Shard → rows of its row groups, in the order of the shards; None where they are not known.
    """

    def wrong(message: str) -> Problem:
        return Problem("index.parquet", "index", message, "rewrite")

    column = index["shard"].combine_chunks()
    names = column.dictionary.to_pylist()
    codes = column.indices.to_numpy(zero_copy_only=False)
    begins = [0, *(np.flatnonzero(codes[1:] != codes[:-1]) + 1), len(codes)]
    blocks = [(names[int(codes[a])], slice(int(a), int(b))) for a, b in pairwise(begins) if b > a]
    if strange := [name for name, _ in blocks if name not in group_sizes]:
        yield wrong(f"rows point to {strange[0]}, which is no shard of this dataset")
    places = {name: here for name, here in blocks if name in group_sizes}
    known = [name for name, _ in blocks if name in group_sizes]
    if known != [name for name in group_sizes if name in places]:
        yield wrong("rows are not in the order of the shards")
        return
    row_group, row = index["row_group"].to_numpy(), index["row"].to_numpy()
    for name, sizes in group_sizes.items():
        if sizes is None:
            continue
        here = places.get(name, slice(0, 0))
        n, n_rows = here.stop - here.start, sum(sizes)
        if n != n_rows:
            yield wrong(f"has {n:,} rows of shards/{name}, which has {n_rows:,}")
            continue
        groups = np.repeat(np.arange(len(sizes)), sizes)
        rows = np.concatenate([np.arange(size) for size in sizes] or [np.zeros(0, int)])
        for what, found, right in (("row_group", row_group, groups), ("row", row, rows)):
            for k in np.flatnonzero(found[here] != right)[:1]:
                uid = index["chain_uid"][here.start + int(k)]
                yield wrong(f"{what} of {uid} is {found[here][k]}, not {right[k]}")


def check_inputs(
    tables: Mapping[str, pa.Table], rows: pa.Table | None, shards: Mapping[int, tuple[int, int]]
) -> Iterator[Problem]:
    """``inputs.parquet``, ``drops.parquet`` and ``plan.parquet`` against each other and the rows.

    Parameters
    ----------
    rows : pyarrow.Table or None
        ``entry_id`` of all rows of all shards, if they could be read.
    shards : mapping
        Number of a part → (chains, residues) of its shard.
    """
    inputs = tables.get("inputs.parquet")
    if inputs is None:
        return

    def wrong(file: str, check: str, message: str) -> Problem:
        return Problem(file, check, message, "rewrite")

    records = inputs.to_pylist()
    for record in records:
        if record["status"] not in ("ok", "skipped", "failed"):
            yield wrong(
                "inputs.parquet", "values", f"status of {record['input']} is {record['status']!r}"
            )
    n_chains: Counter[int] = Counter()
    n_residues: Counter[int] = Counter()
    by_entry: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    for record in records:
        n_chains[record["part"]] += record["n_chains"] or 0
        n_residues[record["part"]] += record["n_residues"] or 0
        by_entry[record["entry_id"]] += record["n_chains"] or 0
        dropped[record["input"]] += record["n_dropped"] or 0
    for part, (chains, residues) in shards.items():
        for what, n, there in (
            ("chains", n_chains[part], chains),
            ("residues", n_residues[part], residues),
        ):
            if n != there:
                yield wrong(
                    "inputs.parquet",
                    "counts",
                    f"{what} of the inputs of part {part} are {n:,}, and its shard has {there:,}",
                )
    if rows is not None:
        stored = Counter(rows["entry_id"].to_pylist())
        for entry in sorted(k for k in {*stored, *by_entry} if k and stored[k] != by_entry[k])[:1]:
            yield wrong(
                "inputs.parquet",
                "counts",
                f"{by_entry[entry]:,} chains of {entry}, and the shards have {stored[entry]:,}",
            )
    if (drops := tables.get("drops.parquet")) is not None:
        listed = Counter(drops["input"].to_pylist())
        for name in sorted(k for k in {*listed, *dropped} if listed[k] != dropped[k])[:1]:
            yield wrong(
                "drops.parquet",
                "counts",
                f"has {listed[name]:,} rows of {name}, and inputs.parquet says {dropped[name]:,}",
            )


def check_plan(
    layout: Layout, inputs: pa.Table | None, records: Mapping[str, PartRecord]
) -> Iterator[Problem]:
    """Whether the plan can be used, and has the files of ``inputs.parquet`` in their parts; where
    not, the records of the build say which of the two is wrong."""
    try:
        parts = read_plan(layout.root / layout.plan)
        planned = {file.name: part.number for part in parts for file in part.files}
    except (ValueError, TypeError, AttributeError) as error:
        sentence = f"holds what is no plan: {first_line(error)}"
        yield Problem("plan.parquet", "plan", sentence, "rewrite")
        return
    if inputs is None:
        return
    rows = inputs.select(["input", "part"]).to_pylist()
    found = {r["input"]: r["part"] for r in rows if r["part"] is not None}
    recorded = {i.input: r.number for r in records.values() for i in r.inputs}
    wrong: dict[str, str] = {}
    for name in sorted(k for k in {*planned, *found} if planned.get(k) != found.get(k)):
        here = {"plan.parquet": planned.get(name), "inputs.parquet": found.get(name)}
        for file, other in (*here.items(),):
            if other != recorded.get(name):
                (elsewhere,) = here.keys() - {file}
                wrong.setdefault(
                    file,
                    f"{name} is {_in_part(other)} here, and {_in_part(here[elsewhere])} in "
                    f"{elsewhere}",
                )
    for file, sentence in wrong.items():
        yield Problem(file, "plan", sentence, "rewrite")


def _in_part(number: int | None) -> str:
    return "nowhere" if number is None else f"in part {number}"


# ---- the summary and everything -----------------------------------------------------------------


def check_summary(
    summary: BuildSummary,
    tables: Mapping[str, pa.Table],
    rows: pa.Table | None,
) -> Iterator[Problem]:
    """Everything that ``build.json`` counts, counted again.

    Parameters
    ----------
    rows : pyarrow.Table or None
        ``entry_id``, ``length`` and ``source`` of all rows.
    """

    def compare(key: str, found: Any, source: str, said: Any) -> Iterator[Problem]:
        if found != said:
            sentence = f"{key} is {_brief(said)}, and {source} give {_brief(found)}"
            yield Problem(BUILD_JSON, "counts", sentence, "rewrite")

    counts, shards = summary.counts, summary.shards
    in_files = counts.ok + counts.skipped + counts.failed
    yield from compare("counts.found", in_files, "ok, skipped and failed", counts.found)
    for key, column in (("chains", "chains"), ("residues", "residues"), ("shard_bytes", "bytes")):
        total = sum(getattr(shard, column) for shard in shards)
        yield from compare(f"counts.{key}", total, "its shards", getattr(counts, key))
    if rows is not None:
        entries = len(set(rows["entry_id"].to_pylist()))
        yield from compare("counts.entries", entries, "the shards' rows", counts.entries)
        sources = Counter(s or "unknown" for s in rows["source"].to_pylist())
        said = {name: source.chains for name, source in summary.sources.items()}
        yield from compare("sources", dict(sources), "the shards' rows", said)
    if (inputs := tables.get("inputs.parquet")) is not None:
        records = inputs.select(OF_FILE).to_pylist()
        statuses = Counter(r["status"] for r in records)
        source = "the rows of inputs.parquet"
        if in_files == counts.found:
            # Of one mind with itself; and no single damage changes two numbers.
            for status in _FILES:
                n = getattr(counts, status)
                if statuses[status] != n:
                    sentence = (
                        f"has {statuses[status]:,} rows that are {status}, and build.json says "
                        f"{n:,}"
                    )
                    yield Problem("inputs.parquet", "counts", sentence, "rewrite")
        else:
            for status in _FILES:
                yield from compare(
                    f"counts.{status}", statuses[status], source, getattr(counts, status)
                )
        if len(records) == counts.found:
            reasons, examples = count_reasons(map(itemgetter(*OF_FILE), records))
            for status in reasons:
                said_reasons = summary.reasons.get(status)
                said_examples = summary.examples.get(status)
                yield from compare(f"reasons.{status}", reasons[status], source, said_reasons)
                yield from compare(f"examples.{status}", examples[status], source, said_examples)
    if (drops := tables.get("drops.parquet")) is not None:
        drop_reasons = dict(Counter(drops["reason"].to_pylist()))
        source = "the rows of drops.parquet"
        yield from compare("drop_reasons", drop_reasons, source, summary.drop_reasons)
        yield from compare("counts.dropped_chains", drops.num_rows, source, counts.dropped_chains)


def _brief(value: Any) -> str:
    text = f"{value:,}" if isinstance(value, int) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"
