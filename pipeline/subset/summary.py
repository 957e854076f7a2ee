"""``build.json`` of a subset: that of a build, and where the rows are from."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import pyarrow.compute as pc

from pipeline.built.build_summary import OF_FILE, BuildSummary, Counts, ListedShard, count_reasons
from pipeline.built.reading import config_hash
from pipeline.built.tables import from_sources, versions
from pipeline.interfaces import interfaces_digest
from pipeline.shards import SCHEMA_VERSION, UNITS, dataset_digest
from pipeline.subset.choose import Choice
from pipeline.subset.sources import Source
from pipeline.subset.tables import Tables
from pipeline.subset.write_shards import Written


def build_summary(
    sources: Sequence[Source],
    config: dict[str, Any],
    choice: Choice,
    written: Written,
    tables: Tables,
    where: str | None,
    list_sha256: str | None,
) -> BuildSummary:
    """What the file holds; nothing in it depends on when, where or in which order."""
    index = written.index
    uids, digests = index["chain_uid"].to_pylist(), index["row_sha256"].to_pylist()
    inputs = tables.inputs.select(OF_FILE).to_pylist()
    statuses = Counter(record["status"] for record in inputs)
    reasons, examples = count_reasons(map(itemgetter(*OF_FILE), inputs))
    origins = Counter(name or "unknown" for name in index["source"].to_pylist())
    return BuildSummary(
        digest=dataset_digest(zip(uids, digests, strict=True)),
        interfaces_digest=(
            None if tables.interfaces is None else interfaces_digest(tables.interfaces)
        ),
        schema_version=SCHEMA_VERSION,
        config_hash=config_hash(config),
        config=config,
        counts=Counts(
            found=len(inputs),
            ok=statuses["ok"],
            skipped=statuses["skipped"],
            failed=statuses["failed"],
            entries=len(set(index["entry_id"].to_pylist())),
            chains=index.num_rows,
            residues=pc.sum(index["length"]).as_py(),
            dropped_chains=tables.drops.num_rows,
            shard_bytes=sum(shard.n_bytes for shard in written.shards),
        ),
        reasons=reasons,
        examples=examples,
        drop_reasons=dict(Counter(tables.drops["reason"].to_pylist()).most_common()),
        manifest=None,
        sources=from_sources(origins),
        units=UNITS,
        software={"python": platform.python_version(), **versions()},
        shards=[
            ListedShard(shard.name, shard.sha256, shard.n_bytes, shard.n_chains, shard.n_residues)
            for shard in written.shards
        ],
        derived_from={
            "where": where,
            "list_sha256": list_sha256,
            "list_not_found": len(choice.not_found),
            "duplicates": choice.duplicates,
            "datasets": [_origin(source, k, config, choice) for k, source in enumerate(sources)],
        },
    )


def _origin(source: Source, number: int, config: dict[str, Any], choice: Choice) -> dict[str, Any]:
    build = source.dataset.build
    kept = pc.sum(pc.equal(choice.rows["dataset"], number)).as_py()
    said = {
        "digest": build.digest,
        "config_hash": build.config_hash,
        "chains": source.index.num_rows,
        "kept": kept,
    }
    if build.config != config:
        said["config"] = build.config
    if build.derived_from is not None:
        said["derived_from"] = build.derived_from
    return said
