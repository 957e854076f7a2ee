"""Exported files are the chains they were written from: to us, to gemmi, to biotite."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import biotite.structure.io.pdb as biotite_pdb
import biotite.structure.io.pdbx as biotite_pdbx
import gemmi
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.build.command import main as build
from pipeline.built.built_dataset import BuiltDataset
from pipeline.built.stored_chains import StoredChain, read_entries
from pipeline.chain import Chain
from pipeline.export.atoms import shortest, thousandths
from pipeline.export.chain_ids import distinct, with_own_ids
from pipeline.export.cif_values import quoted
from pipeline.export.command import main
from pipeline.export.ellipsoids import Ellipsoids
from pipeline.export.errors import ExportError
from pipeline.export.mmcif import mmcif_text
from pipeline.export.pdb import pdb_text
from pipeline.export.read_back import differences
from pipeline.residues import RESTYPES
from pipeline.where import parse_where
from tests.support.odd_inputs import ENTRIES, copies, with_biopython, with_gemmi, write
from tests.support.places import ROOT

FORMATS = ("cif", "pdb")


@pytest.fixture(scope="session")
def entries(examples_dataset: Path) -> dict[str, list[StoredChain]]:
    dataset = BuiltDataset.open(examples_dataset)
    found = read_entries(dataset, dataset.index())
    return {entry[0].chain.entry_id: entry for entry in found}


def text_of(entry: list[StoredChain], kind: str, with_ellipsoids: bool = False) -> str:
    write = mmcif_text if kind == "cif" else pdb_text
    ellipsoids = [Ellipsoids.of(stored) for stored in entry] if with_ellipsoids else None
    return write(chains_in(entry), ellipsoids, comment="a comment")


def chains_in(entry: list[StoredChain]) -> list[Chain]:
    return [stored.chain for stored in entry]


def one(entry: list[StoredChain], **changes: object) -> list[StoredChain]:
    """The first chain of an entry, changed."""
    return [replace(entry[0], chain=replace(entry[0].chain, **changes))]


# ---- the way back -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
def test_building_the_exported_files_gives_the_same_rows(
    kind: str, examples_dataset: Path, tmp_path: Path
) -> None:
    arguments = [str(examples_dataset), "--output", str(tmp_path / "files"), "--format", kind]
    assert main([*arguments, "--ellipsoids"]) == 0
    again = tmp_path / "again"
    arguments = ["--pdb-dir", str(tmp_path / "files"), "--out-dir", str(again), "--n-jobs", "1"]
    assert build([*arguments, "--quiet"]) == 0
    before, after = rows_of(examples_dataset), rows_of(again)
    if kind == "pdb":
        # PDB files know chains by the author's ids only.
        before = {(r["entry_id"], r["model"], r["auth_asym_id"]): r for r in before.values()}
        after = {(r["entry_id"], r["model"], r["auth_asym_id"]): r for r in after.values()}
    assert before.keys() == after.keys()
    same = "sequence entity_sequence aatype residue_index ins_code atom14_mask x y z b_factor sse"
    same += " centroid covariance resolution method title deposition_date length n_resolved"
    for key, row in before.items():
        names = same.split()
        if kind == "pdb":
            # Two decimals, as few as PDB files have.
            b_factor = row["b_factor"], after[key]["b_factor"]
            np.testing.assert_allclose(*b_factor, atol=0.0051)
            names.remove("b_factor")
        assert {n: row[n] for n in names} == {n: after[key][n] for n in names}, key
    if kind == "cif":
        for name in ("chain_uid", "row_sha256", "confidence_kind", "source", "uniprot", "taxonomy"):
            differ = [k for k, r in before.items() if r[name] != after[k][name]]
            assert not differ, name


def rows_of(dataset: Path) -> dict[object, dict]:
    shards = sorted((dataset / "shards").iterdir())
    return {r["chain_uid"]: r for s in shards for r in pq.read_table(s).to_pylist()}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("with_ellipsoids", [False, True])
def test_each_entry_reads_back_as_it_was(
    kind: str, with_ellipsoids: bool, entries: dict[str, list[StoredChain]]
) -> None:
    for entry in entries.values():
        text = text_of(entry, kind, with_ellipsoids)
        assert differences(text, [stored.chain for stored in entry]) == []


def test_reading_back_notices_what_is_lost(entries: dict[str, list[StoredChain]]) -> None:
    entry = entries["1a8o"]
    text, chains = text_of(entry, "pdb"), [s.chain for s in entry]
    line = next(line for line in text.splitlines() if line.startswith("ATOM"))
    moved = text.replace(line, line[:30] + f"{float(line[30:38]) + 0.001:8.3f}" + line[38:], 1)
    assert differences(moved, chains) == ["1a8o_1_A comes back with another coords"]
    renumbered = replace(chains[0], ins_code=chains[0].ins_code + 65)
    assert differences(text, [renumbered]) == ["1a8o_1_A comes back with another ins_code"]
    fewer = "".join(x for x in text.splitlines(True) if x[17:26] != "MET A 215")
    fewer = "".join(x for x in fewer.splitlines(True) if not x.startswith(("SEQRES", "REMARK 465")))
    assert differences(fewer, chains) == ["1a8o_1_A has 69 residues instead of 70"]
    assert differences(text, [*chains, *chains]) == ["1 chains come back instead of 2"]
    assert "cannot be read" in differences("data_x\n", chains)[0]


@pytest.mark.parametrize("kind", FORMATS)
def test_gemmi_reads_the_same_atoms(kind: str, entries: dict[str, list[StoredChain]]) -> None:
    for entry in entries.values():
        text = text_of(entry, kind)
        structure = (
            gemmi.make_structure_from_block(gemmi.cif.read_string(text).sole_block())
            if kind == "cif"
            else gemmi.read_pdb_string(text)
        )
        models = {m.num: m for m in structure}
        for stored in entry:
            chain = stored.chain
            residues = [r for r in models[chain.model][chain.auth_asym_id]]
            there = chain.atom14_mask > 0
            assert [r.seqid.num for r in residues] == chain.auth_seq_id[there].tolist()
            codes = [ord(r.seqid.icode) if r.seqid.icode != " " else 0 for r in residues]
            assert codes == chain.ins_code[there].tolist()
            names = [r.name for r in residues]
            assert names == [(*RESTYPES, "UNK")[a] for a in chain.aatype[there]]
            found = [[a.pos.x, a.pos.y, a.pos.z] for r in residues for a in r]
            np.testing.assert_array_equal(np.rint(np.array(found) * 1000), chain.coords)
            assert {a.occ for r in residues for a in r} == {1.0}
            b_factors = [r[0].b_iso for r in residues]
            np.testing.assert_allclose(b_factors, chain.b_factor[there], atol=0.0051)
            if kind == "cif":
                assert [r.label_seq for r in residues] == chain.residue_index[there].tolist()
                assert {r.subchain for r in residues} == {chain.label_asym_id}
                assert {r.entity_type for r in residues} == {gemmi.EntityType.Polymer}
                entity = structure.get_entity_of(residues_of(models, chain.auth_asym_id, chain))
                letters = gemmi.one_letter_code([n.split(",")[0] for n in entity.full_sequence])
                assert letters == (chain.entity_sequence or "")


def residues_of(models: dict[int, gemmi.Model], name: str, chain: object) -> gemmi.ResidueSpan:
    return models[chain.model][name].get_subchain(chain.label_asym_id)


@pytest.mark.parametrize("kind", FORMATS)
def test_biotite_reads_the_same_atoms(
    kind: str, entries: dict[str, list[StoredChain]], tmp_path: Path
) -> None:
    for entry in entries.values():
        path = tmp_path / f"a.{kind}"
        path.write_text(text_of(entry, kind))
        model = entry[0].chain.model
        chains = [s.chain for s in entry if s.chain.model == model]
        if kind == "cif":
            file = biotite_pdbx.CIFFile.read(path)
            atoms = biotite_pdbx.get_structure(file, model=1, use_author_fields=False)
        else:
            atoms = biotite_pdb.PDBFile.read(path).get_structure(model=1)
        for chain in chains:
            mine = atoms[
                atoms.chain_id == (chain.label_asym_id if kind == "cif" else chain.auth_asym_id)
            ]
            np.testing.assert_array_equal(
                np.rint(mine.coord.astype(np.float64) * 1000), chain.coords
            )
            numbers = chain.residue_index if kind == "cif" else chain.auth_seq_id
            assert np.array_equal(
                mine.res_id, np.repeat(numbers, np.bitwise_count(chain.atom14_mask))
            )
            assert not mine.hetero.any()


@settings(max_examples=300, deadline=None)
@given(value=st.integers(-(2**31), 2**31 - 1))
def test_stored_integers_are_printed_exactly(value: int) -> None:
    whole, _, fraction = thousandths(value).partition(".")
    assert len(fraction) == 3
    assert int(whole + fraction) == value


@settings(max_examples=300, deadline=None)
@given(value=st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_numbers_that_are_no_coordinates_come_back_to_the_last_bit(value: float) -> None:
    text = shortest(np.float32(value), 2)
    assert np.float32(text) == np.float32(value)
    assert len(text.partition(".")[2]) >= 2


@settings(max_examples=300, deadline=None)
@given(
    value=st.text(st.characters(max_codepoint=1000, exclude_categories=["Cs"]), max_size=20)
    | st.text("'\"#; _?.a", max_size=6)
)
@example(value="'#")
@example(value="\"'")
def test_any_text_is_a_value_that_gemmi_reads(value: str) -> None:
    expected = " ".join("".join(c if c.isprintable() else " " for c in value).split())
    lines = f"data_x\n_a.b {quoted(value)}\n_a.c 1\n"
    block = gemmi.cif.read_string(lines).sole_block()
    assert gemmi.cif.as_string(block.find_value("_a.b")) == expected
    assert block.find_value("_a.c") == "1"


def test_a_value_that_is_not_known_differs_from_a_question_mark() -> None:
    assert quoted(None) == "?"
    assert quoted("?") == "'?'"
    assert quoted("") == "''"


# ---- odd chains ---------------------------------------------------------------------------------


def test_unknown_residues_are_written_as_unk(entries: dict[str, list[StoredChain]]) -> None:
    (stored,) = entries["1ubi"]
    aatype = stored.chain.aatype.copy()
    mask = stored.chain.atom14_mask.copy()
    per_residue = np.bitwise_count(mask)
    aatype[10] = 20
    keep = np.ones(len(stored.chain.coords), bool)
    begin = per_residue[:10].sum()
    keep[begin + 5 : begin + per_residue[10]] = False
    mask[10] &= 31
    sequence = list(stored.chain.entity_sequence or "")
    sequence[10] = "X"
    chain = replace(
        stored.chain,
        aatype=aatype,
        atom14_mask=mask,
        coords=stored.chain.coords[keep],
        entity_sequence="".join(sequence),
    )
    for kind in FORMATS:
        text = text_of([replace(stored, chain=chain)], kind)
        assert "UNK" in text
        assert differences(text, [chain]) == []


def test_missing_residues_have_the_numbers_that_follow_from_those_around(
    entries: dict[str, list[StoredChain]],
) -> None:
    (stored,) = entries["1a8o"]  # 70 residues, which the author numbers from 151
    keep = np.ones(len(stored.chain), bool)
    keep[[0, 1, 68, 69]] = False
    mask = np.where(keep, stored.chain.atom14_mask, 0).astype(np.uint16)
    mask[30:32] = 0
    atoms = np.repeat(mask > 0, np.bitwise_count(stored.chain.atom14_mask))
    kept = ("aatype", "residue_index", "auth_seq_id", "ins_code", "b_factor", "resolved")
    chain = replace(
        stored.chain,
        atom14_mask=mask[keep],
        coords=stored.chain.coords[atoms],
        **{name: getattr(stored.chain, name)[keep] for name in kept},
    )
    lines = pdb_text([chain]).splitlines()
    remarks = [line.split()[2:] for line in lines if line.startswith("REMARK 465     ")]
    found = [words for words in remarks if words]
    numbers = [151, 152, 181, 182, 219, 220]
    names = [RESTYPES[stored.chain.aatype[k - 151]] for k in numbers]
    assert found == [[name, "A", str(k)] for name, k in zip(names, numbers, strict=True)]


def test_a_residue_that_is_not_the_one_of_its_entity_is_kept(
    entries: dict[str, list[StoredChain]],
) -> None:
    (stored,) = entries["1ubi"]
    sequence = list(stored.chain.entity_sequence or "")
    assert sequence[8] != "W"
    sequence[8] = "W"
    chain = replace(stored.chain, entity_sequence="".join(sequence))
    assert differences(text_of([replace(stored, chain=chain)], "cif"), [chain]) == []
    block = gemmi.cif.read_string(mmcif_text([chain])).sole_block()
    rows = [r for r in block.find("_entity_poly_seq.", ["num", "mon_id", "hetero"]) if r[0] == "9"]
    assert [(r[1], r[2]) for r in rows] == [("TRP", "y"), (RESTYPES[stored.chain.aatype[8]], "y")]


def test_chains_without_an_entity_sequence_keep_their_numbers(
    entries: dict[str, list[StoredChain]],
) -> None:
    stored = entries["1ubi"][0]
    chain = stored.chain
    shift = np.where(np.arange(len(chain)) < 20, -30, 100).astype(np.int32)
    chain = replace(
        chain,
        entity_sequence=None,
        residue_index=chain.residue_index + shift,
        auth_seq_id=chain.residue_index + shift,
    )
    for kind in FORMATS:
        assert differences(text_of([replace(stored, chain=chain)], kind), [chain]) == []
    # Places in an mmCIF file are from 1 on, in all models alike.
    moved = {"residue_index": chain.residue_index + 5, "auth_seq_id": chain.auth_seq_id + 5}
    later = replace(chain, model=2, **moved)
    block = gemmi.cif.read_string(mmcif_text([chain, later])).sole_block()
    for model, rows in zip(gemmi.make_structure_from_block(block), (chain, later), strict=True):
        numbers = [(r.label_seq, r.seqid.num) for r in model[chain.auth_asym_id]]
        assert numbers == [(n + 30, n) for n in rows.auth_seq_id.tolist()]


def test_a_blank_chain_id_and_several_models_come_back(
    entries: dict[str, list[StoredChain]],
) -> None:
    (stored,) = entries["1ubi"]
    chains = [
        replace(stored.chain, model=m, label_asym_id="_", auth_asym_id="_") for m in (3, 1, 7)
    ]
    for kind in FORMATS:
        text = text_of([replace(stored, chain=c) for c in chains], kind, with_ellipsoids=True)
        assert differences(text, chains) == []


def test_copies_of_an_assembly_are_chains_of_an_mmcif_file(
    entries: dict[str, list[StoredChain]],
) -> None:
    (stored,) = entries["1ubi"]
    chains = [
        replace(stored.chain, assembly="1", label_asym_id=f"A{end}", auth_asym_id=f"A{end}")
        for end in ("", "-2", "-3")
    ]
    text = text_of([replace(stored, chain=c) for c in chains], "cif", with_ellipsoids=True)
    assert differences(text, chains) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"auth_asym_id": "AB"}, "chain id 'AB'"),
        ({"auth_asym_id": "ü"}, "chain id 'ü'"),
        ({"auth_seq_id": np.arange(10_000, 10_076, dtype=np.int32)}, "residue numbers from"),
        ({"auth_seq_id": np.arange(-1000, -924, dtype=np.int32)}, "residue numbers from -1000"),
        ({"coords": 10_000_000}, "coordinates from"),
        ({"coords": -1_000_000}, "coordinates from"),
        ({"b_factor": np.full(76, 1234.5, np.float32)}, "B-factors from"),
        ({"model": 10_000}, "model number"),
    ],
)
def test_what_pdb_cannot_hold_is_refused_and_mmcif_takes_it(
    changes: dict, message: str, entries: dict[str, list[StoredChain]]
) -> None:
    entry = entries["1ubi"]
    if "coords" in changes:
        coords = entry[0].chain.coords.copy()
        coords[0, 0] = changes["coords"]
        changes = {"coords": coords}
    changed = one(entry, **changes)
    with pytest.raises(ExportError, match=message) as error:
        text_of(changed, "pdb")
    assert "write mmCIF (--format cif)" in str(error.value)
    assert differences(text_of(changed, "cif"), [changed[0].chain]) == []


def test_more_atoms_than_pdb_numbers_are_refused(entries: dict[str, list[StoredChain]]) -> None:
    letters = [chr(c) for c in range(33, 127) if chr(c) != "_"]
    (stored,) = entries["3enl"]
    many = [replace(stored.chain, auth_asym_id=c, label_asym_id=c) for c in letters[:40]]
    with pytest.raises(ExportError, match="numbers 99,999"):
        pdb_text(many)


def test_two_chains_of_one_letter_are_refused(entries: dict[str, list[StoredChain]]) -> None:
    entry = entries["1ubi"]
    with pytest.raises(ExportError, match="both have the author's chain id"):
        text_of([*entry, *one(entry, label_asym_id="A.2")], "pdb")


# ---- ids of chains ------------------------------------------------------------------------------


@given(ids=st.lists(st.sampled_from(["A", "B", "A.2", "A.3", "A.2.2", "_"]), max_size=9))
def test_distinct_ids_are_all_different_and_the_first_of_equals_keeps_its_own(
    ids: list[str],
) -> None:
    found = distinct(ids)
    assert len(set(found)) == len(ids)
    for k, ident in enumerate(ids):
        if ident not in ids[:k]:
            assert found[k] == ident
        else:
            assert found[k].startswith(f"{ident}.")


@pytest.mark.parametrize("with_ellipsoids", [False, True])
@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("kind", FORMATS)
def test_chains_under_one_id_are_exported_under_ids_of_their_own(
    kind: str,
    source: str,
    with_ellipsoids: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ENTRIES:
        path = write(tmp_path / "in", source, copies(name, "AABA"))
        path.rename(path.with_stem(f"{name[:4]}odd"))
    arguments = ["--pdb-dir", str(tmp_path / "in"), "--out-dir", str(tmp_path / "dataset")]
    assert build([*arguments, "--n-jobs", "1", "--quiet"]) == 0
    arguments = [str(tmp_path / "dataset"), "--output", str(tmp_path / "out"), "--format", kind]
    assert main([*arguments, *(["--ellipsoids"] if with_ellipsoids else [])]) == 0
    said = capsys.readouterr().err
    ids = {"cif": ["A", "A.2", "A.3", "B"], "pdb": ["A", "B", "C", "D"]}[kind]
    if with_ellipsoids:
        ids += {"cif": [f"{i}_ell" for i in ids], "pdb": ["a", "b", "c", "d"]}[kind]
    for name in ENTRIES:
        written = tmp_path / "out" / f"{name[:4]}odd.{kind}"
        for reader in (with_gemmi, with_biopython):
            assert reader(written) == dict.fromkeys(ids, 20)
        new = {"cif": "A.2", "pdb": "C"}[kind]
        assert f"note: {written}: chains are written under other ids" in said
        assert f"A.2 (the author's A) as {new}" in said
        assert f"chain {new} is chain A.2 (the author's A)" in written.read_text()
    assert "as a build reads it" not in said


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_per_chain_needs_no_other_ids(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "in", "pdb", copies(ENTRIES[0], "AA"))
    arguments = ["--pdb-dir", str(tmp_path / "in"), "--out-dir", str(tmp_path / "dataset")]
    assert build([*arguments, "--n-jobs", "1", "--quiet"]) == 0
    arguments = [str(tmp_path / "dataset"), "--output", str(tmp_path / "out"), "--format", kind]
    assert main([*arguments, "--per", "chain"]) == 0
    assert capsys.readouterr().err == ""
    for uid in ("odd_1_A", "odd_1_A.2"):
        assert with_gemmi(tmp_path / "out" / f"{uid}.{kind}") == {"A": 20}


@pytest.mark.parametrize("ident", ["AB", "A-2", "ü", "A B"])
def test_a_pdb_file_has_a_letter_for_each_id_that_it_has_no_room_for(
    ident: str, entries: dict[str, list[StoredChain]], tmp_path: Path
) -> None:
    (stored,) = entries["1ubi"]
    chains = [
        replace(stored.chain, model=m, label_asym_id=i, auth_asym_id=i)
        for m in (1, 2)
        for i in ("A", ident, "B", "_")
    ]
    changed = with_own_ids(chains, "pdb")
    assert changed.ids == {ident: "C"}
    assert changed.sentence().endswith(f"for a PDB file has one letter for each: {ident} as C")
    text = pdb_text(changed.chains)
    assert differences(text, changed.chains) == []
    path = tmp_path / "a.pdb"
    path.write_text(text)
    for reader in (with_gemmi, with_biopython):
        assert list(reader(path).values()) == [76] * 4
    assert with_own_ids(chains, "cif").sentence() == ""
    assert with_own_ids(chains, "cif").chains == chains


@pytest.mark.parametrize("kind", FORMATS)
def test_residues_under_one_number_are_numbered_anew(
    kind: str, entries: dict[str, list[StoredChain]], tmp_path: Path
) -> None:
    (stored,) = entries["1a8o"]
    numbers = stored.chain.auth_seq_id.copy()
    numbers[10:13] = numbers[10]
    codes = np.zeros_like(stored.chain.ins_code)
    codes[1] = ord("A")
    chain = replace(stored.chain, auth_seq_id=numbers, ins_code=codes)
    changed = with_own_ids([replace(chain, model=m) for m in (1, 2)], kind)  # type: ignore[arg-type]
    expected = "residues are numbered anew, for several of a chain have one number: chain A"
    assert changed.sentence() == expected
    assert list(changed.lines()) == ["residues of chain A are numbered anew"]
    text = (mmcif_text if kind == "cif" else pdb_text)(changed.chains)
    assert differences(text, changed.chains) == []
    path = tmp_path / f"a.{kind}"
    path.write_text(text)
    for reader in (with_gemmi, with_biopython):
        assert reader(path) == {"A": 70}
    assert changed.chains[0].auth_seq_id.tolist() == stored.chain.residue_index.tolist()
    # Insertion codes make numbers differ.
    codes[10:13] = np.frombuffer(b"\0AB", np.uint8)
    clear = replace(stored.chain, auth_seq_id=numbers, ins_code=codes)
    told = with_own_ids([clear], kind)  # type: ignore[arg-type]
    assert told.sentence() == ""
    assert told.chains[0].auth_seq_id is numbers


def test_more_chains_than_letters_are_refused(entries: dict[str, list[StoredChain]]) -> None:
    (stored,) = entries["1ubi"]
    ids = [f"A-{k}" for k in range(2, 65)]
    many = [replace(stored.chain, label_asym_id=i, auth_asym_id=i) for i in ids]
    assert len(with_own_ids(many[:62], "pdb").ids) == 62
    sentence = with_own_ids(many[:62], "pdb").sentence()
    assert sentence.endswith("A-2 as A, A-3 as B, A-4 as C, A-5 as D, A-6 as E and 57 more")
    with pytest.raises(ExportError, match="no letters left for them; write mmCIF"):
        with_own_ids(many, "pdb")


# ---- ellipsoids ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
def test_gemmi_reads_the_covariance_from_the_anisotropic_parameters(
    kind: str, entries: dict[str, list[StoredChain]]
) -> None:
    for entry in entries.values():
        text = text_of(entry, kind, with_ellipsoids=True)
        if kind == "cif":
            block = gemmi.cif.read_string(text).sole_block()
            model = gemmi.make_structure_from_block(block)[0]
        else:
            model = gemmi.read_pdb_string(text)[0]
        dummies = {c.name: [r for r in c if r.name == "DUM"] for c in model}
        chains = [name for name, residues in dummies.items() if residues]
        of_model = [s for s in entry if s.chain.model == entry[0].chain.model]
        assert len(chains) == len(of_model)
        for name, stored in zip(chains, of_model, strict=True):
            assert len(model[name]) == len(dummies[name]), "the protein has no place here"
            resolved = stored.chain.resolved
            residues = dummies[name]
            assert [r.seqid.num for r in residues] == stored.chain.auth_seq_id[resolved].tolist()
            u = np.array([r[0].aniso.as_mat33().tolist() for r in residues])
            np.testing.assert_allclose(
                u, matrices(stored.covariance[resolved]), atol=5.1e-5 if kind == "pdb" else 2e-6
            )
            centres = [r[0].pos.tolist() for r in residues]
            np.testing.assert_allclose(centres, stored.centroid[resolved], atol=5.1e-4)
            assert {r[0].element.name for r in residues} == {"X"}
            assert {r.het_flag for r in residues} == {"H"}
            trace = np.trace(u, axis1=1, axis2=2)
            expected = 8 * np.pi**2 / 3 * trace
            np.testing.assert_allclose([r[0].b_iso for r in residues], expected, atol=0.01)


def matrices(upper: NDArray[np.float32]) -> NDArray[np.float64]:
    xx, xy, xz, yy, yz, zz = upper.astype(np.float64).T
    return np.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], axis=-1).reshape(-1, 3, 3)


@pytest.mark.parametrize("kind", FORMATS)
def test_ellipsoids_leave_the_lines_of_the_protein_as_they_are(
    kind: str, entries: dict[str, list[StoredChain]]
) -> None:
    for entry in entries.values():
        plain, more = (
            [" ".join(x.split()) for x in text_of(entry, kind, e).splitlines() if x[:4] == "ATOM"]
            for e in (False, True)
        )
        assert len(plain) > 10
        assert plain == more


def test_an_ellipsoid_too_large_for_anisou_is_refused(
    entries: dict[str, list[StoredChain]],
) -> None:
    (stored,) = entries["1ubi"]
    for value, index, message in ((1000, 0, "seven columns"), (-100, 1, "seven columns")):
        covariance = stored.covariance.copy()
        covariance[5, index] = value
        huge = replace(stored, covariance=covariance)
        with pytest.raises(ExportError, match=message):
            text_of([huge], "pdb", with_ellipsoids=True)
        text_of([huge], "cif", with_ellipsoids=True)
        text_of([huge], "pdb")
    huge = replace(stored, covariance=stored.covariance + 20)
    with pytest.raises(ExportError, match="equivalent B-factor"):
        text_of([huge], "pdb", with_ellipsoids=True)


def test_every_ellipsoid_chain_gets_a_letter_of_its_own_or_mmcif_is_named(
    entries: dict[str, list[StoredChain]],
) -> None:
    (stored,) = entries["1as5"][:1]

    def named(letters: str) -> list[StoredChain]:
        return [
            replace(stored, chain=replace(stored.chain, auth_asym_id=c, label_asym_id=c))
            for c in letters
        ]

    text = text_of(named("AaB"), "pdb", with_ellipsoids=True)
    letters = {line[21] for line in text.splitlines() if line.startswith("HETATM")}
    assert len(letters) == 3
    assert letters.isdisjoint("AaB")
    assert "REMARK   6 CHAIN b: GAUSSIAN ELLIPSOIDS OF THE RESIDUES OF CHAIN B" in text
    many = "".join(chr(c) for c in range(33, 127) if chr(c).isalnum())[:40]
    with pytest.raises(ExportError, match="no letters left"):
        text_of(named(many), "pdb", with_ellipsoids=True)


def test_a_chain_that_is_called_like_ellipsoids_is_refused_beside_them(
    entries: dict[str, list[StoredChain]],
) -> None:
    (stored,) = entries["1ubi"]
    for field in ("label_asym_id", "auth_asym_id"):
        ids = {"label_asym_id": "B", "auth_asym_id": "B"} | {field: "A_ell"}
        entry = [stored, replace(stored, chain=replace(stored.chain, **ids))]
        with pytest.raises(ExportError, match="has a chain A_ell, as the ellipsoids of chain A"):
            text_of(entry, "cif", with_ellipsoids=True)
        assert differences(text_of(entry, "cif"), chains_in(entry)) == []


def test_ellipsoids_belong_to_the_resolved_residues(entries: dict[str, list[StoredChain]]) -> None:
    stored = next(s for s in entries["1bd2"] if not s.chain.resolved.all())
    found = Ellipsoids.of(stored)
    assert found.residue.tolist() == np.flatnonzero(stored.chain.resolved).tolist()
    assert (np.linalg.eigvalsh(matrices(stored.covariance[found.residue])) > 0).all()


# ---- the command --------------------------------------------------------------------------------


def test_chains_are_chosen_by_name_entry_and_condition(
    examples_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def chosen(*arguments: str) -> set[str]:
        path = tmp_path / "chosen.fasta"
        assert main([str(examples_dataset), *arguments, "--fasta", str(path), "--overwrite"]) == 0
        return {line.split()[0][1:] for line in path.read_text().splitlines() if line[0] == ">"}

    index = pq.read_table(examples_dataset / "index.parquet")
    every = set(index["chain_uid"].to_pylist())
    assert chosen() == every
    assert chosen("--chain", "1bd2_1_D") == {"1bd2_1_D"}
    two = {"1bd2_1_D", "1ubi_1_A"}
    assert chosen("--chain", "1bd2_1_D", "--chain", "1ubi_1_A") == two
    assert chosen("--chain", "1bd2_1_D", "1ubi_1_A") == two
    assert chosen("--chain=1bd2_1_D", "--entry=1ubi") == two
    condition = "length > 100 and resolution < 2.6"
    passing = index.filter(parse_where(condition, index.schema))["chain_uid"].to_pylist()
    assert chosen("--where", condition) == set(passing)
    assert chosen("--entry", "1bd2", "--where", "n_breaks > 1") == {
        u for u in every if u in ("1bd2_1_D",)
    }


def test_fasta_holds_the_sequences_of_the_rows(examples_dataset: Path, tmp_path: Path) -> None:
    path = tmp_path / "all.fasta"
    assert main([str(examples_dataset), "--fasta", str(path)]) == 0
    found = {
        r.split("\n")[0].split()[0]: r.split("\n")[1:] for r in path.read_text().split(">")[1:]
    }
    expected = {u: r["sequence"] for u, r in rows_of(examples_dataset).items()}
    assert {u: "".join(lines) for u, lines in found.items()} == expected
    assert max(len(line) for lines in found.values() for line in lines) == 80


def test_a_file_per_chain_or_entry(examples_dataset: Path, tmp_path: Path) -> None:
    arguments = [str(examples_dataset), "--entry", "1bd2", "--output"]
    assert main([*arguments, str(tmp_path / "chains"), "--per", "chain"]) == 0
    names = {p.name for p in (tmp_path / "chains").iterdir()}
    assert names == {f"1bd2_1_{c}.cif" for c in "ABCDE"}
    assert main([*arguments, str(tmp_path / "entries"), "--format", "pdb"]) == 0
    assert [p.name for p in (tmp_path / "entries").iterdir()] == ["1bd2.pdb"]


@pytest.mark.parametrize("name", ["a.cif", "a.mmcif", "a.pdb", "a.ent", "a.PDB"])
def test_the_name_of_the_file_says_its_format(
    name: str, examples_dataset: Path, tmp_path: Path
) -> None:
    path = tmp_path / "new" / name
    assert main([str(examples_dataset), "--chain", "1ubi_1_A", "--output", str(path)]) == 0
    assert path.read_text().startswith("data_" if "cif" in name else "HEADER")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "give --output, --view or --fasta"),
        (["--output", "x.cif"], 2, "--output FILE holds one entry, and 17 are chosen"),
        (["--view", "x.html"], 2, "--view shows one entry, and 17 are chosen"),
        (["--chain", "1bd2_1_Z", "--fasta", "x"], 1, "did you mean 1bd2_1_"),
        (["--entry", "9zzz", "--fasta", "x"], 1, "holds no entry 9zzz"),
        (["--where", "lenght > 3", "--fasta", "x"], 2, "did you mean length?"),
        (["--where", "length < 0", "--fasta", "x"], 1, "no chain fulfils length < 0"),
        (["--output", "x.cif", "--format", "pdb"], 2, "is not the name of a pdb file"),
        (["--output", "x.cif", "--per", "chain"], 2, "--per chain makes many files"),
        (["--ellipsoids", "--fasta", "x"], 2, "--ellipsoids and --format are for --output"),
        (["--viewer-script", "x.js", "--fasta", "x"], 2, "--viewer-script is for --view"),
        (["--entry", "1ubi", "--view", "x", "--viewer-script", "y"], 2, "cannot be read"),
        (["--otput", "x"], 2, "did you mean --output?"),
        (["--fasta", "."], 2, "is a folder"),
        (["--output", "taken", "--entry", "1ubi"], 2, "is a file; give a folder"),
        (["--output", "taken.cif", "--entry", "1ubi"], 1, "--overwrite replaces it"),
    ],
)
def test_wrong_usage_is_one_sentence_and_leaves_nothing(
    arguments: list[str],
    status: int,
    message: str,
    examples_dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("taken", "taken.cif"):
        (tmp_path / name).write_text("mine")
    try:
        found = main([str(examples_dataset), *arguments])
    except SystemExit as exit_:
        found = int(str(exit_.code))
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("error: ")
    assert found == status
    assert {p.name for p in tmp_path.iterdir()} == {"taken", "taken.cif"}
    assert (tmp_path / "taken.cif").read_text() == "mine"


def test_a_folder_that_is_no_dataset_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path), "--fasta", str(tmp_path / "x")]) == 1
    assert "has no build.json" in capsys.readouterr().err
    (tmp_path / "build.json").write_text("{")
    assert main([str(tmp_path), "--fasta", str(tmp_path / "x")]) == 1
    assert "build.json: is damaged" in capsys.readouterr().err


@pytest.fixture
def copied(examples_dataset: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(examples_dataset, tmp_path / "copy"))


def test_a_damaged_shard_is_named_and_nothing_is_written(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (shard,) = (copied / "shards").iterdir()
    data = bytearray(shard.read_bytes())
    data[len(data) // 3] ^= 1
    shard.write_bytes(data)
    assert main([str(copied), "--output", str(tmp_path / "files")]) == 1
    assert "part-00000.parquet" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.tmp"))


def test_an_index_of_other_shards_is_noticed(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = pq.read_table(copied / "index.parquet")
    rows = index["row"].to_numpy()[::-1]
    index = index.set_column(index.schema.get_field_index("row"), "row", [rows])
    pq.write_table(index, copied / "index.parquet")
    assert main([str(copied), "--entry", "1ubi", "--output", str(tmp_path / "x.cif")]) == 1
    assert "does not hold 1ubi_1_A where the index says" in capsys.readouterr().err


def test_an_entry_id_with_a_folder_in_it_keeps_it_and_one_that_climbs_out_is_refused(
    entries: dict[str, list[StoredChain]], tmp_path: Path
) -> None:
    from pipeline.export.command import _place
    from pipeline.export.options import ExportOptions

    options = ExportOptions(dataset=tmp_path, output=tmp_path)
    (nested,) = one(entries["1ubi"], entry_id="trimmed/1ubi")
    assert _place(options, [nested], "cif") == tmp_path / "trimmed" / "1ubi.cif"
    for bad in ("../1ubi", "/etc/x", "a//b", "..", ""):
        with pytest.raises(ExportError, match="cannot be the name of a file"):
            _place(options, one(entries["1ubi"], entry_id=bad), "cif")


def test_the_command_needs_no_torch(examples_dataset: Path, tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from pipeline.export.command import main\n"
        f"sys.exit(main([{str(examples_dataset)!r}, '--fasta', {str(tmp_path / 'x')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=60, check=False)
    assert done.returncode == 0
