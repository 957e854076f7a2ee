"""Which bonds a file lists beside its atoms."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import gemmi
import pytest

from pipeline.chain import Chain
from pipeline.export.bonds import bonds_between
from pipeline.export.chain_ids import with_own_ids
from pipeline.export.errors import ExportError
from pipeline.export.mmcif import mmcif_text
from pipeline.export.others import KeptResidue, OtherAtom, OtherResidue
from pipeline.export.pdb import pdb_text
from pipeline.parsing import read_chains
from pipeline.parsing.entry_info import BondedAtom, Connection
from tests.support import structure_text as text

SG = ("N", "CA", "C", "O", "CB", "SG")


def chain_of(*atoms: list[text.Atom]) -> Chain:
    (chain,) = read_chains(text.pdb_text(*atoms, "END").encode(), "a").chains
    return chain


def cysteines() -> Chain:
    return chain_of(
        text.residue("CYS", 1, names=SG), text.residue("ALA", 2), text.residue("CYS", 3, names=SG)
    )


def sulphurs(*places: tuple[str, int]) -> KeptResidue:
    """A cysteine of which SG alone is told, at these places along x (0.001 Å)."""
    atoms = tuple(OtherAtom("SG", "S", altloc, (x, 0, 0), 50) for altloc, x in places)
    return KeptResidue("CYS", False, atoms, whole=True)


def ligand(*atoms: OtherAtom) -> OtherResidue:
    return OtherResidue("L", "A", "LIG", None, 99, "", True, False, atoms)


def link(one: tuple[int, str], other: tuple[int, str], kind: str = "") -> Connection:
    ends = [BondedAtom("A", number, "", "", name) for number, name in (one, other)]
    return Connection(kind, (ends[0], ends[1]))


def test_alternates_that_exclude_each_other_are_not_bonded() -> None:
    chain = cysteines()
    both = {
        0: sulphurs(("A", 0), ("B", 300)),
        2: sulphurs(("A", 2000), ("B", 2300)),
    }
    found = bonds_between([chain], {"A": both}, [], [])
    assert [(b.one.altloc, b.other.altloc) for b in found] == [("A", "A"), ("B", "B")]
    lines = pdb_text([chain], kept={"A": both}).splitlines()
    assert sum(line.startswith("SSBOND") for line in lines) == 1
    # A sulphur that is always there is bonded to both.
    one = both | {0: sulphurs(("", 0))}
    found = bonds_between([chain], {"A": one}, [], [])
    assert [(b.one.altloc, b.other.altloc) for b in found] == [("", "A"), ("", "B")]


def test_a_listed_bond_is_that_of_each_conformer() -> None:
    chain = cysteines()
    kept = {0: sulphurs(("A", 0), ("B", 300))}
    zinc = ligand(*(OtherAtom("ZN", "ZN", a, (x, 0, 0), 50) for a, x in (("B", 2300), ("A", 2000))))
    found = bonds_between([chain], {"A": kept}, [zinc], [link((1, "SG"), (99, "ZN"))])
    assert [(b.one.altloc, b.other.altloc, b.length) for b in found] == [
        ("A", "A", 2.0),
        ("B", "B", 2.0),
    ]


@pytest.mark.parametrize(
    ("element", "kind"), [("B", "covale"), ("AS", "covale"), ("ZN", "metalc"), ("MG", "metalc")]
)
def test_boron_and_arsenic_are_no_metals(element: str, kind: str) -> None:
    kept = {"A": {0: sulphurs(("", 0))}}
    for x, there in ((2200, True), (2800, kind == "metalc")):
        atom = OtherAtom("X1", element, "", (x, 0, 0), 100)
        found = bonds_between([cysteines()], kept, [ligand(atom)], [link((1, "SG"), (99, "X1"))])
        assert [bond.kind for bond in found] == [kind] * there


def test_the_bond_between_neighbours_is_listed_of_modified_residues_alone() -> None:
    chain = chain_of(*(text.residue("ALA", k) for k in (1, 2, 3)))
    listed = [link((1, "C"), (2, "N")), link((3, "N"), (2, "C"))]
    assert bonds_between([chain], {}, [], listed) == []
    names = {k: OtherAtom(k, k[0], "", (x, 0, 0), 100) for k, x in (("N", 3000), ("C", 5000))}
    kept = {1: KeptResidue("MSE", True, tuple(names.values()), whole=True)}
    found = bonds_between([chain], {"A": kept}, [], [link((2, "N"), (1, "C"))])
    assert [(b.one.comp_id, b.other.comp_id) for b in found] == [("MSE", "ALA")]
    # The bond that closes a ring is one more than those of the chain.
    ends = {
        0: KeptResidue("ALA", False, (replace(names["N"], xyz=(0, 0, 0)),), whole=True),
        2: KeptResidue("ALA", False, (replace(names["C"], xyz=(1300, 0, 0)),), whole=True),
    }
    found = bonds_between([chain], {"A": ends}, [], [link((3, "C"), (1, "N"))])
    assert [(b.one.auth_seq_id, b.other.auth_seq_id) for b in found] == [(3, 1)]


def test_ends_of_a_bond_are_at_the_places_of_their_residues() -> None:
    whole = cysteines()
    chain = replace(whole, residue_index=whole.residue_index - 5, auth_seq_id=whole.auth_seq_id - 5)
    near = {0: sulphurs(("", 0)), 2: sulphurs(("", 2000))}
    block = gemmi.cif.read_string(mmcif_text([chain], kept={"A": near})).sole_block()
    tags = ["ptnr1_label_seq_id", "ptnr2_label_seq_id", "ptnr1_auth_seq_id", "ptnr2_auth_seq_id"]
    assert [list(row) for row in block.find("_struct_conn.", tags)] == [["1", "3", "-4", "-2"]]


def test_thousands_of_sulphurs_take_little_memory() -> None:
    chain = cysteines()
    many = {0: sulphurs(*(("", 10_000 * k) for k in range(3000))), 2: sulphurs(("", 2000))}
    tracemalloc.start()
    found = bonds_between([chain], {"A": many}, [], [])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == 1
    assert peak < 1 << 24


def test_what_has_no_room_in_the_columns_of_a_pdb_file_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chain, near = cysteines(), {0: sulphurs(("", 0)), 2: sulphurs(("", 2000))}
    with pytest.raises(ExportError, match=r"atom SG that does not fit the columns; write mmCIF"):
        pdb_text([chain], kept={"A": near | {0: sulphurs(("AB", 0))}})
    with pytest.raises(ExportError, match=r"atom C1 that does not fit the columns"):
        pdb_text([chain], others=[ligand(OtherAtom("C1", "C", "AB", (0, 0, 0), 100))])
    monkeypatch.setattr("pipeline.export.pdb._MAX_DISULPHIDES", 0)
    with pytest.raises(ExportError, match="has more than 0 disulphides"):
        pdb_text([chain], kept={"A": near})


def test_numbers_are_those_of_kept_residues_without_an_atom_in_a_slot_too() -> None:
    whole = cysteines()
    last = whole.coords[:-6]
    mask = whole.atom14_mask.copy()
    mask[2] = 0
    chain = replace(whole, atom14_mask=mask, coords=last)
    numbers = whole.auth_seq_id.copy()
    numbers[2] = 2
    equal = replace(chain, auth_seq_id=numbers)
    assert with_own_ids([equal], "pdb").numbered_anew == []
    assert with_own_ids([equal], "pdb", {"A": [2]}).numbered_anew == ["A"]
    numbers = numbers.copy()
    numbers[2] = 10_000
    far = replace(chain, auth_seq_id=numbers)
    assert pdb_text([far], kept={})
    with pytest.raises(ExportError, match="residue numbers from 1 to 10000"):
        pdb_text([far], kept={"A": {2: sulphurs(("", 0))}})
