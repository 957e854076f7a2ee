"""Side-chain RMSD, of all residues and of the core."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from model.metrics.residue_types import table_rows
from model.metrics.symmetry import nearest_naming
from pipeline.geometry.frames import backbone_frames, is_frame, to_global, to_local
from pipeline.residues import CHI_MASK

CORE_RADIUS = 10.0
CORE_NEIGHBOURS = 20


@dataclass(frozen=True)
class SideChainRMSD:
    """Side-chain RMSD of one protein, in Å; NaN where there is nothing to compare.

    Attributes
    ----------
    all, core : float
        Mean over residues that have a χ (all but Gly and Ala) of the RMSD of the residue's
        side-chain atoms, CB included. This is the number of the packing papers and of PackBench,
        which then average it over proteins.
    all_atoms, core_atoms : float
        Root mean square over all side-chain atoms of the same residues together. Never smaller:
        large residues and large errors weigh more.
    n_residues, n_core : int
        Residues compared.
    """

    all: float
    core: float
    all_atoms: float
    core_atoms: float
    n_residues: int
    n_core: int


def core_residues(positions: ArrayLike, mask: ArrayLike) -> NDArray[np.bool_]:
    """Residues with at least 20 other CB within 10 Å of their own; Gly has its CA for CB.

    Parameters
    ----------
    positions : (L, 14, 3) float
        Å, atom14; absent atoms may hold anything.
    mask : (L, 14) bool
        A residue without CB is seen at its CA, one without either is neither counted nor core.

    Returns
    -------
    (L,) bool
    """
    positions = np.asarray(positions, np.float64)
    mask = np.asarray(mask, bool)
    points = np.where(mask[:, 4, None], positions[:, 4], positions[:, 1])
    rows = np.flatnonzero(mask[:, 4] | mask[:, 1])
    core = np.zeros(len(mask), bool)
    if len(rows):
        points = points[rows]
        # Nearer than 10 Å, not at 10 Å, as PackBench counts.
        radius = np.nextafter(CORE_RADIUS, 0)
        counts = cKDTree(points).query_ball_point(points, radius, return_length=True)
        core[rows] = counts - 1 >= CORE_NEIGHBOURS
    return core


def side_chain_rmsd(
    predicted: ArrayLike,
    predicted_mask: ArrayLike,
    reference: ArrayLike,
    reference_mask: ArrayLike,
    aatype: ArrayLike,
) -> SideChainRMSD:
    """How far side chains are from where they should be, on the same backbone.

    Nothing is superposed: packing keeps the backbone. For a prediction with a backbone of its own,
    call `on_reference_frames` first. Symmetric atoms (Asp, Glu, Phe, Tyr) take the nearer naming.

    Parameters
    ----------
    predicted, reference : (L, 14, 3) float
        Å, atom14; absent atoms may hold anything.
    predicted_mask, reference_mask : (L, 14) bool
        Atoms are compared where both are present.
    aatype : (L,) int
        Of both.

    Returns
    -------
    SideChainRMSD

    References
    ----------
    McPartlon, Xu: An end-to-end deep learning method for protein side-chain packing and inverse
    folding (AttnPacker). PNAS 120 (2023) e2216438120.
    """
    reference_mask = np.asarray(reference_mask, bool)
    named, named_mask = nearest_naming(predicted, predicted_mask, reference, reference_mask, aatype)
    compared = named_mask[:, 4:] & np.asarray(predicted_mask, bool)[:, 4:]
    difference = np.asarray(predicted, np.float64)[:, 4:] - named[:, 4:]
    squared = np.where(compared, (np.where(compared[..., None], difference, 0) ** 2).sum(-1), 0)
    n_atoms = compared.sum(axis=1)
    counted = CHI_MASK[table_rows(aatype), 0] & (n_atoms > 0)
    core = core_residues(reference, reference_mask) & counted
    all_, all_atoms = _means(squared, n_atoms, counted)
    core_, core_atoms = _means(squared, n_atoms, core)
    return SideChainRMSD(
        all=all_,
        core=core_,
        all_atoms=all_atoms,
        core_atoms=core_atoms,
        n_residues=int(counted.sum()),
        n_core=int(core.sum()),
    )


def on_reference_frames(
    predicted: ArrayLike,
    predicted_mask: ArrayLike,
    reference: ArrayLike,
    reference_mask: ArrayLike,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The prediction with the backbone frame of every residue laid on that of the reference.

    What is left between the two is the error inside residues.

    Parameters
    ----------
    predicted, reference : (L, 14, 3) float
    predicted_mask, reference_mask : (L, 14) bool

    Returns
    -------
    positions : (L, 14, 3) float64
    mask : (L, 14) bool
        Atoms of the prediction at residues that have a frame in both; the others hold anything.
    """
    predicted = np.asarray(predicted, np.float64)
    reference = np.asarray(reference, np.float64)
    there = np.ones(len(predicted), bool)
    frames = []
    for x, mask in ((predicted, predicted_mask), (reference, reference_mask)):
        backbone = (x[:, 0], x[:, 1], x[:, 2])
        present = np.asarray(np.asarray(mask, bool)[:, :3].all(axis=1))
        there &= is_frame(*backbone, present)
        frames.append(backbone_frames(*backbone, present))
    moved = to_global(*frames[1], to_local(*frames[0], predicted))
    return moved, np.asarray(predicted_mask, bool) & there[:, None]


def _means(
    squared: NDArray[np.float64], n_atoms: NDArray[np.int64], rows: NDArray[np.bool_]
) -> tuple[float, float]:
    if not rows.any():
        return float("nan"), float("nan")
    of_residue, n = squared[rows].sum(axis=1), n_atoms[rows]
    return float(np.sqrt(of_residue / n).mean()), float(np.sqrt(of_residue.sum() / n.sum()))
