"""Plots of an evaluation, drawn without pyplot: no display, no global state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from model.evaluate.calibration import tenths
from model.evaluate.tally import ResidueTally, Tally
from model.metrics import expected_radius_of_gyration
from model.tasks import TASK_RECORDS
from pipeline.residues import RESTYPES

MODEL, BASELINE = "#1f6fb4", "#9a9a9a"


def plots_of(tally: Tally) -> dict[str, Figure]:
    """File name → figure, of what there is to show."""
    figures: dict[str, Figure] = {}
    if tally.packed.aatype:
        figures["chi_by_type.png"] = chi_by_type(tally)
        figures["atom_errors.png"] = atom_heatmap(tally.packed)
        figures["side_chain_rmsd.png"] = core_and_surface(tally)
        figures["confidence.png"] = confidence(tally.packed)
    if tally.designed.confusion.any():
        figures["recovery_by_type.png"] = recovery_by_type(tally)
    for task, record in TASK_RECORDS.items():
        if any(f"{task}.{name}" in row for row in tally.rows.values() for name in record.by_length):
            figures[f"{task}.png"] = against_length(tally, task, record.by_length)
        if record.is_new and tally.generated:
            figures["radius_of_gyration.png"] = radius_of_gyration(tally, task)
    return figures


def save(figure: Figure, path: Path) -> None:
    """As a PNG."""
    figure.savefig(path, format="png", dpi=120)


def chi_by_type(tally: Tally) -> Figure:
    """Share of χ1 and χ2 within 20° for each residue type, beside the baseline."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    for k, axes in enumerate(figure.subplots(2, 1), start=1):
        model = {r["residue"]: r["recovery"] for r in tally.packed.chi_rows() if r["chi"] == k}
        modal = {r["residue"]: r["recovery"] for r in tally.baseline.chi_rows() if r["chi"] == k}
        at = np.arange(len(model))
        axes.bar(at - 0.2, list(model.values()), 0.4, color=MODEL, label="network")
        if modal:
            values = [modal.get(name, np.nan) for name in model]
            axes.bar(at + 0.2, values, 0.4, color=BASELINE, label="modal rotamer")
        axes.set_xticks(at, list(model))
        axes.set(ylabel=f"χ{k} within 20°", ylim=(0, 1))
        axes.legend(frameon=False, loc="upper right")
    return figure


def atom_heatmap(packed: ResidueTally) -> Figure:
    """Mean error of each side-chain atom, by type and slot."""
    figure = Figure(figsize=(6.5, 7), layout="constrained")
    axes = figure.subplots()
    mean = packed.atoms.mean()[:20, 4:]
    image = axes.imshow(mean, cmap="viridis", vmin=0.0, aspect="auto")
    axes.set_yticks(range(20), RESTYPES)
    axes.set_xticks(range(10), [str(slot) for slot in range(4, 14)])
    axes.set(xlabel="slot of atom14", title="mean distance from the true atom")
    figure.colorbar(image, label="Å")
    return figure


def core_and_surface(tally: Tally) -> Figure:
    """How side-chain RMSD is distributed in the core and at the surface."""

    def draw(axes: Axes, residues: ResidueTally, name: str, color: str) -> None:
        error, core = residues.joined("error"), residues.joined("core")
        for chosen, style, where in ((core, "-", "core"), (~core, "--", "surface")):
            values = np.sort(error[chosen & ~np.isnan(error)])
            if len(values):
                share = np.arange(1, len(values) + 1) / len(values)
                axes.plot(values, share, style, color=color, label=f"{name}, {where}")

    figure, axes = _figure()
    draw(axes, tally.packed, "network", MODEL)
    if tally.baseline.aatype:
        draw(axes, tally.baseline, "modal rotamer", BASELINE)
    axes.set(xlabel="side-chain RMSD of a residue, Å", ylabel="share of residues below")
    axes.set(xlim=(0, 5), ylim=(0, 1))
    axes.legend(frameon=False, loc="lower right")
    return figure


def confidence(packed: ResidueTally) -> Figure:
    """Whether side chains are as far off as was predicted: tenths of those with torsions."""
    predicted, error = packed.with_torsions()
    groups = tenths(predicted)
    x = [predicted[group].mean() for group in groups]
    figure, axes = _figure()
    for share, label in ((25, "quartiles"), (75, None)):
        y = [np.percentile(error[group], share) for group in groups]
        axes.plot(x, y, "--", color=MODEL, label=label)
    axes.plot(x, [error[group].mean() for group in groups], "o-", color=MODEL, label="mean")
    top = max(axes.get_ylim()[1], max(x, default=1.0))
    axes.plot([0, top], [0, top], color=BASELINE, linewidth=1, label="as predicted")
    axes.set(xlabel="predicted error, Å (tenths of the residues)", ylabel="side-chain RMSD, Å")
    axes.legend(frameon=False)
    return figure


def recovery_by_type(tally: Tally) -> Figure:
    """Which types are designed where which type was."""
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.subplots()
    counts = tally.designed.confusion
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    image = axes.imshow(share, cmap="viridis", vmin=0.0)
    axes.set_xticks(range(20), RESTYPES, rotation=90)
    axes.set_yticks(range(20), RESTYPES)
    axes.set(xlabel="designed", ylabel="true")
    figure.colorbar(image, label="share of the true type")
    return figure


def against_length(tally: Tally, task: str, measures: Mapping[str, str]) -> Figure:
    """Measures of a task, each with the label of its axis, against length."""
    figure = Figure(figsize=(4.5 * len(measures), 4), layout="constrained")
    plots = np.ravel(figure.subplots(1, len(measures)))
    for axes, (name, label) in zip(plots, measures.items(), strict=True):
        column = f"{task}.{name}"
        rows = [row for row in tally.rows.values() if column in row]
        x, y = [row["length"] for row in rows], [row[column] for row in rows]
        axes.plot(x, y, ".", color=MODEL)
        axes.set(xlabel="residues", ylabel=label)
        axes.set_ylim(bottom=0)
    return figure


def radius_of_gyration(tally: Tally, task: str) -> Figure:
    """Size of new proteins, with what globular proteins have."""
    column = f"{task}.radius_of_gyration"
    rows = [row for row in tally.rows.values() if column in row]
    lengths = np.array([row["length"] for row in rows])
    figure, axes = _figure()
    radius = [row[column] for row in rows]
    axes.plot(lengths, radius, ".", color=MODEL, label="new proteins")
    x = np.linspace(max(lengths.min(), 1), lengths.max() + 1, 50)
    expected: Callable[[float], float] = expected_radius_of_gyration  # type: ignore[assignment]
    axes.plot(x, [expected(n) for n in x], color=BASELINE, label="2.2·L^0.38")
    axes.set(xlabel="residues", ylabel="radius of gyration, Å")
    axes.legend(frameon=False)
    return figure


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    return figure, figure.subplots()
