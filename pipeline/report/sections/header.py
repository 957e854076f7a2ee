"""The head of the page: sizes, digest, licences; and at its foot, how the dataset was made."""

from __future__ import annotations

import json
from typing import Any

from pipeline.commands.words import several
from pipeline.report.gather import Numbers
from pipeline.report.sections.elements import MOST_ROWS
from pipeline.report.wording import count, legible, share, size


def header(numbers: Numbers) -> dict[str, Any]:
    """Name, digest, sizes, and the archives with their licences."""
    chains, build = numbers.chains, numbers.build
    n_bytes = sum(numbers.scan.shard_bytes)
    tiles = [
        (count(chains.n_entries), "entry" if chains.n_entries == 1 else "entries"),
        (count(chains.n), "chain" if chains.n == 1 else "chains"),
        (count(chains.n_residues), "residues"),
        (share(chains.n_resolved, chains.n_residues), "of them resolved"),
        (size(n_bytes), f"in {several(len(numbers.scan.shard_bytes), 'shard')}"),
    ]
    if chains.n_residues:
        tiles.append((f"{n_bytes / chains.n_residues:.1f}", "bytes per residue"))
    sources = [
        (legible(name), count(source.chains), legible(source.licence, 300))
        for name, source in list(build.sources.items())[:MOST_ROWS]
    ]
    made_with = [f"schema {build.schema_version}"] + [
        legible(f"{key} {build.software[key]}", 60)
        for key in ("ellipsoid-flow", "python", "numpy", "pyarrow")
        if key in build.software
    ]
    return {
        "made_with": " · ".join(made_with),
        "name": legible(numbers.name, 120) or "dataset",
        "digest": legible(build.digest),
        "config_hash": legible(build.config_hash),
        "schema_version": build.schema_version,
        "tiles": tiles,
        "origins": _derived_from(build.derived_from),
        "sources": sources,
        "is_empty": not chains.n,
    }


def _derived_from(derived: dict[str, Any] | None) -> list[str]:
    """Sentences about the datasets that `pipeline.subset` took this one from."""
    if derived is None:
        return []
    where = f" where {legible(derived['where'], 200)}" if derived.get("where") else ""
    return [
        f"{count(d.get('kept') or 0)} of {several(int(d.get('chains') or 0), 'chain')} of the "
        f"dataset {legible(d.get('digest', ''))[:16]}…{where}"
        for d in list(derived.get("datasets") or ())[:MOST_ROWS]
    ]


def making(numbers: Numbers) -> dict[str, Any]:
    """Options and software, at the foot of the page."""
    build = numbers.build
    rows = []
    for key, value in build.config.items():
        if isinstance(value, dict):
            rows += [(k, v) for k, v in value.items() if v is not None]
        elif value is not None:
            rows.append((key, value))
    options = [
        (legible(k, 60), legible(v if isinstance(v, str) else json.dumps(v), 200)) for k, v in rows
    ]
    software = [(legible(k, 40), legible(v, 60)) for k, v in build.software.items()]
    return {"options": options[:80], "software": software[:40], "can_repeat": numbers.has_options}
