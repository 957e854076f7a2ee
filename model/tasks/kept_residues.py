"""What a file has of its input beside what is made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from model.metrics import Structure
from model.tasks.inputs import InputStructure
from pipeline.commands.words import several
from pipeline.export.others import KeptResidue, OtherAtom
from pipeline.parsing.atom_table import ChainAtoms
from pipeline.residues import ATOM14_EXISTS, ATOM14_NAMES, component
from pipeline.residues.components import is_name_of_standard

_SHOWN = 6
"""Residues that a sentence lists."""

_TERMINAL = ("OT2", "OC2", "OT", "O2", "O''")
"""What programs call OXT beside an oxygen that they call OT1, OC1, O1 or O'."""


def is_d(comp_ids: Sequence[str]) -> NDArray[np.bool_]:
    """Which names are those of D-amino acids, which nothing here can make."""
    known = {comp: component(comp) for comp in set(comp_ids)}
    hand = {comp: found is not None and found.chirality == "D" for comp, found in known.items()}
    return np.array([hand[comp] for comp in comp_ids], bool)


def is_modified(comp_id: str) -> bool:
    """Whether a name is that of a residue that is not one of the twenty."""
    # The reader takes names of modified residues in lower case, too.
    known = component(comp_id) or component(comp_id.upper())
    return known is not None and known.is_modified


def completed(structure: InputStructure) -> NDArray[np.bool_]:
    """(L,) Of the twenty, residues that lack O, or all of the side chain beyond CB.

    What they lack is made on what they have. Of others that lack atoms, the network would have to
    make those anew that they have.
    """
    given = structure.structure
    missing = _missing(given)
    in_part = missing[:, 4:].any(1) & given.mask[:, 5:].any(1)
    plain = [not comp or is_name_of_standard(comp) for comp in structure.comp_ids]
    return np.asarray(missing.any(1) & ~in_part & structure.resolved & np.array(plain, bool))


def notes_of_kept(kept: NDArray[np.bool_], structure: InputStructure, option: str) -> list[str]:
    """What somebody should know of residues (L,) that an option keeps: which lack atoms."""
    missing = _missing(structure.structure)
    made = kept & completed(structure)
    # Names of which nothing is known lack nothing, and UNK has no side chain.
    lacking = kept & missing.any(1) & ~made & structure.resolved
    said = []
    for rows, what in (
        (made, "what the file lacks of these residues is made"),
        (lacking, "residues that lack atoms stay without them"),
    ):
        if rows.any():
            names = [
                f"{structure.describe(row)} ({_atoms(structure, row, missing[row])})"
                for row in np.flatnonzero(rows).tolist()
            ]
            said.append(f"{option}: {what}: {first_of(names)}")
    return said


def oxygen_made(structure: InputStructure, elsewhere: NDArray[np.bool_]) -> list[str]:
    """What somebody should know of backbones without O, but for residues (L,) told of elsewhere."""
    lacking = structure.resolved & ~structure.structure.mask[:, 3] & ~elsewhere
    names = [structure.describe(row) for row in np.flatnonzero(lacking).tolist()]
    if not names:
        return []
    return [
        f"the backbone's O is made for {several(len(names), 'residue')} that lack it: "
        f"{first_of(names)}"
    ]


def _missing(given: Structure) -> NDArray[np.bool_]:
    """(L, 14) Atoms that a type has and that are not given."""
    return np.asarray(ATOM14_EXISTS[given.aatype] & ~given.mask)


def _atoms(structure: InputStructure, row: int, atoms: NDArray[np.bool_]) -> str:
    names = ATOM14_NAMES[structure.structure.aatype[row]]
    return " ".join(name for name, one in zip(names, atoms, strict=True) if one)


