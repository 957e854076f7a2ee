"""Regenerate ``geometry_table.py``: how long bonds are, and how wide angles, in real side chains.

    python -m pipeline.residues.generate_geometry FOLDER

FOLDER holds structure files; the table in the repository was made from 1,938 CATH domains of the
PDB. All residues that lack no atom count, and each number is a median over them. Which atoms are
bonded is what the chemical component dictionary (CCD, bundled with biotite) says. Its ideal
coordinates are not used: their angles are tetrahedral throughout, where CA–CB–CG is 114° in
proteins, and NH1 and NH2 of arginine are in each other's places.

Atoms that trade names by symmetry (`SYMMETRIC_ATOMS`) share their numbers, and torsions of flat
groups are exactly 0° or 180°.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import biotite
import biotite.structure as struc
import biotite.structure.info as info
import numpy as np
from numpy.typing import NDArray

from pipeline.features import atom14_positions, unpack_mask
from pipeline.geometry.frames import backbone_frames, is_frame, to_local
from pipeline.parsing import NotAStructure, read_chains
from pipeline.sources.decompress import decompress

from .atom14 import ATOM14_EXISTS, SLOT_OF_NAME
from .torsions import CHI_ATOMS, SYMMETRIC_ATOMS
from .types import RESTYPES

MODULE = Path(__file__).with_name("geometry_table.py")

FLAT = 3.0
"""Degrees: a torsion this near to 0° or 180° is that of a flat group."""

CLOSED = (1.43, 1.52)
"""Å: between N and CD of the prolines that count. Files have rings that are open."""

O_TORSION = 135.0
"""N–CA–C–O in degrees where ψ is −45°: a median over all ψ is no position of O."""

Points = Mapping[str, NDArray[np.float64]]
"""Atom name → (R, 3) Å of R residues of one type."""


def complete_residues(folder: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """All residues of a folder's files that lack nothing: atom14 coordinates, and their types."""
    positions, kinds = [], []
    for path in sorted(folder.iterdir()):
        try:
            parsed = read_chains(decompress(path.read_bytes(), 1 << 28), path.name)
        except NotAStructure:
            continue
        for chain in parsed.chains:
            aatype, mask = chain.aatype.astype(np.int64), unpack_mask(chain.atom14_mask)
            x = atom14_positions(mask, chain.coords)
            whole = (mask == ATOM14_EXISTS[aatype]).all(axis=1) & (aatype < len(RESTYPES))
            whole &= is_frame(x[:, 0], x[:, 1], x[:, 2], mask[:, :3].all(axis=1))
            positions.append(x[whole])
            kinds.append(aatype[whole])
    return np.concatenate(positions), np.concatenate(kinds)


def bonds_of(restype: str) -> list[tuple[str, str]]:
    """Bonds among the atoms of atom14, in the order of their slots."""
    slots = SLOT_OF_NAME[RESTYPES.index(restype)]
    residue = info.residue(restype)
    names = [str(name) for name in residue.atom_name]
    pairs = [(names[i], names[j]) for i, j, _ in residue.bonds.as_array()]
    known = [sorted(pair, key=slots.__getitem__) for pair in pairs if slots.keys() >= set(pair)]
    return sorted(((a, b) for a, b in known), key=lambda pair: (slots[pair[1]], slots[pair[0]]))


def rows_of(restype: str, atoms: Points) -> Iterator[str]:
    """The lines of one type: its backbone, then each atom after the one it is bonded to."""
    aatype = RESTYPES.index(restype)
    n, ca, c = (atoms[name] for name in ("N", "CA", "C"))
    yield restype
    yield f"  N CA C {length(n, ca):.3f} {angle(n, ca, c):.2f}"
    yield f"  C CA {length(c, ca):.3f}"
    yield f"  O C CA N {length(atoms['O'], c):.3f} {angle(atoms['O'], c, ca):.2f} {O_TORSION:.2f}"
    twins = {a: b for pair in SYMMETRIC_ATOMS.get(aatype, ()) for a, b in (pair, pair[::-1])}
    chi_of = {(names[1], names[2]): names[3] for names in CHI_ATOMS[aatype]}
    before = {"CA": "N"}
    for parent, name in bonds_of(restype):
        if name in ("N", "CA", "C", "O"):
            continue
        if name in before:
            yield f"  ring {parent} {name}"
        elif name == "CB":
            to_n, to_c = angle(atoms["CB"], ca, n), angle(atoms["CB"], ca, c)
            before["CB"] = "CA"
            yield f"  CB CA N C {length(atoms['CB'], ca):.3f} {to_n:.2f} {to_c:.2f}"
        elif (restype, name) == ("PRO", "CD"):
            yield "  ring N CD"
            before["CD"] = "N"
        else:
            before[name] = parent
            b, a = before[parent], before[before[parent]]
            # The torsion that turns the atom, or what it is apart from that of the χ.
            first = chi_of.get((b, parent))
            both = [_named(atoms, twins if swap else {}) for swap in {False, bool(twins)}]
            around = np.concatenate(
                [
                    struc.dihedral(x[a], x[b], x[parent], x[name])
                    - (0 if first is None else struc.dihedral(x[a], x[b], x[parent], x[first]))
                    for x in both
                ]
            )
            d = np.median([length(x[name], x[parent]) for x in both])
            theta = np.median([angle(x[name], x[parent], x[b]) for x in both])
            yield f"  {name} {parent} {b} {a} {d:.3f} {theta:.2f} {circular_median(around):.2f}"


