"""Sequences of a dataset as FASTA."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from textwrap import wrap

import pyarrow as pa

from pipeline.built.built_dataset import BuiltDataset
from pipeline.shards import open_shard, read_rows

WIDTH = 80


def read_fasta(dataset: BuiltDataset, index: pa.Table) -> Iterator[str]:
    """Records of the chains of an index (or of some of its rows), in its order.

    The sequence is that of the chain's rows: unresolved residues within, X for unknown.

    Raises
    ------
    DamagedShard
    """
    places = index.select(["shard", "row_group", "row", "title"]).to_pylist()
    for (shard, number), of_group in groupby(places, lambda p: (p["shard"], p["row_group"])):
        path = dataset.folder.join("shards", shard)
        with open_shard(path, dataset.folder.filesystem) as file:
            rows = read_rows(file, path, [number], ["chain_uid", "sequence"]).scalars
        uids, sequences = rows["chain_uid"].to_pylist(), rows["sequence"].to_pylist()
        for place in of_group:
            yield fasta_record(uids[place["row"]], place["title"], sequences[place["row"]])


def fasta_record(uid: str, title: str | None, sequence: str) -> str:
    """``>chain_uid title`` and lines of 80 letters.

    A name ends at the first blank, so blanks in the uid (of a file's name, say) become ``_``.
    """
    header = " ".join([">" + "_".join(uid.split()), *(title or "").split()])
    return "\n".join([header, *wrap(sequence, WIDTH), ""])
