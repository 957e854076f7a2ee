"""A table of interfaces beside a dataset, from the distances between its heavy atoms."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from scipy.spatial import cKDTree

from pipeline.dataset import ShardDataset

NEAR = 5.0


def interfaces_of(dataset: Path) -> list[dict[str, Any]]:
    """Pairs of chains of one entry with heavy atoms within 5 Å, and those with none as well."""
    entries = ShardDataset(dataset, unit="entry")
    rows = []
    for k in range(len(entries)):
        item = entries[k]
        trees = [
            cKDTree(item["atom14_positions"][of_chain][item["atom14_mask"][of_chain]].numpy())
            for of_chain in (item["chain_index"] == c for c in range(len(item["chain_uids"])))
        ]
        for (a, one), (b, other) in combinations(zip(item["chain_uids"], trees, strict=True), 2):
            low, high = sorted((a, b))
            rows.append(
                {
                    "chain_uid_1": low,
                    "chain_uid_2": high,
                    "n_atom_contacts": int(one.count_neighbors(other, NEAR)),
                    "n_ligands": None,
                    "n_nucleotides": None,
                }
            )
    return rows


def write_interfaces(dataset: Path, rows: list[dict[str, Any]]) -> None:
    kinds = {"chain_uid_1": pa.string(), "chain_uid_2": pa.string()}
    numbers = dict.fromkeys(("n_atom_contacts", "n_ligands", "n_nucleotides"), pa.int32())
    table = pa.Table.from_pylist(rows, pa.schema((kinds | numbers).items()))
    pq.write_table(table, dataset / "interfaces.parquet", write_page_checksum=True)
