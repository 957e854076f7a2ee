"""Side chains from torsions: ideal residues, turned about their bonds and laid on backbones."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.metrics.ideal_residues import IDEAL_LOCAL, MOVED_BY_CHI
from model.metrics.residue_types import table_rows
from model.metrics.torsions import dihedral
from pipeline.frames import backbone_frames, is_frame, to_global
from pipeline.residues import ATOM14_EXISTS, CHI_MASK, CHI_SLOTS


def place_side_chains(
    chi: ArrayLike, positions: ArrayLike, mask: ArrayLike, aatype: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Side chains of given torsions on given backbones.

    Bond lengths and angles are those of `IDEAL_LOCAL`, laid on the residue's N, CA and C. The ring
    of proline closes only as well as its torsions agree.

    Parameters
    ----------
    chi : (L, 4) float
        Degrees; ``rotamers.chi1_first[aatype]`` is the baseline. Where NaN, the ideal torsion
        stays.
    positions : (L, 14, 3) float
        Å, atom14; only N, CA, C and O are read.
    mask : (L, 14) bool
    aatype : (L,) int

    Returns
    -------
    positions : (L, 14, 3) float64
        N, CA, C and O as given; zeros where there is no atom.
    mask : (L, 14) bool
        All side-chain atoms of the type where the backbone has a frame, none elsewhere.
    """
    positions = np.asarray(positions, np.float64)
    mask = np.asarray(mask, bool)
    kinds = table_rows(aatype)
    local = build_side_chains(chi, kinds)
    backbone = (positions[:, 0], positions[:, 1], positions[:, 2])
    present = np.asarray(mask[:, :3].all(axis=1))
    has_frame = is_frame(*backbone, present)
    rotations, translations = backbone_frames(*backbone, present)
    there = ATOM14_EXISTS[kinds] & has_frame[:, None]
    there[:, :4] = mask[:, :4]
    placed = to_global(rotations, translations, local)
    placed[:, :4] = positions[:, :4]
    return np.where(there[..., None], placed, 0.0), there


def build_side_chains(chi: ArrayLike, aatype: ArrayLike) -> NDArray[np.float64]:
    """Ideal residues of given torsions in their backbone frame.

    Parameters
    ----------
    chi : (L, 4) float
        Degrees; where NaN, the ideal torsion stays.
    aatype : (L,) int

    Returns
    -------
    (L, 14, 3) float64
        Å; slots that the type does not have hold anything.
    """
    kinds = table_rows(aatype)
    return set_torsions(IDEAL_LOCAL[kinds], chi, kinds)


def set_torsions(positions: ArrayLike, chi: ArrayLike, aatype: ArrayLike) -> NDArray[np.float64]:
    """Turn side chains about their bonds until they have given torsions.

    Parameters
    ----------
    positions : (L, 14, 3) float
        Atom14, in any frame; the atoms of every torsion that is set are there.
    chi : (L, 4) float
        Degrees; where NaN, the torsion stays.
    aatype : (L,) int

    Returns
    -------
    (L, 14, 3) float64
    """
    local = np.array(positions, np.float64)
    chi = np.asarray(chi, np.float64)
    kinds = table_rows(aatype)
    for k in range(4):
        rows = np.flatnonzero(CHI_MASK[kinds, k] & ~np.isnan(chi[:, k]))
        slots = CHI_SLOTS[kinds[rows], k].astype(np.intp)
        points = local[rows[:, None], slots]
        now = dihedral(points[:, 0], points[:, 1], points[:, 2], points[:, 3])
        turn = np.radians(chi[rows, k] - now)
        moved = MOVED_BY_CHI[kinds[rows], k]
        local[rows] = turn_about(local[rows], points[:, 1], points[:, 2], turn, moved)
    return local


def turn_about(
    points: NDArray[np.float64],
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    angle: NDArray[np.float64],
    moved: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Turn the moved points about the axis from start to end (Rodrigues' formula)."""
    axis = end - start
    axis = (axis / np.linalg.norm(axis, axis=1, keepdims=True))[:, None]
    arm = points - start[:, None]
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    along = (arm * axis).sum(axis=-1, keepdims=True) * axis
    turned = cos * arm + sin * np.cross(np.broadcast_to(axis, arm.shape), arm) + (1 - cos) * along
    return np.where(moved[..., None], start[:, None] + turned, points)
