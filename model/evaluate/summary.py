"""An evaluation in one page, and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from model.evaluate.calibration import Calibration
from model.evaluate.compare import Difference, markdown_of
from model.evaluate.tally import NEAREST_TM, Tally, spearman
from model.flow.error_scale import UNSCALED, ErrorScale
from model.metrics import (
    Interval,
    diversity,
    mean_interval,
    nearest_structure,
    paired_difference,
    pairwise_tm,
)
from model.tasks import TASK_RECORDS
from pipeline.built.novelty import KINDS, kinds_of

MAX_COMPARED = 40
"""New proteins that are compared with each other and with known ones; pairs take time."""

MOST_BY_NOVELTY = 3
"""Measures of a task that are told apart by the nearest training chain; the JSON has all."""


@dataclass(frozen=True)
class Summary:
    """What an evaluation found.

    Attributes
    ----------
    about : dict
        Dataset, split, checkpoint, options.
    tasks : dict
        Task (and ``baseline``) → metric → interval.
    paired : dict
        Metric → packing minus baseline.
    confidence : dict
        What is correlated → Spearman's ρ.
    new : dict
        Of the set of new proteins.
    against : list of Difference
    calibration : Calibration or None
        Of the predicted errors of side chains.
    places : list of dict
        Recovery and perplexity of designs by where residues are, all chains together.
    by_novelty : dict
        Kind of chain by its nearest training chain → task → metric → interval; without neighbours
        nothing.
    """

    about: dict[str, Any]
    tasks: dict[str, dict[str, Interval]]
    paired: dict[str, Interval]
    confidence: dict[str, float]
    new: dict[str, float]
    against: Sequence[Difference] = ()
    calibration: Calibration | None = None
    places: Sequence[Mapping[str, Any]] = ()
    by_novelty: Mapping[str, Mapping[str, Mapping[str, Interval]]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is not known is null."""
        return _plain(
            {
                **self.about,
                "tasks": _intervals(self.tasks),
                "by_novelty": {kind: _intervals(t) for kind, t in self.by_novelty.items()},
                "packing_minus_baseline": {m: vars(i) for m, i in self.paired.items()},
                "confidence_spearman": self.confidence,
                "calibration": _calibration(self.calibration),
                "new_proteins": self.new,
                "design_by_place": [dict(row) for row in self.places],
                "against": [
                    {
                        "metric": d.metric,
                        "this": vars(d.this),
                        "other": vars(d.other),
                        "difference": vars(d.difference),
                    }
                    for d in self.against
                ],
            }
        )

    def to_markdown(self) -> str:
        """One page."""
        lines = ["# Evaluation", ""]
        lines += [f"- {name.replace('_', ' ')}: {value}" for name, value in self.about.items()]
        lines += ["", "Means over chains with 95 % bootstrap intervals.", ""]
        for task, record in TASK_RECORDS.items():
            if task not in self.tasks:
                continue
            lines += [f"## {task.capitalize()}", ""]
            with_baseline = record.has_baseline and "baseline" in self.tasks
            shown = {**record.shown, **record.of_evaluation}
            lines += _table(self, task, shown, with_baseline)
            if not record.is_new:
                lines += _by_novelty(self, task, shown)
            lines += _confidence(self.confidence, task)
            if task == "design" and self.places:
                lines += _by_place(self.places)
            if task == "packing" and self.calibration is not None:
                lines += self.calibration.lines()
            if record.is_new and self.new:
                lines += ["| of the set | |", "|---|---|"]
                lines += [f"| {name} | {value:.3f} |" for name, value in self.new.items()]
                lines += [""]
        if self.against:
            title = self.about.get("against", "another evaluation")
            lines += [f"## Against {title}", "", markdown_of(self.against)]
        return "\n".join(lines).rstrip() + "\n"


def summarise_tally(
    tally: Tally,
    about: dict[str, Any],
    known: Sequence[np.ndarray],
    against: Sequence[Difference],
    *,
    seed: int,
    error_scale: ErrorScale = UNSCALED,
) -> Summary:
    """Intervals of all columns of all tasks.

    Parameters
    ----------
    tally : Tally
    about : dict
    known : sequence of (L, 3) float
        Cα of training chains, to tell how new the new proteins are.
    against : sequence of Difference
    seed : int
        Of the bootstrap.
    error_scale : ErrorScale
        That the predicted errors have.
    """
    rows = list(tally.rows.values())
    tasks = _means(rows, seed)
    kinds = kinds_of([row.get(NEAREST_TM, math.nan) for row in rows])
    by_novelty = {
        kind: _means(inside, seed)
        for k, kind in enumerate(KINDS)
        if (inside := [row for row, of in zip(rows, kinds, strict=True) if of == k])
    }
    paired = {}
    if "baseline" in tasks:
        for metric in tasks["baseline"]:
            sides = [
                [row.get(f"{side}.{metric}", math.nan) for row in rows]
                for side in ("packing", "baseline")
            ]
            paired[metric] = paired_difference(*sides, seed=seed)
    calibration = Calibration.of(tally.packed, error_scale) if tally.packed.aatype else None
    correlations, new = _correlations(tally), _of_set(tally, known)
    places = tally.designed.by_place()
    return Summary(
        about, tasks, paired, correlations, new, against, calibration, places, by_novelty
    )


