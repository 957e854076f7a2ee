"""`residues`: a dataset as a table with one row per residue, for looking and counting.

It needs no torch. pandas, polars and DuckDB take the Arrow table that it returns.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.geometry.three_di import ALPHABET
from pipeline.residues import RESTYPES
from pipeline.selection.fields import columns_of, decode
from pipeline.selection.selection import Selection, Where, index_table, select
from pipeline.shards import LATER_COLUMNS, DamagedShard, Rows, open_shard, read_rows

SSE = ("coil", "helix", "strand")
"""Names of the stored codes."""

READ_GROUPS = 4
"""Row groups that become one batch."""


@dataclass(frozen=True)
class _Source:
    """What a batch of columns is made of.

    Attributes
    ----------
    rows : Rows
    residues : (R,) int64
        Which of the residues of `rows` are asked for.
    fields : dict
        Fields of `pipeline.selection.fields`, of these residues.
    """

    rows: Rows
    residues: NDArray[np.int64]
    fields: dict[str, NDArray[Any]]

    def stored(self, column: str) -> NDArray[Any]:
        return self.rows.lists[column][self.residues]


@dataclass(frozen=True)
class ResidueColumn:
    """A column of the table.

    Attributes
    ----------
    type : pyarrow.DataType
    make : callable
        What is read → the values.
    fields, stored : tuple of str
        What it is made of: fields of `pipeline.selection.fields`, and columns of the shards.
    """

    type: pa.DataType
    make: Callable[[_Source], Any]
    fields: tuple[str, ...] = ()
    stored: tuple[str, ...] = ()


def _stored(name: str, type: pa.DataType) -> ResidueColumn:
    return ResidueColumn(type, lambda source: source.stored(name), stored=(name,))


def _of_atoms(name: str, type: pa.DataType) -> ResidueColumn:
    """A stored column that says nothing of a residue without atoms."""

    def make(source: _Source) -> pa.Array:
        return pa.array(source.stored(name), type, mask=source.stored("atom14_mask") == 0)

    return ResidueColumn(type, make, stored=(name, "atom14_mask"))


def _named(name: str, names: Sequence[str], of_atoms: bool = False) -> ResidueColumn:
    """Codes of a stored column as words; null without atoms, if the column is `of_atoms`."""

    def make(source: _Source) -> pa.DictionaryArray:
        unknown = source.stored("atom14_mask") == 0 if of_atoms else None
        codes = pa.array(source.stored(name).astype(np.int8), mask=unknown)
        return pa.DictionaryArray.from_arrays(codes, pa.array(names))

    columns = (name, "atom14_mask") if of_atoms else (name,)
    return ResidueColumn(pa.dictionary(pa.int8(), pa.string()), make, stored=columns)


def _resolved(source: _Source, values: NDArray[Any]) -> pa.Array:
    """Null where the residue has no frame, or no atom."""
    return pa.array(values, mask=~source.fields["residue_mask"] | ~np.isfinite(values))


def _centroid(k: int, source: _Source) -> pa.Array:
    return _resolved(source, source.fields["centroid"][:, k])


def _semi_axis(k: int, source: _Source) -> pa.Array:
    return _resolved(source, _principal(source)[0][:, k].astype(np.float32))


def _direction(k: int, j: int, source: _Source) -> pa.Array:
    return _resolved(source, _principal(source)[1][:, j, k].astype(np.float32))


def _principal(source: _Source) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Semi-axes (R, 3) in Å, the longest first, and as columns (R, 3, 3) their directions in the
    residue's frame, whose largest component is positive."""
    if "principal" not in source.fields:
        xx, xy, xz, yy, yz, zz = source.fields["covariance"].astype(np.float64).T
        sigma = np.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], -1).reshape(-1, 3, 3)
        variance, vectors = np.linalg.eigh(sigma)
        local = source.fields["rotmats"].astype(np.float64).swapaxes(-1, -2) @ vectors[:, :, ::-1]
        largest = np.take_along_axis(local, np.abs(local).argmax(1)[:, None], 1)
        source.fields["semi_axes"] = np.sqrt(variance[:, ::-1].clip(min=0))
        source.fields["principal"] = local * np.where(largest < 0, -1, 1)
    return source.fields["semi_axes"], source.fields["principal"]


