"""How the terms of the loss fall as a run of `model.train` gets longer: a row for each doubling.

    python benchmarks/loss_against_compute.py RUN [--terms translation rotation] [--plot FILE.png]

RUN is a run's folder. Rows are means over the steps from half of a number to that number, so that
the same fall from row to row is a power law. Minutes are those of the sessions together, validation
included, of whatever else the machine did besides. A second table has the validation losses.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from build_speed import describe_machine, format_table

from pipeline.errors import Failure, UsageError

FIRST = 100
"""Steps of the first row."""

QUARTERS = ("0.00-0.25", "0.25-0.50", "0.50-0.75", "0.75-1.00")
NEW = ("tasks/inpainting", "tasks/unconditional")


def versions(run: Path, logger: str) -> list[Path]:
    """Folders of a logger, one for each session, in their order."""
    found = (run / logger).glob("version_*")
    return sorted(found, key=lambda path: int(path.name.rpartition("_")[2]))


def logged(run: Path) -> pd.DataFrame:
    """All rows of a run's ``metrics.csv``; of a step that was made twice, the later ones.

    Raises
    ------
    UsageError
        There are none.
    """
    parts = [pd.read_csv(path / "metrics.csv") for path in versions(run, "csv")]
    if not parts:
        raise UsageError(f"{run} holds no csv/version_*/metrics.csv: give the folder of a run")
    kept = [
        part[part["step"] < min((later["step"].min() for later in parts[k + 1 :]), default=1e18)]
        for k, part in enumerate(parts)
    ]
    return pd.concat(kept, ignore_index=True)


def minutes(run: Path) -> pd.Series:
    """Minutes by step, over all sessions; what a kill undid counts.

    Raises
    ------
    UsageError
        There are no logs of TensorBoard, which have the times.
    """
    # Imported here: `--help` needs no TensorBoard.
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: dict[int, float] = {}
    before = 0.0
    for folder in versions(run, "tensorboard"):
        log = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
        if "train/loss" in log.Tags()["scalars"]:
            began = log.FirstEventTimestamp()
            events = log.Scalars("train/loss")
            found |= {e.step: before + (e.wall_time - began) / 60 for e in events}
            before += (events[-1].wall_time - began) / 60
    if not found:
        raise UsageError(f"{run} holds no tensorboard/version_* with losses, which have the times")
    return pd.Series(found).sort_index()


def proteins(training: pd.DataFrame, step: int, names: Sequence[str]) -> int:
    """Proteins of some tasks that were seen until a step."""
    return int(training.loc[training["step"] <= step, list(names)].to_numpy().sum())


def doublings(last: int) -> list[tuple[int, int]]:
    """(after, until) steps; the last pair ends with the last step."""
    found, end = [], FIRST
    while end < last:
        found.append((end // 2, end))
        end *= 2
    return [*found, (last // 2, last)]


def by_doubling(
    training: pd.DataFrame, spent: pd.Series, terms: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """Header and rows: steps, what they cost, and terms, with those of each quarter of time."""
    columns = [
        c for t in terms for c in (f"train/{t}", *(f"train_by_time/{t}_{q}" for q in QUARTERS))
    ]
    columns = [name for name in columns if name in training]
    tasks = [name for name in training if name.startswith("tasks/")]
    rows = []
    for after, until in doublings(int(training["step"].max())):
        part = training[(training["step"] > after) & (training["step"] <= until)]
        if part.empty:
            continue
        # What is seen until the last step that was logged.
        seen = [f"{proteins(training, until, names):,}" for names in (tasks, NEW)]
        cost = [f"{after:,}–{until:,}", *seen, f"{spent.loc[:until].iloc[-1]:.0f}"]
        rows.append([*cost, *(f"{part[name].mean():.3f}" for name in columns)])
    names = [name.partition("/")[2].replace("_", ", t ") for name in columns]
    return ["steps", "proteins", "of them new", "minutes", *names], rows


def validations(found: pd.DataFrame, spent: pd.Series) -> tuple[list[str], list[list[str]]]:
    """Header and rows: the losses of validation, and when."""
    names = [name for name in found if name.startswith("val/")]
    rows = []
    for _, row in found.iterrows():
        # Validation is logged under the step that it follows, counted from 0.
        step = int(row["step"]) + 1
        rows.append(
            [f"{step:,}", f"{spent.loc[:step].iloc[-1]:.0f}", *(f"{row[n]:.3f}" for n in names)]
        )
    return ["step", "minutes", *(name.partition("/")[2] for name in names)], rows


def draw(
    path: Path,
    training: pd.DataFrame,
    found: pd.DataFrame | None,
    spent: pd.Series,
    terms: Sequence[str],
) -> None:
    """A panel for each term, against minutes, both on logarithmic scales."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(terms), 3.4), layout="constrained")
    for panel, term in zip(figure.subplots(1, len(terms), squeeze=False)[0], terms, strict=True):
        for name, label in {
            f"train/{term}": "all",
            **{f"train_by_time/{term}_{q}": f"t {q.replace('-', '–')}" for q in QUARTERS},
        }.items():
            if name in training:
                curve = training.set_index("step")[name].dropna().rolling(4, min_periods=1).mean()
                line = {"color": "black", "linewidth": 1.8} if label == "all" else {"linewidth": 1}
                panel.loglog(spent.reindex(curve.index), curve, label=label, **line)
        if found is not None and f"val/{term}" in found:
            at = [spent.loc[: int(step) + 1].iloc[-1] for step in found["step"]]
            panel.loglog(at, found[f"val/{term}"], "o", color="black", label="validation")
        panel.set(title=term, xlabel="minutes")
        panel.grid(True, which="both", linewidth=0.3)
    panel.legend(fontsize=7)
    figure.savefig(path, dpi=110)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--terms", nargs="+", default=["translation", "rotation"])
    parser.add_argument("--plot", type=Path, help="a picture to write")
    parser.add_argument("--markdown", action="store_true")
    given = parser.parse_args(arguments)
    if given.plot is not None and not given.plot.absolute().parent.is_dir():
        raise UsageError(f"--plot {given.plot}: there is no such folder")
    return given


def print_tables(given: argparse.Namespace) -> None:
    rows, spent = logged(given.run), minutes(given.run)
    training = rows.dropna(subset=["train/loss"])
    if missing := [t for t in given.terms if f"train/{t}" not in training]:
        known = ", ".join(n.partition("/")[2] for n in training if n.startswith("train/"))
        raise UsageError(f"--terms {' '.join(missing)}: the run has {known}")
    found = rows.dropna(subset=["val/loss"]) if "val/loss" in rows else None
    print("\n".join(f"{'- ' if given.markdown else ''}{line}" for line in describe_machine()))
    print(f"\n{format_table(*by_doubling(training, spent, given.terms), given.markdown)}")
    if found is not None:
        print(f"\nvalidation:\n\n{format_table(*validations(found, spent), given.markdown)}")
    if given.plot is not None:
        draw(given.plot, training, found, spent, given.terms)


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        print_tables(parsed(arguments))
    except (UsageError, Failure) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
