"""Whether each chain has a name of its own: ``a_1_1_B`` may be made of two entries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.built.errors import SameName
from pipeline.built.records import PartRecord
from pipeline.commands.words import listed

NAMED = 3
"""So many names in a message."""


def check_names(index: pa.Table, records: Sequence[PartRecord]) -> None:
    """See that no two chains of an index have one ``chain_uid``.

    Parameters
    ----------
    index : pyarrow.Table
        With ``shard``, that of a record.
    records : sequence of PartRecord

    Raises
    ------
    SameName
        Its sentence names the chains and their files, and what to do.
    """
    counts = index["chain_uid"].value_counts()
    (several,) = np.nonzero(counts.field("counts").to_numpy() > 1)
    if not len(several):
        return
    shared = counts.field("values").take(several)
    first = shared[:NAMED]
    chains = index.select(["chain_uid", "entry_id", "label_asym_id", "shard"])
    rows = chains.filter(pc.is_in(chains["chain_uid"], first)).to_pylist()
    of_shard = {record.shard: record for record in records}
    places: dict[str, list[str]] = {uid: [] for uid in first.to_pylist()}
    for row in rows:
        file = _file_of(of_shard[row["shard"]], row["entry_id"])
        places[row["chain_uid"]].append(f"chain {row['label_asym_id']} of {file}")
    told = "; ".join(f"{uid} is {listed(chains)}" for uid, chains in places.items())
    n_more = len(shared) - len(first)
    more = f"; and {n_more:,} more names" if n_more else ""
    raise SameName(
        f"several chains have one name: {told}{more}. A chain's name is made of those of entry, "
        "model and chain. Rename one of the files and run the same command again, or with --plan "
        "if it was an array job; finished parts that this does not change are kept"
    )


def _file_of(record: PartRecord, entry_id: str) -> str:
    read = (file for file in record.inputs if file.entry_id == entry_id and file.n_chains)
    return next((file.input for file in read), entry_id)
