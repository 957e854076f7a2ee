"""One entry has one id, short or extended, in names of files, in lists and at servers."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.build.obsolete import Obsolete
from pipeline.entry_ids import chain_key, entry_key, is_alphafold_db_id, is_pdb_id
from pipeline.fetch.entry_ids import pdb_entry
from pipeline.filters import Manifest
from pipeline.sources import SourceFile, group_entries, printable, split_name
from pipeline.split.split_list import SplitList
from pipeline.subset.chain_list import ChainList
from tests.support.build_runs import build_here, inputs
from tests.support.places import EXAMPLES, STRUCTURES

SHORT = {"1orc": "1orc.pdb.gz", "1as5": "1as5.cif.gz", "4zhl": "4zhl.cif.gz"}
"""Entries of the examples, and their files."""

short_ids = st.from_regex(r"[0-9][a-z0-9]{3}", fullmatch=True)


@given(short_ids)
def test_short_and_extended_ids_in_either_case_are_one(short):
    for spelling in (short, short.upper(), f"pdb_0000{short}", f"PDB_0000{short.upper()}"):
        assert entry_key(spelling) == short
        assert is_pdb_id(spelling)
    for extended in (f"pdb_0000{short}", f"PDB_0000{short.upper()}"):
        assert chain_key(f"{extended}_1_Aa") == f"{short}_1_Aa"


@pytest.mark.parametrize(
    "text",
    ["pdb_1000abcd", "pdb_0000abcd", "pdb_00012abc"],
)
def test_an_extended_id_without_a_short_form_stays_as_it_is_in_lower_case(text):
    assert entry_key(text) == entry_key(text.upper()) == text
    assert is_pdb_id(text)
    assert chain_key(f"{text}_1_A") == f"{text}_1_A"


@pytest.mark.parametrize(
    "text",
    ["abcd", "Model", "1ab", "1-bc", "P29373", "pdb_00001or", "pdb-00001orc", "AF-P29373-F1", ""],
)
def test_other_names_keep_their_case(text):
    assert entry_key(text) == text
    assert not is_pdb_id(text)


@pytest.mark.parametrize(
    ("filename", "stem"),
    [
        ("pdb_00001orc.pdb", "1orc"),
        ("PDB_00001ORC.cif", "1orc"),
        ("pdb_00001as5_xyz.cif.gz", "1as5"),
        ("pdb_00001as5_xyz_v1-2.cif.gz", "1as5"),
        ("pdb_00001as5_xyz-enrich.cif.gz", "1as5"),
        ("pdb_1000abcd_xyz_v12-0.bcif", "pdb_1000abcd"),
        # What is not the entry's coordinates is another entry.
        ("pdb_00001as5_xyz-assembly1.cif.gz", "1as5-assembly1"),
        ("1as5-assembly1.cif.gz", "1as5-assembly1"),
        ("pdb_00001tbf.pdb1.gz", "1tbf.pdb1"),
        ("pdb_00001as5_sf.cif.gz", "pdb_00001as5_sf"),
        ("pdb_00001as5_model2.cif", "pdb_00001as5_model2"),
        ("pdb_00001as5_xyz_v1.cif", "pdb_00001as5_xyz_v1"),
        # Names of AlphaFold DB: isoforms and versions are part of them.
        ("AF-P04637-2-F1-model_v4.cif.gz", "AF-P04637-2-F1-model_v4"),
        ("AF-P04637-F1-model_v6.pdb", "AF-P04637-F1-model_v6"),
    ],
)
def test_the_archives_names_of_extended_ids_are_those_of_the_entry(filename, stem):
    assert split_name(filename)[0] == stem


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("AF-P29373-F1", True),
        ("AF-A0A0R4IYF1-F1-model_v2", True),
        ("AF-P04637-2-F1-model_v4", True),
        ("AF-Q8WZ42-F157-model_v4", True),
        ("AF_AFA0A140LG11F1", True),
        ("af_afq8sy76f1", True),
        ("AF-0000000066503175-model_v1", True),
        ("AF-mine", False),
        ("AF-2-models", False),
        ("AF_run_3", False),
        ("1orc", False),
    ],
)
def test_ids_of_alphafold_db_are_told_from_names_that_begin_alike(text, is_one):
    assert is_alphafold_db_id(text) is is_one


def make_file(name: str) -> SourceFile:
    stem, suffix_format, _ = split_name(name)
    return SourceFile(f"x/{name}", None, 10, 0, None, suffix_format, printable(stem))


def test_of_several_versions_of_a_file_the_present_one_is_tried_first_then_the_latest():
    names = [
        "pdb_00001as5_xyz_v1-0.cif.gz",
        "pdb_00001as5_xyz_v2-0.cif.gz",
        "pdb_00001as5_xyz_v10-1.cif.gz",
        "pdb_00001as5_xyz_v2-11.cif.gz",
        "pdb_00001as5_xyz.cif.gz",
        "1as5.cif.gz",
        "1as5.bcif",
        "pdb_00001as5_xyz_v1-0.pdb",
    ]
    (entry,) = group_entries(map(make_file, names))
    assert entry.entry_id == "1as5"
    assert [file.path[2:] for file in entry.candidates] == [
        "1as5.bcif",
        "1as5.cif.gz",
        "pdb_00001as5_xyz.cif.gz",
        "pdb_00001as5_xyz_v10-1.cif.gz",
        "pdb_00001as5_xyz_v2-11.cif.gz",
        "pdb_00001as5_xyz_v2-0.cif.gz",
        "pdb_00001as5_xyz_v1-0.cif.gz",
        "pdb_00001as5_xyz_v1-0.pdb",
    ]


# ---- builds -------------------------------------------------------------------------------------


def copies(folder: Path, names: dict[str, str]) -> Path:
    """Files of the examples under other names: new name → entry."""
    folder.mkdir()
    for name, entry in names.items():
        shutil.copy(EXAMPLES / SHORT[entry], folder / name)
    return folder


def test_a_build_of_extended_names_is_that_of_the_short_ones(tmp_path):
    short = copies(tmp_path / "short", {name: entry for entry, name in SHORT.items()})
    extended = copies(
        tmp_path / "extended",
        {
            "pdb_00001orc.pdb.gz": "1orc",
            "pdb_00001as5_xyz_v1-2.cif.gz": "1as5",
            "PDB_00004ZHL_xyz.cif.gz": "4zhl",
        },
    )
    found = [build_here(folder, tmp_path / f"out-{folder.name}") for folder in (short, extended)]
    assert found[0]["digest"] == found[1]["digest"]


def test_short_and_extended_names_in_one_folder_are_one_entry(tmp_path):
    names = {name: entry for entry, name in SHORT.items()}
    both = {**names, "pdb_00001orc.pdb.gz": "1orc", "pdb_00001as5_xyz_v1-2.cif.gz": "1as5"}
    found = build_here(copies(tmp_path / "both", both), tmp_path / "out")
    rows = inputs(tmp_path / "out")
    assert found["counts"]["entries"] == len(names)
    for name in both:
        assert rows[name]["reason"] == (None if name in names else "same-entry")


def test_lists_in_either_spelling_restrict_a_build_of_either(tmp_path):
    folder = copies(
        tmp_path / "in", {"pdb_00001orc.pdb.gz": "1orc", "1as5.cif.gz": "1as5", "4zhl.cif": "4zhl"}
    )
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("entry_id,chain\n1ORC,\npdb_00001as5,\nPDB_00004ZHL,U\n")
    obsolete = tmp_path / "obsolete.dat"
    obsolete.write_text("OBSLTE    31-JUL-94 1ORC     2ORC\nOBSLTE    31-JUL-94 pdb_00001as5\n")
    found = build_here(folder, tmp_path / "out", manifest=manifest, obsolete=obsolete)
    rows = inputs(tmp_path / "out")
    reasons = {name: row["reason"] for name, row in rows.items()}
    assert reasons == {
        "pdb_00001orc.pdb.gz": "obsolete",
        "1as5.cif.gz": "obsolete",
        "4zhl.cif": None,
    }
    assert found["manifest"]["first_not_found"] == ["1as5", "1orc"]
    assert "superseded by 2orc" in rows["pdb_00001orc.pdb.gz"]["message"]


# ---- lists --------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", [*SHORT])
@pytest.mark.parametrize("style", ["{}", "pdb_0000{}", "PDB_0000{}"])
def test_every_list_takes_every_spelling(entry, style, tmp_path):
    named = style.format(entry)
    path = tmp_path / "list.csv"
    uids = [f"{entry}_1_A", "2abc_1_A"]
    index = pa.table(
        {
            "chain_uid": uids,
            "entry_id": [entry, "2abc"],
            "label_asym_id": ["A", "A"],
            "auth_asym_id": ["A", "A"],
        }
    )

    path.write_text(f"entry_id\n{named}\n")
    assert Manifest.read(path).has_entry(entry)
    mask, _ = ChainList.read(path).chosen(index)
    assert mask.tolist() == [True, False]
    path.write_text(f"{named}\nnone\n")
    chosen = ChainList.read(path)
    mask, found = chosen.chosen(index)
    assert mask.tolist() == [True, False]
    assert chosen.not_found(found) == ["none"]
    path.write_text(f"{named}_1_A\n")
    mask, found = ChainList.read(path).chosen(index)
    assert (mask.tolist(), found) == ([True, False], {f"{named}_1_A"})
    path.write_text(f"chain_uid,split\n{named}_1_A,test\n")
    splits = SplitList.read(path, ["test"])
    assert splits.look_up(uids, [entry, "2abc"], [("A", "A")] * 2) == (["test", None], [])
    path.write_text(f"entry_id,split\n{named},test\n")
    splits = SplitList.read(path, ["test"])
    assert splits.look_up(uids, [entry, "2abc"], [("A", "A")] * 2) == (["test", None], [])
    path.write_text(f"{named}\n")
    assert entry in Obsolete.read(path).successors
    wanted = pdb_entry(named)
    assert (wanted.entry_id, wanted.remote, wanted.middle) == (entry, entry, entry[1:3])


@pytest.mark.skipif(not (STRUCTURES / "reported").is_dir(), reason="needs the shared structures")
def test_the_reported_names_lists_and_files_are_of_the_same_entries(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("pdb_00001orc.pdb", "pdb_00001as5_xyz_v1-2.cif"):
        packed = (STRUCTURES / "reported" / f"{name}.gz").read_bytes()
        (folder / name).write_bytes(gzip.decompress(packed))
    reported = STRUCTURES / "reported"
    manifest, obsolete = reported / "beta_manifest.csv", reported / "obsolete.dat"
    found = build_here(folder, tmp_path / "out", manifest=manifest, obsolete=obsolete)
    rows = inputs(tmp_path / "out")
    assert rows["pdb_00001orc.pdb"]["reason"] == "obsolete"
    assert rows["pdb_00001as5_xyz_v1-2.cif"]["status"] == "ok"
    assert found["counts"]["entries"] == 1
    assert "1as5" not in found["manifest"]["first_not_found"]
