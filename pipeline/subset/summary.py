"""``build.json`` of a subset: that of a build, and where the rows are from."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow.compute as pc

from pipeline.built.reading import config_hash
from pipeline.built.tables import LICENCES, versions
from pipeline.shards import SCHEMA_VERSION, UNITS, dataset_digest
from pipeline.subset.choose import Choice
from pipeline.subset.sources import Source
from pipeline.subset.tables import Tables
from pipeline.subset.write_shards import Written


def build_json(
    sources: Sequence[Source],
    config: dict[str, Any],
    choice: Choice,
    written: Written,
    tables: Tables,
    where: str | None,
    list_sha256: str | None,
) -> dict[str, Any]:
    """What the file holds; nothing in it depends on when, where or in which order."""
    index = written.index
    uids, digests = index["chain_uid"].to_pylist(), index["row_sha256"].to_pylist()
    inputs = tables.inputs.select(["input", "status", "reason", "message"]).to_pylist()
    statuses = Counter(record["status"] for record in inputs)
    reasons: dict[str, dict[str, int]] = {}
    examples: dict[str, dict[str, dict[str, Any]]] = {}
    for status in ("skipped", "failed"):
        those = [r for r in inputs if r["status"] == status and r["reason"]]
        reasons[status] = dict(Counter(r["reason"] for r in those).most_common())
        examples[status] = {}
        for r in those:
            example = {"input": r["input"], "message": r["message"]}
            examples[status].setdefault(r["reason"], example)
    origins = Counter(name or "unknown" for name in index["source"].to_pylist())
    return {
        "digest": dataset_digest(zip(uids, digests, strict=True)),
        "schema_version": SCHEMA_VERSION,
        "config_hash": config_hash(config),
        "config": config,
        "counts": {
            "found": len(inputs),
            "ok": statuses["ok"],
            "skipped": statuses["skipped"],
            "failed": statuses["failed"],
            "entries": len(set(index["entry_id"].to_pylist())),
            "chains": index.num_rows,
            "residues": pc.sum(index["length"]).as_py(),
            "dropped_chains": tables.drops.num_rows,
            "shard_bytes": sum(shard.n_bytes for shard in written.shards),
        },
        "reasons": reasons,
        "examples": examples,
        "drop_reasons": dict(Counter(tables.drops["reason"].to_pylist()).most_common()),
        "manifest": None,
        "sources": {
            name: {"chains": n, "licence": LICENCES.get(name, LICENCES["unknown"])}
            for name, n in sorted(origins.items())
        },
        "units": UNITS,
        "software": {"python": platform.python_version(), **versions()},
        "shards": [
            {
                "name": shard.name,
                "sha256": shard.sha256,
                "bytes": shard.n_bytes,
                "chains": shard.n_chains,
                "residues": shard.n_residues,
            }
            for shard in written.shards
        ],
        "derived_from": {
            "where": where,
            "list_sha256": list_sha256,
            "list_not_found": len(choice.not_found),
            "duplicates": choice.duplicates,
            "datasets": [_origin(source, k, config, choice) for k, source in enumerate(sources)],
        },
    }


def _origin(source: Source, number: int, config: dict[str, Any], choice: Choice) -> dict[str, Any]:
    build = source.dataset.build
    kept = pc.sum(pc.equal(choice.rows["dataset"], number)).as_py()
    said = {
        "digest": build["digest"],
        "config_hash": build["config_hash"],
        "chains": source.index.num_rows,
        "kept": kept,
    }
    if build["config"] != config:
        said["config"] = build["config"]
    if "derived_from" in build:
        said["derived_from"] = build["derived_from"]
    return said
