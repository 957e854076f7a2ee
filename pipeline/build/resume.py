"""Which parts of a plan an earlier run has finished."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from pipeline.built.layout import Layout
from pipeline.built.plan import Part
from pipeline.built.reading import Reading
from pipeline.built.records import PartRecord, read_record
from pipeline.built.tables import REQUESTS_AT_ONCE


def finished_parts(
    layout: Layout, parts: Sequence[Part], reading: Reading, *, for_good: bool = True
) -> dict[int, PartRecord]:
    """Records of the parts that need not be built again, by number.

    Parameters
    ----------
    for_good : bool
        Without those that another attempt might better: failures of time, memory or I/O.
    """
    config_hash = reading.config_hash
    folder = layout.folder
    sizes = folder.sizes(layout.name(layout.shards))
    noted = set(folder.list(layout.name(layout.state)))
    there = [part for part in parts if layout.record(part.number).name in noted]
    with ThreadPoolExecutor(1 if folder.is_local else REQUESTS_AT_ONCE) as threads:
        records = list(threads.map(lambda part: read_record(layout, part.number), there))
    return {
        part.number: record
        for part, record in zip(there, records, strict=True)
        if record is not None
        and record.fingerprint == part.fingerprint(config_hash)
        and not (for_good and record.has_transient_failures)
        and sizes.get(layout.shard(part.number).name) == record.shard_bytes
    }
