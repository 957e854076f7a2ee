"""Axes along a protein: numbered by residue index, with the borders of its chains."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from model.visualize.head_view import HeadView

_STEPS = (1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000, 2000, 5000)


def ticks(residue_index: NDArray[np.integer], most: int = 8) -> NDArray[np.intp]:
    """Positions of round residue indices, `most` or about so many, none close to another.

    Parameters
    ----------
    residue_index : (N,) int
        Ascending within each chain.
    most : int
    """
    n = len(residue_index)
    step = next((s for s in _STEPS if n / s <= most), _STEPS[-1])
    positions = np.flatnonzero(residue_index % step == 0)
    if len(positions) == 0:
        positions = np.array([0])
    chosen: list[int] = []
    for position in positions.tolist():
        # Chains that begin anew bring their round numbers close to those of the one before.
        if not chosen or position - chosen[-1] >= 0.8 * n / most:
            chosen.append(position)
    return np.array(chosen)


def label_residues(axes: Axes, view: HeadView, which: str = "x", most: int = 8) -> None:
    """Tick labels along x, y or both ("xy")."""
    at = ticks(view.residue_index, most)
    labels = [str(k) for k in view.residue_index[at]]
    for name in which:
        axis = axes.xaxis if name == "x" else axes.yaxis
        axis.set_ticks(at, labels=labels)


def draw_chain_borders(
    axes: Axes, view: HeadView, which: str = "x", colour: str = "#333333"
) -> None:
    """Lines between chains."""
    for start in view.chain_starts:
        for name in which:
            line = axes.axvline if name == "x" else axes.axhline
            line(start - 0.5, color=colour, linewidth=0.8, linestyle=(0, (4, 2)))
