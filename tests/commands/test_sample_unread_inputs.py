"""What people are told of files, or parts of them, that tasks do not read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from model.tasks.inputs import InputError, InputStructure, NoStructure, failures, read_inputs
from tests.support.structure_text import chain, change, cif_text, pdb_models, residue


def read(path: Path, text: str) -> InputStructure | InputError:
    path.write_text(text)
    ((_, found),) = read_inputs(path)
    return found


@pytest.mark.parametrize(
    ("write", "what_to_do"),
    [(pdb_models, "take out the MODEL and ENDMDL lines"), (cif_text, "pdbx_PDB_model_num")],
)
def test_chains_of_later_models_are_named_in_words_with_what_to_do(tmp_path, write, what_to_do):
    later = [change(chain(["SER", "GLY"], chain=c, shift=30.0), model=2) for c in "BC"]
    text = write([*chain(["ALA", "GLY"]), *later[0], *later[1]])
    found = read(tmp_path / "x", text)
    assert isinstance(found, InputStructure)
    (note,) = found.notes
    assert note.startswith("x: not read: B,C, in later models than the first.")
    assert what_to_do in note


def test_what_the_note_about_later_models_says_gives_all_chains(tmp_path):
    models = [change(chain(["ALA", "GLY"], chain=c), model=k) for k, c in enumerate("AB", 1)]
    lines = pdb_models([a for model in models for a in model]).splitlines()
    joined = [line for line in lines if not line.startswith(("MODEL", "ENDMDL"))]
    found = read(tmp_path / "x.pdb", "\n".join(joined) + "\n")
    assert isinstance(found, InputStructure)
    assert (found.chain_ids, found.notes) == (["A", "B"], ())


def test_a_file_in_nanometres_is_told_to_tasks(tmp_path):
    atoms = [
        replace(a, xyz=tuple(f"{float(x) / 10:.3f}" for x in a.xyz)) for a in chain(["ALA"] * 9)
    ]
    found = read(tmp_path / "x.pdb", pdb_models(atoms))
    assert isinstance(found, InputError)
    assert "x.pdb: its coordinates are in nanometres" in str(found)


@pytest.mark.parametrize(
    ("comp", "why"),
    [
        ("LIG", "none of its residues is called an amino acid, or has atoms called N, CA and C"),
        ("ALA", "no residue with N, CA and C"),
    ],
)
def test_where_no_chain_is_read_the_reason_is_in_words(tmp_path, comp, why):
    found = read(tmp_path / "x.pdb", pdb_models(residue(comp, 1, names=("N", "ca", "C1"))))
    assert isinstance(found, InputError)
    assert str(found).startswith(f"x.pdb has no protein chain with a backbone: {why}")


def test_hidden_files_of_a_folder_are_named_and_one_that_is_named_is_read(tmp_path):
    text = pdb_models(chain(["ALA", "GLY"]))
    for name in (".a.pdb", "b.pdb~"):
        (tmp_path / name).write_text(text)
    found = dict(read_inputs(tmp_path))
    assert sorted(found) == [".a.pdb", "b.pdb~"]
    for name, error in found.items():
        assert isinstance(error, NoStructure)
        assert str(error) == f"{name}: hidden, an editor's file or a copy; name it to read it"
    ((_, read_by_name),) = read_inputs(tmp_path / ".a.pdb")
    assert isinstance(read_by_name, InputStructure)


def test_what_lies_beside_structures_is_no_failure_and_what_is_called_one_is(tmp_path):
    (tmp_path / "a.pdb").write_text(pdb_models(chain(["ALA", "GLY"])))
    for name in ("README.md", "scores.json", "cut.pdb", "empty.cif"):
        (tmp_path / name).write_text("{}" if name.endswith("json") else "nothing\n")
    errors = [found for _, found in read_inputs(tmp_path) if isinstance(found, InputError)]
    assert len(errors) == 4
    assert sorted(str(e).split(":")[0] for e in failures(errors, 1)) == ["cut.pdb", "empty.cif"]
    assert failures(errors, 0) == errors
