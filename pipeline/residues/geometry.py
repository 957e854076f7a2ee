"""Ideal residues: bonds, their lengths and angles, and what of them the builder needs.

A side chain is up to four rigid groups. Group k is what χ_k turns and χ_(k+1) does not: its origin
is the third atom of χ_k, x goes on along the bond of χ_k, and the first atom of χ_k lies in the xy
plane at y > 0, so that coordinates in it are those at χ_k = 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, radians, sin

import numpy as np
from numpy.typing import NDArray

from .atom14 import N_SLOTS, SLOT_OF_NAME
from .geometry_table import PROLINE_RING, TABLE
from .torsions import CHI_ATOMS, CHI_PI_PERIODIC, SYMMETRIC_SLOTS
from .types import RESTYPES, UNKNOWN

FAR = 99
"""Bonds between atoms that no path joins, or that do not exist."""

N_BEYOND = N_SLOTS - 5
"""Slots 5–13: what χ angles turn."""


@dataclass(frozen=True)
class ProlineRing:
    """Proline's ring as a function of its χ1, in degrees; CD is wherever it closes the ring.

    Attributes
    ----------
    cb_cg, cg_cd, n_cd : float
        Å.
    at_cb, at_cb_by_square : float
        The angle CA–CB–CG is ``at_cb + at_cb_by_square · χ1²``: a flatter ring is wider.
    flap, flap_by_tanh, flap_width : float
        CD is turned about N–CG out of the plane of N, CG and the middle of CA–CB by
        ``flap + flap_by_tanh · tanh(χ1 / flap_width)``.
    max_chi1 : float
        No ring closes far beyond.
    pucker : float
        χ1 of the pucker that stands for proline where no torsion is given (Cγ-endo).
    """

    cb_cg: float
    cg_cd: float
    n_cd: float
    at_cb: float
    at_cb_by_square: float
    flap: float
    flap_by_tanh: float
    flap_width: float
    max_chi1: float
    pucker: float


@dataclass(frozen=True)
class _Type:
    """The lines of one type; angles in radians."""

    bonds: list[tuple[str, str]]
    numbers: dict[str, tuple[float, ...]]
    """Atom → length, angles."""
    after: dict[str, tuple[str, ...]]
    """Atom → the atoms that its length, angle and torsion are measured to."""


def _read_table() -> dict[str, _Type]:
    types: dict[str, _Type] = {}
    for line in TABLE.splitlines():
        name, *words = line.split()
        if not line.startswith(" "):
            types[name] = of_type = _Type([], {}, {})
        elif name == "ring":
            of_type.bonds.append((words[0], words[1]))
        else:
            values = [float(word) for word in words if "." in word]
            of_type.after[name] = tuple(words[: len(words) - len(values)])
            of_type.numbers[name] = (values[0], *map(radians, values[1:]))
            of_type.bonds.append((words[0], name))
    return types


def next_atom(
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    c: NDArray[np.float64],
    length: float,
    angle: float,
    torsion: float,
) -> NDArray[np.float64]:
    """The atom bonded to c, of the angle with b and the torsion from a (radians, IUPAC sign)."""
    x = (c - b) / np.linalg.norm(c - b)
    y = a - b - ((a - b) @ x) * x
    y /= np.linalg.norm(y)
    z = np.cross(x, y)
    aside = sin(angle) * (cos(torsion) * y + sin(torsion) * z)
    return np.asarray(c + length * (aside - cos(angle) * x))


def _backbone(of_type: _Type) -> NDArray[np.float64]:
    """(4, 3) N, CA, C and O in the frame."""
    to_n, at_ca = of_type.numbers["N"]
    n = to_n * np.array([cos(at_ca), sin(at_ca), 0.0])
    ca, c = np.zeros(3), np.array([of_type.numbers["C"][0], 0.0, 0.0])
    return np.stack([n, ca, c, next_atom(n, ca, c, *of_type.numbers["O"])])


def _groups(aatype: int, of_type: _Type) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """Coordinates (9, 3) of slots 5–13 in their groups, and the groups (9,), -1 without an atom."""
    local, group = np.zeros((N_BEYOND, 3)), np.full(N_BEYOND, -1, np.int8)
    turned_by = {names[1:3]: k for k, names in enumerate(CHI_ATOMS[aatype])}
    known: list[dict[str, NDArray[np.float64]]] = []
    for _, b, c, _ in CHI_ATOMS[aatype]:
        # The first atom's place in the plane is enough: torsions are measured from it.
        bond = of_type.numbers[c][0]
        known.append({b: np.array([-bond, 0.0, 0.0]), c: np.zeros(3)})
    of_atom: dict[str, int] = {}
    for name, numbers in of_type.numbers.items():
        slot = SLOT_OF_NAME[aatype][name]
        if slot < 5:
            continue
        c, b, a = of_type.after[name]
        of_atom[name] = k = turned_by[b, c] if (b, c) in turned_by else of_atom[c]
        at = known[k]
        first = np.array([-1.0, 1.0, 0.0]) + at[b] if (b, c) in turned_by else at[a]
        at[name] = next_atom(first, at[b], at[c], *numbers)
        if CHI_PI_PERIODIC[aatype, k] and SYMMETRIC_SLOTS[aatype, slot] == slot:
            # Whichever side of the ring it was placed from, it lies on its axis.
            at[name] *= (1.0, 0.0, 0.0)
        local[slot - 5], group[slot - 5] = at[name], k
    return local, group


def _count_bonds(bonded: NDArray[np.bool_]) -> NDArray[np.int16]:
    """Shortest paths, for all types at once (Floyd and Warshall)."""
    n_bonds = np.where(bonded, 1, FAR).astype(np.int16)
    n_bonds[:, np.arange(N_SLOTS), np.arange(N_SLOTS)] = 0
    for k in range(N_SLOTS):
        n_bonds = np.minimum(n_bonds, n_bonds[:, :, k, None] + n_bonds[:, None, k, :])
    return np.minimum(n_bonds, FAR)


_TYPES = _read_table()

PROLINE = ProlineRing(cb_cg=_TYPES["PRO"].numbers["CG"][0], **PROLINE_RING)

IDEAL_BACKBONE: NDArray[np.float64] = np.zeros((UNKNOWN + 1, 4, 3))
"""(21, 4, 3): N, CA, C and O in the frame, Å; ψ is −45°."""

TO_CB: NDArray[np.float64] = np.zeros((UNKNOWN + 1, 3))
"""(21, 3): length CA–CB in Å, cosines of the angles N–CA–CB and C–CA–CB."""

GROUP_LOCAL: NDArray[np.float64] = np.zeros((UNKNOWN + 1, N_BEYOND, 3))
"""(21, 9, 3): slots 5–13 in the rigid group of each at χ = 0, Å. Proline's CD follows from the
others."""

GROUP: NDArray[np.int8] = np.full((UNKNOWN + 1, N_BEYOND), -1, dtype=np.int8)
"""(21, 9): the χ (0–3) that is the last to turn each of slots 5–13; -1 where there is none."""

_BONDED = np.zeros((UNKNOWN + 1, N_SLOTS, N_SLOTS), bool)

for _aatype, _name in enumerate((*RESTYPES, "X")):
    # What is known of an X, and what glycine would have, is what alanine has.
    _type = _TYPES["ALA" if _name == "X" else _name]
    IDEAL_BACKBONE[_aatype] = _backbone(_type)
    _length, _to_n, _to_c = (_type if _name != "GLY" else _TYPES["ALA"]).numbers["CB"]
    TO_CB[_aatype] = _length, cos(_to_n), cos(_to_c)
    GROUP_LOCAL[_aatype], GROUP[_aatype] = _groups(_aatype, _type)
    for _pair in _type.bonds:
        _a, _b = (SLOT_OF_NAME[_aatype][_atom] for _atom in _pair)
        _BONDED[_aatype, _a, _b] = _BONDED[_aatype, _b, _a] = True

N_BONDS = _count_bonds(_BONDED)
"""(21, 14, 14) int16: bonds on the shortest path between two atoms of a residue, `FAR` if none."""

for _array in (IDEAL_BACKBONE, TO_CB, GROUP_LOCAL, GROUP, N_BONDS):
    _array.setflags(write=False)
