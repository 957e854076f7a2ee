"""Residues whose side chains are bonded to something else: sugars, cofactors, other side chains."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import numpy as np

from model.tasks.inputs import InputStructure
from pipeline.export.bonds import NO_METALS, bonds_between
from pipeline.export.others import OtherResidue, other_residues
from pipeline.residues import ATOM14_NAMES, N_SLOTS

_BACKBONE = {"N", "CA", "C", "O", "OXT"}

_LONGEST = 1.65
"""Å between two atoms of the second row that are bonded though no record says so; a contact is
longer than 2.5 Å."""

_LONGEST_OF_HEAVY = 2.1
"""Of which one is sulphur, phosphorus, selenium or another of these rows."""

N_BACKBONE = 4
"""Slots of N, CA, C and O."""

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
    for bond in bonds_between(structure.chains, {}, others, structure.connections):
        if bond.kind != "covale":
            continue
        for end, far in ((bond.one, bond.other), (bond.other, bond.one)):
            row = rows.get((end.label_asym_id, end.label_seq_id))
            if row is not None and end.name not in _BACKBONE:
                name = f"{far.comp_id} {far.auth_asym_id}{far.auth_seq_id}"
                found.setdefault(row, Partner(name, (end.name, far.name)))
    for row, partner in _near(structure, others):
        found.setdefault(row, partner)
    return dict(sorted(found.items()))


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
    rows, slots = np.nonzero(given.mask & (np.arange(N_SLOTS) >= N_BACKBONE))
    if not atoms or not len(rows):
        return []
    # Not before it is needed.
    from scipy.spatial import cKDTree

    places = np.array([atom.xyz for _, atom in atoms], np.float64) / 1000
    distances, nearest = cKDTree(places).query(given.positions[rows, slots])
    found = []
    for at in np.argsort(distances, kind="stable").tolist():
        row, slot, distance, k = rows[at], slots[at], distances[at], nearest[at]
        residue, atom = atoms[int(k)]
        name = ATOM14_NAMES[given.aatype[row]][slot]
        is_light = {name[0], atom.element.upper()} <= _SECOND_ROW
        if distance <= (_LONGEST if is_light else _LONGEST_OF_HEAVY):
            label = f"{residue.comp_id} {residue.auth_asym_id}{residue.auth_seq_id}"
            found.append((int(row), Partner(label, (name, atom.name))))
    return found
