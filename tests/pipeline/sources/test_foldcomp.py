"""Foldcomp's files and databases are inputs like others, and damaged ones cost themselves."""

from __future__ import annotations

import gzip
import io
import struct
import sys
import tarfile
import tracemalloc
from pathlib import Path

import gemmi
import numpy as np
import pytest

from pipeline.chain import Chain
from pipeline.parsing import read_chains
from pipeline.sources import (
    CorruptStream,
    NotInstalled,
    SourceChanged,
    SourceError,
    TooLarge,
    TruncatedStream,
    decompress,
    discover,
    foldcomp_database,
    peek,
    read_source,
    sniff,
)
from tests.support.build_runs import build_here, build_json, inputs, peptide, snapshot
from tests.support.foldcomp_files import ALPHAFOLD, alphafold_pdb, pack, write_database
from tests.support.places import EXAMPLES
from tests.support.s3_server import s3_server

foldcomp = pytest.importorskip("foldcomp", reason="the extra foldcomp is not installed")

MANY = 1 << 30
RESIDUES = sorted(gemmi.expand_one_letter_sequence("ACDEFGHIKLMNPQRSTVWY", gemmi.ResidueKind.AA))


@pytest.fixture(scope="module")
def packed() -> bytes:
    return pack(f"{ALPHAFOLD}.pdb")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory, packed: bytes) -> Path:
    """A folder with a database in it, and another file."""
    folder = tmp_path_factory.mktemp("database")
    entries = {ALPHAFOLD: packed}
    for k in range(12):
        entries[f"p{k:02d}.pdb"] = pack(f"p{k:02d}", peptide(30, seed=k))
    write_database(folder / "deep" / "afdb", entries)
    (folder / "1ubi.pdb.zst").write_bytes((EXAMPLES / "1ubi.pdb.zst").read_bytes())
    return folder


def names(found) -> list[str]:
    return [file.name for file in found.files]


def reasons(found) -> dict[str, str]:
    return {problem.name: problem.reason for problem in found.problems}


# --- content --------------------------------------------------------------------------------------


def atoms_of(chain: Chain) -> set[tuple[int, ...]]:
    """Each atom as the number of its residue and its coordinates."""
    counts = np.bitwise_count(chain.atom14_mask)
    residues = np.repeat(np.arange(len(chain)), counts)
    return {(int(k), *map(int, row)) for k, row in zip(residues, chain.coords, strict=True)}


def test_coordinates_are_those_that_foldcomp_gives(packed):
    _, text = foldcomp.decompress(packed)
    (chain,) = read_chains(decompress(packed, MANY), ALPHAFOLD).chains
    (expected,) = gemmi.read_pdb_string(text)[0]
    assert chain.aatype.tolist() == [RESIDUES.index(r.name) for r in expected]
    assert atoms_of(chain) == {
        (k, *(round(1000 * x) for x in atom.pos.tolist()))
        for k, residue in enumerate(expected)
        for atom in residue
        if atom.name != "OXT"
    }
    assert np.allclose(chain.b_factor, [r["CA"][0].b_iso for r in expected], atol=0.01)


def test_what_foldcomp_packed_is_near_the_original(packed):
    content = (EXAMPLES / f"{ALPHAFOLD}.cif.gz").read_bytes()
    (original,) = read_chains(decompress(content, MANY), ALPHAFOLD).chains
    (chain,) = read_chains(decompress(packed, MANY), ALPHAFOLD).chains
    assert (chain.aatype == original.aatype).all()
    assert (chain.atom14_mask == original.atom14_mask).all()
    assert np.abs(chain.coords - original.coords).max() < 1500
    assert np.sqrt(((chain.coords - original.coords) ** 2).sum(1).mean()) < 200
    assert np.abs(chain.b_factor - original.b_factor).max() < 0.5


def test_models_of_alphafold_db_are_known_by_the_title_that_they_were_packed_with(packed):
    metadata = read_chains(decompress(packed, MANY), "x").chains[0].metadata
    assert (metadata.confidence_kind, metadata.source) == ("plddt", "AlphaFold DB")
    other = read_chains(decompress(pack("mine", peptide(30)), MANY), "x").chains[0].metadata
    assert (other.confidence_kind, other.source) == (None, None)


@pytest.mark.parametrize("with_nul", [b"", b"\0"])
def test_packed_data_are_pdb_text_to_everything_else(packed, with_nul):
    assert sniff(peek(packed + with_nul, 4096)) == "pdb"
    assert decompress(packed + with_nul, MANY).startswith(b"TITLE     " + ALPHAFOLD.encode())
    assert decompress(gzip.compress(packed), MANY) == decompress(packed, MANY)


