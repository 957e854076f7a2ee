"""`Mixture`: several datasets that samples are drawn from, each with a probability."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import Dataset

from pipeline.batching.epoch_plan import Parts
from pipeline.batching.sampler import cluster_codes
from pipeline.commands.words import several
from pipeline.dataset.complexes import ComplexDataset
from pipeline.dataset.dataset import ShardDataset
from pipeline.dataset.draw import Draw, repeat_of
from pipeline.dataset.items import Item


@dataclass(frozen=True)
class MixturePart:
    """A dataset of a mixture, and how its items are drawn.

    Attributes
    ----------
    name : str
        What items say that they are of (``dataset``).
    dataset : ShardDataset or ComplexDataset
    probability : float
        Its share of the samples, against those of the others; above 0.
    clusters, weights : (n,) array, optional
        As for `LengthBatchSampler`.
    """

    name: str
    dataset: ShardDataset | ComplexDataset
    probability: float
    clusters: ArrayLike | pa.Array | pa.ChunkedArray | None = field(default=None, repr=False)
    weights: ArrayLike | None = field(default=None, repr=False)

    @property
    def source(self) -> ShardDataset:
        """Where its items come from."""
        return self.dataset.entries if isinstance(self.dataset, ComplexDataset) else self.dataset


class Mixture(Dataset[Item]):
    """The items of several datasets, numbered one dataset behind the other.

    Parameters
    ----------
    parts : sequence of MixturePart
        At least one, of different names, with the same columns, labels and embeddings.

    Attributes
    ----------
    lengths : (n,) int64
        Residues of each item, after cropping.
    chain_uids : list of str
    sampling : dict
        Arguments of `LengthBatchSampler`: clusters, weights and the shares of the datasets.

    Notes
    -----
    Besides what they hold in their dataset, items have its name as ``dataset``. If some are of
    entries, all have ``chain_uids``; if some stand for a chain or interface, all have ``focus``,
    which is empty for the others. A batch can hold items of several datasets.

    Examples
    --------
    ::

        mixture = Mixture([
            MixturePart("pdb", complexes, 0.7, weights=complexes.weights()),
            MixturePart("afdb", chains, 0.3, clusters=chains.index["cluster"]),
        ])
        sampler = LengthBatchSampler(mixture.lengths, budget=500_000, **mixture.sampling)
    """

    def __init__(self, parts: Sequence[MixturePart]):
        _check(parts)
        self.parts = tuple(parts)
        sizes = [len(part.dataset) for part in parts]
        self._ends = np.cumsum(sizes)
        self.lengths: NDArray[np.int64] = np.concatenate([part.dataset.lengths for part in parts])
        self._of_entries = any(part.source.unit == "entry" for part in parts)
        self._focused = any(isinstance(part.dataset, ComplexDataset) for part in parts)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __repr__(self) -> str:
        total = math.fsum(part.probability for part in self.parts)
        shares = ", ".join(
            f"{part.probability / total:.3g} {part.name} of {several(len(part.dataset), 'item')}"
            for part in self.parts
        )
        return f"{type(self).__name__}({shares})"

    def __getitem__(self, number: int) -> Item:
        n = len(self)
        if not -n <= number < n:
            raise IndexError(f"item {number} of {n}")
        repeat, number = repeat_of(number), int(number) % n
        k = int(np.searchsorted(self._ends, number, side="right"))
        part = self.parts[k]
        begin = int(self._ends[k]) - len(part.dataset)
        item = part.dataset[Draw(number - begin, repeat)]
        item["dataset"] = part.name
        if self._of_entries:
            item.setdefault("chain_uids", [item["chain_uid"]])
        if self._focused:
            item.setdefault("focus", [])
        return item

    def set_epoch(self, epoch: int) -> None:
        """See `ShardDataset.set_epoch`."""
        for part in self.parts:
            part.dataset.set_epoch(epoch)

    @cached_property
    def chain_uids(self) -> list[str]:
        return [uid for part in self.parts for uid in part.dataset.chain_uids]

    @property
    def sampling(self) -> dict[str, Any]:
        clusters, weights, begin = [], [], 0
        for part in self.parts:
            n = len(part.dataset)
            codes = np.arange(n)
            if part.clusters is not None:
                codes = cluster_codes(part.clusters, n)
            clusters.append(begin + codes)
            weights.append(np.ones(n) if part.weights is None else np.asarray(part.weights, float))
            if len(weights[-1]) != n:
                raise ValueError(f"{len(weights[-1])} weights for {n} items of {part.name}")
            begin += n
        probabilities = np.array([part.probability for part in self.parts])
        weighted = any(part.weights is not None for part in self.parts)
        return {
            "clusters": np.concatenate(clusters),
            "weights": np.concatenate(weights) if weighted else None,
            "parts": Parts(
                sizes=np.diff(self._ends, prepend=0),
                probabilities=probabilities / math.fsum(probabilities),
                clustered=np.array([part.clusters is not None for part in self.parts]),
            ),
        }


def _check(parts: Sequence[MixturePart]) -> None:
    if not parts:
        raise ValueError("a mixture of no datasets")
    names = [part.name for part in parts]
    if len(set(names)) < len(names):
        raise ValueError(f"two datasets of a mixture have one name: {', '.join(names)}")
    for part in parts:
        if not (math.isfinite(part.probability) and part.probability > 0):
            raise ValueError(f"the probability of {part.name} is above 0, not {part.probability}")
    first = parts[0]
    for what, of in (("column", _columns), ("label", _labels), ("embedding", _embedding)):
        for part in parts:
            if differing := sorted(of(part.source) ^ of(first.source)):
                has, lacks = part.name, first.name
                if differing[0] in of(first.source):
                    has, lacks = lacks, has
                raise ValueError(
                    f"items of a mixture are alike, and {has} has the {what} {differing[0]}, which "
                    f"{lacks} has not"
                )


def _columns(dataset: ShardDataset) -> set[str]:
    return set(dataset.columns)


def _labels(dataset: ShardDataset) -> set[str]:
    return set() if dataset.labels is None else set(dataset.labels.names)


def _embedding(dataset: ShardDataset) -> set[str]:
    stored = dataset.embeddings
    return set() if stored is None else {f"of {stored.dimension} numbers"}
