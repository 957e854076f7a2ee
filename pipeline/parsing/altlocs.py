"""Alternate locations: which atoms of a residue are kept.

One label per contiguous run of residues with alternates, so that neighbouring residues never come
from different conformers; a residue decides for itself only where the run's label does not exist.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.parsing.fields import codes

_BACKBONE = (b"N", b"CA", b"C", b"O")


@dataclass(frozen=True, slots=True)
class AltlocChoice:
    """Attributes
    ----------
    keep : (n,) bool
        Over the atoms.
    alternates, heterogeneous : (R,) bool
        Residues with a labelled atom; residues with atoms of several components.
    comp : (R,) int
        Code of the component of each residue.
    """

    keep: NDArray[np.bool_]
    alternates: NDArray[np.bool_]
    heterogeneous: NDArray[np.bool_]
    comp: NDArray[np.integer]


def choose(
    residue: NDArray[np.int64],
    n_residues: int,
    joins_previous: NDArray[np.bool_],
    altloc: NDArray[np.bytes_],
    comp: NDArray[np.integer],
    name: NDArray[np.bytes_],
    occupancy: NDArray[np.int32],
) -> AltlocChoice:
    """Choose one conformer.

    Parameters
    ----------
    residue : (n,) int
        Residue of each atom, ascending; every residue 0 … R-1 has an atom.
    joins_previous : (R,) bool
        The residue stands directly behind the one before it in its chain.
    altloc, name : (n,) bytes
    comp : (n,) int
        Component of each atom, as a code.
    occupancy : (n,) int
        Hundredths.

    Returns
    -------
    AltlocChoice
        The label of a run is the one with the largest summed occupancy, ties going to the smallest
        label; a residue that lacks it takes its own best by the same rule. Kept are the unlabelled
        atoms and those of the label, of one component. If that leaves the residue without N, CA, C
        or O, which another of its labels has, that one's atom is taken.
    """
    starts = np.searchsorted(residue, np.arange(n_residues))
    first_comp = comp[starts]
    heterogeneous = np.zeros(n_residues, bool)
    heterogeneous[residue[comp != first_comp[residue]]] = True
    alternates = np.zeros(n_residues, bool)
    labelled = altloc != b""
    if not labelled.any():
        keep = comp == first_comp[residue]
        return AltlocChoice(keep, alternates, heterogeneous, first_comp)

    # Sorted, the empty label first if there is one. Single characters sort as numbers, and faster.
    code = codes(altloc)
    labels, label = np.unique(code if (code < 256).all() else altloc, return_inverse=True)
    alternates[residue[labelled]] = True
    run_start = alternates & ~(np.concatenate(([False], alternates[:-1])) & joins_previous)
    run = np.cumsum(run_start) - 1

    atoms = np.flatnonzero(labelled)
    of_residue, of_label = residue[atoms], label[atoms]
    run_best = _best_labels(run[of_residue], of_label, occupancy[atoms], len(labels))
    own_best = _best_labels(of_residue, of_label, occupancy[atoms], len(labels))

    chosen = np.full(n_residues, -1)
    with_alternates = np.flatnonzero(alternates)
    chosen[with_alternates] = [run_best[r] for r in run[with_alternates].tolist()]
    has_chosen = np.zeros(n_residues, bool)
    has_chosen[of_residue[of_label == chosen[of_residue]]] = True
    for r in with_alternates[~has_chosen[with_alternates]].tolist():
        chosen[r] = own_best[r]

    is_chosen = labelled & (label == chosen[residue])
    # The component is that of the chosen label; reversed, so that the first atom is written last.
    comp_of = first_comp.copy()
    picked = np.flatnonzero(is_chosen)[::-1]
    comp_of[residue[picked]] = comp[picked]
    keep = (~labelled | is_chosen) & (comp == comp_of[residue])

    _restore_backbone(
        keep, with_alternates, starts, residue, label, labelled, comp, comp_of, name, occupancy
    )
    return AltlocChoice(keep, alternates, heterogeneous, comp_of)


def _best_labels(
    group: NDArray, label: NDArray, occupancy: NDArray, n_labels: int
) -> dict[int, int]:
    """Per group the label with the largest sum; the smallest label of those that tie."""
    keys, inverse = np.unique(group.astype(np.int64) * n_labels + label, return_inverse=True)
    sums = np.zeros(len(keys), np.int64)
    np.add.at(sums, inverse, occupancy)
    best: dict[int, int] = {}
    most: dict[int, int] = {}
    for key, total in zip(keys.tolist(), sums.tolist(), strict=True):
        g, this = divmod(key, n_labels)
        if g not in best or total > most[g]:
            best[g], most[g] = this, total
    return best


def _restore_backbone(
    keep, with_alternates, starts, residue, label, labelled, comp, comp_of, name, occupancy
) -> None:
    """Give back, in place, backbone atoms that only another label of the residue has."""
    slot = np.full(len(name), -1)
    for k, text in enumerate(_BACKBONE):
        slot[name == text] = k
    ends = np.append(starts[1:], len(residue))
    bit = np.where(slot >= 0, 1 << np.maximum(slot, 0), 0)
    has = np.bitwise_or.reduceat(np.where(keep, bit, 0), starts)
    could = np.bitwise_or.reduceat(bit, starts)
    for r in with_alternates[(has != could)[with_alternates]].tolist():
        rows = np.arange(starts[r], ends[r])
        totals: dict[int, int] = {}
        for row in rows[labelled[rows]].tolist():
            totals[label[row]] = totals.get(label[row], 0) + int(occupancy[row])
        order = sorted(totals, key=lambda k: (-totals[k], k))
        for k in range(len(_BACKBONE)):
            candidates = rows[slot[rows] == k]
            if not len(candidates) or keep[candidates].any():
                continue
            # Of the chosen component if any; then one that stands for all; then the best label's.
            rank = {this: k for k, this in enumerate(order, start=1)}
            own = (comp[candidates] == comp_of[r]).tolist()
            ranks = [
                rank[this] if has_label else 0
                for this, has_label in zip(
                    label[candidates].tolist(), labelled[candidates].tolist(), strict=True
                )
            ]
            places = range(len(candidates))
            keep[candidates[min(places, key=lambda i: (not own[i], ranks[i]))]] = True
