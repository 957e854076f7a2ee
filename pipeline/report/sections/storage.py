"""Bytes: by column, and by shard."""

from __future__ import annotations

import dataclasses
from typing import Any

from pipeline.commands.words import MEBIBYTE, several
from pipeline.report.charts import (
    histogram_chart,
)
from pipeline.report.gather import Numbers
from pipeline.report.histogram import histogram
from pipeline.report.scan_shards import Scan
from pipeline.report.sections.elements import MOST_SHARDS, Figure, bar
from pipeline.report.wording import legible, size


def storage(numbers: Numbers) -> dict[str, Any]:
    """Bytes of columns and shards."""
    scan, residues = numbers.scan, max(1, numbers.chains.n_residues)
    total = sum(scan.shard_bytes)
    ranked = sorted(scan.column_bytes.items(), key=lambda item: (-item[1], item[0]))
    shown, rest = ranked[:14], ranked[14:]
    if rest:
        shown.append((f"{len(rest)} other columns", sum(n for _, n in rest)))
    footers = total - sum(scan.column_bytes.values())
    if shown and footers > 0:
        shown.append(("footers", footers))
    most = max((n for _, n in shown), default=0)
    columns = [
        dataclasses.replace(
            bar(legible(name, 40), n, total, note=f"{n / residues:.2f}"),
            width=round(100 * n / max(1, most), 2),
        )
        for name, n in shown
    ]
    listed = numbers.build.shards
    shards = [
        {
            "name": legible(s.name, 60),
            "chains": s.chains,
            "residues": n_residues,
            "bytes": n_bytes,
            "per_residue": f"{n_bytes / n_residues:.1f}" if n_residues else "–",
            "sha256": legible(s.sha256)[:12],
        }
        for s, n_bytes, n_residues in zip(
            listed[:MOST_SHARDS], scan.shard_bytes, scan.shard_residues, strict=False
        )
    ]
    return {
        "column_bars": columns,
        "shards": shards,
        "n_more_shards": max(0, len(listed) - MOST_SHARDS),
        "shard_figures": _shard_figures(numbers, scan),
        "n_row_groups": scan.n_row_groups,
    }


def _shard_figures(numbers: Numbers, scan: Scan) -> list[Figure]:
    n = len(scan.shard_bytes)
    if n < 2:
        return []
    rates = [b / r for b, r in zip(scan.shard_bytes, scan.shard_residues, strict=True) if r]
    spread = ""
    if rates:
        spread = f", {min(rates):.1f} to {max(rates):.1f} bytes per residue"
    caption = (
        f"{several(n, 'shard')} of {size(min(scan.shard_bytes))} to "
        f"{size(max(scan.shard_bytes))}{spread}."
    )
    sizes = [b / MEBIBYTE for b in scan.shard_bytes]
    return [
        Figure(
            "Shard sizes",
            histogram_chart(
                histogram(sizes, most_bins=24),
                "Histogram of shard sizes",
                "size / MiB",
                "shards",
                " MiB",
            ),
            caption,
        )
    ]
