"""What a packed file has of its input beside the side chains that are made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from model.tasks.inputs import InputStructure
from pipeline.export.others import KeptResidue, OtherAtom
from pipeline.parsing.atom_table import ChainAtoms
from pipeline.residues import component
from pipeline.residues.components import is_name_of_standard

_TERMINAL = ("OT2", "OC2", "OT", "O2", "O''")
"""What programs call OXT beside an oxygen that they call OT1, OC1, O1 or O'."""


def is_d(comp_ids: Sequence[str]) -> NDArray[np.bool_]:
    """Which names are those of D-amino acids, which nothing here can make."""
    known = {comp: component(comp) for comp in set(comp_ids)}
    hand = {comp: found is not None and found.chirality == "D" for comp, found in known.items()}
    return np.array([hand[comp] for comp in comp_ids], bool)


def is_modified(comp_id: str) -> bool:
    """Whether a name is that of a residue that is not one of the twenty."""
    known = component(comp_id)
    return known is not None and known.is_modified


def kept_of_chain(own: ChainAtoms, stays: NDArray[np.bool_]) -> dict[int, KeptResidue]:
    """Row of a chain → what is written of it as it was read.

    Parameters
    ----------
    own : ChainAtoms
    stays : (L,) bool
        Residues that come back whole, alternates and all. Of the others OXT does.
    """
    oxygen = _is_terminal_oxygen(own)
    some = own.select(stays[own.row] | oxygen)
    atoms = some.atoms
    # Of a residue that is told to be of several types, those atoms that are read decide.
    comps: dict[int, str] = {}
    order = np.lexsort((~some.in_slot, some.row)).tolist()
    names, comp_ids = atoms.name.astype("U").tolist(), atoms.comp_id.astype("U").tolist()
    for k in order:
        comps.setdefault(int(some.row[k]), comp_ids[k])
    altlocs, elements = atoms.altloc.astype("U").tolist(), atoms.element.astype("U").tolist()
    places, occupancies = atoms.coords.tolist(), atoms.occupancy.tolist()
    found: dict[int, list[OtherAtom]] = {}
    hetero: dict[int, bool] = {}
    for k, row in enumerate(some.row.tolist()):
        if comp_ids[k] != comps[row] or (not stays[row] and row in found):
            continue
        name, altloc, occupancy = names[k], altlocs[k], occupancies[k]
        if not stays[row]:
            name, altloc, occupancy = "OXT", "", 100
        atom = OtherAtom(name, elements[k], altloc, tuple(places[k]), occupancy)
        found.setdefault(row, []).append(atom)
        hetero[row] = bool(atoms.hetero[k])
    return {
        row: KeptResidue(comps[row], hetero[row], tuple(of_row), bool(stays[row]))
        for row, of_row in found.items()
    }


def without_slot(own: ChainAtoms, kept: Mapping[int, KeptResidue]) -> list[OtherAtom]:
    """Atoms that come back and that a `Chain` has no place for; of alternates, none."""
    slots = own.select(own.in_slot & np.isin(own.row, list(kept)))
    taken = set(zip(slots.row.tolist(), slots.atoms.name.astype("U").tolist(), strict=True))
    return [
        atom
        for row, residue in kept.items()
        for atom in residue.atoms
        if (row, atom.name) not in taken
    ]


def lost_of_chains(structure: InputStructure, stays: NDArray[np.bool_]) -> list[str]:
    """What of the chains does not come back: phrases with numbers."""
    alternates, atoms = 0, 0
    parents: Counter[str] = Counter()
    for number, own in enumerate(structure.own):
        mine = structure.structure.chain_index == number
        made = ~stays[mine][own.row] & ~own.in_slot & ~_is_terminal_oxygen(own)
        other_place = own.atoms.altloc != b""
        alternates += len(np.unique(own.row[made & other_place]))
        rest = made & ~other_place & structure.resolved[mine][own.row]
        atoms += int(rest.sum())
        first = np.unique(own.row[rest], return_index=True)[1]
        parents.update(own.atoms.comp_id[rest][first].astype("U").tolist())
    said = []
    if alternates:
        said.append(f"alternate locations of {alternates:,} residue{'s' * (alternates != 1)}")
    if atoms:
        said.append(
            f"{atoms:,} atom{'s' * (atoms != 1)} that the parents of modified residues lack "
            f"({counted(parents.elements())})"
        )
    return said


def counted(names: Iterable[str]) -> str:
    """Names with how often they are there, such as "HEM ×2, ZN"."""
    numbers = Counter(names)
    return ", ".join(f"{name} ×{n}" if n > 1 else name for name, n in numbers.most_common())


def _is_terminal_oxygen(own: ChainAtoms) -> NDArray[np.bool_]:
    """Atoms without a slot that are the second oxygen of a C-terminus."""
    names = own.atoms.name.astype("U")
    found = ~own.in_slot & (names == "OXT")
    other = np.flatnonzero(~own.in_slot & np.isin(names, _TERMINAL))
    comps = own.atoms.comp_id[other].astype("U").tolist()
    found[other] = [is_name_of_standard(comp) for comp in comps]
    return found