def test_every_cut_and_every_wrong_count_is_an_error_by_name(packed):
    for n in (4, 30, 75, 76, 100, 500, len(packed) - 1):
        with pytest.raises(TruncatedStream, match=r"x\.fcz ends"):
            decompress(packed[:n], MANY, name="x.fcz")
    with pytest.raises(CorruptStream, match="holds bytes after"):
        decompress(packed + b"\0\0", MANY, name="x.fcz")
    n_anchors = packed[12]
    backbone = 76 + 4 * n_anchors + 25 + 36 * n_anchors + 13
    for offset, value in (
        (76, struct.pack("<i", 7)),  # the first anchor
        (76 + 4, struct.pack("<i", 5000)),
        (76 + 4, struct.pack("<i", -5)),
        (76 + 4 * n_anchors - 4, struct.pack("<i", 138)),  # the last one
        (13, b"\n"),  # the chain
        (76 + 4 * n_anchors + 3, b"\n"),  # the title
        (backbone + 8 * 5, b"\xff"),  # a type of residue that there is not
        (backbone + 8 * 5, bytes([17 << 3])),  # one of other atoms
    ):
        damaged = packed[:offset] + value + packed[offset + len(value) :]
        with pytest.raises(CorruptStream, match=r"x\.fcz"):
            decompress(damaged, MANY, name="x.fcz")


@pytest.mark.parametrize(
    "data",
    [
        b"FCMP" + b"\xff" * 300,
        b"FCMP" + b"\0" * 72,
        b"FCMP" + b"\0" * 200,
        b"FCMP" + struct.pack("<HHHHBc2xI", 65535, 9, 1, 1, 2, b"A", 1 << 31) + b"\0" * 100,
    ],
)
def test_absurd_counts_are_refused_before_anything_is_unpacked(data):
    with pytest.raises(SourceError):
        decompress(data, MANY)


def test_a_structure_over_the_size_limit_is_not_unpacked(packed, monkeypatch):
    size = len(decompress(packed, MANY))
    monkeypatch.setattr(foldcomp, "decompress", None)
    with pytest.raises(TooLarge, match=r"x\.fcz unpacks to more than the limit"):
        decompress(packed, size // 2, name="x.fcz")


def test_without_the_package_such_files_fail_with_the_line_that_installs_it(packed, monkeypatch):
    monkeypatch.setitem(sys.modules, "foldcomp", None)
    with pytest.raises(NotInstalled, match="pip install foldcomp"):
        decompress(packed, MANY, name="x.fcz")


# --- databases ------------------------------------------------------------------------------------


def test_entries_of_a_database_are_inputs_and_its_other_files_are_none(database):
    before = snapshot(database)
    found = discover(database)
    entries = [f"deep/afdb::{n}" for n in (ALPHAFOLD, *(f"p{k:02d}.pdb" for k in range(12)))]
    assert names(found) == ["1ubi.pdb.zst", *entries]
    assert not found.problems
    with foldcomp.open(database / "deep/afdb") as opened:
        texts = [text for _, text in opened]
    for file, text in zip(found.files[1:], texts, strict=True):
        assert decompress(read_source(file, database, MANY).data, MANY) == text.encode()
    assert [file.stem for file in found.files[1:3]] == [ALPHAFOLD, "p00"]
    assert snapshot(database) == before


@pytest.mark.parametrize("place", ["deep/afdb", "list"])
def test_a_database_may_be_the_input_itself(database, place, tmp_path):
    if place == "list":
        (tmp_path / "list.txt").write_text(str(database / "deep/afdb"))
        found = discover(None, tmp_path / "list.txt")
    else:
        found = discover(database / place)
    assert len(found.files) == 13
    assert {len(read_source(f, found.root, MANY).data) for f in found.files[2:]}


def test_a_file_beside_an_index_that_is_no_database_stays_what_it_is(tmp_path):
    (tmp_path / "db").write_text("data_x\n")
    (tmp_path / "db.index").write_text("0\t0\t7\n")
    assert names(discover(tmp_path)) == ["db", "db.index"]


def test_entries_without_a_name_or_of_one_name_are_told_apart(tmp_path, packed):
    path = write_database(tmp_path / "db", {"a": packed, "b": packed, "c": packed, "d": packed})
    Path(f"{path}.lookup").write_text("0\tx\t0\n1\tx\t0\n3\tsome/where/y.cif.gz\t0\n9\tz\t0\n")
    found = discover(tmp_path)
    assert names(found) == ["db::2", "db::some/where/y.cif.gz", "db::x~0", "db::x~1"]
    assert {file.offset for file in found.files} == {k * (len(packed) + 1) for k in range(4)}
    Path(f"{path}.lookup").unlink()
    assert names(discover(tmp_path)) == [f"db::{k}" for k in range(4)]


@pytest.mark.parametrize(
    "line",
    ["-1\t0\t9", "5\t-7\t9", "5\t0\t-9", "5\t0", "what", "5\t1e3\t9", "5\t" + "9" * 40, "0\t0\t9"],
)
def test_a_line_of_an_index_that_is_none_is_a_problem_by_name(tmp_path, packed, line):
    path = write_database(tmp_path / "db", {"a": packed, "b": packed})
    with open(f"{path}.index", "a") as index:
        index.write(line + "\n7\t0\t9\n")
    found = discover(tmp_path)
    assert names(found) == ["db::a", "db::b"]
    assert reasons(found) == {"db": "corrupt-stream"}
    assert "index" in found.problems[0].message


def test_entries_beyond_the_database_fail_by_name_and_the_others_are_read(tmp_path, packed):
    path = write_database(tmp_path / "db", {"a": packed, "b": packed, "c": packed})
    path.write_bytes(path.read_bytes()[: -len(packed) - 10])
    found = discover(tmp_path)
    assert names(found) == ["db::a"]
    assert reasons(found) == {"db::b": "truncated-stream", "db::c": "truncated-stream"}
    assert read_source(found.files[0], tmp_path, MANY).data == packed + b"\0"


def test_more_entries_than_are_read_are_said(tmp_path, packed, monkeypatch):
    monkeypatch.setattr(foldcomp_database, "MAX_ENTRIES", 2)
    write_database(tmp_path / "db", {"a": packed, "b": packed, "c": packed})
    found = discover(tmp_path)
    assert names(found) == ["db::a", "db::b"]
    assert "more than 2 entries" in found.problems[0].message


def test_an_index_of_one_endless_line_costs_no_memory(tmp_path, packed):
    path = write_database(tmp_path / "db", {"a": packed})
    with open(f"{path}.index", "ab") as index:
        index.truncate(1 << 26)
    tracemalloc.start()
    found = discover(tmp_path)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 16 << 20
    assert names(found) == ["db::a"]
    assert reasons(found) == {"db": "corrupt-stream"}


def test_another_database_under_the_same_index_gives_no_wrong_data(tmp_path, packed):
    path = write_database(tmp_path / "db", {"a": packed, "b": packed})
    found = discover(tmp_path)
    changed = path.read_bytes()
    path.write_bytes(changed[:100] + changed)
    with pytest.raises(SourceChanged, match="db changed"):
        read_source(found.files[1], tmp_path, MANY)
    found = discover(tmp_path)
    with pytest.raises(CorruptStream, match="db::b: there are no Foldcomp data at byte"):
        read_source(found.files[1], tmp_path, MANY)


# --- builds ---------------------------------------------------------------------------------------


def digest(source: Path, out: Path) -> str:
    build_here(source, out)
    return build_json(out)["digest"]


def test_a_database_a_tar_and_files_of_the_same_data_are_one_dataset(tmp_path, packed):
    packs = {ALPHAFOLD: packed, **{f"p{k}": pack(f"p{k}", peptide(30, seed=k)) for k in range(3)}}
    write_database(tmp_path / "database" / "set_db", packs)
    (tmp_path / "files").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "tar").mkdir()
    with tarfile.open(tmp_path / "tar" / "set.tar", "w") as archive:
        for name, data in packs.items():
            (tmp_path / "files" / f"{name}.fcz").write_bytes(data)
            (tmp_path / "texts" / f"{name}.pdb").write_text(foldcomp.decompress(data)[1])
            info = tarfile.TarInfo(f"{name}.fcz")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    folders = ["database", "files", "texts", "tar"]
    assert len({digest(tmp_path / name, tmp_path / "out" / name) for name in folders}) == 1
    rows = inputs(tmp_path / "out" / "database")
    assert {row["entry_id"] for row in rows.values()} == set(packs)
    assert all(row["status"] == "ok" for row in rows.values())


