"""How much lower the training loss of one run is than that of another, at the same steps.

    python benchmarks/training_curves.py RUN OTHER [OTHER ...] [--every 200]

Runs of one seed and one dataset see the same batches with the same noise, so that their difference
at a step tells more than their losses do. The first run is what the others are compared with.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from build_speed import format_table

COLUMNS = ["train/loss", "train/chi", "residues_per_second"]


def curve(run: Path) -> pd.DataFrame:
    """What a run has logged of its training, by step; of a run that was resumed, all parts."""
    parts = [pd.read_csv(path) for path in sorted(run.glob("csv/version_*/metrics.csv"))]
    if not parts:
        raise SystemExit(f"{run} holds no csv/version_*/metrics.csv: give folders of runs")
    logged = pd.concat(parts).dropna(subset=["train/loss"])
    return logged.drop_duplicates("step", keep="last").set_index("step")[COLUMNS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--every", type=int, default=200, help="steps that are averaged")
    args = parser.parse_args()
    first, *others = args.runs
    reference = curve(first)
    rows = []
    for run in others:
        both = curve(run).join(reference.add_suffix(" of first"), how="inner")
        for end, part in both.groupby((both.index - 1) // args.every * args.every + args.every):
            mean = part.mean()
            rows.append(
                [
                    run.name,
                    f"{end:,}",
                    f"{mean['train/loss']:.3f}",
                    f"{mean['train/loss'] - mean['train/loss of first']:+.3f}",
                    f"{mean['train/chi'] - mean['train/chi of first']:+.3f}",
                    f"{mean['residues_per_second']:.0f}",
                ]
            )
    head = ["run", "until step", "loss", f"than {first.name}", "χ alone", "residues/s"]
    print(format_table(head, rows, markdown=True))


if __name__ == "__main__":
    main()
