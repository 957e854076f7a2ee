"""Names, and how files become entries."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sources import SourceFile, group_entries, split_name
from pipeline.sources.names import from_printable, is_tar_name, name_bytes, printable


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("1abc.pdb", ("1abc", "pdb", None)),
        ("1ABC.CIF.GZ", ("1abc", "cif", "gz")),
        ("pdb1abc.ent.gz", ("1abc", "pdb", "gz")),
        ("PDB1ABC.ENT", ("1abc", "pdb", None)),
        ("pdb_00001ABC.cif.gz", ("1abc", "cif", "gz")),
        ("pdb_1000ABCD.cif.gz", ("pdb_1000abcd", "cif", "gz")),
        ("4x8u.pdbx.gz", ("4x8u", "cif", "gz")),
        ("test_template.mmcif.gz", ("test_template", "cif", "gz")),
        ("1abc.bcif.zst", ("1abc", "bcif", "zst")),
        ("AF-P12345-F1-model_v4.cif.gz", ("AF-P12345-F1-model_v4", "cif", "gz")),
        ("NP_027420.1_1.cif.gz", ("NP_027420.1_1", "cif", "gz")),
        ("pdb2k39_ca.pdb.gz", ("pdb2k39_ca", "pdb", "gz")),
        ("r5wkdsf.ent.gz", ("r5wkdsf", "pdb", "gz")),
        ("1abc.cif.gz.gz", ("1abc", "cif", "gz")),
        ("1abc.gz", ("1abc", None, "gz")),
        ("1abc", ("1abc", None, None)),
        (".pdb", (".pdb", None, None)),
        (".gz", (".gz", None, None)),
    ],
)
def test_a_name_splits_into_stem_format_and_compression(filename, expected):
    assert split_name(filename) == expected


def test_a_biological_assembly_in_pdb_format_is_not_the_entry():
    assert split_name("1TBF.pdb1.gz") == ("1tbf.pdb1", "pdb", "gz")
    assert split_name("1tbf.pdb2")[0] != split_name("1tbf.pdb1")[0] != split_name("1tbf.pdb")[0]


def test_numbered_models_stay_apart():
    names = ["model.001", "model.002", "pdb0001.pdb", "0001.pdb", "NP_027420.1", "NP_027420.2"]
    assert len({split_name(name)[0] for name in names}) == len(names)


def test_tar_names_are_known_in_any_case():
    for name in ("a.tar", "a.TAR.GZ", "a.tgz", "a.tar.zst", "a.b.tar"):
        assert is_tar_name(name)
    for name in (".tar", "a.tar.xz", "a.tar.txt", "tar", "star"):
        assert not is_tar_name(name)


def test_printable_names_are_one_line_of_valid_utf8():
    hostile = "a\nb\x1b[31m\u202e" + b"\xff".decode("utf-8", "surrogateescape") + "\\x"
    text = printable(hostile)
    assert text.isprintable()
    text.encode("utf-8")
    assert from_printable(text) == hostile
    assert printable("Ærø-1abc (copy).pdb") == "Ærø-1abc (copy).pdb"


@given(st.binary(max_size=30), st.binary(max_size=30))
def test_printable_names_are_equal_only_for_equal_names(first, second):
    a, b = (name.decode("utf-8", "surrogateescape") for name in (first, second))
    assert (printable(a) == printable(b)) == (a == b)
    assert from_printable(printable(a)) == a
    assert name_bytes(a) == first


def make_file(path, member=None, size=10):
    stem, suffix_format, _ = split_name((member or path).rpartition("/")[2])
    offset = None if member is None else 512
    return SourceFile(path, member, size, 0, offset, suffix_format, printable(stem))


def ids(*files):
    return {c.name: e.entry_id for e in group_entries(files) for c in e.candidates}


def test_formats_of_one_entry_are_tried_in_order_of_preference():
    names = ["1abc", "pdb1abc.ent.gz", "1abc.cif", "1ABC.cif.gz", "1abc.bcif.gz", "1abc.pdb"]
    files = [make_file(f"x/{name}") for name in names]
    (entry,) = group_entries(files)
    assert entry.entry_id == "1abc"
    tried = [file.path[2:] for file in entry.candidates]
    assert tried == [
        "1abc.bcif.gz",
        "1abc.cif",
        "1ABC.cif.gz",
        "1abc.pdb",
        "pdb1abc.ent.gz",
        "1abc",
    ]


def test_equal_stems_are_qualified_by_the_shortest_path_that_tells_them_apart():
    found = ids(
        make_file("1abc.pdb"),
        make_file("sub/1abc.pdb"),
        make_file("a/x/2abc.pdb"),
        make_file("b/x/2abc.pdb"),
        make_file("b/y/2abc.pdb"),
        make_file("c/3abc.pdb"),
    )
    assert found == {
        "1abc.pdb": "1abc",
        "sub/1abc.pdb": "sub/1abc",
        "a/x/2abc.pdb": "a/x/2abc",
        "b/x/2abc.pdb": "b/x/2abc",
        "b/y/2abc.pdb": "y/2abc",
        "c/3abc.pdb": "3abc",
    }


def test_an_archive_is_a_folder():
    found = ids(
        make_file("x/1abc.cif"),
        make_file("x/set.tar", "1abc.cif"),
        make_file("x/set.tar", "./1abc.pdb"),
        make_file("x/set.tar", "deep/1abc.pdb"),
    )
    assert found == {
        "x/1abc.cif": "x/1abc",
        "x/set.tar::1abc.cif": "set.tar/1abc",
        "x/set.tar::./1abc.pdb": "set.tar/1abc",
        "x/set.tar::deep/1abc.pdb": "deep/1abc",
    }


def test_absolute_and_relative_folders_of_one_name_differ():
    found = ids(make_file("/a/1abc.pdb"), make_file("a/1abc.pdb"))
    assert found == {"/a/1abc.pdb": "/a/1abc", "a/1abc.pdb": "a/1abc"}


def test_ids_that_differ_in_case_only_are_two_entries():
    assert set(ids(make_file("Model.pdb"), make_file("model.pdb")).values()) == {"Model", "model"}


parts = st.sampled_from(["a", "b", "A", "x.tar", "\udcff", "a_b"])
stems = st.sampled_from(
    ["1abc", "1ABC", "m", "M", "a/m", "1abc.pdb1", "pdb1abc", "\udcff", "\\xff"]
)
suffixes = st.sampled_from(["", ".pdb", ".cif", ".cif.gz", ".bcif", ".ent", ".txt"])


@st.composite
def found_files(draw):
    path = "/".join([*draw(st.lists(parts, max_size=3)), draw(stems) + draw(suffixes)])
    if draw(st.booleans()):
        return make_file("/" * draw(st.booleans()) + path)
    return make_file(draw(parts) + "/set.tar", path)


@given(st.lists(found_files(), max_size=25), st.randoms())
def test_grouping_is_a_partition_with_unique_ids_for_any_order(files, rng: random.Random):
    entries = group_entries(files)
    key = repr
    assert sorted((c for e in entries for c in e.candidates), key=key) == sorted(files, key=key)
    assert len({entry.entry_id for entry in entries}) == len(entries)
    for entry in entries:
        entry.entry_id.encode("utf-8")
        assert entry.entry_id.rpartition("/")[2] == entry.candidates[0].stem
        assert len({c.stem for c in entry.candidates}) == 1
    shuffled = files.copy()
    rng.shuffle(shuffled)
    assert group_entries(shuffled) == entries


@given(st.lists(found_files(), max_size=15))
def test_no_shorter_qualifier_would_do(files):
    entries = group_entries(files)
    for entry in entries:
        shorter = entry.entry_id.partition("/")[2]
        if shorter:  # some other entry's path ends like that as well
            same_stem = [e for e in entries if e.candidates[0].stem == entry.candidates[0].stem]
            assert len(same_stem) > 1
