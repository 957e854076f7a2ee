"""The page of `packing.py`: recovery and RMSD, differences with intervals, ablations, curves."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from packing_runs import MAIN, REFERENCE, Folder, Run, Settings

from model.evaluate.compare import read_per_chain
from model.metrics import Interval, mean_interval, paired_difference

CHI1, RMSD = "chi1_recovery", "side_chain_rmsd"
METRICS = {
    CHI1: "χ1 within 20°",
    "rotamer_recovery": "all χ within 20°",
    RMSD: "side-chain RMSD, Å",
    "side_chain_rmsd_core": "… of the core, Å",
}


@dataclass(frozen=True)
class Results:
    """What the folder has: per run, the metrics of each test chain."""

    work: Path
    settings: Settings
    chains: dict[Run, dict[str, dict[str, float]]]

    @classmethod
    def read(cls, work: Path) -> Results:
        path = work / "settings.json"
        if not path.is_file():
            raise SystemExit(f"error: {work} has no runs: it has no settings.json")
        settings = Settings(**json.loads(path.read_text(encoding="utf-8")))
        found = {run: Folder(work, run).chains() for run in settings.runs()}
        chains = {run: rows for run, rows in found.items() if rows is not None}
        if len({tuple(rows) for rows in chains.values()}) > 1:
            raise SystemExit("error: the runs were evaluated on different chains")
        return cls(work, settings, chains)

    def of_arm(self, arm: str) -> list[Run]:
        return [run for run in self.chains if run.arm == arm]

    def values(self, run: Run, metric: str) -> np.ndarray:
        """(chains,) of a column of per_chain.csv."""
        return np.array([row[metric] for row in self.chains[run].values()])

    def mean_of(self, runs: Sequence[Run], metric: str) -> np.ndarray:
        """(chains,) mean over runs of each chain."""
        return np.mean([self.values(run, metric) for run in runs], axis=0)


def markdown(results: Results, plot: str | None = None) -> str:
    """The page of the comparison, with what is finished."""
    settings = results.settings
    n_chains = len(next(iter(results.chains.values()))) if results.chains else 0
    missing = [run.name for run in settings.runs() if run not in results.chains]
    lines = [
        f"{settings.steps:,} steps, {settings.passes} passes, {n_chains} test chains, dataset "
        f"{settings.dataset_digest[:12]}; means over chains, 95 % bootstrap intervals over chains."
    ]
    if missing:
        lines += ["", f"Not finished: {', '.join(missing)}."]
    if results.chains:
        lines += ["", *table_of_runs(results), "", *table_of_differences(results)]
        lines += table_of_ablations(results)
    lines += table_of_curves(results)
    if plot:
        lines += ["", f"![Learning curves]({plot})"]
    return "\n".join(lines) + "\n"


def table_of_runs(results: Results) -> list[str]:
    path = results.work / "parameters.json"
    counts = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    head = ["run", "parameters", "steps", "training, min", *METRICS.values()]
    rows: list[list[str]] = []
    runs = list(results.chains)
    anyone = results.chains[runs[0]]
    if any("baseline." + CHI1 in row for row in anyone.values()):
        values = [cell(mean_interval(results.values(runs[0], f"baseline.{m}"))) for m in METRICS]
        rows.append(["modal rotamers", "", "", "", *values])
    for arm in dict.fromkeys(run.arm for run in runs if not run.ablation):
        minutes = []
        for run in results.of_arm(arm):
            steps, seconds = Folder(results.work, run).progress()
            minutes.append(seconds / 60)
            means = [f"{np.nanmean(results.values(run, f'packing.{m}')):.3f}" for m in METRICS]
            count = f"{counts[run.name]:,}" if run.name in counts else ""
            rows.append([run.name, count, f"{steps:,}", f"{minutes[-1]:.1f}", *means])
        if len(minutes) > 1:
            values = []
            for m in METRICS:
                means_of_seeds = [
                    float(np.nanmean(results.values(run, f"packing.{m}")))
                    for run in results.of_arm(arm)
                ]
                over = mean_interval(results.mean_of(results.of_arm(arm), f"packing.{m}"))
                values.append(f"**{cell(over)}** ± {statistics.stdev(means_of_seeds):.3f}")
            title = f"**{arm}, {len(minutes)} seeds**"
            rows.append([title, "", "", f"{statistics.mean(minutes):.1f}", *values])
    note = ["", "±: standard deviation over seeds."] if any("±" in str(row) for row in rows) else []
    return [*as_table(head, rows), *note]


def table_of_differences(results: Results) -> list[str]:
    iga, ipa = results.of_arm("iga"), results.of_arm("ipa")
    seeds = {run.seed for run in iga} & {run.seed for run in ipa}
    iga_paired = [run for run in iga if run.seed in seeds]
    ipa_paired = [run for run in ipa if run.seed in seeds]
    rows = []

    def add(title: str, a: np.ndarray, b: np.ndarray, more: str = "") -> list[str]:
        found = paired_difference(a, b)
        return [title, cell(found), str(found.n), verdict(found), more]

    for metric, name in METRICS.items():
        of_model, of_baseline = f"packing.{metric}", f"baseline.{metric}"
        if seeds:
            each = [
                f"{np.nanmean(results.values(a, of_model) - results.values(b, of_model)):+.3f}"
                for a, b in zip(iga_paired, ipa_paired, strict=True)
            ]
            a, b = results.mean_of(iga_paired, of_model), results.mean_of(ipa_paired, of_model)
            rows.append(add(f"iga − ipa: {name}", a, b, ", ".join(each)))
        for arm, runs in (("iga", iga), ("ipa", ipa)):
            if runs and all(of_baseline in row for row in results.chains[runs[0]].values()):
                a, b = results.mean_of(runs, of_model), results.values(runs[0], of_baseline)
                each = [f"{np.nanmean(results.values(run, of_model) - b):+.3f}" for run in runs]
                rows.append(add(f"{arm} − modal rotamers: {name}", a, b, ", ".join(each)))
    if not rows:
        return []
    head = ["difference, mean of the seeds of a chain", "", "chains", "", "each seed"]
    return as_table(head, rows)


def table_of_ablations(results: Results) -> list[str]:
    short = results.settings.ablation_steps != results.settings.steps
    reference = REFERENCE if short else MAIN[0]
    runs = [run for run in results.chains if run.ablation and run != reference]
    if reference in results.chains:
        runs = [reference, *runs]
    if not any(run.ablation for run in runs):
        return []
    rows = []
    for run in runs:
        folder = Folder(results.work, run)
        gammas = folder.logged("gamma/mean")
        gamma = f"{gammas[max(gammas)]:.3g}" if gammas else ""
        row = [run.name, gamma, f"{folder.progress()[1] / 60:.1f}"]
        for metric in (f"packing.{CHI1}", f"packing.{RMSD}"):
            row.append(f"{np.nanmean(results.values(run, metric)):.3f}")
            if run == reference or reference not in results.chains:
                row.append("")
            else:
                found = paired_difference(
                    results.values(run, metric), results.values(reference, metric)
                )
                row.append(f"{cell(found)} {verdict(found)}".strip())
        rows.append(row)
    head = ["run", "γ at the end", "training, min", METRICS[CHI1], f"− {reference.name}"]
    head += [METRICS[RMSD], f"− {reference.name}"]
    steps = results.settings.ablation_steps
    return ["", f"Ablations, {steps:,} steps, one seed:", "", *as_table(head, rows)]


@dataclass(frozen=True)
class Curve:
    """Step → validation loss, and χ1 recovery on validation chains, of a run."""

    loss: dict[int, float]
    chi1: dict[int, float]

    @classmethod
    def read(cls, work: Path, settings: Settings, run: Run) -> Curve:
        folder = Folder(work, run)
        steps = settings.curve_of(run)
        loss = folder.logged("val/loss")
        chi1 = {}
        for step in steps:
            if folder.curve(step).is_dir():
                rows = read_per_chain(folder.curve(step)).values()
                chi1[step] = float(np.nanmean([row[f"packing.{CHI1}"] for row in rows]))
        # Lightning counts the steps of validation from 0.
        return cls({step: loss[step - 1] for step in steps if step - 1 in loss}, chi1)


def curves_of(results: Results) -> dict[Run, Curve]:
    """Of all runs that have begun."""
    found = {
        run: Curve.read(results.work, results.settings, run) for run in results.settings.runs()
    }
    return {run: curve for run, curve in found.items() if curve.loss or curve.chi1}


def table_of_curves(results: Results) -> list[str]:
    """Loss and χ1 by step: a row per step, arms averaged over the seeds that have the step."""
    arms: dict[str, list[Curve]] = {}
    for run, curve in curves_of(results).items():
        arms.setdefault(run.arm, []).append(curve)
    if not arms:
        return []
    lines = []
    for title, key in (
        ("Validation loss", "loss"),
        (f"χ1 within 20° on {results.settings.validation_chains} validation chains", "chi1"),
    ):
        steps = sorted({s for curves in arms.values() for c in curves for s in getattr(c, key)})
        rows = []
        for step in steps:
            row = [f"{step:,}"]
            for curves in arms.values():
                known = [getattr(c, key)[step] for c in curves if step in getattr(c, key)]
                row.append(f"{statistics.mean(known):.3f}" if known else "")
            rows.append(row)
        lines += ["", f"{title}, mean over seeds:", "", *as_table(["step", *arms], rows)]
    return lines


def draw_curves(results: Results, path: Path) -> None:
    """Loss and χ1 against steps and, for the loss, against time as well."""
    from matplotlib.figure import Figure

    curves = curves_of(results)
    arms = list(dict.fromkeys(run.arm for run in curves))
    colours = {"iga": "#1f6fb4", "ipa": "#d9722b"}
    others = ["#9a9a9a", "#5b8c5a", "#8a5fa8", "#b59a2f", "#3aa0a0", "#a04040", "#555555"]
    colours |= dict(zip([a for a in arms if a not in colours], others, strict=False))
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    by_step, by_time, chi1 = figure.subplots(1, 3)
    labelled: set[str] = set()
    for run, curve in curves.items():
        label = None if run.arm in labelled else run.arm
        labelled.add(run.arm)
        style: dict[str, Any] = {
            "color": colours.get(run.arm, "black"),
            "linestyle": "--" if run.ablation else "-",
            "marker": ".",
            "label": label,
        }
        by_step.plot(list(curve.loss), list(curve.loss.values()), **style)
        done, seconds = Folder(results.work, run).progress()
        minutes = [step * seconds / 60 / done if done else math.nan for step in curve.loss]
        by_time.plot(minutes, list(curve.loss.values()), **style)
        chi1.plot(list(curve.chi1), list(curve.chi1.values()), **style)
    by_step.set(xlabel="steps", ylabel="validation loss")
    by_time.set(xlabel="minutes of training", ylabel="validation loss")
    chi1.set(xlabel="steps", ylabel="χ1 within 20°, validation chains")
    if labelled:
        by_step.legend(frameon=False)
    figure.savefig(path, format="png", dpi=120)


def cell(interval: Interval) -> str:
    return f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def verdict(interval: Interval) -> str:
    """Whether 0 is outside."""
    return "differs" if interval.low > 0 or interval.high < 0 else ""


def as_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
