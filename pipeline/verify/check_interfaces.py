"""``interfaces.parquet`` against ``build.json``, the index and what the parts left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.built.build_summary import BuildSummary
from pipeline.built.layout import Layout
from pipeline.built.records import PartRecord
from pipeline.built.tables import interfaces_of
from pipeline.interfaces import FILE_NAME, interfaces_digest, joined
from pipeline.verify.findings import Problem


def should_have_interfaces(
    layout: Layout, summary: BuildSummary | None, records: Mapping[str, PartRecord]
) -> bool:
    """Whether a dataset has the table; those of older versions have none."""
    if summary is not None:
        return summary.interfaces_digest is not None
    recorded = bool(records) and interfaces_of(records.values()) is not None
    return recorded or (layout.root / FILE_NAME).exists()


def check_interfaces(
    layout: Layout,
    summary: BuildSummary | None,
    tables: Mapping[str, pa.Table],
    records: Mapping[str, PartRecord],
) -> Iterator[Problem]:
    """What is wrong with the table, or with what ``build.json`` says of it.

    Parameters
    ----------
    tables : mapping
        Those that can be read.
    records : mapping
        Shard → record, of the parts whose records are there.
    """
    recorded = None
    if summary is not None and {shard.name for shard in summary.shards} <= records.keys():
        recorded = interfaces_of(records[shard.name] for shard in summary.shards)
    if summary is not None and summary.interfaces_digest is None:
        if (layout.root / FILE_NAME).exists():
            sentence = f"has no interfaces_digest, and there is {FILE_NAME}"
            yield Problem(
                layout.build_json, "digest", sentence, "by-hand" if recorded is None else "rewrite"
            )
        return
    table = tables.get(FILE_NAME)
    if table is None:
        return

    def wrong(check: str, sentence: str) -> Problem:
        return Problem(FILE_NAME, check, sentence, "rewrite")

    table = table.replace_schema_metadata(None)
    if not table.equals(joined([table])):
        yield wrong("order", "its rows are not in the order of the chains' names")
        return
    if summary is None:
        # Else a digest tells whether the table is right; if it is, a strange index is at fault.
        if (index := tables.get(layout.index)) is not None:
            uids = index["chain_uid"].combine_chunks()
            for name in ("chain_uid_1", "chain_uid_2"):
                strange = table[name].filter(pc.invert(pc.is_in(table[name], value_set=uids)))
                if len(strange):
                    yield wrong("index", f"{name} has {strange[0]}, which index.parquet has not")
                    return
        return
    digest, said = interfaces_digest(table), summary.interfaces_digest
    agrees = recorded is not None and interfaces_digest(recorded) == digest
    if digest != said and agrees:
        sentence = f"interfaces_digest is {said:.12}…, and {FILE_NAME} gives {digest[:12]}…"
        yield Problem(layout.build_json, "digest", sentence, "rewrite")
    elif digest != said:
        yield wrong("digest", f"gives {digest[:12]}…, and build.json says {said:.12}…")
    elif recorded is not None and not table.equals(recorded):
        yield wrong("records", "has other numbers than the parts' records in .build")
