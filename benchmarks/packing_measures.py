"""What is measured of a packing, whoever packed it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from resampling import Measure
from side_chain_geometry import FAR_OFF, OVERLAP, errors_of_geometry

from model.metrics import (
    Structure,
    chi_accuracy,
    chi_angles,
    chi_errors,
    clashes,
    side_chain_rmsd,
)
from model.metrics.torsions import TOLERANCE
from model.tasks import Problem
from pipeline.residues import ATOM14_EXISTS, UNKNOWN

PER_ATOMS = 1000
"""Side-chain atoms beyond CB that clashes are counted per."""

PER_RESIDUES = 100


def _chi_measures() -> list[Measure]:
    kinds = (("within", f"χ{{}} within {TOLERANCE:.0f}°", 3), ("error", "χ{} error, °", 1))
    return [
        Measure(label.format(k), over, (f"{kind}{k}", f"chi{k}"), digits)
        for kind, label, digits in kinds
        for k in (1, 2, 3, 4)
        for over in ("residues", "chains")
    ]


MEASURES = (
    Measure("side-chain RMSD, Å", "chains", ("rmsd", "residues")),
    Measure("… of the core, Å", "chains", ("core_rmsd", "core_residues")),
    *_chi_measures(),
    Measure(f"all χ within {TOLERANCE:.0f}°", "residues", ("rotamers_within", "rotamers")),
    Measure(f"all χ within {TOLERANCE:.0f}°", "chains", ("rotamers_within", "rotamers")),
    Measure("bonds, Å rms", "bonds", ("bonds_squared", "bonds"), end="root"),
    Measure(f"bonds off by > {FAR_OFF} Å", "bonds", ("bonds_far_off", "bonds"), 4),
    Measure("angles, ° rms", "angles", ("angles_squared", "angles"), 2, end="root"),
    Measure(f"clashes < {OVERLAP} per 1,000 atoms", "atoms", ("clashes", "thousand_atoms"), 1),
)

SHORT = tuple(
    m
    for m in MEASURES
    if m.over == "chains" and ("RMSD" in m.label or "core" in m.label or "within" in m.label)
)
"""Those that the neighbourhood of a residue matters for."""


def comparable(problem: Problem) -> NDArray[np.bool_]:
    """(L,) Residues of a known type with N, CA, C, O and all atoms of the side chain."""
    known = problem.given
    whole = (known.mask == ATOM14_EXISTS[known.aatype]).all(axis=1)
    return whole & problem.has_frame & (known.aatype < UNKNOWN)


def only(structure: Structure, rows: NDArray[np.bool_]) -> Structure:
    """The structure with side chains at these residues alone."""
    kept = structure.mask & (rows[:, None] | (np.arange(14) < 4))
    return structure.with_atoms(structure.positions, kept)


def measured(made: Structure, real: Structure) -> dict[str, float]:
    """Sums and counts over one chain.

    Parameters
    ----------
    made, real : Structure
        The same residues, with the same atoms.
    """
    kinds = real.aatype
    sides = (made.positions, made.mask, real.positions, real.mask, kinds)
    rmsd = side_chain_rmsd(*sides)
    errors = chi_errors(*(chi_angles(s.positions, s.mask, kinds) for s in (made, real)), kinds)
    known = ~np.isnan(errors)
    chi = chi_accuracy(errors, kinds)
    bonds, angles = errors_of_geometry([made])
    pairs = clashes(made.positions, made.mask, kinds, made.chain_index, fraction=OVERLAP)
    of_chi = {
        f"{name}{k + 1}": float(values[:, k].sum())
        for name, values in (
            ("chi", known),
            ("within", known & (errors <= TOLERANCE)),
            ("error", np.where(known, errors, 0.0)),
        )
        for k in range(4)
    }
    return of_chi | {
        "rmsd": _sum(rmsd.all, rmsd.n_residues),
        "residues": rmsd.n_residues,
        "core_rmsd": _sum(rmsd.core, rmsd.n_core),
        "core_residues": rmsd.n_core,
        "rotamers": chi.n_rotamers,
        "rotamers_within": _sum(chi.rotamer_recovery, chi.n_rotamers),
        "bonds": len(bonds),
        "bonds_squared": float(np.square(bonds).sum()),
        "bonds_far_off": float((np.abs(bonds) > FAR_OFF).sum()),
        "angles": len(angles),
        "angles_squared": float(np.square(angles).sum()),
        "clashes": len(pairs),
        "thousand_atoms": float(made.mask[:, 5:].sum()) / PER_ATOMS,
    }


def _sum(mean: float, n: int) -> float:
    return mean * n if n else 0.0