def _named(atoms: Points, twins: Mapping[str, str]) -> Points:
    return {name: atoms[twins.get(name, name)] for name in atoms}


def length(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Median distance in Å."""
    return float(np.median(struc.distance(a, b)))


def angle(a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]) -> float:
    """Median angle at b in degrees."""
    return float(np.median(np.degrees(struc.angle(a, b, c))))


def circular_median(radians: NDArray[np.float64]) -> float:
    """Degrees in (−180, 180], about the mean direction; flat where it nearly is."""
    mean = np.angle(np.exp(1j * radians).mean())
    around = np.degrees(mean + np.median(np.angle(np.exp(1j * (radians - mean)))))
    flat = 180.0 * np.round(around / 180.0)
    return float(abs(flat) if abs(around - flat) < FLAT else (around + 180) % 360 - 180)


def ring_of_proline(atoms: Points) -> dict[str, float]:
    """What the ring of proline is as a function of χ1; see `ProlineRing`."""
    n_cd = struc.distance(atoms["N"], atoms["CD"])
    closed = (n_cd > CLOSED[0]) & (n_cd < CLOSED[1])
    n, ca, cb, cg, cd = (atoms[name][closed] for name in ("N", "CA", "CB", "CG", "CD"))
    chi1 = np.degrees(struc.dihedral(n, ca, cb, cg))
    possible = np.abs(chi1) < 45.0
    chi1 = chi1[possible]
    at_cb = np.degrees(struc.angle(ca, cb, cg))[possible]
    flap = flap_angle(n, ca, cb, cg, cd)[possible]
    even = _least_deviations(np.stack([np.ones_like(chi1), chi1**2], axis=1), at_cb)
    widths = np.arange(5.0, 30.5, 0.5)
    fits = []
    for width in widths:
        basis = np.stack([np.ones_like(chi1), np.tanh(chi1 / width)], axis=1)
        found = _least_deviations(basis, flap)
        fits.append((float(np.abs(flap - basis @ found).mean()), width, *found))
    _, width, middle, reach = min(fits)
    return {
        "cg_cd": round(length(cg, cd), 3),
        "n_cd": round(length(n, cd), 3),
        "at_cb": round(float(even[0]), 2),
        "at_cb_by_square": round(float(even[1]), 6),
        "flap": round(float(middle), 2),
        "flap_by_tanh": round(float(reach), 2),
        "flap_width": float(width),
        "max_chi1": 45.0,
        "pucker": round(float(np.median(chi1[chi1 > 0])), 1),
    }


def flap_angle(*ring: NDArray[np.float64]) -> NDArray[np.float64]:
    """Degrees by which CD is turned about N–CG, out of the plane of N, CG and the middle of CA–CB.

    Parameters
    ----------
    ring : (R, 3) N, CA, CB, CG and CD
    """
    n, ca, cb, cg, cd = ring
    # CA–CB's middle, about the axis N–CG, then the far side of the axis, is the flat ring.
    turned = struc.dihedral((ca + cb) / 2, n, cg, cd)
    return np.degrees(np.angle(-np.exp(1j * turned)))


def _least_deviations(
    basis: NDArray[np.float64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Least absolute deviations, by reweighted least squares: files have odd rings."""
    weight = np.ones(len(values))
    for _ in range(30):
        found = np.linalg.lstsq(basis * weight[:, None], values * weight, rcond=None)[0]
        weight = np.maximum(np.abs(values - basis @ found), 0.5) ** -0.5
    return np.asarray(found)


def module_text(folder: Path) -> str:
    """The file."""
    positions, kinds = complete_residues(folder)
    frames = backbone_frames(positions[:, 0], positions[:, 1], positions[:, 2])
    local = to_local(*frames, positions)
    lines: list[str] = []
    ring: dict[str, float] = {}
    for aatype, restype in enumerate(RESTYPES):
        of_type = local[kinds == aatype]
        atoms = {name: of_type[:, slot] for name, slot in SLOT_OF_NAME[aatype].items()}
        lines += rows_of(restype, atoms)
        if restype == "PRO":
            ring = ring_of_proline(atoms)
    table = "\n".join(lines)
    numbers = "".join(f'    "{name}": {value!r},\n' for name, value in ring.items())
    return (
        '"""Generated by ``generate_geometry.py``: change that file, not this one."""\n\n'
        f'SOURCE = "{len(kinds):,} residues of {len(list(folder.iterdir())):,} files; '
        f'bonds of the CCD in biotite {biotite.__version__}"\n\n'
        f'TABLE = """\\\n{table}\n"""\n'
        '"""For each type its atoms. N, C: bonded to, length in Å, angle with. Others: bonded to, '
        "angle\nwith, torsion from; Å, degrees, degrees. Where a χ turns the atom, the torsion is "
        "what it is apart\nfrom that χ. CB: the second angle is with C, and there is no torsion. "
        '``ring``: further bonds."""\n\n'
        f"PROLINE_RING = {{\n{numbers}}}\n"
        '"""Å and degrees; what they mean is said of `ProlineRing`."""\n'
    )


if __name__ == "__main__":
    MODULE.write_text(module_text(Path(sys.argv[1])), encoding="utf-8")
