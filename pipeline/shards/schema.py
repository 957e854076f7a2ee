"""The columns of a shard: Arrow types, units, encodings; docs/format.md explains them."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

SCHEMA_VERSION = 1

_float3 = pa.list_(pa.field("element", pa.float32(), nullable=False), 3)
_float6 = pa.list_(pa.field("element", pa.float32(), nullable=False), 6)


def _per_residue(kind: pa.DataType) -> pa.DataType:
    return pa.list_(pa.field("element", kind, nullable=False))


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


IDENTITY: tuple[pa.Field, ...] = (
    _required("chain_uid", pa.string()),
    _required("entry_id", pa.string()),
    pa.field("file_entry_id", pa.string()),
    _required("label_asym_id", pa.string()),
    _required("auth_asym_id", pa.string()),
    pa.field("entity_id", pa.string()),
    _required("model", pa.int32()),
    pa.field("assembly", pa.string()),
)
ANNOTATION: tuple[pa.Field, ...] = (
    pa.field("method", pa.string()),
    pa.field("resolution", pa.float32()),
    pa.field("deposition_date", pa.string()),
    pa.field("release_date", pa.string()),
    pa.field("title", pa.string()),
    pa.field("uniprot", pa.string()),
    pa.field("taxonomy", pa.int32()),
    pa.field("source", pa.string()),
)
SCALARS: tuple[pa.Field, ...] = (
    _required("length", pa.int32()),
    _required("n_resolved", pa.int32()),
    _required("n_modified", pa.int32()),
    _required("n_altloc", pa.int32()),
    _required("n_microhet", pa.int32()),
    _required("n_bad_atoms", pa.int32()),
    _required("n_breaks", pa.int32()),
    _required("coords_rounded", pa.bool_()),
    pa.field("confidence_kind", pa.string()),
    _required("radius_of_gyration", pa.float32()),
    _required("helix_fraction", pa.float32()),
    _required("strand_fraction", pa.float32()),
    _required("coil_fraction", pa.float32()),
    _required("fraction_x", pa.float32()),
    pa.field("mean_b_factor", pa.float32()),
    _required("n_ligands", pa.int32()),
    _required("n_waters", pa.int32()),
    _required("n_nucleic", pa.int32()),
    pa.field("oligomer", pa.int32()),
)
QUALITY: tuple[pa.Field, ...] = (
    pa.field("r_free", pa.float32()),
    pa.field("data_completeness", pa.float32()),
    pa.field("zero_occupancy_fraction", pa.float32()),
    pa.field("trimmed_mean_b_factor", pa.float32()),
    pa.field("clashes_per_1000_atoms", pa.float32()),
    pa.field("ramachandran_outlier_fraction", pa.float32()),
    pa.field("n_chirality_errors", pa.int32()),
)
SEQUENCES: tuple[pa.Field, ...] = (
    _required("sequence", pa.string()),
    pa.field("entity_sequence", pa.string()),
    _required("three_di", pa.string()),
)
RESIDUES: tuple[pa.Field, ...] = (
    _required("aatype", _per_residue(pa.int8())),
    _required("residue_index", _per_residue(pa.int32())),
    _required("auth_seq_id", _per_residue(pa.int32())),
    _required("ins_code", _per_residue(pa.string())),
    _required("atom14_mask", _per_residue(pa.uint16())),
    _required("x", _per_residue(pa.int32())),
    _required("y", _per_residue(pa.int32())),
    _required("z", _per_residue(pa.int32())),
    _required("b_factor", _per_residue(pa.float32())),
    _required("centroid", _per_residue(_float3)),
    _required("covariance", _per_residue(_float6)),
    _required("sse", _per_residue(pa.int8())),
)
DIGEST = _required("row_sha256", pa.binary(32))

INDEX_COLUMNS = tuple(f.name for f in (*IDENTITY, *ANNOTATION, *SCALARS, *QUALITY, DIGEST))
"""Columns that the index repeats: everything whose size does not grow with the chain."""

NULL_WHERE_LACKING = frozenset(f.name for f in QUALITY)
"""What is read of a shard that lacks one of these has nulls there."""

FILES_ALONE_TELL = frozenset({"r_free", "data_completeness", "zero_occupancy_fraction"})
"""Of these: an upgrade, which has but the shards, leaves nulls."""

LATER_COLUMNS = NULL_WHERE_LACKING | {"three_di"}
"""Columns that shards of this schema version may lack, since they were built before there were any:
nobody needs them who does not ask for them, and `pipeline.upgrade` adds them."""

COORDINATE_UNIT = "0.001 angstrom"

UNITS = {
    "x, y, z": COORDINATE_UNIT,
    "centroid": "angstrom",
    "covariance": "angstrom^2 (xx xy xz yy yz zz)",
    "radius_of_gyration, resolution": "angstrom",
    "b_factor, mean_b_factor": "angstrom^2, or pLDDT (0-100) where confidence_kind is plddt",
}

_LEAF = ".list.element"
DELTA_COLUMNS = tuple(f"{c}{_LEAF}" for c in ("residue_index", "auth_seq_id", "x", "y", "z"))
SPLIT_COLUMNS = (
    f"b_factor{_LEAF}",
    f"centroid{_LEAF}{_LEAF}",
    f"covariance{_LEAF}{_LEAF}",
)
PLAIN_COLUMNS = ("row_sha256",)
"""Encodings by leaf path (a top-level name is silently ignored by pyarrow); all other columns use
dictionaries."""


def shard_schema(metadata: dict[str, str] | None = None) -> pa.Schema:
    """The Arrow schema of a shard, with its key-value metadata."""
    fields = [*IDENTITY, *ANNOTATION, *SEQUENCES, *RESIDUES, *SCALARS, *QUALITY, DIGEST]
    return pa.schema(fields, metadata=metadata)


def with_later_columns(table: pa.Table, names: Iterable[str]) -> pa.Table:
    """A table of some columns of a shard, in the order of `names`, with nulls for those of quality
    that it lacks. Other columns that it lacks stay away."""
    present = set(table.column_names)
    wanted = [name for name in names if name in present or name in NULL_WHERE_LACKING]
    for name in wanted:
        if name not in present:
            field = shard_schema().field(name)
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table.select(wanted)


def leaf_paths(schema: pa.Schema) -> list[str]:
    """Parquet paths of the leaves, as the encoding options want them."""
    paths = []
    for field in schema:
        path, kind = field.name, field.type
        while pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
            path += _LEAF
            kind = kind.value_type
        paths.append(path)
    return paths
