"""Sequences that are in two splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PAIRS_NAMED = 5


@dataclass(frozen=True, slots=True)
class Leaks:
    """Chains of later splits that repeat what is in an earlier one.

    Attributes
    ----------
    chains : (n,) bool
        The repeating chains. Without them nothing leaks.
    pairs : list of (int, int)
        For the first few sequences that leak: a chain of the earliest split, and one of another.
    """

    chains: NDArray[np.bool_]
    pairs: list[tuple[int, int]]

    def __len__(self) -> int:
        return int(self.chains.sum())

    def sentences(
        self, uids: Sequence[str], names: Sequence[str], split: NDArray[np.int64]
    ) -> list[str]:
        """The pairs, one a line."""
        return [
            f"{uids[b]} ({names[split[b]]}) repeats {uids[a]} ({names[split[a]]})"
            for a, b in self.pairs
        ]


def find_leaks(keys: NDArray[np.int64], split: NDArray[np.int64]) -> Leaks:
    """Look for chains that share a key across splits.

    Parameters
    ----------
    keys : (n, k) int64
        What must not be in two splits: numbers of sequences, or of clusters.
    split : (n,) int64
        Number of the split, −1 for none; the smaller number is the earlier split.
    """
    kept = np.flatnonzero(split >= 0)
    chain = np.repeat(kept, keys.shape[1])
    key = keys[kept].reshape(-1)
    of_chain = split[chain]
    size = int(keys.max(initial=-1)) + 1
    earliest = np.full(size, np.iinfo(np.int64).max)
    latest = np.full(size, -1)
    np.minimum.at(earliest, key, of_chain)
    np.maximum.at(latest, key, of_chain)
    repeats = np.zeros(len(split), bool)
    repeats[chain[of_chain > earliest[key]]] = True
    pairs: list[tuple[int, int]] = []
    for leaking in np.flatnonzero((latest >= 0) & (earliest < latest)):
        there = chain[key == leaking]
        first = int(there[split[there] == earliest[leaking]][0])
        pair = first, int(there[split[there] > earliest[leaking]][0])
        if pair not in pairs:
            pairs.append(pair)
        if len(pairs) == PAIRS_NAMED:
            break
    return Leaks(repeats, pairs)
