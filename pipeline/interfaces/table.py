"""``interfaces.parquet``: its columns, its order and its digest; docs/format.md explains them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

FILE_NAME = "interfaces.parquet"


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


_NAMES = (
    _required("entry_id", pa.string()),
    pa.field("assembly", pa.string()),
    _required("model", pa.int32()),
    _required("chain_uid_1", pa.string()),
    _required("chain_uid_2", pa.string()),
    _required("label_asym_id_1", pa.string()),
    _required("label_asym_id_2", pa.string()),
)
_OF_CHAINS = (
    _required("n_cb_residues_1", pa.int32()),
    _required("n_cb_residues_2", pa.int32()),
    _required("n_cb_contacts", pa.int32()),
    _required("n_atom_residues_1", pa.int32()),
    _required("n_atom_residues_2", pa.int32()),
    _required("n_atom_contacts", pa.int32()),
    _required("min_distance", pa.int32()),
    _required("covalent", pa.bool_()),
    _required("n_clashes", pa.int32()),
)
_OF_OTHERS = tuple(
    pa.field(name, pa.int32())
    for name in (
        "n_ligand_residues_1",
        "n_ligand_residues_2",
        "n_ligands",
        "n_nucleic_residues_1",
        "n_nucleic_residues_2",
        "n_nucleotides",
    )
)
INTERFACES_SCHEMA = pa.schema(
    [*_NAMES, *_OF_CHAINS, *_OF_OTHERS, pa.field("buried_area", pa.float32())]
)
"""Columns over sides come in pairs, ``…_1`` and ``…_2``. Those over ligands and nucleic acids are
null where a table was made without the files."""

_KEY = ("chain_uid_1", "chain_uid_2")


def joined(tables: Sequence[pa.Table]) -> pa.Table:
    """One table of several, in its order: that of both ``chain_uid`` by their bytes."""
    table = pa.concat_tables([INTERFACES_SCHEMA.empty_table(), *tables])
    order = pc.sort_indices(table, [(name, "ascending") for name in _KEY])
    return table.take(order).combine_chunks()


def among(table: pa.Table, uids: pa.Array | pa.ChunkedArray) -> pa.Table:
    """The rows both of whose chains are among the given ones."""
    uids = uids.combine_chunks() if isinstance(uids, pa.ChunkedArray) else uids
    first, second = (pc.is_in(table[name], value_set=uids) for name in _KEY)
    return table.filter(pc.and_(first, second))


def interfaces_digest(table: pa.Table) -> str:
    """SHA-256, in hexadecimal, of names and integers, row by row.

    What comes from the files beside the chains (ligands, nucleic acids) is not covered, nor is the
    buried area: a table that was made from shards has the digest of the one that the build made.

    Parameters
    ----------
    table : pyarrow.Table
        From `joined`.
    """
    digest = hashlib.sha256(b"interfaces:1\n")
    numbers = np.stack(
        [table[field.name].cast(pa.int32()).to_numpy() for field in _OF_CHAINS], axis=1
    )
    uids = (table[name].to_pylist() for name in _KEY)
    for first, second, row in zip(*uids, numbers.astype("<i4"), strict=True):
        digest.update(f"{first}\0{second}\0".encode() + row.tobytes())
    return digest.hexdigest()
