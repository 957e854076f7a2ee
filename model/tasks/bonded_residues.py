"""Residues whose side chains are bonded to something else: sugars, cofactors, other side chains."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import numpy as np

from model.tasks.inputs import InputStructure
from model.tasks.kept_residues import kept_of_chain
from pipeline.export.bonds import NO_METALS, BondEnd, bonds_between
from pipeline.export.others import OtherResidue, other_residues
from pipeline.residues import ATOM14_NAMES, BACKBONE_SLOTS, N_SLOTS

_BACKBONE = {"N", "CA", "C", "O", "OXT"}

_LONGEST = 1.65
"""Å between two atoms of the second row that are bonded though no record says so; a contact is
longer than 2.5 Å."""

_LONGEST_OF_HEAVY = 2.1
"""Of which one is sulphur, phosphorus, selenium or another of these rows."""

_SECOND_ROW = {"B", "C", "N", "O", "F"}


@dataclass(frozen=True, slots=True)
class Partner:
    """What a side chain is bonded to, and by which atoms."""

    residue: str
    atoms: tuple[str, str]

    def __str__(self) -> str:
        one, other = self.atoms
        return f"{one} to {other} of {self.residue}"


def bonded_residues(structure: InputStructure) -> dict[int, Partner]:
    """Row → what its side chain is bonded to; disulphides and metals are none.

    The file lists the bond (LINK, ``_struct_conn``), and the atoms are near enough; or, to what is
    no protein, they are as near as only bonded atoms are. Many programs write no list.
    """
    others = [] if structure.others is None else other_residues(structure.others)
    found: dict[int, Partner] = {}
    rows = _rows(structure)
    # All atoms of a residue: those of chromophores have no slots.
    whole = {
        one.label_asym_id: kept_of_chain(own, np.ones(len(one), bool))
        for one, own in zip(structure.chains, structure.own, strict=False)
    }
    for bond in bonds_between(structure.chains, whole, others, structure.connections):
        if bond.kind != "covale":
            continue
        for end, far in ((bond.one, bond.other), (bond.other, bond.one)):
            row = rows.get((end.label_asym_id, end.label_seq_id))
            if row is not None and end.name not in _BACKBONE:
                found.setdefault(row, Partner(_called(far), (end.name, far.name)))
    for row, partner in _near(structure, others):
        found.setdefault(row, partner)
    return dict(sorted(found.items()))


def _called(one: BondEnd | OtherResidue) -> str:
    return f"{one.comp_id} {one.auth_asym_id}{one.auth_seq_id}"


def _rows(structure: InputStructure) -> dict[tuple[str, int | None], int]:
    indices = chain.from_iterable(
        ((c.label_asym_id, int(k)) for k in c.residue_index) for c in structure.chains
    )
    return {key: row for row, key in enumerate(indices)}


def _near(structure: InputStructure, others: list[OtherResidue]) -> list[tuple[int, Partner]]:
    """Side-chain atoms that are as near to atoms of other molecules as bonded ones are."""
    atoms = [
        (residue, atom)
        for residue in others
        for atom in residue.atoms
        if atom.element.upper() in NO_METALS - {"H", "D"}
    ]
    given = structure.structure
    rows, slots = np.nonzero(given.mask & (np.arange(N_SLOTS) >= len(BACKBONE_SLOTS)))
    if not atoms or not len(rows):
        return []
    # Not before it is needed.
    from scipy.spatial import cKDTree

    places = np.array([atom.xyz for _, atom in atoms], np.float64) / 1000
    points = given.positions[rows, slots]
    altlocs = _altlocs(structure)
    found = []
    for at, near in enumerate(cKDTree(places).query_ball_point(points, _LONGEST_OF_HEAVY)):
        row, name = int(rows[at]), ATOM14_NAMES[given.aatype[rows[at]]][slots[at]]
        for k in near:
            residue, atom = atoms[k]
            # Alternates that exclude each other are not there together.
            if atom.altloc and altlocs.get((row, name), "") not in ("", atom.altloc):
                continue
            distance = float(np.linalg.norm(places[k] - points[at]))
            is_light = {name[0], atom.element.upper()} <= _SECOND_ROW
            if distance <= (_LONGEST if is_light else _LONGEST_OF_HEAVY):
                found.append((distance, row, Partner(_called(residue), (name, atom.name))))
    return [(row, partner) for _, row, partner in sorted(found, key=lambda one: one[:2])]


def _altlocs(structure: InputStructure) -> dict[tuple[int, str], str]:
    """(row, atom) → the alternate that is read, where there are several."""
    found = {}
    for number, own in enumerate(structure.own):
        first = int(np.searchsorted(structure.structure.chain_index, number))
        read = own.select(own.in_slot & (own.atoms.altloc != b""))
        names, labels = (c.astype("U").tolist() for c in (read.atoms.name, read.atoms.altloc))
        for row, name, label in zip(read.row.tolist(), names, labels, strict=True):
            found[first + row, name] = label
    return found
