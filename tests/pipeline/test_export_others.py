"""What is beside the protein, read and written again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gemmi
import pytest

from pipeline.export.errors import ExportError
from pipeline.export.mmcif import mmcif_text
from pipeline.export.others import OtherResidue, other_residues, with_ids_of
from pipeline.export.pdb import pdb_text
from pipeline.parsing import ParsedEntry, read_chains
from pipeline.sources import decompress
from tests.support.places import EXAMPLES


def parsed(name: str) -> ParsedEntry:
    data = decompress((EXAMPLES / name).read_bytes(), 1 << 28)
    return read_chains(data, name.partition(".")[0], with_others=True)


def others_of(entry: ParsedEntry) -> list[OtherResidue]:
    assert entry.others is not None
    return other_residues(entry.others)


def written(tmp_path: Path, entry: ParsedEntry, kind: str) -> Path:
    write = pdb_text if kind == "pdb" else mmcif_text
    path = tmp_path / f"out.{kind}"
    path.write_text(write(entry.chains, others=others_of(entry)))
    return path


def spelled(path: Path, *, protein: bool) -> list[tuple[object, ...]]:
    """Heavy atoms of the first model, but of waters, in an order of their own."""
    structure = gemmi.read_structure(str(path))
    structure.remove_hydrogens()
    structure.remove_waters()
    return sorted(
        (
            chain.name,
            str(residue.seqid),
            residue.name,
            atom.name,
            atom.altloc,
            atom.element.name,
            *(round(v, 3) for v in atom.pos.tolist()),
            round(atom.occ, 2),
        )
        for chain in structure[0]
        for residue in chain
        if gemmi.find_tabulated_residue(residue.name).is_amino_acid() == protein
        for atom in residue
    )


@pytest.mark.parametrize("kind", ["cif", "pdb"])
@pytest.mark.parametrize("name", ["1lcd.cif.gz", "1k6p.cif.gz", "1gbt.cif.gz"])
def test_what_is_beside_the_protein_comes_back_as_gemmi_reads_it(
    tmp_path: Path, name: str, kind: str
) -> None:
    entry = parsed(name)
    found = spelled(written(tmp_path, entry, kind), protein=False)
    assert found == spelled(EXAMPLES / name, protein=False)
    assert found


@pytest.mark.parametrize("kind", ["cif", "pdb"])
def test_chains_read_alike_beside_it(tmp_path: Path, kind: str) -> None:
    entry = parsed("1lcd.cif.gz")
    again = read_chains(written(tmp_path, entry, kind).read_bytes(), "1lcd", with_others=True)
    assert [c.auth_asym_id for c in again.chains] == [c.auth_asym_id for c in entry.chains]
    for one, other in zip(again.chains, entry.chains, strict=True):
        assert (one.coords == other.coords).all()
        assert (one.aatype == other.aatype).all()
    assert again.others is not None
    assert entry.others is not None
    assert len(again.others) == len(entry.others)


def test_strands_are_polymers_and_ligands_are_chains_of_their_own(tmp_path: Path) -> None:
    structure = gemmi.read_structure(str(written(tmp_path, parsed("1lcd.cif.gz"), "cif")))
    kinds = [(e.entity_type, e.polymer_type) for e in structure.entities]
    assert (gemmi.EntityType.Polymer, gemmi.PolymerType.Dna) in kinds
    labels = [sub.subchain_id() for sub in structure[0].subchains()]
    assert len(labels) == len(set(labels))


def test_without_being_asked_nothing_but_chains_is_read() -> None:
    data = decompress((EXAMPLES / "1k6p.cif.gz").read_bytes(), 1 << 28)
    entry = read_chains(data, "1k6p")
    assert entry.others is None
    asked = parsed("1k6p.cif.gz")
    assert [c.uid for c in asked.chains] == [c.uid for c in entry.chains]


def test_chains_of_ligands_get_letters_that_no_chain_has() -> None:
    ligand = replace(others_of(parsed("1k6p.cif.gz"))[0], auth_asym_id="LIG")
    (found,), changed = with_ids_of([ligand], {"AA": "A", "B": "B"}, "pdb")
    assert found.auth_asym_id == "C"
    assert changed == {"LIG": "C"}
    (found,), changed = with_ids_of([ligand], {"AA": "AA"}, "cif")
    assert (found.auth_asym_id, changed) == ("LIG", {})
    # The ligand's own letter is given to a chain of protein.
    (found,), changed = with_ids_of([replace(ligand, auth_asym_id="A")], {"AA": "A"}, "pdb")
    assert found.auth_asym_id == "B"


def test_a_name_that_a_pdb_file_cannot_hold_is_refused() -> None:
    entry = parsed("1k6p.cif.gz")
    long = replace(others_of(entry)[0], comp_id="A1LZ9")
    with pytest.raises(ExportError, match=r"A1LZ9.*write mmCIF"):
        pdb_text(entry.chains, others=[long])
    assert "A1LZ9" in mmcif_text(entry.chains, others=[long])
