"""Generated backbones on their own: steps along the chain, bumps, size, secondary structure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from pipeline.geometry.secondary_structure import HELIX, STRAND, secondary_structure

CA_STEP = 3.8
"""Å between the Cα of two residues joined by a trans peptide (cis: 2.95)."""

STEP_TOLERANCE = 0.1
BUMP = 3.6
CLASH = 1.9


@dataclass(frozen=True)
class BackboneGeometry:
    """What a Cα trace looks like; NaN where there is nothing to measure.

    Attributes
    ----------
    n_steps : int
        Pairs of residues that follow each other in number and chain.
    step_mean : float
        Mean distance of their Cα, Å.
    step_deviation : float
        Mean absolute deviation from 3.8 Å.
    step_valid : float
        Share within 3.8 ± 0.1 Å. A cis peptide (one in 300, mostly before proline) is not.
    n_bumps, n_clashes : int
        Pairs of Cα that do not follow each other, nearer than 3.6 Å and 1.9 Å.
    radius_of_gyration : float
        Å, of all Cα.
    relative_radius : float
        Radius over what a globular chain of that many residues has.
    helix, strand, coil : float
        Shares of the residues with a Cα, by P-SEA.

    References
    ----------
    Tress et al.: Assessment of predictions submitted for the CASP6 comparative modeling category.
    Proteins 61 (2005) S7, 27–45, for bumps and clashes.
    """

    n_steps: int
    step_mean: float
    step_deviation: float
    step_valid: float
    n_bumps: int
    n_clashes: int
    radius_of_gyration: float
    relative_radius: float
    helix: float
    strand: float
    coil: float


def expected_radius_of_gyration(n_residues: int) -> float:
    """Radius of gyration in Å of a globular protein of one chain, 2.2·L^0.38.

    References
    ----------
    Skolnick, Kolinski, Ortiz: MONSSTER: a method for folding globular proteins with a small number
    of distance restraints. J. Mol. Biol. 265 (1997) 217–241.
    """
    return 2.2 * float(n_residues) ** 0.38


def backbone_geometry(
    ca: ArrayLike, mask: ArrayLike, residue_index: ArrayLike, chain_index: ArrayLike
) -> BackboneGeometry:
    """Measure a Cα trace.

    Parameters
    ----------
    ca : (L, 3) float
        Å; absent Cα may hold anything.
    mask : (L,) bool
        Residues that have a Cα.
    residue_index, chain_index : (L,) int
        A chain's residues are consecutive rows.
    """
    ca = np.asarray(ca, np.float64)
    mask = np.asarray(mask, bool)
    index = np.asarray(residue_index, np.int64)
    chain = np.asarray(chain_index, np.int64)
    follows = mask[1:] & mask[:-1] & (np.diff(chain) == 0) & (np.diff(index) == 1)
    # Not read where there is no Cα: NaN and infinity would warn.
    ca = np.where(mask[:, None], ca, 0.0)
    steps = np.linalg.norm(ca[1:] - ca[:-1], axis=1)[follows]
    points = ca[mask]
    n = len(points)
    rows = np.flatnonzero(mask)
    pairs = cKDTree(points).query_pairs(BUMP, output_type="ndarray") if n else np.zeros((0, 2), int)
    low, high = np.sort(rows[pairs], axis=1).T
    far_along = ~((high == low + 1) & np.append(follows, False)[low])
    distance = np.linalg.norm(ca[low] - ca[high], axis=1)[far_along]

    radius = float(np.sqrt(((points - points.mean(axis=0)) ** 2).sum() / n)) if n else float("nan")
    helix, strand = _secondary_structure_shares(ca, mask, index, chain)
    nan = float("nan")
    return BackboneGeometry(
        n_steps=len(steps),
        step_mean=float(steps.mean()) if len(steps) else nan,
        step_deviation=float(np.abs(steps - CA_STEP).mean()) if len(steps) else nan,
        step_valid=float((np.abs(steps - CA_STEP) <= STEP_TOLERANCE).mean()) if len(steps) else nan,
        n_bumps=int((distance < BUMP).sum()),
        n_clashes=int((distance < CLASH).sum()),
        radius_of_gyration=radius,
        relative_radius=radius / expected_radius_of_gyration(n) if n else nan,
        helix=helix,
        strand=strand,
        coil=1.0 - helix - strand,
    )


def _secondary_structure_shares(
    ca: NDArray[np.float64],
    mask: NDArray[np.bool_],
    index: NDArray[np.int64],
    chain: NDArray[np.int64],
) -> tuple[float, float]:
    if not mask.any():
        return float("nan"), float("nan")
    starts = np.flatnonzero(np.diff(chain, prepend=chain[0] - 1))
    labels = secondary_structure(ca.astype(np.float32), mask, index, np.append(starts, len(chain)))
    of_residues = labels[mask]
    return float((of_residues == HELIX).mean()), float((of_residues == STRAND).mean())
