"""All readers make the same atom table of the same file."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.parsing import NotAStructure, ParseError, pdb_text
from pipeline.parsing.atom_table import AtomTable
from pipeline.parsing.bcif import BinaryCif
from pipeline.parsing.cif_atoms import Models, read_atoms
from pipeline.parsing.cif_entry import CATEGORIES
from pipeline.parsing.cif_text import AlignedTable, CifText, TokenTable
from pipeline.parsing.cif_tokens import CifTokens
from pipeline.parsing.errors import Irregular
from pipeline.parsing.with_biotite import atoms_with_biotite
from pipeline.sources import decompress
from tests.support.places import EXAMPLES, STRUCTURES
from tests.support.structure_text import COLUMNS, Atom, atom_rows, change, cif_text, loop, residue

N_FAST = {"main": 10, "edge": 40}


def content(path: Path) -> bytes:
    return decompress(path.read_bytes(), 2**30)


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def files(suffix: str, max_bytes: int = 40_000) -> list:
    """Every example; of the shared structures a fixed few, and the rest marked slow."""
    endings = (suffix, f"{suffix}.gz", f"{suffix}.zst")
    examples = sorted(p for p in EXAMPLES.iterdir() if p.name.endswith(endings))
    found = [pytest.param(p, id=name_of(p)) for p in examples]
    for folder, n_fast in N_FAST.items():
        if suffix == ".pdb" and folder == "edge":
            continue  # what is hard in PDB files is spelled out in test_parsing_policy
        paths = [p for p in (STRUCTURES / folder).glob("*") if p.name.endswith(endings)]
        paths.sort(key=lambda p: hashlib.sha256(p.name.encode()).digest())
        small = [p for p in paths if p.stat().st_size < max_bytes][:n_fast]
        found += [
            pytest.param(p, id=name_of(p), marks=[] if p in small else [pytest.mark.slow])
            for p in paths
        ]
    return found


def differing_columns(a: AtomTable, b: AtomTable, skip: tuple[str, ...] = ()) -> list[str]:
    if len(a) != len(b):
        return [f"{len(a)} and {len(b)} rows"]
    found = []
    for f in fields(AtomTable):
        if f.name in skip:
            continue
        x, y = getattr(a, f.name), getattr(b, f.name)
        if not np.array_equal(x, y):
            rows = range(len(a)) if np.ndim(x) else []
            where = [(k, x[k], y[k]) for k in rows if not np.array_equal(x[k], y[k])]
            found.append(f"{f.name}: {where[:3] or (x, y)}")
    return found


def read_tokens(data: bytes, models: Models) -> AtomTable:
    """The token-splitting reader, also where the aligned one would do."""
    over = AlignedTable.over
    AlignedTable.over = classmethod(lambda cls, *arguments: None)  # type: ignore[method-assign]
    try:
        table = CifText(data).table("atom_site")
    finally:
        AlignedTable.over = over  # type: ignore[method-assign]
    assert not isinstance(table, AlignedTable)
    return read_atoms(table, models)


@pytest.mark.parametrize("path", files(".cif"))
def test_the_readers_of_mmcif_agree_in_every_column(path: Path):
    data = content(path)
    try:
        grammar = CifTokens(data).table("atom_site")
        read_atoms(grammar, "first")
    except (NotAStructure, ParseError):
        pytest.skip("no reader finds atoms in it")
    models = "all" if grammar.n_rows < 5_000 else "first"
    readings = readings_without_biotite(data, models)
    # biotite minds the case of tags and reads no indented ones.
    if b"\n_atom_site.Cartn_x" in data:
        readings["biotite"] = atoms_with_biotite(data, "cif", models)
    first, *others = readings.items()
    for name, table in others:
        assert not differing_columns(first[1], table), f"{first[0]} and {name}"


@pytest.mark.parametrize("path", files(".bcif"))
def test_binarycif_is_read_as_biotite_reads_it(path: Path):
    data = content(path)
    try:
        ours = read_atoms(BinaryCif(data, CATEGORIES).table("atom_site"), "first")
    except NotAStructure:
        pytest.skip("it holds no atoms")
    assert not differing_columns(ours, atoms_with_biotite(data, "bcif", "first"))


UNLIKE_BIOTITE_PDB = ("element", "after_ter", "stretch", "rounded", "label_asym_id", "auth_asym_id")
"""Elements biotite guesses otherwise where the file has none; it reads one letter of a chain id."""


@pytest.mark.parametrize("path", files(".pdb"))
def test_archive_pdb_files_are_read_as_biotite_reads_them(path: Path):
    data = content(path)
    ours = pdb_text.read_atoms(pdb_text.PdbText(data), "first")
    if not ours.located.all():
        pytest.skip("biotite reads no file with blank coordinates")
    theirs = atoms_with_biotite(data, "pdb", "first")
    skip = UNLIKE_BIOTITE_PDB
    if ours.auth_asym_id.dtype.itemsize > 1:
        skip += ("comp_id",)
    far = np.abs(ours.coords).max() > 8_000_000  # where float32 resolves no 0.001 Å
    # biotite numbers models by their place.
    assert not differing_columns(ours, theirs, (*skip, "model", *(["coords"] if far else [])))
    one_letter = ours.auth_asym_id.dtype.itemsize == 1
    assert not one_letter or np.array_equal(ours.auth_asym_id, theirs.auth_asym_id)


# ---- random tables ----------------

_NAME = st.sampled_from(["N", "CA", "C", "O5'", 'H2"', "N B", "LONGNAME5", "1HB", "SE", "C1'A'"])
_NUMBER = st.one_of(
    st.decimals(-9999, 9999, places=3).map(str),
    st.decimals(-99, 99, places=5).map(str),
    st.sampled_from(["?", ".", "nan", "1e3", "0", "-.5", "7.", "+1.5"]),
)
_ATOM = st.builds(
    Atom,
    name=_NAME,
    comp=st.sampled_from(["ALA", "A", "MSE", "TOOLONGNAME", "0AF"]),
    chain=st.sampled_from(["A", "AA", "AbCdEfGhI", "1"]),
    number=st.sampled_from(["1", "-5", "10000", "?"]),
    ins=st.sampled_from(["", "A", "1"]),
    xyz=st.tuples(_NUMBER, _NUMBER, _NUMBER),
    altloc=st.sampled_from(["", "A", "2"]),
    occupancy=st.sampled_from(["1.00", "0.5", "?", "0.335", "."]),
    b=st.sampled_from(["10.00", "99.123", "?", "0"]),
    record=st.sampled_from(["ATOM", "HETATM"]),
    model=st.sampled_from([1, 1, 1, 2]),
    seq=st.sampled_from(["1", "2", "."]),
)


def multi_line(word: str) -> str:
    is_quoted = len(word) > 1 and word[0] in "'\"" and word[-1] == word[0]
    return f"\n;{word[1:-1] if is_quoted else word}\n;\n"


@settings(max_examples=80, deadline=None)
@given(
    st.lists(_ATOM, min_size=1, max_size=8),
    st.lists(st.sampled_from(list(COLUMNS)), max_size=4),
    st.integers(0, 10**6),
)
def test_a_table_reads_alike_however_it_is_written(atoms: list[Atom], left_out, seed: int):
    needed = {"label_atom_id", "label_comp_id", "Cartn_x", "Cartn_y", "Cartn_z"}
    columns = [c for c in COLUMNS if c in needed or c not in left_out]
    rows = atom_rows(atoms, columns)
    tail = "_exptl.method 'X-RAY DIFFRACTION'\n"
    rng = np.random.default_rng(seed)
    k = columns.index("label_atom_id")
    odd = [[*r[:k], multi_line(r[k]) if rng.integers(3) else r[k], *r[k + 1 :]] for r in rows]
    wrapped = [[*r[:3], r[3] + "\n", *r[4:]] for r in rows]
    ways = {
        "aligned": loop("atom_site", columns, rows, aligned=True),
        "ragged": loop("atom_site", columns, rows, aligned=False),
        "tabs": loop("atom_site", columns, rows, aligned=False).replace(" ", "\t")
        if not any(" " in w for r in rows for w in r)
        else loop("atom_site", columns, rows, aligned=False),
        "multi-line": loop("atom_site", columns, odd, aligned=False),
        "wrapped": loop("atom_site", columns, wrapped, aligned=False),
        "indented": loop("atom_site", columns, rows, aligned=False).replace("\n_", "\n  _"),
        "CRLF": loop("atom_site", columns, rows).replace("\n", "\r\n"),
        "comments": loop("atom_site", columns, rows).replace("\n_", "\n# a comment\n_", 3),
    }
    reference = atoms_with_biotite(("data_x\n" + ways["ragged"] + tail).encode(), "cif", "all")
    for way, text in ways.items():
        data = ("data_x\n" + text + tail).encode()
        for reader, table in readings_without_biotite(data, "all").items():
            assert not differing_columns(reference, table), f"{way}, {reader}"


def readings_without_biotite(data: bytes, models: Models) -> dict[str, AtomTable]:
    found = {"grammar": read_atoms(CifTokens(data).table("atom_site"), models)}
    try:
        table = CifText(data).table("atom_site")
    except Irregular:
        return found
    found[table.reader] = read_atoms(table, models)
    if table.reader == "aligned":
        found["tokens"] = read_tokens(data, models)
    return found


def test_each_way_of_writing_has_its_reader():
    """Else the comparisons above would compare a reader with itself."""
    atoms = [*residue("ALA", 1), *residue("GLY", 12)]
    aligned = CifText(cif_text(atoms).encode()).table("atom_site")
    ragged = CifText(cif_text(atoms, aligned=False).encode()).table("atom_site")
    assert isinstance(aligned, AlignedTable)
    assert isinstance(ragged, TokenTable)
    with pytest.raises(Irregular):
        CifText(b"data_x\n  loop_ _atom_site.id 1\n")


def test_two_words_in_one_aligned_column_are_one_value_too_many_and_not_a_name_with_a_blank():
    text = cif_text(change(residue("ALA", 1), comp="LONG"))
    broken = text.replace("LONG", "LO G", 1)
    with pytest.raises(ParseError) as caught:
        CifText(broken.encode()).table("atom_site")
    assert caught.value.reason == "malformed-loop"


def test_a_row_that_lacks_a_value_is_not_filled_from_the_next_one():
    lines = cif_text([*residue("ALA", 1), *residue("GLY", 2)], aligned=False).split("\n")
    k = next(i for i, line in enumerate(lines) if line.startswith("ATOM"))
    for cut in (lines[k + 2].rsplit(" ", 1)[0], lines[k + 2].split(" ", 1)[1]):
        broken = "\n".join([*lines[: k + 2], cut, *lines[k + 3 :]])
        with pytest.raises(ParseError) as caught:
            CifText(broken.encode()).table("atom_site")
        assert caught.value.reason == "malformed-loop"
    # Also where the counts happen to come out even: one value too few, then one too many.
    even = "\n".join([*lines[: k + 2], lines[k + 2][:-2], lines[k + 3] + " 1", *lines[k + 4 :]])
    with pytest.raises(ParseError) as caught:
        CifText(even.encode()).table("atom_site")
    assert caught.value.reason == "malformed-loop"


def test_an_unknown_record_name_means_that_the_columns_are_shifted():
    text = cif_text(residue("ALA", 1)).replace("ATOM", "C   ", 1)
    with pytest.raises(ParseError, match="group_PDB"):
        read_atoms(CifText(text.encode()).table("atom_site"), "first")


def test_gzip_and_plain_bytes_are_the_same_to_the_test_helpers(tmp_path: Path):
    path = tmp_path / "x.cif.gz"
    path.write_bytes(gzip.compress(b"data_x\n"))
    assert content(path) == b"data_x\n"
