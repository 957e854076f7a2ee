"""Shards have the documented columns, give back what was written, and show damage."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.chain import Chain
from pipeline.features import compute_features
from pipeline.residues import sequence_string
from pipeline.shards import (
    CHAIN_COLUMNS,
    INDEX_COLUMNS,
    SCHEMA_VERSION,
    UNITS,
    DamagedShard,
    ShardWriter,
    chains_of,
    dataset_digest,
    insertion_codes,
    open_shard,
    read_rows,
    record_batch,
    row_digest,
    shard_schema,
)
from pipeline.shards.schema import DELTA_COLUMNS, PLAIN_COLUMNS, SPLIT_COLUMNS, leaf_paths
from pipeline.shards.writer import ROWS_PER_GROUP
from tests.support.places import SHARED
from tests.support.random_chains import annotated, random_chain, with_fields

DESIGN = SHARED / "DESIGN.md"
METADATA = {
    "schema_version": str(SCHEMA_VERSION),
    "config_hash": "0" * 64,
    "units": json.dumps(UNITS),
}
TEXT, NUMBER, REAL, FLAG = pa.string(), pa.int32(), pa.float32(), pa.bool_()

# The table of DESIGN section 5, spelled out: name → (type, may be null).
SCALARS = {
    "chain_uid": (TEXT, False),
    "entry_id": (TEXT, False),
    "file_entry_id": (TEXT, True),
    "label_asym_id": (TEXT, False),
    "auth_asym_id": (TEXT, False),
    "entity_id": (TEXT, True),
    "model": (NUMBER, False),
    "assembly": (TEXT, True),
    "method": (TEXT, True),
    "resolution": (REAL, True),
    "deposition_date": (TEXT, True),
    "release_date": (TEXT, True),
    "title": (TEXT, True),
    "uniprot": (TEXT, True),
    "taxonomy": (NUMBER, True),
    "source": (TEXT, True),
    "sequence": (TEXT, False),
    "entity_sequence": (TEXT, True),
    "three_di": (TEXT, False),
    "length": (NUMBER, False),
    "n_resolved": (NUMBER, False),
    "n_modified": (NUMBER, False),
    "n_altloc": (NUMBER, False),
    "n_microhet": (NUMBER, False),
    "n_bad_atoms": (NUMBER, False),
    "n_breaks": (NUMBER, False),
    "coords_rounded": (FLAG, False),
    "confidence_kind": (TEXT, True),
    "radius_of_gyration": (REAL, False),
    "helix_fraction": (REAL, False),
    "strand_fraction": (REAL, False),
    "coil_fraction": (REAL, False),
    "fraction_x": (REAL, False),
    "mean_b_factor": (REAL, True),
    "n_ligands": (NUMBER, False),
    "n_waters": (NUMBER, False),
    "n_nucleic": (NUMBER, False),
    "oligomer": (NUMBER, True),
    "r_free": (REAL, True),
    "data_completeness": (REAL, True),
    "zero_occupancy_fraction": (REAL, True),
    "trimmed_mean_b_factor": (REAL, True),
    "clashes_per_1000_atoms": (REAL, True),
    "ramachandran_outlier_fraction": (REAL, True),
    "n_chirality_errors": (NUMBER, True),
    "row_sha256": (pa.binary(32), False),
}
# Lists, whose elements are never null: name → (type of the elements, how many per element).
LISTS = {
    "aatype": (pa.int8(), 1),
    "residue_index": (NUMBER, 1),
    "auth_seq_id": (NUMBER, 1),
    "ins_code": (TEXT, 1),
    "atom14_mask": (pa.uint16(), 1),
    "x": (NUMBER, 1),
    "y": (NUMBER, 1),
    "z": (NUMBER, 1),
    "b_factor": (REAL, 1),
    "centroid": (REAL, 3),
    "covariance": (REAL, 6),
    "sse": (pa.int8(), 1),
}


def write(path: Path, chains: list[Chain]) -> Path:
    with ShardWriter(path, METADATA) as writer:
        for chain, features in zip(chains, compute_features(chains), strict=True):
            writer.add(chain, features)
    return path


def read(path: Path) -> pa.Table:
    return pq.ParquetFile(path, page_checksum_verification=True).read()


def some_chains() -> list[Chain]:
    return [
        annotated(1, 40),
        random_chain(2, 1),
        random_chain(3, 25, holes=0.9),
        random_chain(4, 300, holes=0),
        with_fields(random_chain(5, 6), label_asym_id="a-2", auth_asym_id="_", model=7),
    ]


# ---- schema -------------------------------------------------------------------------------------


def test_the_schema_is_the_documented_one():
    schema = shard_schema()
    assert {f.name for f in schema} == {*SCALARS, *LISTS}
    assert len(schema) == len(SCALARS) + len(LISTS)
    for name, (kind, nullable) in SCALARS.items():
        assert schema.field(name).type == kind, name
        assert schema.field(name).nullable == nullable, name
    for name, (kind, width) in LISTS.items():
        found = schema.field(name)
        assert not found.nullable, name
        assert pa.types.is_list(found.type), name
        assert not found.type.value_field.nullable, name
        element = found.type.value_type
        if width > 1:
            assert pa.types.is_fixed_size_list(element), name
            assert element.list_size == width, name
            assert not element.value_field.nullable, name
            element = element.value_type
        assert element == kind, name


@pytest.mark.skipif(not DESIGN.is_file(), reason="needs the shared design")
def test_every_column_that_the_design_names_is_there():
    text = DESIGN.read_text(encoding="utf-8")
    table = text.split("Columns of a shard", 1)[1].split("Every list has length L", 1)[0]
    cells = [row.split("|") for row in table.splitlines() if row.startswith("|")]
    named = {n for c in cells for part in (c[1], c[3]) for n in re.findall(r"`([^`]+)`", part)}
    # `helix/strand/coil fraction` is three columns; the rest in the last cell are values.
    words = {word for group in named for word in group.split(", ")}
    columns = {word for word in words if re.fullmatch(r"[a-z_0-9]+", word)}
    columns -= {"entry_model_chain", "entry_assembly_model_chain", "annotate_sse"}
    assert len(columns) > 35
    assert columns <= {*SCALARS, *LISTS}


def test_the_index_repeats_everything_that_does_not_grow_with_the_chain():
    grows = {*LISTS, "sequence", "entity_sequence", "three_di"}
    assert set(INDEX_COLUMNS) == {*SCALARS} - grows
    assert len(set(INDEX_COLUMNS)) == len(INDEX_COLUMNS)


def test_a_file_has_the_schema_the_metadata_and_the_units(tmp_path):
    path = write(tmp_path / "a.parquet", some_chains())
    schema = pq.read_schema(path)
    assert schema.equals(shard_schema(), check_metadata=False)
    found = {k.decode(): v.decode() for k, v in schema.metadata.items() if k != b"ARROW:schema"}
    assert found == METADATA
    units = json.loads(found["units"])
    named = {name for key in units for name in key.split(", ")}
    assert named <= {*SCALARS, *LISTS}
    assert units["x, y, z"] == "0.001 angstrom"


def test_columns_are_encoded_as_the_schema_says(tmp_path):
    path = write(tmp_path / "a.parquet", some_chains() + [random_chain(k, 50) for k in range(70)])
    metadata = pq.ParquetFile(path).metadata
    assert metadata.num_row_groups == 2
    special = {
        **dict.fromkeys(DELTA_COLUMNS, "DELTA_BINARY_PACKED"),
        **dict.fromkeys(SPLIT_COLUMNS, "BYTE_STREAM_SPLIT"),
    }
    seen = set()
    for group in range(metadata.num_row_groups):
        for k in range(metadata.num_columns):
            column = metadata.row_group(group).column(k)
            path_of = column.path_in_schema
            seen.add(path_of)
            assert column.compression == "ZSTD", path_of
            if path_of in special:
                assert special[path_of] in column.encodings, (path_of, column.encodings)
                assert "RLE_DICTIONARY" not in column.encodings, path_of
            elif path_of in PLAIN_COLUMNS:
                assert "RLE_DICTIONARY" not in column.encodings, path_of
            elif column.physical_type != "BOOLEAN":
                assert "RLE_DICTIONARY" in column.encodings, (path_of, column.encodings)
    assert seen == set(leaf_paths(shard_schema()))
    assert {*special, *PLAIN_COLUMNS} < seen, "a path that is not there is silently ignored"


# ---- round trip ---------------------------------------------------------------------------------


def check_row(row: dict, chain: Chain) -> None:
    assert row["chain_uid"] == chain.uid
    for name in ("entry_id", "label_asym_id", "auth_asym_id", "model", "assembly", "entity_id"):
        assert row[name] == getattr(chain, name), name
    for name in ("entity_sequence", "uniprot", "taxonomy", "coords_rounded", "n_modified"):
        assert row[name] == getattr(chain, name), name
    for name in ("n_altloc", "n_microhet", "n_bad_atoms"):
        assert row[name] == getattr(chain, name), name
    for name in chain.metadata.__slots__:
        expected = getattr(chain.metadata, name)
        assert row[name] == expected, name
    assert row["sequence"] == sequence_string(chain.aatype)
    assert row["length"] == len(chain)
    for name in ("aatype", "residue_index", "auth_seq_id", "atom14_mask"):
        assert row[name] == getattr(chain, name).tolist(), name
    assert np.array_equal(np.float32(row["b_factor"]), chain.b_factor)
    assert row["ins_code"] == [chr(c) if c else "" for c in chain.ins_code]
    coords = np.stack([row["x"], row["y"], row["z"]], axis=1)
    assert np.array_equal(coords, chain.coords)


def test_what_is_read_is_what_was_written(tmp_path):
    chains = some_chains()
    features = compute_features(chains)
    rows = read(write(tmp_path / "a.parquet", chains)).to_pylist()
    assert len(rows) == len(chains)
    for row, chain, derived in zip(rows, chains, features, strict=True):
        check_row(row, chain)
        assert np.array_equal(np.float32(row["centroid"]), derived.centroid)
        assert np.array_equal(np.float32(row["covariance"]), derived.covariance)
        assert row["sse"] == derived.sse.tolist()
        assert row["three_di"].encode() == derived.three_di.tobytes()
        for name in ("n_resolved", "n_breaks"):
            assert row[name] == getattr(derived, name), name
        for name in ("radius_of_gyration", "coil_fraction", "fraction_x", "mean_b_factor"):
            assert row[name] == np.float32(getattr(derived, name)), name


def chains_in(path: Path) -> list[Chain]:
    with open_shard(path) as file:
        groups = range(file.metadata.num_row_groups)
        return chains_of(read_rows(file, path, groups, CHAIN_COLUMNS))


def test_rows_are_the_chains_that_were_written(tmp_path):
    chains = some_chains()
    for stored, chain in zip(chains_in(write(tmp_path / "a", chains)), chains, strict=True):
        for field in dataclasses.fields(Chain):
            value, expected = getattr(stored, field.name), getattr(chain, field.name)
            assert np.array_equal(value, expected), field.name
            assert getattr(value, "dtype", None) == getattr(expected, "dtype", None), field.name


def test_residues_are_resolved_as_the_caller_says_if_he_does(tmp_path):
    path = write(tmp_path / "a", [random_chain(1, 30), random_chain(2, 20)])
    with open_shard(path) as file:
        rows = read_rows(file, path, [0], CHAIN_COLUMNS)
    said = np.arange(50) % 3 == 0
    first, second = chains_of(rows, said)
    assert np.array_equal(np.concatenate([first.resolved, second.resolved]), said)


def test_a_text_that_is_no_insertion_code_is_none_and_told():
    codes, good = insertion_codes(np.array(["", "A", "AB", None, "é", "€"], object))
    assert codes.tolist() == [0, ord("A"), 0, 0, ord("é"), 0]
    assert good.tolist() == [True, True, False, False, True, False]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 999), st.integers(1, 40)), min_size=1, max_size=5))
def test_any_chains_come_back(tmp_path_factory, wanted):
    chains = [random_chain(seed, n, holes=0.4) for seed, n in wanted]
    path = write(tmp_path_factory.mktemp("shard") / "a.parquet", chains)
    for row, chain in zip(read(path).to_pylist(), chains, strict=True):
        check_row(row, chain)


def test_lists_have_an_element_per_residue_and_coordinates_one_per_atom(tmp_path):
    table = read(write(tmp_path / "a.parquet", some_chains()))
    length = table["length"].to_pylist()
    for name in LISTS:
        assert table[name].null_count == 0
        counts = pa.compute.list_value_length(table[name]).to_pylist()
        if name in "xyz":
            masks = table["atom14_mask"].to_pylist()
            assert counts == [sum(m.bit_count() for m in row) for row in masks]
        else:
            assert counts == length, name


@pytest.mark.parametrize("n", [0, 1, ROWS_PER_GROUP - 1, ROWS_PER_GROUP, ROWS_PER_GROUP + 1])
def test_row_groups_hold_a_fixed_number_of_chains(tmp_path, n):
    chains = [random_chain(k, 3) for k in range(n)]
    path = write(tmp_path / "a.parquet", chains)
    metadata = pq.ParquetFile(path).metadata
    sizes = [metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)]
    assert sum(sizes) == n
    assert all(size == ROWS_PER_GROUP for size in sizes[:-1])
    assert read(path)["chain_uid"].to_pylist() == [c.uid for c in chains]


def test_the_writer_counts_rows_and_residues(tmp_path):
    chains = some_chains()
    with ShardWriter(tmp_path / "a.parquet", METADATA) as writer:
        for chain, features in zip(chains, compute_features(chains), strict=True):
            writer.add(chain, features)
    assert writer.n_rows == len(chains)
    assert writer.n_residues == sum(map(len, chains))


def test_the_same_chains_give_the_same_bytes(tmp_path):
    first = write(tmp_path / "a.parquet", some_chains()).read_bytes()
    assert write(tmp_path / "b.parquet", some_chains()).read_bytes() == first


def test_any_byte_is_written_as_an_insertion_code(tmp_path):
    """A damaged PDB file may hold a byte beyond ASCII in column 27."""
    chain = with_fields(random_chain(0, 256, holes=0), ins_code=np.arange(256, dtype=np.uint8))
    (row,) = read(write(tmp_path / "a.parquet", [chain])).to_pylist()
    assert row["ins_code"] == ["", *map(chr, range(1, 256))]


def test_extreme_coordinates_are_written_exactly(tmp_path):
    coords = np.array([[2**31 - 1, -(2**31), 0], [-1, 1, 2**30], [7, 7, 7]], np.int32)
    chain = with_fields(
        random_chain(0, 1, holes=0), atom14_mask=np.array([0b111], np.uint16), coords=coords
    )
    (row,) = read(write(tmp_path / "a.parquet", [chain])).to_pylist()
    assert np.stack([row["x"], row["y"], row["z"]], axis=1).tolist() == coords.tolist()


# ---- damage -------------------------------------------------------------------------------------


def test_pages_have_checksums_and_a_flipped_byte_in_one_is_detected(tmp_path):
    chains = some_chains() + [random_chain(k, 60) for k in range(20)]
    path = write(tmp_path / "a.parquet", chains)
    whole = path.read_bytes()
    expected = read(path)
    metadata = pq.ParquetFile(path).metadata
    rng = np.random.default_rng(0)
    n_silent = n_without = 0
    for k in range(metadata.num_columns):
        column = metadata.row_group(0).column(k)
        begin = column.dictionary_page_offset or column.data_page_offset
        for at in begin + rng.integers(0, column.total_compressed_size, 6):
            damaged = bytearray(whole)
            damaged[at] ^= 1 << int(rng.integers(8))
            path.write_bytes(damaged)
            n_silent += differs_silently(path, expected, verify=True)
            n_without += differs_silently(path, expected, verify=False)
    assert n_silent == 0
    assert n_without > 0, "without checksums some of these flips must read as data, or this is vain"


def differs_silently(path: Path, expected: pa.Table, verify: bool) -> bool:
    try:
        found = pq.ParquetFile(path, page_checksum_verification=verify).read()
        return not found.equals(expected)
    except (OSError, pa.ArrowException, UnicodeDecodeError):
        return False


# ---- digests ------------------------------------------------------------------------------------


def digest_of_columns(row: dict) -> bytes:
    """`row_digest`, by its description and from the columns alone."""
    digest = hashlib.sha256()

    def add(name: str, content: bytes) -> None:
        digest.update(b"%s:%d:" % (name.encode(), len(content)) + content)

    for name in ("chain_uid", "auth_asym_id", "sequence", "entity_sequence"):
        if row[name] is not None:
            add(name, row[name].encode())
    add("residue_index", np.array(row["residue_index"], "<i4").tobytes())
    add("auth_seq_id", np.array(row["auth_seq_id"], "<i4").tobytes())
    add("ins_code", "".join(c or "\0" for c in row["ins_code"]).encode("latin-1"))
    add("atom14_mask", np.array(row["atom14_mask"], "<u2").tobytes())
    coords = np.stack([row["x"], row["y"], row["z"]], axis=1)
    add("coords", coords.astype("<i4").tobytes())
    return digest.digest()


def test_a_rows_digest_follows_from_its_columns(tmp_path):
    for row in read(write(tmp_path / "a.parquet", some_chains())).to_pylist():
        assert row["row_sha256"] == digest_of_columns(row)


@pytest.mark.parametrize(
    "change",
    [
        {"entry_id": "other"},
        {"model": 2},
        {"label_asym_id": "B"},
        {"auth_asym_id": "B"},
        {"assembly": "2"},
        {"entity_sequence": "MKV"},
        {"entity_sequence": None},
        {"aatype": 1},
        {"residue_index": 1},
        {"auth_seq_id": 1},
        {"ins_code": 1},
        {"coords": 1},
    ],
    ids=str,
)
def test_the_digest_covers_identity_sequence_and_integers(change):
    chain = annotated(3)
    ((name, value),) = change.items()
    if isinstance(value, int) and name != "model":
        array = getattr(chain, name).copy()
        array.flat[-1] += -value if name == "aatype" and array.flat[-1] else value
        value = array
    assert row_digest(with_fields(chain, **{name: value})) != row_digest(chain)


def test_the_digest_covers_no_floats_and_no_annotation():
    chain = annotated(3)
    other = with_fields(
        chain,
        b_factor=chain.b_factor + 1,
        metadata=random_chain(0).metadata,
        uniprot=None,
        taxonomy=None,
        n_altloc=99,
    )
    assert row_digest(other) == row_digest(chain)


@given(
    st.dictionaries(st.text(min_size=1), st.binary(min_size=32, max_size=32), max_size=6),
    st.randoms(),
)
def test_the_datasets_digest_does_not_depend_on_the_order_of_rows(rows, rng):
    items = list(rows.items())
    expected = dataset_digest(items)
    rng.shuffle(items)
    assert dataset_digest(items) == expected
    assert re.fullmatch(r"[0-9a-f]{64}", expected)
    if items:
        assert dataset_digest(items[1:]) != expected
        assert dataset_digest([(items[0][0], bytes(31) + b"!"), *items[1:]]) != expected


def test_a_batch_of_chains_is_what_the_writer_writes(tmp_path):
    chains = some_chains()
    batch = record_batch(chains, compute_features(chains), shard_schema())
    batch.validate(full=True)
    table = read(write(tmp_path / "a.parquet", chains))
    assert pa.Table.from_batches([batch]).equals(table.replace_schema_metadata(None))


@pytest.mark.parametrize("columns", [["aatype"], ["x"], ["atom14_mask"]])
def test_lists_that_do_not_fit_the_lengths_are_damage(examples_dataset, tmp_path, columns):
    table = pq.read_table(examples_dataset / "shards" / "part-00000.parquet")
    column = table.schema.get_field_index("length")
    for change in (1, -1, 10**6):
        lengths = pa.array([n + change for n in table["length"].to_pylist()], pa.int32())
        path = tmp_path / "part-00000.parquet"
        pq.write_table(table.set_column(column, table.schema.field(column), lengths), path)
        with open_shard(path) as shard, pytest.raises(DamagedShard, match="do not fit"):
            read_rows(shard, path, [0], columns)
