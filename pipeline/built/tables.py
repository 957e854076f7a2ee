"""Records and shards → index, tables and ``build.json``: what makes parts a dataset."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from pathlib import Path, PurePath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.built.build_summary import (
    OF_FILE,
    BuildSummary,
    Counts,
    FromManifest,
    FromSource,
    ListedChain,
    ListedShard,
    count_reasons,
)
from pipeline.built.errors import UnfinishedBuild
from pipeline.built.layout import Layout
from pipeline.built.plan import Part, plan_table
from pipeline.built.reading import Reading
from pipeline.built.records import DropRecord, InputRecord, PartRecord, records_table
from pipeline.built.unique_names import check_names
from pipeline.commands.software import versions_of
from pipeline.files.storage import StorageError
from pipeline.filters import MISSING_CHAIN, Manifest
from pipeline.interfaces import interfaces_digest, joined
from pipeline.shards import (
    INDEX_COLUMNS,
    SCHEMA_VERSION,
    UNITS,
    dataset_digest,
    shard_schema,
    with_later_columns,
)

SOFTWARE = ("ellipsoid-flow", "biotite", "numpy", "pyarrow", "isal", "msgpack", "zstandard")

REQUESTS_AT_ONCE = 16

LICENCES = {
    "PDB": "CC0 1.0; please cite the entries' primary publications and wwPDB",
    "AlphaFold DB": "CC-BY 4.0; attribute to DeepMind and EMBL-EBI",
    "ModelArchive": "see the entry's page at modelarchive.org",
    "unknown": "the files do not say where they come from",
}


def finalise(
    layout: Layout,
    parts: Sequence[Part],
    records: Sequence[PartRecord],
    others: Sequence[InputRecord],
    reading: Reading,
) -> BuildSummary:
    """Write ``index.parquet``, ``inputs.parquet``, ``drops.parquet``, ``plan.parquet``,
    ``interfaces.parquet`` (unless a record lacks it) and, last, ``build.json``; return
    what the latter holds. What would be written as it is stays untouched.

    Parameters
    ----------
    others : sequence of InputRecord
        What was found and is in no part: links, and what could not be looked into.

    Raises
    ------
    UnfinishedBuild
        A part has no record, or its shard is damaged.
    SameName
        Two chains have one ``chain_uid``.
    """
    by_number = {r.number: r for r in records}
    missing = [p.number for p in parts if p.number not in by_number]
    if missing:
        raise UnfinishedBuild(f"parts {missing[:10]} are not built; run the same command again")
    ordered = [by_number[p.number] for p in parts]
    for part, record in zip(parts, ordered, strict=True):
        if sorted(r.input for r in record.inputs) != sorted(f.name for f in part.files):
            _forget(layout, record)
            raise UnfinishedBuild(
                f"{part.name} does not account for each of its files; run the same command again"
            )
    inputs = [r for record in ordered for r in record.inputs] + list(others)
    inputs.sort(key=lambda r: (r.input, r.status))
    drops = [d for record in ordered for d in record.drops]
    index = _index(layout, ordered)
    check_names(index, ordered)
    uids = index["chain_uid"].to_pylist()
    digest = dataset_digest(zip(uids, index["row_sha256"].to_pylist(), strict=True))
    interfaces = interfaces_of(ordered)
    counts = Counter(r.status for r in inputs)
    reasons, examples = count_reasons(map(attrgetter(*OF_FILE), inputs))
    sources = Counter(s or "unknown" for s in index["source"].to_pylist())
    summary = BuildSummary(
        digest=digest,
        interfaces_digest=None if interfaces is None else interfaces_digest(interfaces),
        schema_version=SCHEMA_VERSION,
        config_hash=reading.config_hash,
        config=reading.identity(),
        counts=Counts(
            found=len(inputs),
            ok=counts["ok"],
            skipped=counts["skipped"],
            failed=counts["failed"],
            entries=len(set(index["entry_id"].to_pylist())),
            chains=index.num_rows,
            residues=int(np.sum(index["length"].to_numpy(), dtype=np.int64)),
            dropped_chains=len(drops),
            shard_bytes=sum(r.shard_bytes for r in ordered),
        ),
        reasons=reasons,
        examples=examples,
        drop_reasons=dict(Counter(d.reason for d in drops).most_common()),
        chains_without_confidence=_without_confidence(reading, index),
        entries_without=_entries_without(reading, index),
        manifest=_manifest(reading, parts, inputs),
        sources=from_sources(sources),
        units=UNITS,
        software={"python": platform.python_version(), **versions()},
        shards=[
            ListedShard(r.shard, r.shard_sha256, r.shard_bytes, r.n_chains, r.n_residues)
            for r in ordered
        ],
    )
    tables = {
        layout.plan: plan_table(parts),
        layout.inputs: records_table(InputRecord, inputs),
        layout.drops: records_table(DropRecord, drops),
        layout.index: index,
        **({} if interfaces is None else {layout.interfaces: interfaces}),
    }
    text = summary.to_json()
    if not _is_written(layout, tables, text):
        # The plan stays until the new one has taken its place: an array job's is its only copy.
        withdraw(layout, plan=False)
        for name, table in tables.items():
            _put_table(table, name, layout)
        with layout.folder.appears_whole(layout.build_json, layout.scratch) as temporary:
            temporary.write_text(text, encoding="utf-8")
    _remove_strangers(layout, {r.shard for r in ordered})
    return summary


def interfaces_of(records: Iterable[PartRecord]) -> pa.Table | None:
    """The table of all parts; ``None`` if one of them was built without."""
    tables = [record.interfaces for record in records]
    known = [table for table in tables if table is not None]
    return joined(known) if len(known) == len(tables) else None


def withdraw(layout: Layout, *, plan: bool = True) -> None:
    """From now on the folder is no dataset: its files may not fit together."""
    for name in reversed(layout.results):
        if plan or name != layout.plan:
            layout.folder.delete(name)


def _is_written(layout: Layout, tables: dict[str, pa.Table], text: str) -> bool:
    try:
        return layout.folder.read_bytes(layout.build_json) == text.encode() and all(
            _read_table(name, layout).equals(table) for name, table in tables.items()
        )
    except StorageError:
        raise
    except (OSError, ValueError, pa.ArrowException):
        return False


def _read_table(name: str, layout: Layout) -> pa.Table:
    with layout.folder.errors_named(name), layout.folder.open_input(name) as file:
        return pq.read_table(file, page_checksum_verification=True)


def from_sources(chains: Mapping[str, int]) -> dict[str, FromSource]:
    """By name, with the licence of each; of the number of chains from each."""
    return {
        name: FromSource(n, LICENCES.get(name, LICENCES["unknown"]))
        for name, n in sorted(chains.items())
    }


def _without_confidence(reading: Reading, index: pa.Table) -> int | None:
    """How many chains passed a filter by confidence because they have none."""
    if reading.filters.min_plddt is None:
        return None
    return index["confidence_kind"].null_count


def _entries_without(reading: Reading, index: pa.Table) -> dict[str, int] | None:
    """How many entries passed a filter because they do not say what it judges, by property."""
    counts: dict[str, int] = {}
    for name in reading.filters.judged:
        unsaid = index["entry_id"].filter(index[name.replace("-", "_")].is_null())
        counts[name] = len(unsaid.unique())
    return counts or None


def _manifest(
    reading: Reading, parts: Sequence[Part], inputs: Sequence[InputRecord]
) -> FromManifest | None:
    if reading.manifest is None:
        return None
    manifest = Manifest.read(reading.manifest)
    missing = manifest.missing(e.entry_id for p in parts for e in p.entries)
    chains = sorted(
        ListedChain(record.entry_id or "", flag.removeprefix(MISSING_CHAIN))
        for record in inputs
        for flag in record.flags
        if flag.startswith(MISSING_CHAIN)
    )
    return FromManifest(len(manifest.entries), len(missing), missing[:20], len(chains), chains[:20])


def _forget(layout: Layout, record: PartRecord) -> None:
    layout.folder.delete(layout.record(record.number))


def _index(layout: Layout, records: Sequence[PartRecord]) -> pa.Table:
    """One row per chain: what shards say of them beside lists, and where they are."""
    schema = shard_schema()
    fields = [schema.field(name) for name in INDEX_COLUMNS]
    tables = [pa.schema(fields).empty_table()]
    shard: list[str] = []
    row_group: list[np.ndarray] = [np.zeros(0, np.int32)]
    row: list[np.ndarray] = [np.zeros(0, np.int32)]
    for record, (table, sizes) in zip(records, _read_shards(layout, records), strict=True):
        tables.append(table)
        shard += [record.shard] * table.num_rows
        row_group.append(np.repeat(np.arange(len(sizes), dtype=np.int32), sizes))
        row += [np.arange(size, dtype=np.int32) for size in sizes]
    index = pa.concat_tables([t.select(list(INDEX_COLUMNS)) for t in tables])
    return (
        index.append_column("shard", pa.array(shard, pa.string()).dictionary_encode())
        .append_column("row_group", pa.array(np.concatenate(row_group)))
        .append_column("row", pa.array(np.concatenate(row)))
    )


def _read_shards(
    layout: Layout, records: Sequence[PartRecord]
) -> Iterator[tuple[pa.Table, list[int]]]:
    """What the index needs of each shard: see `_read_shard`. A store is asked for several at once,
    for it takes its time over each."""
    if layout.folder.is_local:
        yield from (_read_shard(layout, record) for record in records)
        return
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as threads:
        yield from threads.map(lambda record: _read_shard(layout, record), records)


def _read_shard(layout: Layout, record: PartRecord) -> tuple[pa.Table, list[int]]:
    """The index's columns of a shard, and the number of chains in each row group."""
    name = f"{layout.shards}/{record.shard}"
    try:
        with (
            layout.folder.errors_named(name),
            layout.folder.open_input(name) as source,
            pq.ParquetFile(source, page_checksum_verification=True) as file,
        ):
            meta = file.metadata
            table = file.read(columns=list(INDEX_COLUMNS)).replace_schema_metadata(None)
            table = with_later_columns(table, INDEX_COLUMNS)
            sizes = [meta.row_group(g).num_rows for g in range(meta.num_row_groups)]
        if meta.num_rows != record.n_chains:
            raise ValueError(f"{meta.num_rows} chains instead of {record.n_chains}")
    except StorageError:
        raise
    except (OSError, ValueError, pa.ArrowException) as error:
        _forget(layout, record)
        raise UnfinishedBuild(
            f"{layout.describe(name)} is damaged ({error}); run the same command again to "
            "build it anew"
        ) from error
    return table, sizes


def _put_table(table: pa.Table, name: str, layout: Layout) -> None:
    with layout.folder.appears_whole(name, layout.scratch) as temporary:
        write_table(table, temporary)


def write_table(table: pa.Table, path: Path) -> None:
    """One of a dataset's tables, as all of them are written."""
    pq.write_table(table, path, compression="zstd", compression_level=3, write_page_checksum=True)


def _remove_strangers(layout: Layout, names: set[str]) -> None:
    """Shards of an earlier plan with more parts."""
    for name in layout.folder.list(layout.shards):
        path = PurePath(name)
        if path.match("part-*.parquet") and name not in names:
            layout.folder.delete(f"{layout.shards}/{name}")
            layout.folder.delete(f"{layout.state}/{path.stem}.json")


def versions() -> dict[str, str]:
    """Software → its version, as in ``build.json``."""
    return versions_of(SOFTWARE)
