"""``inputs.parquet``, ``drops.parquet``, ``plan.parquet``, ``interfaces.parquet``: of a subset.

Of an entry that is kept, all files stay, those that were skipped for a better one or failed
included; chains and residues of a file are counted as the subset has them. What is left out by
choice appears nowhere: it is counted in ``build.json``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.built.plan import PLAN_SCHEMA
from pipeline.built.records import DropRecord, InputRecord, records_table
from pipeline.interfaces import among, joined
from pipeline.subset.sources import Source


@dataclass(frozen=True, slots=True)
class Tables:
    """The four tables; the last is None if a source has none."""

    inputs: pa.Table
    drops: pa.Table
    plan: pa.Table
    interfaces: pa.Table | None


def subset_tables(sources: Sequence[Source], rows: pa.Table, part: NDArray[np.int64]) -> Tables:
    """Gather what the sources say of the files of the entries that were kept.

    Parameters
    ----------
    rows : pyarrow.Table
        Of `choose`.
    part : (n,) int64
        The shard of each row.

    Raises
    ------
    UnreadableDataset
    """
    names = ("dataset", "entry_id", "length", "model", "label_asym_id")
    chains: Counter[tuple[int, str]] = Counter()
    residues: Counter[tuple[int, str]] = Counter()
    shard: dict[str, int] = {}
    kept: set[tuple[str, int, str]] = set()
    columns = [rows[name].to_pylist() for name in names]
    for source, entry, length, model, asym, number in zip(*columns, part.tolist(), strict=True):
        chains[source, entry] += 1
        residues[source, entry] += length
        shard[entry] = number
        kept.add((entry, model, asym))
    inputs: dict[tuple[Any, ...], dict[str, Any]] = {}
    drops: dict[tuple[Any, ...], dict[str, Any]] = {}
    plan: dict[tuple[Any, ...], dict[str, Any]] = {}
    for k, source in enumerate(sources):
        here = pa.array(sorted(entry for s, entry in chains if s == k), pa.string())
        for record in _of_entries(source, "inputs.parquet", here):
            entry = record["entry_id"]
            is_ok = record["status"] == "ok"
            n_chains = chains[k, entry] if is_ok else 0
            n_residues = residues[k, entry] if is_ok else 0
            key = (record["input"], entry, record["status"], record["sha256"])
            if key in inputs:  # two datasets were built from one file
                inputs[key]["n_chains"] += n_chains
                inputs[key]["n_residues"] += n_residues
            else:
                counted = {"n_chains": n_chains, "n_residues": n_residues, "part": shard[entry]}
                inputs[key] = {**record, **counted}
        for record in _of_entries(source, "drops.parquet", here):
            chain = (record["entry_id"], record["model"], record["label_asym_id"])
            # One dataset may have dropped what another kept.
            if chain not in kept:
                drops.setdefault((record["input"], *chain), record)
        for record in _of_entries(source, "plan.parquet", here):
            file = (record["entry_id"], record["path"], record["member"])
            plan.setdefault(file, {**record, "part": shard[record["entry_id"]]})
    n_dropped = Counter(record["input"] for record in drops.values())
    for record in inputs.values():
        # The first row of an input has all of its drops.
        record["n_dropped"] = n_dropped.pop(record["input"], 0)
    ordered = sorted(inputs.values(), key=lambda r: (r["input"], r["status"], r["sha256"] or ""))
    return Tables(
        pa.Table.from_pylist(ordered, records_table(InputRecord, []).schema),
        pa.Table.from_pylist(list(drops.values()), records_table(DropRecord, []).schema),
        pa.Table.from_pylist(sorted(plan.values(), key=lambda record: record["part"]), PLAN_SCHEMA),
        _interfaces(sources, rows),
    )


def _interfaces(sources: Sequence[Source], rows: pa.Table) -> pa.Table | None:
    """Pairs in contact both of whose chains are kept, each from the source of its chains; ``None``
    if a source has no such table. Pairs of chains from two sources are not known."""
    tables = []
    for k, source in enumerate(sources):
        table = source.dataset.interfaces()
        if table is None:
            return None
        tables.append(among(table, rows.filter(pc.equal(rows["dataset"], k))["chain_uid"]))
    return joined(tables)


def _of_entries(source: Source, name: str, entries: pa.Array) -> list[dict[str, Any]]:
    table = source.dataset.table(name)
    return table.filter(pc.is_in(table["entry_id"], entries)).to_pylist()
