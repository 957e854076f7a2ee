"""Rows of the sources' shards → shards, unchanged, and the index of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.shards import (
    INDEX_COLUMNS,
    LATER_COLUMNS,
    DamagedShard,
    ShardWriter,
    open_shard,
    shard_schema,
    with_later_columns,
)
from pipeline.subset.sources import Source, SubsetError

GROUPS_KEPT = 8
"""Row groups in memory: entries of several sources are read from several places in turn."""


@dataclass(frozen=True, slots=True)
class WrittenShard:
    """A line of ``build.json``."""

    name: str
    sha256: str
    n_bytes: int
    n_chains: int
    n_residues: int


@dataclass(frozen=True, slots=True)
class Written:
    """The shards, the index of them, and which shard has each row."""

    shards: list[WrittenShard]
    index: pa.Table
    part: NDArray[np.int64]


def write_shards(
    sources: Sequence[Source],
    rows: pa.Table,
    folder: Path,
    metadata: dict[str, str],
    shard_bytes: int,
) -> Written:
    """Copy rows into new shards ``part-00000.parquet`` …

    Parameters
    ----------
    rows : pyarrow.Table
        Of `choose`.
    folder : Path
        Where the shards are written, under their names.
    metadata : dict of str
        Key-value metadata of the shards.
    shard_bytes : int
        A shard ends before the entry that would make it larger, as far as the sources tell.

    Raises
    ------
    DamagedShard
        A shard cannot be read, or does not hold what the index says.
    SubsetError
        A source has other columns than this program writes.
    """
    part = _parts(sources, rows, shard_bytes)
    reader = _Reader(sources)
    shards, tables = [], []
    bounds = np.searchsorted(part, np.arange(int(part[-1]) + 2))
    for number, (begin, end) in enumerate(pairwise(bounds.tolist())):
        path = folder / f"part-{number:05d}.parquet"
        with ShardWriter(path, metadata) as writer:
            for table in reader.tables(rows.slice(begin, end - begin)):
                writer.add_rows(table)
                tables.append(table.select(list(INDEX_COLUMNS)).replace_schema_metadata(None))
        with open(path, "rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size = path.stat().st_size
        shards.append(WrittenShard(path.name, sha256, size, writer.n_rows, writer.n_residues))
    return Written(shards, _index(folder, shards, tables), part)


def _parts(sources: Sequence[Source], rows: pa.Table, shard_bytes: int) -> NDArray[np.int64]:
    """The number of the shard of each row: entries whole, each shard about so large."""
    per_residue = {}
    for k, source in enumerate(sources):
        for shard in source.dataset.build.shards:
            per_residue[k, shard.name] = shard.bytes / max(1, shard.residues)
    places = zip(rows["dataset"].to_pylist(), rows["shard"].to_pylist(), strict=True)
    sizes = rows["length"].to_numpy() * np.array([per_residue.get(p, 100.0) for p in places])
    codes = pc.dictionary_encode(rows["entry_id"]).combine_chunks().indices.to_numpy()
    of_entry = np.bincount(codes, sizes)
    number, filled = 0, 0.0
    numbers = np.zeros(len(of_entry), np.int64)
    for k, size in enumerate(of_entry.tolist()):
        if filled and filled + size > shard_bytes:
            number, filled = number + 1, 0.0
        numbers[k] = number
        filled += size
    return numbers[codes]


class _Reader:
    """Rows of the sources' shards by their places."""

    def __init__(self, sources: Sequence[Source]):
        self._sources = sources
        self._group = lru_cache(GROUPS_KEPT)(self._read_group)

    def tables(self, rows: pa.Table) -> Iterator[pa.Table]:
        """What the index's rows stand for, in their order."""
        columns = [rows[name].to_pylist() for name in ("dataset", "shard", "row_group")]
        groups = list(zip(*columns, strict=True))
        changes = [k for k in range(1, len(groups)) if groups[k] != groups[k - 1]]
        for begin, end in pairwise([0, *changes, len(groups)]):
            source, shard, group = groups[begin]
            table = self._group(source, shard, group)
            wanted = rows["row"].slice(begin, end - begin)
            if (pc.max(wanted).as_py() or 0) < table.num_rows:
                found = table.take(wanted.combine_chunks())
                if found["chain_uid"].equals(rows["chain_uid"].slice(begin, end - begin)):
                    yield found
                    continue
            raise DamagedShard(
                f"{self._describe(source, shard)}: does not hold what the index says; shards and "
                f"index.parquet are not of one build: `python -m pipeline.verify "
                f"{self._sources[source]}` says more"
            )

    def _read_group(self, number: int, shard: str, group: int) -> pa.Table:
        source = self._sources[number]
        folder = source.dataset.folder
        schema = shard_schema()
        path = folder.join("shards", shard)
        with open_shard(path, folder.filesystem) as file:
            names = file.schema_arrow.names
            if names != [n for n in schema.names if n in names or n not in LATER_COLUMNS]:
                odd = sorted(set(names) ^ set(schema.names)) or ["their order"]
                raise SubsetError(
                    f"{self._describe(number, shard)}: its columns are not those that this program "
                    f"writes ({', '.join(odd)}); use the version that built it"
                )
            try:
                table = file.read_row_groups([group], use_threads=False)
                table = with_later_columns(table, schema.names)
                return table.replace_schema_metadata(None).cast(schema)
            except (OSError, ValueError, pa.ArrowException) as error:
                raise DamagedShard(
                    f"{self._describe(number, shard)}: {str(error).splitlines()[0]}; the file is "
                    f"damaged: `python -m pipeline.verify {source} --repair` builds it again"
                ) from error

    def _describe(self, source: int, shard: str) -> str:
        return self._sources[source].dataset.folder.describe(f"shards/{shard}")


def _index(folder: Path, shards: Sequence[WrittenShard], tables: Sequence[pa.Table]) -> pa.Table:
    """One row per chain: see ``docs/format.md``."""
    names: list[str] = []
    groups, rows = [], []
    for shard in shards:
        with pq.ParquetFile(folder / shard.name) as file:
            meta = file.metadata
            sizes = [meta.row_group(g).num_rows for g in range(meta.num_row_groups)]
        names += [shard.name] * shard.n_chains
        groups.append(np.repeat(np.arange(len(sizes), dtype=np.int32), sizes))
        rows += [np.arange(size, dtype=np.int32) for size in sizes]
    return (
        pa.concat_tables(tables)
        .append_column("shard", pa.array(names, pa.string()).dictionary_encode())
        .append_column("row_group", pa.array(np.concatenate(groups)))
        .append_column("row", pa.array(np.concatenate(rows)))
    )