_ELLIPSOID = ("covariance", "rotmats", "residue_mask")

COLUMNS: dict[str, ResidueColumn] = {
    "residue_index": _stored("residue_index", pa.int32()),
    "auth_seq_id": _stored("auth_seq_id", pa.int32()),
    "ins_code": _stored("ins_code", pa.string()),
    "residue": _named("aatype", (*RESTYPES, "UNK")),
    "sse": _named("sse", SSE, of_atoms=True),
    "three_di": ResidueColumn(
        pa.dictionary(pa.int8(), pa.string()),
        lambda source: pa.DictionaryArray.from_arrays(source.fields["three_di"], [*ALPHABET, "X"]),
        ("three_di",),
    ),
    "resolved": ResidueColumn(
        pa.bool_(), lambda source: source.fields["residue_mask"], ("residue_mask",)
    ),
    "n_atoms": ResidueColumn(
        pa.int8(),
        lambda source: np.bitwise_count(source.stored("atom14_mask")).astype(np.int8),
        stored=("atom14_mask",),
    ),
    "b_factor": _of_atoms("b_factor", pa.float32()),
    **{
        f"centroid_{axis}": ResidueColumn(
            pa.float32(), partial(_centroid, k), ("centroid", "residue_mask")
        )
        for k, axis in enumerate("xyz")
    },
    **{
        f"semi_axis_{k + 1}": ResidueColumn(pa.float32(), partial(_semi_axis, k), _ELLIPSOID)
        for k in range(3)
    },
    **{
        f"direction_{k + 1}_{axis}": ResidueColumn(
            pa.float32(), partial(_direction, k, j), _ELLIPSOID
        )
        for k in range(3)
        for j, axis in enumerate("xyz")
    },
}
"""Columns over residues, in the order of the table; ``chain_uid`` stands before them."""

_DEFAULT = [name for name in COLUMNS if name not in LATER_COLUMNS]
"""Those that every dataset has."""


