"""Rows of a dataset → chains, as they were when they were stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.built.built_dataset import BuiltDataset
from pipeline.chain import Chain
from pipeline.shards import (
    CHAIN_COLUMNS,
    DamagedShard,
    Rows,
    chains_of,
    open_shard,
    read_rows,
    row_digest,
)

_COLUMNS = ("chain_uid", "row_sha256", *CHAIN_COLUMNS, "centroid", "sse")


@dataclass(frozen=True, slots=True)
class StoredChain:
    """A chain with what was computed of it.

    Attributes
    ----------
    centroid : (L, 3) float32
        Å; zeros where `resolved` is false.
    covariance : (L, 6) float32
        Å², xx xy xz yy yz zz; zeros where `resolved` is false.
    sse : (L,) int8
        0 coil, 1 helix, 2 strand.
    """

    chain: Chain
    centroid: NDArray[np.float32]
    covariance: NDArray[np.float32]
    sse: NDArray[np.int8]


def read_entries(dataset: BuiltDataset, index: pa.Table) -> Iterator[list[StoredChain]]:
    """The chains of each entry and assembly of an index (or of some of its rows), in its order.

    Raises
    ------
    DamagedShard
        A shard cannot be read, or a row of it is not what its digest says.
    """

    # Two row groups: an entry may begin in one and end in the next.
    @lru_cache(maxsize=2)
    def row_group(shard: str, number: int) -> tuple[Rows, list[Chain]]:
        path = dataset.folder.join("shards", shard)
        with open_shard(path, dataset.folder.filesystem) as file:
            rows = read_rows(file, path, [number], _COLUMNS)
        return rows, chains_of(rows)

    wanted = ["chain_uid", "entry_id", "assembly", "shard", "row_group", "row"]
    places = index.select(wanted).to_pylist()
    for _, entry in groupby(places, lambda p: (p["entry_id"], p["assembly"])):
        stored = []
        for place in entry:
            rows, chains = row_group(place["shard"], place["row_group"])
            where = dataset.folder.describe(f"shards/{place['shard']}")
            stored.append(_stored(rows, chains, place["row"], place["chain_uid"], where))
        yield stored


def _stored(rows: Rows, chains: list[Chain], row: int, uid: str, where: str) -> StoredChain:
    if row >= len(rows) or rows.scalars["chain_uid"][row].as_py() != uid:
        raise DamagedShard(
            f"{where}: does not hold {uid} where the index says; shards and index.parquet are not "
            "of one build: run the command that made the dataset again"
        )
    chain, lists = chains[row], rows.of_chain(row)
    if row_digest(chain) != rows.scalars["row_sha256"][row].as_py():
        raise DamagedShard(f"{where}: the row of {uid} is not the one whose digest it carries")
    return StoredChain(chain, lists["centroid"], lists["covariance"], lists["sse"])
