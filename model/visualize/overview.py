"""Attention at a glance: what content says, what geometry adds, and what comes of it."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from model.visualize.colours import GROUND, NEUTRAL, SIGNED, signed_limits, signed_norm
from model.visualize.head_view import HeadView
from model.visualize.residue_axis import draw_chain_borders, label_residues
from model.visualize.statistics import NEAR

MAX_DOTS = 20_000
FLOOR = 1e-8
"""Weights below are drawn as this, on a logarithmic axis."""


def overview(view: HeadView) -> Figure:
    """2×3: logits before, geometric bias, logits after; attention, CA distances, the first against
    the second coloured by bias."""
    figure = Figure(figsize=(15, 9.4))
    panels = figure.subplots(
        2,
        3,
        gridspec_kw={
            **{"left": 0.05, "right": 0.94, "bottom": 0.065, "top": 0.885},
            **{"wspace": 0.38, "hspace": 0.27},
        },
    )
    figure.suptitle(f"{view.title}  ·  γ = {view.gamma:#.4g}", fontsize=13, y=0.965)
    for axes, values, title in zip(
        panels[0],
        (view.logits_before, view.geometric_bias, view.logits_after),
        ("logits before: content and pair", "geometric bias", "logits after: the sum"),
        strict=True,
    ):
        _signed_matrix(axes, view, values, title)
    top = float(view.attention.max())
    # Most weights are far below the largest: a square root shows them as well.
    weights = PowerNorm(0.5, vmin=0.0, vmax=top if top > 0 else 1.0)
    _matrix(panels[1, 0], view, view.attention, "attention", "magma_r", weights, "weight, √ scale")
    distances = Normalize(0.0, max(float(view.distances.max()), 1.0))
    _matrix(panels[1, 1], view, view.distances, "CA distances", "viridis_r", distances, "Å")
    _attention_against_distance(panels[1, 2], view)
    return figure


def _signed_matrix(axes: Axes, view: HeadView, values: NDArray[np.floating], title: str) -> None:
    _matrix(axes, view, values, title, SIGNED, signed_norm(values), "")


def _matrix(
    axes: Axes,
    view: HeadView,
    values: NDArray[np.floating],
    title: str,
    colours: object,
    norm: Normalize,
    unit: str,
) -> None:
    image = axes.imshow(values, cmap=colours, norm=norm)  # type: ignore[arg-type]
    axes.set_title(title, fontsize=12)
    label_residues(axes, view, "xy", most=6)
    draw_chain_borders(axes, view, "xy")
    axes.set(xlabel="key, residue index", ylabel="query, residue index")
    _colour_bar(axes, image, values, unit)


def _colour_bar(axes: Axes, image: ScalarMappable, values: NDArray[np.floating], unit: str) -> None:
    """Beside the axes; of signed colours the part that the data have, zero marked."""
    figure = axes.figure
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03)
    bar.set_label(unit)
    if image.cmap is SIGNED:
        low, high = signed_limits(values)
        if low < high:
            bar.ax.set_ylim(low, high)
        marks = {low, low / 2, 0.0, high / 2, high}
        bar.set_ticks(sorted(marks), labels=[f"{mark:.3g}" for mark in sorted(marks)])
        bar.ax.minorticks_off()


def _attention_against_distance(axes: Axes, view: HeadView) -> None:
    distances, attention, bias = (
        matrix[view.pairs] for matrix in (view.distances, view.attention, view.geometric_bias)
    )
    if len(distances) > MAX_DOTS:
        some = np.random.default_rng(0).choice(len(distances), MAX_DOTS, replace=False)
        distances, attention, bias = distances[some], attention[some], bias[some]
    # The strongest on top, whatever their sign.
    order = np.argsort(np.abs(bias), kind="stable")
    size = float(np.clip(3000 / max(len(order), 1), 5, 40))
    axes.set_facecolor(GROUND)
    dots = axes.scatter(
        distances[order],
        np.maximum(attention[order], FLOOR),
        c=bias[order],
        cmap=SIGNED,
        norm=signed_norm(bias),
        s=size,
        linewidths=0,
    )
    axes.set_yscale("log")
    n = len(view)
    axes.axhline(1 / n, color="#333333", linewidth=1, linestyle=":", label=f"uniform, 1/{n}")
    axes.axvline(NEAR, color="#333333", linewidth=1, linestyle="--", label=f"{NEAR:g} Å")
    axes.set_xlim(left=0)
    axes.set_title("attention against distance, pairs i ≠ j", fontsize=12)
    axes.set(xlabel="CA distance, Å", ylabel="attention weight, at least 10⁻⁸")
    axes.legend(loc="lower left", fontsize=9, framealpha=0.8)
    axes.grid(color="white", linewidth=0.5, alpha=0.5)
    axes.set_axisbelow(True)
    if len(order):
        _colour_bar(axes, dots, bias, "geometric bias")
    else:
        axes.text(0.5, 0.5, "no pairs", transform=axes.transAxes, ha="center", color=NEUTRAL)
