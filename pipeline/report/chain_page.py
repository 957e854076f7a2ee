"""The outliers, to be looked at: the page that shows any of them with its ellipsoids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.built.built_dataset import BuiltDataset
from pipeline.built.stored_chains import StoredChain, read_entries
from pipeline.export.chain_ids import with_own_ids
from pipeline.export.web_page import web_page

_COLUMNS = ("chain_uid", "entry_id", "assembly", "shard", "row_group", "row")


def chain_page(dataset: BuiltDataset, uids: Sequence[str]) -> str:
    """A page with a scene for each of the chains, in their order.

    Raises
    ------
    DamagedShard, StorageError
    """
    index = dataset.table("index.parquet", _COLUMNS)
    rows = index.filter(pc.is_in(index["chain_uid"], pa.array(uids, pa.string())))
    scenes: dict[str, list[StoredChain]] = {}
    for entry in read_entries(dataset, rows):
        for stored in entry:
            (chain,) = with_own_ids([stored.chain], "cif").chains
            scenes[stored.chain.uid] = [replace(stored, chain=chain)]
    return web_page([scenes[uid] for uid in uids])
