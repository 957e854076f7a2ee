"""The packing baseline: every residue gets the side chain that is most common for its type."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.metrics.torsions import TOLERANCE, chi_angles
from pipeline.residues import ATOM14_EXISTS, CHI_MASK, CHI_PI_PERIODIC, UNKNOWN
from pipeline.residues.geometry import IDEAL_BACKBONE
from pipeline.residues.side_chains import build_side_chains

MAX_CANDIDATES = 360
"""Rotamers tried as the mode of a type: training residues, evenly spaced."""


@dataclass(frozen=True)
class ModalRotamers:
    """Most common side-chain torsions of each residue type in a training split.

    Where the type has no such torsion, angles are NaN; a type never seen keeps its ideal torsions.

    Attributes
    ----------
    chi1_first : (21, 4) float64
        Degrees. χ1 is the angle that most training residues of the type are within 20° of; the
        rest is the most common among those residues. **The baseline** of this project.
    joint : (21, 4) float64
        Degrees: the rotamer that most training residues are within 20° of in all χ. Its χ1 may be
        another.
    chi1_share, joint_share : (21,) float64
        Share of the training residues within 20° of the mode; NaN where the type has no χ or was
        not seen.
    count : (21,) int64
        Training residues all of whose χ were known.
    """

    chi1_first: NDArray[np.float64]
    joint: NDArray[np.float64]
    chi1_share: NDArray[np.float64]
    joint_share: NDArray[np.float64]
    count: NDArray[np.int64]


def fit_modal_rotamers(chi: ArrayLike, aatype: ArrayLike) -> ModalRotamers:
    """Find the modes.

    Parameters
    ----------
    chi : (R, 4) float
        Degrees (`chi_angles`) of the residues of all training chains laid end to end; NaN where
        there is none.
    aatype : (R,) int
    """
    chi = np.asarray(chi, np.float64)
    aatype = np.asarray(aatype, np.intp)
    if chi.shape != (len(aatype), 4):
        raise ValueError(f"expected chi ({len(aatype)}, 4), found {chi.shape}")
    chi1_first, joint = _IDEAL_CHI.copy(), _IDEAL_CHI.copy()
    chi1_share, joint_share = np.full((2, UNKNOWN + 1), np.nan)
    count = np.zeros(UNKNOWN + 1, np.int64)
    for kind in np.flatnonzero(CHI_MASK[:, 0]):
        n_chi = int(CHI_MASK[kind].sum())
        values = chi[aatype == kind, :n_chi]
        with_chi1 = values[~np.isnan(values[:, 0])]
        if not len(with_chi1):
            continue
        mode, members = _mode(with_chi1[:, :1], int(kind))
        chi1_first[kind, 0], chi1_share[kind] = mode[0], members.mean()
        rest = with_chi1[members][:, 1:]
        rest = rest[~np.isnan(rest).any(axis=1)]
        if n_chi > 1 and len(rest):
            chi1_first[kind, 1:n_chi] = _mode(rest, int(kind), first=1)[0]
        whole = values[~np.isnan(values).any(axis=1)]
        count[kind] = len(whole)
        if len(whole):
            mode, members = _mode(whole, int(kind))
            joint[kind, :n_chi], joint_share[kind] = mode, members.mean()
    return ModalRotamers(chi1_first, joint, chi1_share, joint_share, count)


def _mode(
    values: NDArray[np.float64], kind: int, first: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The rotamer that most rows are within the tolerance of, and which rows those are.

    Among training residues, evenly spaced in the order of their angles, then moved to the mean of
    its members once, if that does not lose any.
    """
    n, n_chi = values.shape
    order = np.lexsort(values.T[::-1])
    picked = order[np.unique(np.linspace(0, n - 1, MAX_CANDIDATES).astype(int))]
    period = np.where(CHI_PI_PERIODIC[kind, first : first + n_chi], 180.0, 360.0)

    def away(rotamer: NDArray[np.float64]) -> NDArray[np.float64]:
        """Signed differences of all rows from one rotamer."""
        return (values - rotamer + period / 2) % period - period / 2

    def near(rotamer: NDArray[np.float64]) -> NDArray[np.bool_]:
        return np.asarray((np.abs(away(rotamer)) <= TOLERANCE).all(axis=1))

    counts = [np.count_nonzero(near(values[row])) for row in picked]
    best = values[picked[int(np.argmax(counts))]]
    members = near(best)
    centre = best + away(best)[members].mean(axis=0)
    if np.count_nonzero(near(centre)) >= np.count_nonzero(members):
        best, members = centre, near(centre)
    return (best + 180.0) % 360.0 - 180.0, members


def _ideal_chi() -> NDArray[np.float64]:
    kinds = np.arange(UNKNOWN + 1)
    side_chains, _ = build_side_chains(np.full((UNKNOWN + 1, 4), np.nan), kinds)
    return chi_angles(np.concatenate([IDEAL_BACKBONE, side_chains], 1), ATOM14_EXISTS, kinds)


_IDEAL_CHI = _ideal_chi()
