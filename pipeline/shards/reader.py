"""Stored columns → arrays: verified, and of one schema version."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.errors import Failure
from pipeline.files.storage import store_failure
from pipeline.shards.schema import LATER_COLUMNS, RESIDUES, SCHEMA_VERSION, with_later_columns

LISTS = frozenset({*(field.name for field in RESIDUES), "three_di"})
"""Columns that are lists over residues, or (`ATOM_LISTS`) over atoms; ``three_di`` is a text of one
letter per residue, and read as bytes."""
ATOM_LISTS = frozenset({"x", "y", "z"})


class DamagedShard(Failure):
    """A shard cannot be read as what it should be. The sentence names it and says what to do."""


class ColumnToAdd(Failure):
    """A shard was built before there was a column. The sentence says how to add it."""

    @classmethod
    def of(cls, column: str, path: str | Path) -> ColumnToAdd:
        """Of a column that a shard lacks."""
        return cls(
            f"{path}: was built before there was a column {column}; "
            f"`python -m pipeline.upgrade {Path(path).parent.parent}` adds it"
        )


@dataclass(frozen=True, slots=True)
class Rows:
    """Several chains, their lists laid end to end.

    Attributes
    ----------
    residues : (k + 1,) int64
        Chain i has the residues ``residues[i]`` to ``residues[i + 1]`` of every list column.
    atoms : (k + 1,) int64 or None
        The same for ``x``, ``y`` and ``z``; None where none of them was read.
    lists : dict
        Column → ``(R,)``, ``(R, 3)`` or ``(R, 6)`` array over residues, or ``(A,)`` over atoms.
        Arrays may be read-only views of what was read.
    scalars : pyarrow.Table
        The other columns, one row per chain.
    """

    residues: NDArray[np.int64]
    atoms: NDArray[np.int64] | None
    lists: dict[str, NDArray[Any]]
    scalars: pa.Table

    def __len__(self) -> int:
        return len(self.residues) - 1

    def of_chain(self, k: int) -> dict[str, NDArray[Any]]:
        """The lists of one chain, as views."""
        found = {}
        for name, values in self.lists.items():
            offsets = self.atoms if name in ATOM_LISTS else self.residues
            assert offsets is not None
            found[name] = values[offsets[k] : offsets[k + 1]]
        return found


def open_shard(
    path: str | Path,
    filesystem: pyarrow.fs.FileSystem | None = None,
    metadata: pq.FileMetaData | None = None,
) -> pq.ParquetFile:
    """Open a shard for reading with page checksums verified.

    Parameters
    ----------
    path : str or Path
        On `filesystem`; on this machine without one.
    metadata : pyarrow.parquet.FileMetaData, optional
        Of the same shard, read before: spares reading its footer again.

    Raises
    ------
    DamagedShard
        The shard is missing, has no footer, or is of another schema version.
    StorageError
        The object store that it lies in does not answer, or refuses.
    """
    with _damage_named(path):
        shard = pq.ParquetFile(
            str(path), filesystem=filesystem, metadata=metadata, page_checksum_verification=True
        )
    version = (shard.metadata.metadata or {}).get(b"schema_version", b"none").decode()
    if version != str(SCHEMA_VERSION):
        shard.close()
        raise DamagedShard(
            f"{path}: schema version {version}, and this program reads {SCHEMA_VERSION}; build the "
            "dataset again, or read it with the version of the program that built it"
        )
    return shard


def read_rows(
    shard: pq.ParquetFile,
    path: str | Path,
    row_groups: Sequence[int],
    columns: Collection[str],
) -> Rows:
    """Read whole row groups.

    Parameters
    ----------
    shard : pyarrow.parquet.ParquetFile
        From `open_shard`.
    path : str or Path
        Of the shard, for errors.
    row_groups : sequence of int
    columns : collection of str
        Columns of the shard; ``length`` and, where an atom's column is among them,
        ``atom14_mask`` are read besides. Columns that older shards lack are nulls.

    Raises
    ------
    DamagedShard
        A page fails its checksum or does not decode, a column is missing, or the lists disagree
        about the number of residues or atoms.
    ColumnToAdd
        The shard was built before there was one of the columns.
    StorageError
    """
    wanted = dict.fromkeys(["length", *columns])
    if not ATOM_LISTS.isdisjoint(wanted):
        wanted["atom14_mask"] = None
    with _damage_named(path):
        table = shard.read_row_groups(list(row_groups), columns=list(wanted), use_threads=False)
        table = with_later_columns(table, wanted)
        missing = [name for name in wanted if name not in table.column_names]
        if missing and missing[0] in LATER_COLUMNS:
            raise ColumnToAdd.of(missing[0], path)
        if missing:
            raise DamagedShard(f"{path}: has no column {missing[0]}; {_ADVICE}")
        return rows_of(table, path)


_ADVICE = (
    "the file is damaged: `python -m pipeline.verify OUT --repair` builds it again, and so does "
    "running the build's own command after deleting it"
)


@contextmanager
def _damage_named(path: str | Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise DamagedShard(f"{path}: is missing; {_ADVICE}") from None
    except (OSError, ValueError, pa.ArrowException) as error:
        if (failure := store_failure(error, str(path))) is not None:
            raise failure from error
        raise DamagedShard(f"{path}: {str(error).splitlines()[0]}; {_ADVICE}") from error


def rows_of(table: pa.Table, path: str | Path) -> Rows:
    """The columns of some rows as arrays.

    Raises
    ------
    DamagedShard
        The lists disagree about the number of residues or atoms; `path` is for the sentence.
    """
    lengths = table["length"].to_numpy().astype(np.int64)
    residues = _ends(lengths)
    names = [name for name in table.column_names if name in LISTS]
    flat = {name: _flatten(table[name]) for name in names}
    atoms = None
    if any(name in ATOM_LISTS for name in names):
        counts = np.bitwise_count(flat["atom14_mask"][0]).astype(np.int64)
        if len(counts) == residues[-1]:
            atoms = _ends(counts)[residues]
    for name, (values, offsets) in flat.items():
        expected = atoms if name in ATOM_LISTS and atoms is not None else residues
        if not np.array_equal(offsets, expected) or len(values) != offsets[-1]:
            raise DamagedShard(
                f"{path}: the lists of {name} do not fit the lengths of the chains; {_ADVICE}"
            )
    return Rows(
        residues=residues,
        atoms=atoms,
        lists={name: values for name, (values, _) in flat.items()},
        scalars=table.drop_columns(names),
    )


def _ends(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))


def _flatten(column: pa.ChunkedArray) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """(values of all lists, offset of each list and the end)."""
    chunk = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if pa.types.is_string(chunk.type):
        text = "".join(chunk.to_pylist()).encode()
        lengths = pc.binary_length(chunk).to_numpy().astype(np.int64)
        return np.frombuffer(text, np.uint8), _ends(lengths)
    offsets = chunk.offsets.to_numpy().astype(np.int64)
    values = chunk.flatten()
    if pa.types.is_fixed_size_list(values.type):
        width = values.type.list_size
        return values.flatten().to_numpy().reshape(-1, width), offsets - offsets[0]
    if pa.types.is_string(values.type):
        return values.to_numpy(zero_copy_only=False), offsets - offsets[0]
    return values.to_numpy(), offsets - offsets[0]