def residues(
    path: str | Path,
    *,
    where: Where = None,
    entry_where: Where = None,
    split: str | None = None,
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """One row per residue of the chains that are asked for.

    Parameters
    ----------
    path : str or Path
        A built dataset.
    where, entry_where : str or pyarrow.compute.Expression, optional
        Which chains, as in `ShardDataset`.
    split : str, optional
    columns : sequence of str, optional
        Names of `COLUMNS`, and columns of the index or the splits (``resolution``, ``cluster`` …),
        whose value every residue of a chain has. All of `COLUMNS` by default.

    Returns
    -------
    pyarrow.Table
        ``chain_uid`` and the columns. ``semi_axis_1`` to ``_3`` are the standard deviations of the
        residue's Gaussian along its principal axes in Å, the longest first; ``direction_1_x`` … the
        unit vectors of these axes in the residue's frame (N, CA, C), the largest component of each
        positive. Centroids are in the coordinates of the file. Ellipsoids of unresolved residues
        are null, and so are secondary structure and B-factor of residues without atoms.

    Raises
    ------
    ValueError
        An unknown column, a wrong condition, or no chain fulfils it.
    UnreadableDataset, DamagedShard
    """
    return residue_batches(
        path, where=where, entry_where=entry_where, split=split, columns=columns
    ).read_all()


def residue_batches(
    path: str | Path,
    *,
    where: Where = None,
    entry_where: Where = None,
    split: str | None = None,
    columns: Sequence[str] | None = None,
) -> pa.RecordBatchReader:
    """The same as `residues`, a few hundred chains at a time: for what does not fit into memory."""
    selection = select(path, where=where, entry_where=entry_where, split=split)
    of_chains = index_table(selection).replace_schema_metadata(None)
    if isinstance(columns, str):
        raise ValueError(f"columns is a list of names, such as [{columns!r}]")
    names = _DEFAULT if columns is None else list(dict.fromkeys(columns))
    for name in names:
        if name not in COLUMNS and name not in of_chains.column_names:
            known = [*COLUMNS, *of_chains.column_names]
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise ValueError(f"no column {name!r}: {hint}")
    names = [name for name in names if name != "chain_uid"]
    uid = pa.dictionary(pa.int32(), pa.string())
    types = [COLUMNS[n].type if n in COLUMNS else of_chains.schema.field(n).type for n in names]
    schema = pa.schema([("chain_uid", uid), *zip(names, types, strict=True)])
    return pa.RecordBatchReader.from_batches(schema, _Batches(selection, of_chains, schema))


@dataclass(frozen=True)
class _Batches:
    """The chains of a selection, some row groups at a time.

    Attributes
    ----------
    selection : Selection
    of_chains : pyarrow.Table
        The index of these chains.
    schema : pyarrow.Schema
        Of the table.
    """

    selection: Selection
    of_chains: pa.Table
    schema: pa.Schema

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        wanted = [COLUMNS[name] for name in self.schema.names if name in COLUMNS]
        fields = list(dict.fromkeys(f for column in wanted for f in column.fields))
        stored = dict.fromkeys(["chain_uid", *columns_of(fields)])
        stored.update(dict.fromkeys(name for column in wanted for name in column.stored))
        chosen = self.selection
        for shard, chains in groupby(range(len(chosen)), chosen.shard.__getitem__):
            path = chosen.folder.join("shards", chosen.shard_names[shard])
            with open_shard(path, chosen.folder.filesystem) as file:
                of_group = groupby(chains, chosen.row_group.__getitem__)
                groups = [(int(group), list(members)) for group, members in of_group]
                for begin in range(0, len(groups), READ_GROUPS):
                    some = groups[begin : begin + READ_GROUPS]
                    rows = read_rows(file, path, [group for group, _ in some], list(stored))
                    sizes = [file.metadata.row_group(group).num_rows for group, _ in some]
                    numbers = np.concatenate([members for _, members in some])
                    place = np.repeat(np.cumsum(sizes) - sizes, [len(m) for _, m in some])
                    place += chosen.row[numbers]
                    self._check(rows, numbers, place, path)
                    yield self._batch(rows, numbers, place, fields)

    def _check(
        self, rows: Rows, numbers: NDArray[np.int64], place: NDArray[np.int64], path: str
    ) -> None:
        uids = pa.chunked_array([self.selection.uids.take(pa.array(numbers))])
        found = rows.scalars["chain_uid"]
        if place.max() >= len(rows) or not found.take(pa.array(place)).equals(uids):
            raise DamagedShard(
                f"{path}: its chains are not those of the index; "
                f"`python -m pipeline.verify {self.selection.folder} --repair` makes them agree"
            )

    def _batch(
        self,
        rows: Rows,
        numbers: NDArray[np.int64],
        place: NDArray[np.int64],
        fields: Sequence[str],
    ) -> pa.RecordBatch:
        """The chains with these numbers in the selection, which lie at these places of `rows`."""
        lengths = np.diff(rows.residues)[place]
        chain = np.repeat(np.arange(len(place)), lengths)
        within = np.arange(len(chain)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        chosen = rows.residues[place][chain] + within
        decoded = {name: values[chosen] for name, values in decode(rows, fields).items()}
        source = _Source(rows, chosen, decoded)
        arrays: list[pa.Array] = []
        for field in self.schema:
            if field.name == "chain_uid":
                codes = pa.array(chain.astype(np.int32))
                uids = self.selection.uids.take(pa.array(numbers))
                arrays.append(pa.DictionaryArray.from_arrays(codes, uids))
            elif field.name in COLUMNS:
                made = COLUMNS[field.name].make(source)
                arrays.append(pa.array(made, field.type) if isinstance(made, np.ndarray) else made)
            else:
                values = self.of_chains[field.name].take(pa.array(numbers[chain]))
                arrays.append(values.combine_chunks().cast(field.type))
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)
