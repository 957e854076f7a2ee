"""The splits: how large, how clustered, and what is odd about them."""

from __future__ import annotations

from typing import Any

from pipeline.built.novelty import shares_told
from pipeline.commands.words import several
from pipeline.report.charts import column_chart, histogram_chart
from pipeline.report.gather import Numbers, Splits
from pipeline.report.nearest import Nearest
from pipeline.report.sections.elements import MOST_ROWS, Figure, class_columns, middle
from pipeline.report.wording import count, legible, share

MOST_NEAREST = 4
"""Held-out splits that are drawn."""


def splits(numbers: Numbers) -> dict[str, Any] | None:
    """The splits; ``None`` where there are none."""
    splits = numbers.splits
    if splits is None:
        return None
    if isinstance(splits, str):
        return {"problem": splits, "rows": [], "figures": [], "remarks": [], "strip": []}
    shown = splits.splits[:MOST_ROWS]
    rows = [
        {
            "name": "in no split" if s.name is None else legible(s.name, 60),
            "chains": s.chains,
            "share": share(s.chains, numbers.chains.n),
            "residues": s.residues,
            "entries": s.entries,
            "clusters": s.clusters,
            "kind": "none" if s.name is None else f"split-{k % 6}",
            "width": round(100 * s.chains / max(1, numbers.chains.n), 2),
            "note": ", ".join(f"{count(n)} {legible(r, 40)}" for r, n in s.reasons[:5]),
        }
        for k, s in enumerate(shown)
    ]
    return {
        "problem": "",
        "rows": rows,
        "figures": _cluster_figures(splits),
        "nearest_figures": _nearest_figures(splits),
        "remarks": _split_remarks(splits, numbers.chains.n),
        "method": legible(splits.method or "", 40),
    }


def _cluster_figures(splits: Splits) -> list[Figure]:
    if not splits.cluster_sizes:
        return []
    caption = f"{several(splits.n_clusters or 0, 'cluster')}; the largest has "
    caption += f"{several(splits.largest_cluster, 'chain')}."
    if splits.n_components is not None:
        caption += (
            f" Entries that share clusters form {several(splits.n_components, 'component')}, the "
            f"largest with {several(splits.largest_component, 'chain')}."
        )
    return [
        Figure(
            "Cluster sizes",
            column_chart(
                class_columns(splits.cluster_sizes),
                "Sequence clusters by number of chains",
                "chains in a cluster",
                "clusters",
            ),
            caption,
        )
    ]


def _nearest_figures(splits: Splits) -> list[Figure]:
    return [figure for found in splits.nearest[:MOST_NEAREST] for figure in _of_split(found)]


def _of_split(found: Nearest) -> list[Figure]:
    name = legible(found.split, 60)
    caption = f"Of the {several(found.tm.n, 'chain')}: {shares_told(found.kinds)}."
    if found.tm.n_missing:
        caption += f" {several(found.tm.n_missing, 'chain')} not compared."
    figures = [
        Figure(
            f"Nearest training chain of {name}, by structure",
            histogram_chart(
                found.tm,
                f"Chains of {name} by TM-score to the nearest training chain",
                "TM-score, by the longer chain",
                "chains",
            ),
            f"{caption} 0: none was found.",
        )
    ]
    if found.identity.n:
        figures.append(
            Figure(
                f"Nearest training chain of {name}, by sequence",
                histogram_chart(
                    found.identity,
                    f"Chains of {name} by identity to the nearest training chain",
                    "identical residues of the alignment",
                    "chains",
                    percent=True,
                ),
                f"{middle(found.identity, '')}. 0: none was found.",
            )
        )
    return figures


def _split_remarks(splits: Splits, n_chains: int) -> list[str]:
    remarks = []
    if splits.is_of_other_data:
        remarks.append(
            "These splits were made for a dataset with another digest: run python -m "
            "pipeline.split again."
        )
    if splits.n_unknown:
        remarks.append(
            f"splits.parquet lists {several(splits.n_unknown, 'chain')} that this dataset does not "
            "have."
        )
    if splits.n_unlisted:
        remarks.append(
            f"{several(splits.n_unlisted, 'chain')} of {count(n_chains)} are not in splits.parquet."
        )
    hidden = len(splits.splits) - MOST_ROWS
    if hidden > 0:
        remarks.append(f"{several(hidden, 'further split')} not shown.")
    return remarks
