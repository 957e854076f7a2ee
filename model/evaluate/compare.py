"""Two evaluations of the same chains: ``python -m model.evaluate.compare A B``.

Each is a ``per_chain.csv`` of `model.evaluate`, or the folder with it.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.metrics import Interval, mean_interval, paired_difference
from pipeline.commands.command_line import parse_options
from pipeline.errors import Failure

PER_CHAIN = "per_chain.csv"
NAN = float("nan")


class CannotCompare(Failure):
    """A table cannot be read, or has no chain of the other; the sentence names it."""


@dataclass(frozen=True)
class Difference:
    """A metric of two evaluations over the chains that both have."""

    metric: str
    this: Interval
    other: Interval
    difference: Interval


@dataclass(frozen=True)
class CompareOptions:
    """Compare two evaluations, chain by chain.

    Parameters
    ----------
    evaluations
        Two per_chain.csv, or the folders that hold them; as the first words, they need no option.
        Differences are the first minus the second.
    seed
        Of the bootstrap.
    """

    evaluations: list[str]
    seed: int = 0


def read_per_chain(path: Path) -> dict[str, dict[str, float]]:
    """``chain_uid`` → metrics of a ``per_chain.csv``.

    Raises
    ------
    CannotCompare
    """
    if path.is_dir():
        path = path / PER_CHAIN
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return {
            row.pop("chain_uid"): {name: float(v) if v else NAN for name, v in row.items()}
            for row in rows
        }
    except OSError as error:
        raise CannotCompare(f"{path} cannot be read: {error.strerror}") from error
    except (KeyError, ValueError, TypeError) as error:
        raise CannotCompare(f"{path} is no per_chain.csv of model.evaluate: {error}") from error


def compare(
    this: Mapping[str, Mapping[str, Any]], other: Mapping[str, Mapping[str, Any]], *, seed: int = 0
) -> list[Difference]:
    """Paired differences of all metrics that both have.

    Raises
    ------
    CannotCompare
        No chain is in both.
    """
    shared = [uid for uid in this if uid in other]
    if not shared:
        raise CannotCompare("no chain is in both evaluations: they are of other data")
    names = [name for name in this[shared[0]] if name in other[shared[0]] and "." in name]
    found = []
    for name in names:
        a = [float(this[uid].get(name, NAN)) for uid in shared]
        b = [float(other[uid].get(name, NAN)) for uid in shared]
        found.append(
            Difference(
                name,
                mean_interval(a, seed=seed),
                mean_interval(b, seed=seed),
                paired_difference(a, b, seed=seed),
            )
        )
    return [one for one in found if one.difference.n]


def rows_of(differences: Sequence[Difference]) -> list[dict[str, Any]]:
    """As a table."""
    return [
        {
            "metric": d.metric,
            "this": d.this.mean,
            "other": d.other.mean,
            "difference": d.difference.mean,
            "low": d.difference.low,
            "high": d.difference.high,
            "n": d.difference.n,
        }
        for d in differences
    ]


def markdown_of(differences: Sequence[Difference]) -> str:
    """A table whose rows are marked where 0 is outside the interval."""
    lines = ["| metric | this | other | difference | chains | |", "|---|---|---|---|---|---|"]
    for d in differences:
        differs = d.difference.low > 0 or d.difference.high < 0
        lines.append(
            f"| {d.metric} | {d.this.mean:.3f} | {d.other.mean:.3f} | {d.difference} "
            f"| {d.difference.n} | {'differs' if differs else ''} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 0, or 1 if they cannot be compared, or 2 for wrong usage."""
    options = parse_options(
        CompareOptions,
        "python -m model.evaluate.compare",
        "Differences of two evaluations over the chains that both have.",
        arguments,
        first="evaluations",
    )
    if len(options.evaluations) != 2:
        print("error: give two evaluations", file=sys.stderr)
        return 2
    try:
        this, other = (read_per_chain(Path(place)) for place in options.evaluations)
        print(markdown_of(compare(this, other, seed=options.seed)), end="")
    except CannotCompare as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