def first_of(names: Sequence[str]) -> str:
    """The first of many names, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def kept_of_chain(own: ChainAtoms, stays: NDArray[np.bool_]) -> dict[int, KeptResidue]:
    """Row of a chain → what is written of it as it was read.

    Parameters
    ----------
    own : ChainAtoms
    stays : (L,) bool
        Residues that come back whole, alternates and all. Of the others OXT does: that of the
        conformer that is read, or else one that is there in all of them, or any.
    """
    some = own.select(stays[own.row] | _is_terminal_oxygen(own))
    some = some.select(np.lexsort((_rank(some, own, stays), some.row)).astype(np.int64))
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
        if comp_ids[k] != comps[row] if stays[row] else row in found:
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


def _rank(some: ChainAtoms, own: ChainAtoms, stays: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Which of the terminal oxygens of a residue is the first choice; what stays is as it was."""
    read = own.select(own.in_slot & (own.atoms.altloc != b""))
    conformers = set(zip(read.row.tolist(), read.atoms.altloc.tolist(), strict=True))
    pairs = zip(some.row.tolist(), some.atoms.altloc.tolist(), strict=True)
    is_read = np.array([pair in conformers for pair in pairs], bool)
    rank = np.select([is_read, some.atoms.altloc == b""], [0, 1], 2)
    return np.asarray(np.where(stays[some.row], 0, rank))


def beside_network(
    own: ChainAtoms, kept: Mapping[int, KeptResidue], seen: NDArray[np.bool_]
) -> list[OtherAtom]:
    """Atoms that come back and that the network does not see.

    Parameters
    ----------
    own : ChainAtoms
    kept : mapping
        Of `kept_of_chain`.
    seen : (L,) bool
        Residues with a frame: of these, atoms that a `Chain` has no place for, without alternates
        of what it has. Of the others that stay, all; what is added to the rest is left out.
    """
    slots = own.select(own.in_slot & np.isin(own.row, list(kept)) & seen[own.row])
    taken = set(zip(slots.row.tolist(), slots.atoms.name.astype("U").tolist(), strict=True))
    return [
        atom
        for row, residue in kept.items()
        if residue.whole or seen[row]
        for atom in residue.atoms
        if (row, atom.name) not in taken
    ]


def lost_of_chains(structure: InputStructure, stays: NDArray[np.bool_]) -> list[str]:
    """What of the chains does not come back: phrases with numbers."""
    alternates = 0
    # Of modified residues, and of others: how many atoms, and the names of their residues.
    atoms = {True: 0, False: 0}
    names: dict[bool, list[str]] = {True: [], False: []}
    for number, own in enumerate(structure.own):
        mine = structure.structure.chain_index == number
        made = ~stays[mine][own.row] & ~own.in_slot & ~_is_terminal_oxygen(own)
        other_place = own.atoms.altloc != b""
        alternates += len(np.unique(own.row[made & other_place]))
        rest = made & ~other_place & structure.resolved[mine][own.row]
        _, first, n_atoms = np.unique(own.row[rest], return_index=True, return_counts=True)
        comps = own.atoms.comp_id[rest][first].astype("U").tolist()
        for comp, n in zip(comps, n_atoms.tolist(), strict=True):
            atoms[is_modified(comp)] += n
            names[is_modified(comp)].append(comp)
    said = []
    if alternates:
        said.append(f"alternate locations of {several(alternates, 'residue')}")
    for modified, why in (
        (True, "that the parents of modified residues lack"),
        (False, "without a place"),
    ):
        if atoms[modified]:
            said.append(f"{several(atoms[modified], 'atom')} {why} ({counted(names[modified])})")
    return said


def lost_of_kept(structure: InputStructure, kept: NDArray[np.bool_]) -> list[str]:
    """What of residues (L,) of which only a `Chain` is kept does not come back: phrases."""
    index = structure.structure.chain_index
    own = tuple(o.select(kept[index == k][o.row]) for k, o in enumerate(structure.own))
    said = lost_of_chains(replace(structure, own=own), np.zeros_like(kept))
    if n := sum(len(np.unique(o.row[_is_terminal_oxygen(o)])) for o in own):
        said.append(f"OXT of {several(n, 'residue')}")
    named = np.flatnonzero(kept & ~structure.is_nameless)
    names = [structure.comp_ids[row] for row in named]
    if others := [name for name in names if not is_name_of_standard(name)]:
        said.append(f"the names of residues that are none of the twenty ({counted(others)})")
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
