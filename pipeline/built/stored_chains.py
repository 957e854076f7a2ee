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
from pipeline.chain import Chain, EntryMetadata
from pipeline.shards import DamagedShard, Rows, open_shard, read_rows, row_digest

_LISTS = (
    "aatype",
    "residue_index",
    "auth_seq_id",
    "ins_code",
    "atom14_mask",
    "x",
    "y",
    "z",
    "b_factor",
    "centroid",
    "covariance",
    "sse",
)
_OF_CHAIN = (
    "entry_id",
    "model",
    "label_asym_id",
    "auth_asym_id",
    "entity_id",
    "entity_sequence",
    "assembly",
    "uniprot",
    "taxonomy",
    "n_modified",
    "n_altloc",
    "n_microhet",
    "n_bad_atoms",
    "coords_rounded",
)
_OF_ENTRY = tuple(EntryMetadata.__dataclass_fields__)
_COLUMNS = ("chain_uid", "row_sha256", "length", *_LISTS, *_OF_CHAIN, *_OF_ENTRY)


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
    def row_group(shard: str, number: int) -> Rows:
        path = dataset.folder.join("shards", shard)
        with open_shard(path, dataset.folder.filesystem) as file:
            return read_rows(file, path, [number], _COLUMNS)

    wanted = ["chain_uid", "entry_id", "assembly", "shard", "row_group", "row"]
    places = index.select(wanted).to_pylist()
    for _, entry in groupby(places, lambda p: (p["entry_id"], p["assembly"])):
        chains = []
        for place in entry:
            rows = row_group(place["shard"], place["row_group"])
            where = dataset.folder.describe(f"shards/{place['shard']}")
            chains.append(_chain(rows, place["row"], place["chain_uid"], where))
        yield chains


def _chain(rows: Rows, row: int, uid: str, where: str) -> StoredChain:
    if row >= len(rows) or rows.scalars["chain_uid"][row].as_py() != uid:
        raise DamagedShard(
            f"{where}: does not hold {uid} where the index says; shards and index.parquet are not "
            "of one build: run the command that made the dataset again"
        )
    lists = rows.of_chain(row)
    scalars = {name: rows.scalars[name][row].as_py() for name in (*_OF_CHAIN, *_OF_ENTRY)}
    codes = [ord(code) if code else 0 for code in lists["ins_code"].tolist()]
    chain = Chain(
        aatype=lists["aatype"],
        residue_index=lists["residue_index"],
        auth_seq_id=lists["auth_seq_id"],
        ins_code=np.array(codes, np.uint8),
        atom14_mask=lists["atom14_mask"],
        coords=np.stack([lists["x"], lists["y"], lists["z"]], axis=-1),
        b_factor=lists["b_factor"],
        resolved=lists["covariance"][:, 0] > 0,
        metadata=EntryMetadata(**{name: scalars[name] for name in _OF_ENTRY}),
        **{name: scalars[name] for name in _OF_CHAIN},
    )
    if row_digest(chain) != rows.scalars["row_sha256"][row].as_py():
        raise DamagedShard(f"{where}: the row of {uid} is not the one whose digest it carries")
    return StoredChain(chain, lists["centroid"], lists["covariance"], lists["sse"])
