"""The plan is a pure function of the inputs and the configuration: parts of about equal bytes."""

from __future__ import annotations

import os
import random
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pipeline.built.plan
from pipeline.build.options import MEBIBYTE
from pipeline.built.plan import (
    FILE_OVERHEAD,
    MAX_PART,
    MIN_PART,
    PARTS_WANTED,
    PLAN_SCHEMA,
    Part,
    make_plan,
    plan_table,
    read_plan,
)
from pipeline.built.reading import Reading
from pipeline.filters import Filters
from pipeline.sources import SourceFile, group_entries, printable, split_name

CONFIG = Reading().config_hash


def source(path: str, size: int = 1000, member: str | None = None, **fields: object) -> SourceFile:
    """A file; a member without an `offset` is one of a compressed archive."""
    name = (member or path).rpartition("/")[2]
    stem, suffix_format, _ = split_name(name)
    values: dict[str, object] = {"mtime_ns": 17, "offset": None, **fields}
    values |= {"suffix_format": suffix_format, "stem": printable(stem)}
    return SourceFile(path, member, size, **values)  # type: ignore[arg-type]


def sources(rng: random.Random, n: int = 200, largest: int = 300_000) -> list[SourceFile]:
    """Plain files in folders, entries in several formats, members of plain and compressed tars."""
    files = []
    for k in range(n):
        size = rng.randint(0, largest)
        where = f"{rng.choice(['a', 'b', 'c/d'])}/{k:04d}"
        kind = rng.randrange(4)
        if kind < 2:
            files.append(source(f"{where}.cif.gz", size))
            if kind:
                files.append(source(f"{where}.pdb.gz", size // 2))
        elif kind == 2:
            files.append(source("plain.tar", size, f"m/{k:04d}.cif", offset=512 * k))
        else:
            archive = rng.choice(["one.tar.gz", "two.tar.zst"])
            files.append(source(archive, size // 4, f"m/{k:04d}.bcif", index=k))
    return files


def summary(parts: list[Part]) -> list[tuple]:
    return [(p.number, p.entries) for p in parts]


# ---- cutting ------------------------------------------------------------------------------------


@given(st.randoms(use_true_random=False), st.integers(0, 3 * MEBIBYTE))
def test_the_order_in_which_files_are_found_changes_nothing(rng, part_bytes):
    files = sources(rng, 60)
    expected = make_plan(group_entries(files), part_bytes)
    rng.shuffle(files)
    found = make_plan(group_entries(files), part_bytes)
    assert summary(found) == summary(expected)
    assert [p.fingerprint(CONFIG) for p in found] == [p.fingerprint(CONFIG) for p in expected]


@given(st.randoms(use_true_random=False), st.integers(1, 3 * MEBIBYTE))
def test_every_file_is_in_one_part_and_no_entry_is_cut(rng, part_bytes):
    files = sources(rng, 80)
    entries = group_entries(files)
    parts = make_plan(entries, part_bytes)
    assert [p.number for p in parts] == list(range(len(parts)))
    assert all(p.entries for p in parts)
    placed = [e for p in parts for e in p.entries]
    assert sorted(placed, key=entries.index) == entries
    assert len(placed) == len(entries)
    assert sorted(f.name for p in parts for f in p.files) == sorted(f.name for f in files)
    if not any(f.is_sequential for f in files):
        assert placed == entries, "rows follow the order of the inputs"


@given(st.randoms(use_true_random=False), st.integers(1, 3 * MEBIBYTE))
def test_a_compressed_tar_stays_in_one_part(rng, part_bytes):
    parts = make_plan(group_entries(sources(rng, 80)), part_bytes)
    for archive in ("one.tar.gz", "two.tar.zst"):
        assert sum(any(f.path == archive for f in p.files) for p in parts) <= 1


def test_a_plain_tar_is_cut_like_a_folder():
    files = [source("set.tar", MEBIBYTE, f"{k}.cif", offset=k * MEBIBYTE) for k in range(40)]
    assert len(make_plan(group_entries(files), 10 * MEBIBYTE)) >= 4


@given(st.randoms(use_true_random=False), st.integers(100_000, 3 * MEBIBYTE))
def test_parts_have_about_equal_bytes(rng, part_bytes):
    """None is over the limit but for a single file, and no two neighbours would fit into one."""
    files = [source(f"{k:04d}.cif.gz", rng.randint(0, 300_000)) for k in range(100)]
    parts = make_plan(group_entries(files), part_bytes)
    weights = [p.n_bytes + FILE_OVERHEAD * len(p.files) for p in parts]
    for part, weight in zip(parts, weights, strict=True):
        assert weight <= part_bytes or len(part.entries) == 1
    largest = 300_000 + FILE_OVERHEAD
    assert all(weight > part_bytes - largest for weight in weights[:-1])


@pytest.mark.parametrize(
    ("n", "size", "expected"),
    [
        (10, 1000, 1),
        (8, MIN_PART - FILE_OVERHEAD, 8),
        (1024, 8 * MEBIBYTE - FILE_OVERHEAD, 8 * 1024 // 64),
        (640, MEBIBYTE, PARTS_WANTED),
    ],
    ids=["small", "least", "largest", "wanted"],
)
def test_without_a_size_there_are_about_64_parts_of_4_to_64_mebibytes(n, size, expected):
    parts = make_plan(group_entries([source(f"{k:05d}.cif", size) for k in range(n)]))
    assert abs(len(parts) - expected) <= expected // 8
    assert all(p.n_bytes <= MAX_PART for p in parts)


def test_no_entries_make_no_parts():
    assert make_plan([]) == []


def test_files_that_were_not_found_weigh_nothing():
    (part,) = make_plan(group_entries([source("a.cif", -1), source("b.cif", 10)]))
    assert part.n_bytes == 10


# ---- fingerprints -------------------------------------------------------------------------------


def part_of(*files: SourceFile) -> Part:
    return Part(0, tuple(group_entries(files)))


@pytest.mark.parametrize(
    "change",
    [{"size": 1001}, {"mtime_ns": 18}, {"path": "x/2abc.cif"}, {"member": "2abc.cif"}],
    ids=str,
)
def test_a_fingerprint_changes_with_an_input(change):
    file = source("x/1abc.cif")
    other = replace(file, **change)
    assert part_of(file).fingerprint(CONFIG) != part_of(other).fingerprint(CONFIG)
    assert part_of(file).fingerprint(CONFIG) == part_of(replace(file)).fingerprint(CONFIG)


def test_a_fingerprint_changes_with_the_set_of_inputs():
    one, two = source("x/1abc.cif"), source("x/2xyz.cif")
    prints = {part_of(*files).fingerprint(CONFIG) for files in ([one], [two], [one, two], [])}
    assert len(prints) == 4
    # Two formats of one entry, and two entries.
    pdb = source("x/1abc.pdb")
    assert part_of(one, pdb).fingerprint(CONFIG) != part_of(one, two).fingerprint(CONFIG)


@pytest.mark.parametrize(
    "change",
    [
        {"models": "all"},
        {"assembly": "1"},
        {"max_assembly_chains": 7},
        {"b_factor_is": "plddt"},
        {"base_thickness": 0.0},
        {"shape": "full"},
        {"max_file_size": 1},
        {"filters": Filters(min_length=40)},
        {"filters": Filters(methods=["x-ray"])},
        {"manifest_sha256": "0" * 64},
    ],
    ids=str,
)
def test_a_fingerprint_changes_with_the_configuration(change):
    part = part_of(source("1abc.cif"))
    config = replace(Reading(), **change).config_hash
    assert part.fingerprint(config) != part.fingerprint(CONFIG)


def test_a_fingerprint_does_not_change_with_what_leaves_the_data_as_they_are(tmp_path):
    part = part_of(source("1abc.cif"))
    for reading in (Reading(timeout=1.0), Reading(manifest=tmp_path / "elsewhere.csv")):
        assert part.fingerprint(reading.config_hash) == part.fingerprint(CONFIG)


def test_a_fingerprint_does_not_change_with_the_number_of_the_part():
    """Parts before it may come and go."""
    part = part_of(source("1abc.cif"))
    assert replace(part, number=9).fingerprint(CONFIG) == part.fingerprint(CONFIG)


# ---- the table ----------------------------------------------------------------------------------


@given(st.randoms(use_true_random=False))
def test_a_plan_is_read_as_it_was_written(tmp_path_factory, rng):
    parts = make_plan(group_entries(sources(rng, 40)), MEBIBYTE)
    path = tmp_path_factory.mktemp("plan") / "plan.parquet"
    pq.write_table(plan_table(parts), path)
    assert read_plan(path) == parts


@pytest.mark.parametrize("rows_at_once", [1, 2, 7])
def test_a_plan_is_the_same_in_whatever_pieces_it_is_read(tmp_path, monkeypatch, rows_at_once):
    """The files of an entry may lie in two of them."""
    parts = make_plan(group_entries(sources(random.Random(5), 40)), MEBIBYTE)
    pq.write_table(plan_table(parts), tmp_path / "plan.parquet")
    monkeypatch.setattr(pipeline.built.plan, "ROWS_AT_ONCE", rows_at_once)
    assert read_plan(tmp_path / "plan.parquet") == parts


NAMES = [
    "plain.cif",
    "with space.cif",
    "new\nline.cif",
    "back\\slash.cif",
    "back\\x41slash.cif",
    "\N{DNA DOUBLE HELIX}-é.cif",
    "not-utf8-\udcff\udcfe.cif",
    "a::b.cif",
    "folder/not-utf8-\udce9/1abc.cif.gz",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_odd_names_survive_the_table(tmp_path, name):
    members = source("a.tar", 7, name, offset=512), source("z.tgz", 7, name, index=3)
    files = [source(name), *members]
    parts = make_plan(group_entries(files))
    table = plan_table(parts)
    table.validate(full=True)
    pq.write_table(table, tmp_path / "plan.parquet")
    assert read_plan(tmp_path / "plan.parquet") == parts


FILE_NAMES = st.binary(min_size=1, max_size=12).filter(lambda b: not {0, ord("/")} & set(b))


@given(st.lists(FILE_NAMES.map(os.fsdecode), min_size=1, max_size=8, unique=True))
def test_any_name_survives_the_table(tmp_path_factory, names):
    parts = make_plan(group_entries([source(f"in/{name}") for name in names]))
    path = tmp_path_factory.mktemp("plan") / "plan.parquet"
    pq.write_table(plan_table(parts), path)
    assert read_plan(path) == parts


def test_an_empty_plan_is_a_table_too(tmp_path):
    pq.write_table(plan_table([]), tmp_path / "plan.parquet")
    assert pq.read_schema(tmp_path / "plan.parquet").equals(PLAN_SCHEMA)
    assert read_plan(tmp_path / "plan.parquet") == []


def test_the_table_has_a_row_per_file_and_rank_0_is_tried_first():
    files = [source("x/1abc.pdb"), source("x/1abc.bcif"), source("x/1abc.cif"), source("y.cif")]
    rows = plan_table(make_plan(group_entries(files))).to_pylist()
    ranks = [(r["path"], r["rank"]) for r in rows if r["entry_id"] == "1abc"]
    assert ranks == [("x/1abc.bcif", 0), ("x/1abc.cif", 1), ("x/1abc.pdb", 2)]
    assert len(rows) == 4
