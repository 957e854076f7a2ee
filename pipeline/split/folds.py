"""The fold of each different sequence: letters of 3Di and CA of the longest chain that has it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.built.built_dataset import BuiltDataset
from pipeline.shards import ColumnToAdd, lacking, open_shard, read_rows
from pipeline.split.chains import Chains

_COLUMNS = ("chain_uid", "three_di", "x", "y", "z")
_N, _CA = np.uint16(0b01), np.uint16(0b10)


@dataclass(frozen=True, slots=True)
class Folds:
    """One fold per different whole sequence.

    Attributes
    ----------
    numbers : (m,) int64
        Numbers of `Chains.sequences`, rising.
    chains : (m,) int64
        The chain that stands for the sequence: the longest of it, the first of several.
    letters : list of str, m
        3Di of the residues that have a CA.
    ca : list of (L, 3) float64, m
        Å, of the same residues.
    """

    numbers: NDArray[np.int64]
    chains: NDArray[np.int64]
    letters: list[str]
    ca: list[NDArray[np.float64]]

    def __len__(self) -> int:
        return len(self.numbers)


def check_letters(dataset: BuiltDataset) -> None:
    """See that all shards have letters, before much is computed.

    Raises
    ------
    ColumnToAdd
        The dataset was built before there were any.
    DamagedShard, StorageError
    """
    folder = dataset.folder
    for shard in dataset.build.shards:
        path = folder.join("shards", shard.name)
        with open_shard(path, folder.filesystem) as file:
            if "three_di" in lacking(file.schema_arrow):
                raise ColumnToAdd.of("three_di", path)


def read_folds(
    dataset: BuiltDataset, chains: Chains, among: NDArray[np.bool_] | None = None
) -> Folds:
    """Read the folds of a dataset.

    Parameters
    ----------
    dataset : BuiltDataset
    chains : Chains
        Of `read_chains`.
    among : (n,) bool, optional
        The chains that are asked for; all by default.

    Raises
    ------
    ColumnToAdd, DamagedShard, StorageError
    """
    order = np.lexsort((np.arange(len(chains)), -chains.lengths, chains.keys[:, 1]))
    if among is not None:
        order = order[among[order]]
    numbers, first = np.unique(chains.keys[order, 1], return_index=True)
    chosen = order[first]
    place = {chains.uids[k]: m for m, k in enumerate(chosen)}
    groups: dict[str, set[int]] = defaultdict(set)
    index = dataset.index().select(["chain_uid", "shard", "row_group"]).to_pylist()
    for row in index:
        if row["chain_uid"] in place:
            groups[row["shard"]].add(row["row_group"])
    letters, ca = [""] * len(place), [np.zeros((0, 3))] * len(place)
    folder = dataset.folder
    for name in sorted(groups):
        path = folder.join("shards", name)
        with folder.errors_named(f"shards/{name}"), open_shard(path, folder.filesystem) as shard:
            for group in sorted(groups[name]):
                rows = read_rows(shard, path, [group], _COLUMNS)
                for k, uid in enumerate(rows.scalars["chain_uid"].to_pylist()):
                    if uid in place:
                        letters[place[uid]], ca[place[uid]] = _fold(rows.of_chain(k))
    return Folds(numbers, chosen, letters, ca)


def _fold(lists: dict[str, NDArray[np.integer]]) -> tuple[str, NDArray[np.float64]]:
    mask = lists["atom14_mask"]
    counts = np.bitwise_count(mask).astype(np.int64)
    has = (mask & _CA) != 0
    # CA is behind N, where there is one.
    at = (np.cumsum(counts) - counts + ((mask & _N) != 0))[has]
    ca = np.stack([lists[axis][at] for axis in "xyz"], axis=-1) * 0.001
    return lists["three_di"][has].tobytes().decode("ascii"), ca
