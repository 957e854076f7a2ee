"""Where single residues look: the rows of four queries along the sequence."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from model.visualize.colours import ATTENTION, BIAS, NEAR_SHADE
from model.visualize.head_view import HeadView
from model.visualize.residue_axis import draw_chain_borders, label_residues
from model.visualize.statistics import NEAR

N_QUERIES = 4


def queries(n: int) -> NDArray[np.intp]:
    """The middles of four equal parts of n residues; all of them if there are fewer."""
    return np.unique(((np.arange(N_QUERIES) + 0.5) * n / N_QUERIES).astype(np.intp))


def runs(chosen: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(begin, end) of each stretch of True; the end is not part of it."""
    changes = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]])))
    return [(int(begin), int(end)) for begin, end in changes.reshape(-1, 2)]


def profiles(view: HeadView) -> Figure:
    """Attention of each query to all keys, with the geometric bias and the keys within 8 Å."""
    rows = queries(len(view))
    figure = Figure(figsize=(13, 1.4 + 2.1 * len(rows)))
    height = figure.get_figheight()
    panels = figure.subplots(
        len(rows),
        1,
        sharex=True,
        squeeze=False,
        gridspec_kw={
            **{"left": 0.07, "right": 0.935, "hspace": 0.3},
            **{"bottom": 0.55 / height, "top": 1 - 1.1 / height},
        },
    )[:, 0]
    figure.suptitle(view.title, fontsize=13, y=1 - 0.25 / height)
    for axes, query in zip(panels, rows.tolist(), strict=True):
        _profile(axes, view, query)
    panels[-1].set_xlabel("key, residue index")
    label_residues(panels[-1], view, "x", most=16)
    figure.legend(
        handles=[
            Patch(color=ATTENTION, label="attention (left)"),
            Line2D([], [], color=BIAS, label="geometric bias (right)"),
            Patch(color=NEAR_SHADE, label=f"keys within {NEAR:g} Å"),
            Line2D([], [], color="#333333", linestyle=":", label=f"uniform, 1/{len(view)}"),
        ],
        loc="upper center",
        bbox_to_anchor=(0.5, 1 - 0.42 / height),
        ncols=4,
        frameon=False,
    )
    return figure


def _profile(axes: Axes, view: HeadView, query: int) -> None:
    n = len(view)
    edges = np.arange(n + 1) - 0.5
    weights, bias = view.attention[query], view.geometric_bias[query]
    near = view.distances[query] <= NEAR
    for begin, end in runs(near):
        axes.axvspan(edges[begin], edges[end], color=NEAR_SHADE, linewidth=0, zorder=0)
    axes.stairs(weights, edges, fill=True, color=ATTENTION)
    axes.axhline(1 / n, color="#333333", linewidth=1, linestyle=":")
    draw_chain_borders(axes, view)
    axes.plot([query], [0], marker="^", markersize=9, color="black", clip_on=False, zorder=5)
    name = f"query {view.residue_index[query]}"
    if len(view.chain_starts):
        chain = int(np.searchsorted(view.chain_starts, query, side="right"))
        name += f" of chain {chain + 1} of {len(view.chain_starts) + 1}"
    # A residue that looks at itself before all would press the others into the axis.
    others = np.delete(weights, query)
    own, most = float(weights[query]), float(others.max()) if n > 1 else 0.0
    top = 1.1 * max(min(own, 2 * most) if n > 1 else own, most, 1 / n)
    if own > top:
        name += f", {own:.2f} of its weight on itself (cut off)"
    axes.set(xlim=(-0.5, n - 0.5), ylim=(0, top))
    axes.set_title(name, fontsize=10, loc="left", pad=3)
    axes.set_ylabel("weight")
    axes.yaxis.set_major_locator(MaxNLocator(4))
    right = axes.twinx()
    right.plot(np.arange(n), bias, color=BIAS, linewidth=1, marker="." if n < 60 else "")
    right.axhline(0, color=BIAS, linewidth=0.5, alpha=0.5)
    right.set_ylabel("bias", color=BIAS)
    right.tick_params(axis="y", colors=BIAS)
    right.yaxis.set_major_locator(MaxNLocator(4))
