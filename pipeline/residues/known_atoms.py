"""Atom name → slot, for all atoms of a file at once.

A name is four bytes, so it can be compared as one integer: names as NumPy ``S4`` viewed as
little-endian uint32. `atom_indices` turns such codes into places in `ATOM_CODES`, and
``SLOT_OF[kind, place]`` gives the slot.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .atom14 import SLOT_OF_NAME
from .components import KINDS
from .types import RESTYPES, UNKNOWN

# Read for a slot that nothing fills under its proper name: CHARMM and GROMACS write CD for CD1 of
# isoleucine; a C-terminal oxygen is OT1 (X-PLOR, CHARMM), OC1 (GROMACS), O1 (GROMOS) or O'; a
# residue renamed from MSE or SEC may still have its selenium; and PDB files of before 1996 have A
# for what is O or N, undecided.
_TERMINAL_O = ("OT1", "OC1", "O1", "O'")
_ALTERNATIVES: Mapping[str, Mapping[str, str]] = {
    "ILE": {"CD": "CD1"},
    "MET": {"SE": "SD"},
    "CYS": {"SE": "SG"},
    "ASN": {"AD1": "OD1", "AD2": "ND2"},
    "GLN": {"AE1": "OE1", "AE2": "NE2"},
}
_SELENIUM = {"SD": ("SED", "S"), "SG": ("SEG", "S")}
"""Other names of the selenium that stands in the place of a sulphur."""


def _slots_of_kind(aatype: int, atoms: str) -> tuple[dict[str, int], dict[str, int]]:
    """Slots by name and by alternative name of one kind."""
    slots = dict(SLOT_OF_NAME[aatype])
    alternatives: dict[str, int] = {}
    if not atoms:
        if aatype != UNKNOWN:
            alternatives = dict.fromkeys(_TERMINAL_O, slots["O"])
            for own, name in _ALTERNATIVES.get(RESTYPES[aatype], {}).items():
                alternatives[own] = slots[name]
        return slots, alternatives
    changes = atoms.split(",")
    misplaced = {change[1:] for change in changes if change.startswith("-")}
    for change in changes:
        if "=" in change:
            own, name = change.split("=")
            # Programs that rename the residue may rename its atoms as well.
            if name not in misplaced:
                alternatives[name] = slots[name]
            if own == "SE":
                alternatives.update(dict.fromkeys(_SELENIUM.get(name, ()), slots[name]))
            slots[own] = slots.pop(name)
    for name in misplaced:
        slots.pop(name, None)
    return slots, alternatives


def _build() -> tuple[NDArray[np.uint32], NDArray[np.int8], NDArray[np.int8]]:
    kinds = [_slots_of_kind(aatype, atoms) for aatype, atoms in KINDS]
    names = {name for tables in kinds for table in tables for name in table}
    by_code = {int.from_bytes(name.encode(), "little"): name for name in names}
    codes = sorted(by_code)
    place = {by_code[code]: k for k, code in enumerate(codes)}
    width = len(codes) + 1
    tables = np.full((2, len(kinds), width), -1, dtype=np.int8)
    for table, which in zip(tables, (0, 1), strict=True):
        entries = [
            (kind * width + place[name], slot)
            for kind, slots in enumerate(kinds)
            for name, slot in slots[which].items()
        ]
        at, slot_values = zip(*entries, strict=True)
        table.ravel()[list(at)] = slot_values
    return np.array(codes, dtype=np.uint32), tables[0], tables[1]


ATOM_CODES, SLOT_OF, ALTERNATIVE_SLOT_OF = _build()
"""Known atom names as codes, ascending (n,) uint32; slots and alternative slots of each kind,
(n_kinds, n + 1) int8, -1 where the kind has no slot for the name. The last column is all -1, so
that the index -1 of an unknown name finds no slot."""

N_KINDS = len(KINDS)


# A multiplicative hash without collisions among the known names: the top 13 bits of code × odd
# multiplier (mod 2³²) say where a name can only be. Four times faster than a binary search.
_SHIFT = np.uint32(32 - 13)


def _perfect_hash() -> tuple[np.uint32, NDArray[np.intp]]:
    multiplier = 0x9E3779B1  # 2³² / golden ratio, the usual start (Knuth, TAOCP 3, 6.4)
    while True:
        cell = (ATOM_CODES * np.uint32(multiplier)) >> _SHIFT
        if len(set(cell.tolist())) == len(ATOM_CODES):
            places = np.zeros(1 << 13, dtype=np.intp)
            places[cell] = np.arange(len(ATOM_CODES))
            return np.uint32(multiplier), places
        multiplier = (multiplier + 2) % 2**32


_MULTIPLIER, _PLACES = _perfect_hash()

for _array in (ATOM_CODES, SLOT_OF, ALTERNATIVE_SLOT_OF, _PLACES):
    _array.setflags(write=False)


def atom_indices(codes: NDArray[np.uint32]) -> NDArray[np.intp]:
    """Places of atom-name codes in `ATOM_CODES`.

    Parameters
    ----------
    codes : (n_atoms,) uint32

    Returns
    -------
    (n_atoms,) intp
        -1 where the name is unknown.
    """
    found = _PLACES[(codes * _MULTIPLIER) >> _SHIFT]
    found[ATOM_CODES[found] != codes] = -1
    return found
