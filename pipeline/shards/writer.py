"""Chains and their features → one Parquet shard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import cache
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.chain import Chain, EntryMetadata
from pipeline.features import ChainFeatures
from pipeline.files.atomic import no_room_is_named
from pipeline.residues import sequence_string
from pipeline.shards.digest import row_digest
from pipeline.shards.schema import (
    DELTA_COLUMNS,
    PLAIN_COLUMNS,
    SPLIT_COLUMNS,
    leaf_paths,
    shard_schema,
)

ROWS_PER_GROUP = 64
"""Chains in a row group. Fewer make the columns' headers weigh more, more make reading one chain
cost more."""

ZSTD_LEVEL = 1


@cache
def _insertion_codes() -> pa.StringArray:
    """As text, by byte: ASCII, and Latin-1 for the bytes that damaged files hold there."""
    return pa.array([""] + [chr(c) for c in range(1, 256)], pa.string())


class ShardWriter:
    """Writes chains in the order given, a row group whenever there are enough.

    Parameters
    ----------
    path : Path
        Where the file is made; moving it to its final name is the caller's business.
    metadata : dict of str
        Key-value metadata of the file.
    """

    def __init__(self, path: Path, metadata: dict[str, str]):
        self.schema, self._path = shard_schema(metadata), path
        special = {*DELTA_COLUMNS, *SPLIT_COLUMNS, *PLAIN_COLUMNS}
        self._writer = pq.ParquetWriter(
            path,
            self.schema,
            compression="zstd",
            compression_level=ZSTD_LEVEL,
            use_dictionary=[p for p in leaf_paths(self.schema) if p not in special],
            column_encoding={
                **dict.fromkeys(DELTA_COLUMNS, "DELTA_BINARY_PACKED"),
                **dict.fromkeys(SPLIT_COLUMNS, "BYTE_STREAM_SPLIT"),
                **dict.fromkeys(PLAIN_COLUMNS, "PLAIN"),
            },
            write_page_checksum=True,
            write_statistics=["chain_uid", "entry_id", "length", "resolution", "release_date"],
        )
        self._pending: list[tuple[Chain, ChainFeatures]] = []
        self._rows: list[pa.Table] = []
        self.n_rows = 0
        self.n_residues = 0

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with no_room_is_named(self._path):
            try:
                if error is None:
                    self._flush()
            finally:
                self._writer.close()
            if isinstance(error, OSError):
                raise error

    def add(self, chain: Chain, features: ChainFeatures) -> None:
        """Append a chain."""
        self._pending.append((chain, features))
        self.n_rows += 1
        self.n_residues += len(chain)
        if len(self._pending) == ROWS_PER_GROUP:
            self._flush()

    def add_rows(self, rows: pa.Table) -> None:
        """Append rows of other shards, as they are.

        Parameters
        ----------
        rows : pyarrow.Table
            Of `shard_schema`; metadata are not looked at. Not to be mixed with `add`.

        Raises
        ------
        ValueError
            Columns or types are others.
        """
        assert not self._pending, "a shard is written from chains, or from rows"
        if not rows.schema.equals(self.schema):
            raise ValueError(f"rows have other columns than a shard: {rows.schema}")
        self._rows.append(rows)
        self.n_rows += rows.num_rows
        self.n_residues += int(pc.sum(rows["length"]).as_py() or 0)
        if sum(table.num_rows for table in self._rows) >= ROWS_PER_GROUP:
            # One batch a group, as `add` writes them.
            waiting = pa.concat_tables(self._rows)
            n_whole = waiting.num_rows // ROWS_PER_GROUP * ROWS_PER_GROUP
            for begin in range(0, n_whole, ROWS_PER_GROUP):
                self._write_group(waiting.slice(begin, ROWS_PER_GROUP))
            self._rows = [waiting.slice(n_whole)]

    def add_group(self, rows: pa.Table) -> None:
        """Append rows of `shard_schema` as one row group, whatever its size."""
        self._write_group(rows.combine_chunks())
        self.n_rows += rows.num_rows

    def _flush(self) -> None:
        if self._pending:
            chains, features = zip(*self._pending, strict=True)
            self._pending = []
            batch = record_batch(chains, features, self.schema)
            self._writer.write_batch(batch, row_group_size=ROWS_PER_GROUP)
        if any(table.num_rows for table in self._rows):
            self._write_group(pa.concat_tables(self._rows))
            self._rows = []

    def _write_group(self, rows: pa.Table) -> None:
        (batch,) = rows.replace_schema_metadata(self.schema.metadata).combine_chunks().to_batches()
        self._writer.write_batch(batch, row_group_size=max(ROWS_PER_GROUP, batch.num_rows))


def record_batch(
    chains: Sequence[Chain], features: Sequence[ChainFeatures], schema: pa.Schema
) -> pa.RecordBatch:
    """Columns of several chains; see `schema.shard_schema`."""
    lengths = [len(c) for c in chains]
    residues = _offsets(lengths)
    atoms = _offsets([len(c.coords) for c in chains])

    def each(value: Callable[[Chain], Any]) -> list[Any]:
        return [value(c) for c in chains]

    def joined(value: Callable[[Chain], NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate([value(c) for c in chains])

    def per_residue(values: NDArray[Any] | pa.Array) -> pa.Array:
        return _list_array(residues, values)

    metadata = each(lambda c: c.metadata)
    coords = joined(lambda c: c.coords)
    columns: dict[str, Any] = {
        "chain_uid": each(lambda c: c.uid),
        "row_sha256": each(row_digest),
        "sequence": each(lambda c: sequence_string(c.aatype)),
        "length": lengths,
        "aatype": per_residue(joined(lambda c: c.aatype)),
        "residue_index": per_residue(joined(lambda c: c.residue_index)),
        "auth_seq_id": per_residue(joined(lambda c: c.auth_seq_id)),
        "ins_code": per_residue(_insertion_codes().take(pa.array(joined(lambda c: c.ins_code)))),
        "atom14_mask": per_residue(joined(lambda c: c.atom14_mask)),
        "x": _list_array(atoms, np.ascontiguousarray(coords[:, 0])),
        "y": _list_array(atoms, np.ascontiguousarray(coords[:, 1])),
        "z": _list_array(atoms, np.ascontiguousarray(coords[:, 2])),
        "b_factor": per_residue(joined(lambda c: c.b_factor)),
        "sse": per_residue(np.concatenate([f.sse for f in features])),
        "three_di": [f.three_di.tobytes().decode("ascii") for f in features],
    }
    for name, width in (("centroid", 3), ("covariance", 6)):
        values = np.concatenate([getattr(f, name) for f in features]).reshape(-1)
        inner = pa.FixedSizeListArray.from_arrays(
            pa.array(values, pa.float32()), type=schema.field(name).type.value_type
        )
        columns[name] = per_residue(inner)
        assert len(inner) * width == len(values)
    arrays = []
    for field in schema:
        column = columns.get(field.name)
        if column is None:
            get, source = _SCALARS[field.name]
            column = [get(record) for record in (features, chains, metadata)[source]]
        if isinstance(column, pa.Array):
            # Casting declares the elements non-null, which spares a level in the file.
            arrays.append(column if column.type == field.type else column.cast(field.type))
        else:
            arrays.append(pa.array(column, field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _scalar_sources() -> dict[str, tuple[Callable[[Any], Any], int]]:
    """Where each scalar column comes from: 0 the features, 1 the chain, 2 its entry's metadata."""
    sources: dict[str, tuple[Callable[[Any], Any], int]] = {}
    for source, kind in reversed(list(enumerate((ChainFeatures, Chain, EntryMetadata)))):
        for field in fields(kind):
            sources[field.name] = attrgetter(field.name), source
    return sources


_SCALARS = _scalar_sources()


def _offsets(lengths: Sequence[int]) -> pa.Array:
    return pa.array(np.concatenate(([0], np.cumsum(lengths))).astype(np.int32))


def _list_array(offsets: pa.Array, values: NDArray[Any] | pa.Array) -> pa.Array:
    inner = values if isinstance(values, pa.Array) else pa.array(values)
    kind = pa.list_(pa.field("element", inner.type, nullable=False))
    return pa.ListArray.from_arrays(offsets, inner, type=kind)