def test_a_database_is_cut_into_parts(database, tmp_path):
    one = build_here(database, tmp_path / "one", min_part=1 << 30)
    many = build_here(database, tmp_path / "many", min_part=20_000)
    assert len(one["shards"]) == 1
    assert len(many["shards"]) > 3
    assert one["digest"] == many["digest"]


def test_the_exact_file_is_read_where_a_packed_one_lies_beside_it(tmp_path, packed):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / f"{ALPHAFOLD}.cif.fcz").write_bytes(packed)
    (folder / f"{ALPHAFOLD}.pdb").write_text(alphafold_pdb())
    build_here(folder, tmp_path / "out")
    rows = inputs(tmp_path / "out")
    assert rows[f"{ALPHAFOLD}.pdb"]["status"] == "ok"
    assert rows[f"{ALPHAFOLD}.cif.fcz"]["reason"] == "same-entry"


def test_a_damaged_entry_costs_itself(tmp_path, packed):
    path = write_database(tmp_path / "in" / "db", {"a": packed, "b": packed, "c": packed})
    data = bytearray(path.read_bytes())
    data[len(packed) + 1 + 76 + 4] ^= 0xFF  # an anchor of the second
    path.write_bytes(data)
    build_here(tmp_path / "in", tmp_path / "out", status=1)
    rows = {name: (row["status"], row["reason"]) for name, row in inputs(tmp_path / "out").items()}
    assert rows == {
        "db::a": ("ok", None),
        "db::b": ("failed", "corrupt-stream"),
        "db::c": ("ok", None),
    }


def test_a_database_in_a_store_is_the_one_here(database, tmp_path):
    with s3_server() as s3:
        s3.make_bucket("bucket")
        for path in database.rglob("*"):
            if path.is_file():
                s3.put("bucket", f"in/{path.relative_to(database)}", path.read_bytes())
        there = build_here(Path(s3.uri("bucket/in")), tmp_path / "there")
    assert there["digest"] == build_here(database, tmp_path / "here")["digest"]
    assert set(inputs(tmp_path / "there")) == set(inputs(tmp_path / "here"))