def _means(rows: Sequence[Mapping[str, Any]], seed: int) -> dict[str, dict[str, Interval]]:
    columns = list(dict.fromkeys(name for row in rows for name in row if "." in name))
    tasks: dict[str, dict[str, Interval]] = {}
    for column in columns:
        task, _, metric = column.partition(".")
        values = [row.get(column, math.nan) for row in rows]
        tasks.setdefault(task, {})[metric] = mean_interval(values, seed=seed)
    return tasks


def _correlations(tally: Tally) -> dict[str, float]:
    found = {}
    if tally.packed.aatype:
        found["packing, over residues"] = spearman(
            tally.packed.joined("predicted"), tally.packed.joined("error")
        )
    for task, record in TASK_RECORDS.items():
        metric = record.ranked_error
        rows = [row for row in tally.rows.values() if f"{task}.{metric}" in row]
        if rows:
            predicted = np.array([row[f"{task}.predicted_error"] for row in rows], float)
            error = np.array([row[f"{task}.{metric}"] for row in rows], float)
            found[f"{task}, over chains ({metric})"] = spearman(predicted, error)
    return found


def _of_set(tally: Tally, known: Sequence[np.ndarray]) -> dict[str, float]:
    if not tally.generated:
        return {}
    compared = [trace for trace in tally.generated if len(trace) >= 5][:MAX_COMPARED]
    found = {"new proteins compared": float(len(compared))}
    if len(compared) > 1:
        among = diversity(pairwise_tm(compared))
        found |= {
            "mean TM-score of pairs": among.mean_tm,
            "clusters at TM-score 0.5, per protein": among.cluster_share,
        }
    if known:
        nearest = [nearest_structure(trace, known).tm for trace in compared]
        found["known chains compared"] = float(len(known))
        found["TM-score to the nearest known chain"] = float(np.mean(nearest))
    return found


def _table(summary: Summary, task: str, shown: Mapping[str, str], with_baseline: bool) -> list[str]:
    head = ["", "network", *(["modal rotamer", "difference"] if with_baseline else []), "chains"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for metric, label in shown.items():
        interval = summary.tasks[task].get(metric)
        if interval is None:
            continue
        cells = [label, str(interval)]
        if with_baseline:
            cells += [str(summary.tasks["baseline"][metric]), str(summary.paired[metric])]
        lines.append(f"| {' | '.join([*cells, str(interval.n)])} |")
    return [*lines, ""]


def _by_novelty(summary: Summary, task: str, shown: Mapping[str, str]) -> list[str]:
    """The first measures of chains that are alike, and not alike, to a training chain."""
    metrics = [m for m in shown if m in summary.tasks[task]][:MOST_BY_NOVELTY]
    kinds = [kind for kind in summary.by_novelty if task in summary.by_novelty[kind]]
    if not kinds or not metrics:
        return []
    head = ["nearest training chain", *(shown[m].removeprefix("… ") for m in metrics), "chains"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for kind in kinds:
        found = [summary.by_novelty[kind][task][m] for m in metrics]
        cells = [kind, *map(str, found), str(max(interval.n for interval in found))]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _by_place(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Residues of all chains together."""
    lines = ["| residues of all chains | number | recovery | perplexity |", "|---|---|---|---|"]
    for row in rows:
        measures = f"{row['recovery']:.3f} | {row['perplexity']:.2f}"
        lines.append(f"| {row['place']} | {row['residues']:,} | {measures} |")
    return [*lines, ""]


def _confidence(found: dict[str, float], task: str) -> list[str]:
    about = {name: value for name, value in found.items() if name.startswith(task)}
    if not about:
        return []
    lines = ["Does the predicted error tell the error? Spearman's ρ:", ""]
    return [*lines, *(f"- {name}: {value:.3f}" for name, value in about.items()), ""]


def _calibration(found: Calibration | None) -> dict[str, Any] | None:
    if found is None:
        return None
    scale = None if found.scale is None else asdict(found.scale)
    tenths = {"predicted": found.predicted.tolist(), "found": found.found.tolist()}
    return {**tenths, "error_scale": scale}


def _intervals(tasks: Mapping[str, Mapping[str, Interval]]) -> dict[str, Any]:
    return {t: {m: vars(i) for m, i in found.items()} for t, found in tasks.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
