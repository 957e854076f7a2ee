"""How attention and bias depend on distance, and what local pairs get of the weight."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from model.visualize.colours import ATTENTION, BIAS, GLOBAL, LOCAL, NEUTRAL
from model.visualize.head_view import HeadView
from model.visualize.overview import FLOOR
from model.visualize.statistics import NEAR

MAX_BINS = 50
_WIDTHS = (1.0, 2.0, 4.0, 5.0, 10.0, 20.0, 50.0, 100.0, 1000.0)


@dataclass(frozen=True)
class ByDistance:
    """Values of pairs in bins of their distance, empty bins left out.

    Attributes
    ----------
    at : (n,) float
        Å, middles of the bins.
    mean, lower, upper : (n,) float
        Mean and quartiles.
    """

    at: NDArray[np.floating]
    mean: NDArray[np.floating]
    lower: NDArray[np.floating]
    upper: NDArray[np.floating]


def by_distance(distances: NDArray[np.floating], values: NDArray[np.floating]) -> ByDistance:
    """Bins of 1 Å, or wider ones if there were more than 50.

    Parameters
    ----------
    distances, values : (n,) float
    """
    if len(distances) == 0:
        return ByDistance(*np.zeros((4, 0)))
    top = float(distances.max())
    width = next((w for w in _WIDTHS if top / w <= MAX_BINS), max(top / MAX_BINS, 1.0))
    number = np.floor(distances / width).astype(int)
    order = np.argsort(number, kind="stable")
    bins, first = np.unique(number[order], return_index=True)
    groups = np.split(values[order], first[1:])
    return ByDistance(
        at=(bins + 0.5) * width,
        mean=np.array([group.mean() for group in groups]),
        lower=np.array([np.percentile(group, 25) for group in groups]),
        upper=np.array([np.percentile(group, 75) for group in groups]),
    )


@dataclass(frozen=True)
class Shares:
    """Of the attention of an average query: what goes to itself, within 8 Å, and beyond."""

    itself: float
    local: float
    beyond: float


def shares(weights: NDArray[np.floating], distances: NDArray[np.floating]) -> Shares:
    """Shares of (N, N) weights whose rows sum to 1."""
    own = np.eye(len(weights), dtype=bool)
    near = (distances <= NEAR) & ~own
    n = max(len(weights), 1)
    return Shares(
        float(weights[own].sum()) / n,
        float(weights[near].sum()) / n,
        float(weights[~near & ~own].sum()) / n,
    )


def distance_statistics(view: HeadView) -> Figure:
    """2×2: attention and bias against distance; weights, and shares of all weight, of local and
    global pairs."""
    figure = Figure(figsize=(12.5, 9))
    panels = figure.subplots(
        2,
        2,
        gridspec_kw={
            **{"left": 0.075, "right": 0.975, "bottom": 0.07, "top": 0.885},
            **{"wspace": 0.22, "hspace": 0.3},
        },
    )
    figure.suptitle(f"{view.title}  ·  γ = {view.gamma:#.4g}", fontsize=13, y=0.965)
    pairs = view.pairs
    distances, attention, bias = (
        matrix[pairs].astype(float)
        for matrix in (view.distances, view.attention, view.geometric_bias)
    )
    uniform = 1 / len(view)
    _against_distance(panels[0, 0], distances, np.maximum(attention, FLOOR), ATTENTION)
    panels[0, 0].axhline(uniform, color="#333333", linewidth=1, linestyle=":", label="uniform")
    panels[0, 0].set(
        yscale="log", ylabel="attention weight, at least 10⁻⁸", title="attention against distance"
    )
    _against_distance(panels[0, 1], distances, bias, BIAS)
    panels[0, 1].axhline(0, color="#333333", linewidth=0.8)
    panels[0, 1].set(ylabel="geometric bias", title="geometric bias against distance")
    for axes in panels[0]:
        axes.legend(frameon=False)
    _weights(panels[1, 0], distances, attention, uniform)
    _shares(panels[1, 1], view)
    return figure


def _against_distance(
    axes: Axes, distances: NDArray[np.floating], values: NDArray[np.floating], colour: str
) -> None:
    found = by_distance(distances, values)
    alone = "o" if len(found.at) < 3 else ""
    axes.fill_between(
        found.at, found.lower, found.upper, color=colour, alpha=0.2, linewidth=0, label="quartiles"
    )
    axes.plot(found.at, found.mean, color=colour, linewidth=2, marker=alone, label="mean")
    axes.axvline(NEAR, color="#333333", linewidth=1, linestyle="--", label=f"{NEAR:g} Å")
    axes.set_xlim(left=0)
    axes.set_xlabel("CA distance, Å (pairs i ≠ j)")
    axes.grid(alpha=0.25)


def _weights(
    axes: Axes, distances: NDArray[np.floating], attention: NDArray[np.floating], uniform: float
) -> None:
    """Histograms of log weights, one on the other; means as lines, as in the console."""
    logs = np.log10(np.maximum(attention, FLOOR))
    # The same bins for both, with a little room where all weights are equal.
    low, high = (logs.min(), logs.max()) if len(logs) else (-1.0, 0.0)
    edges = np.linspace(low - 0.02, high + 0.02, 50)
    local = distances <= NEAR
    for chosen, colour, name in (
        (local, LOCAL, f"local, within {NEAR:g} Å"),
        (~local, GLOBAL, f"global, beyond {NEAR:g} Å"),
    ):
        if not chosen.any():
            continue
        mean = float(attention[chosen].mean())
        counts, _ = np.histogram(logs[chosen], bins=edges)
        axes.stairs(
            counts / counts.sum(),
            10**edges,
            fill=True,
            color=colour,
            alpha=0.5,
            label=f"{name}: mean {mean:.4f}",
        )
        axes.axvline(max(mean, FLOOR), color=colour, linewidth=2)
    axes.axvline(uniform, color="#333333", linewidth=1, linestyle=":", label="uniform")
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set(xlabel="attention weight of a pair (lines: means)", ylabel="share of the pairs")
    axes.set_title("local against global: weights")
    axes.legend(frameon=False, loc="upper left")


def _shares(axes: Axes, view: HeadView) -> None:
    """Bars, beside those of attention that does not choose."""
    found = shares(view.attention, view.distances)
    even = shares(np.full(view.attention.shape, 1 / len(view)), view.distances)
    at = np.arange(3)
    for values, offset, colour, name in (
        (found, -0.2, [ATTENTION, LOCAL, GLOBAL], "attention"),
        (even, 0.2, [NEUTRAL] * 3, "if it were uniform"),
    ):
        heights = [values.itself, values.local, values.beyond]
        bars = axes.bar(at + offset, heights, 0.38, color=colour, label=name)
        axes.bar_label(bars, [f"{height:.3f}" for height in heights])
    axes.set_xticks(at, ["itself", f"within {NEAR:g} Å", f"beyond {NEAR:g} Å"])
    axes.set(ylim=(0, 1.25), ylabel="share of a query's weight")
    axes.set_title("local against global: where all the weight goes")
    axes.legend(frameon=False, loc="upper center", ncols=2)
