"""`LengthBatchSampler`: which items make the batches of an epoch, on one rank."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import Sampler

from pipeline.batching.epoch_plan import EpochPlan, Parts, plan_epoch, population
from pipeline.commands.words import several
from pipeline.errors import UsageError

_PLAN = 1
"""Version of the algorithm. States of another one do not continue."""


class OtherInputs(UsageError):
    """A state belongs to other data or options than those it is loaded into."""


class LengthBatchSampler(Sampler[list[int]]):
    """Batches of similar length under a budget of residues².

    The batches of an epoch are a pure function of the parameters and the epoch.

    1. **Samples.** Every item once. With `clusters`, one item of every cluster. With `weights` but
       no clusters, an item whose share of `samples_per_epoch` is e is drawn ⌊e⌋ or ⌈e⌉ times
       (systematic sampling: e on average, and with e ≤ 1 never twice). From the second time on its
       number is a `Draw`, so that a dataset can crop it anew. With `parts` each dataset of a
       mixture has its share of the samples.
    2. **Batches.** Samples are ordered by length, blurred by `length_noise` so that every epoch
       mixes them anew, and cut such that ``batch size × longest² ≤ budget`` and
       ``batch size ≤ max_batch_size``.
    3. **Ranks.** All ranks get the same number of batches. To get there, the largest batches are
       halved until their number is a multiple of `world_size`; no sample is given twice. Only if
       there are too few samples for that, nearly all batches being single items, up to
       ``world_size - 1`` batches chosen anew each epoch are left out; `n_left_out` tells how many
       samples that are.
    4. **Order.** Batches are shuffled and dealt out.

    Parameters
    ----------
    lengths : (n,) int
        Residues of each item; at least 1.
    budget : int
        Residues²: the most that ``batch size × longest²`` may be.
    max_batch_size : int, optional
        Items of a batch.
    clusters : (n,) int or str, or pyarrow column, optional
        Cluster of each item, such as ``ShardDataset.index["cluster"]``.
    weights : (n,) float, optional
        Not negative. With `clusters` they choose among the items of a cluster, which are equally
        likely otherwise; a cluster all of whose weights are 0 is left out. Items of weight 0 are
        never drawn.
    samples_per_epoch : int, optional
        Samples of all ranks together. By default as many as there are items of positive weight, or
        clusters. Fewer: another random choice every epoch. More than there are clusters is an
        error, except in a mixture.
    seed : int
    parts : Parts, optional
        What `Mixture.sampling` gives, together with `clusters` and `weights`.
    length_noise : float
        Up to this fraction is added to a length, at random, before sorting. 0 gives the least
        padding; chains of different lengths then keep their company from epoch to epoch.
    oversized : {"alone", "raise", "drop"}
        What becomes of items whose length² exceeds the budget: each is a batch of its own, an
        error, or left out. `n_oversized` says how many they are.
    rank, world_size : int
        Of the process that the batches are for.

    Attributes
    ----------
    epoch : int
    position : int
        Batches of this epoch that training has consumed. `advance` counts them: iterating does not,
        because the workers of a loader ask for batches long before they are trained on.
    n_oversized : int
        Items whose length² exceeds the budget.
    n_samples : int
        Samples of this epoch, of all ranks together, those left out included.
    n_left_out : int
        Samples of this epoch that no rank gets.

    Raises
    ------
    ValueError
        Impossible parameters, oversized items with ``oversized="raise"``, or fewer samples than
        ranks.

    Examples
    --------
    >>> sampler = LengthBatchSampler([90, 100, 60, 50], budget=20_000, length_noise=0)
    >>> sorted(map(sorted, sampler))
    [[0, 1], [2, 3]]
    """

    def __init__(
        self,
        lengths: ArrayLike,
        *,
        budget: int,
        max_batch_size: int | None = None,
        clusters: ArrayLike | pa.Array | pa.ChunkedArray | None = None,
        weights: ArrayLike | None = None,
        samples_per_epoch: int | None = None,
        seed: int = 0,
        length_noise: float = 0.1,
        oversized: Literal["alone", "raise", "drop"] = "alone",
        parts: Parts | None = None,
        rank: int = 0,
        world_size: int = 1,
    ):
        self.lengths = _lengths(lengths)
        n = len(self.lengths)
        codes = None if clusters is None else cluster_codes(clusters, n)
        checked = None if weights is None else _weights(weights, n)
        if parts is not None and (codes is None or parts.sizes.sum() != n):
            raise ValueError(f"a mixture of {parts.sizes.sum()} items, for {n} items and clusters")
        for name, value in (
            ("budget", budget),
            ("max_batch_size", max_batch_size),
            ("samples_per_epoch", samples_per_epoch),
            ("world_size", world_size),
        ):
            if value is not None and value < 1:
                raise ValueError(f"{name} is at least 1, not {value}")
        if samples_per_epoch is not None and samples_per_epoch >= 1 << 31:
            raise ValueError(f"samples_per_epoch is below 2³¹, not {samples_per_epoch}")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} of {world_size}")
        if seed < 0:
            raise ValueError(f"seed is not negative, but {seed}")
        if not (length_noise >= 0 and math.isfinite(length_noise)):
            raise ValueError(f"length_noise is not negative, but {length_noise}")
        self.budget, self.max_batch_size = budget, max_batch_size
        self.seed, self.length_noise = seed, length_noise
        self.rank, self.world_size = rank, world_size

        fits = self.lengths**2 <= budget
        self.n_oversized = int(np.count_nonzero(~fits))
        if oversized not in ("alone", "raise", "drop"):
            raise ValueError(f'oversized is "alone", "raise" or "drop", not {oversized!r}')
        if oversized == "raise" and self.n_oversized:
            raise ValueError(
                f"{self.n_oversized} of {n} items exceed the budget of {budget} residues² alone, "
                f"such as item {int(np.argmin(fits))} with {self.lengths[np.argmin(fits)]} "
                'residues; raise the budget, crop, or say oversized="alone" or "drop"'
            )
        eligible = fits if oversized == "drop" else np.ones(n, bool)
        self._population = population(eligible, codes, checked, samples_per_epoch, parts)
        self._inputs = {
            "plan": _PLAN,
            "items": n,
            "lengths": _sha256(self.lengths),
            "clusters": None if codes is None else _sha256(codes),
            "weights": None if checked is None else _sha256(checked),
            "mixture": None if parts is None else _sha256(_described(parts)),
            "samples_per_epoch": samples_per_epoch,
            "budget": budget,
            "max_batch_size": max_batch_size,
            "oversized": oversized,
            "length_noise": float(length_noise),
            "seed": seed,
        }
        self.epoch = 0
        self.position = 0
        self._plan: EpochPlan | None = None

    def __len__(self) -> int:
        """Batches of this rank in this epoch, consumed ones included."""
        return len(self.plan.order)

    def __iter__(self) -> Iterator[list[int]]:
        """The batches of this epoch that are not consumed yet."""
        # Bound now, not when the first batch is asked for.
        plan, rank = self.plan, self.rank
        steps = range(self.position, len(plan.order))
        return (plan.batch(step, rank) for step in steps)

    def __repr__(self) -> str:
        place = f", rank {self.rank} of {self.world_size}" if self.world_size > 1 else ""
        return (
            f"{type(self).__name__}({several(len(self.lengths), 'item')}, "
            f"budget {self.budget:,}, epoch {self.epoch}, batch {self.position}{place})"
        )

    @property
    def plan(self) -> EpochPlan:
        """The batches of all ranks in this epoch."""
        if self._plan is None:
            self._plan = plan_epoch(
                self._population,
                self.lengths,
                budget=self.budget,
                max_batch_size=self.max_batch_size,
                length_noise=self.length_noise,
                seed=self.seed,
                epoch=self.epoch,
                world_size=self.world_size,
            )
        return self._plan

    @property
    def n_samples(self) -> int:
        return self._population.n_samples

    @property
    def n_left_out(self) -> int:
        return self.plan.n_left_out

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch. If it is the present one, nothing changes, so that a
        restored position remains."""
        if epoch < 0:
            raise ValueError(f"epoch {epoch}")
        if epoch != self.epoch:
            self.epoch, self.position, self._plan = epoch, 0, None

    def advance(self, batches: int = 1) -> None:
        """Say that training has consumed so many more batches."""
        if not 0 <= self.position + batches <= len(self):
            raise ValueError(
                f"{batches} more batches after {self.position} of the {len(self)} of this epoch"
            )
        self.position += batches

    def state_dict(self) -> dict[str, Any]:
        """Where training is. The same on every rank; plain numbers and text."""
        return {
            "epoch": self.epoch,
            "position": self.position,
            "world_size": self.world_size,
            "inputs": dict(self._inputs),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken: the next batches are those that would have come.

        Raises
        ------
        OtherInputs
            The state is of other data or options; or of another number of ranks, in the middle of
            an epoch.
        """
        try:
            epoch, position = int(state["epoch"]), int(state["position"])
            world_size, inputs = int(state["world_size"]), dict(state["inputs"])
        except (KeyError, TypeError, ValueError):
            raise OtherInputs(f"not a state of {type(self).__name__}: {str(state)[:80]}") from None
        differing = [name for name, value in self._inputs.items() if inputs.get(name) != value]
        if differing:
            raise OtherInputs(_told(differing, inputs, self._inputs))
        if world_size != self.world_size and position:
            raise OtherInputs(
                f"the state was taken after {position} batches of epoch {epoch} on {world_size} "
                f"ranks, and here are {self.world_size}: the rest of an epoch can only be dealt to "
                f"as many ranks as its beginning. Resume on {world_size} ranks, or from the end of "
                "an epoch"
            )
        self.set_epoch(epoch)
        self.position = 0
        self.advance(position)


def _told(differing: Sequence[str], then: dict[str, Any], now: dict[str, Any]) -> str:
    """What is not as it was, most telling first."""
    if "plan" in differing:
        return "the state was taken by another version of this program, which batches differently"
    if "items" in differing:
        return (
            f"the state was taken over {then.get('items')} items, and here are {now['items']}: "
            "it belongs to another dataset, split or filter"
        )
    name = differing[0]
    if name == "lengths":
        return (
            "the state was taken over items of other lengths: it belongs to another dataset, "
            "split, filter or crop"
        )
    if name in ("clusters", "weights"):
        return f"the state was taken with other {name}"
    if name == "mixture":
        return "the state was taken over another mixture of datasets, or with other probabilities"
    return f"the state was taken with {name}={then.get(name)}, and here it is {now[name]}"


def _lengths(lengths: ArrayLike) -> NDArray[np.int64]:
    found = np.asarray(lengths)
    if found.ndim != 1 or not len(found) or found.dtype.kind not in "iu":
        raise ValueError(
            f"lengths is a list of whole numbers, one for each item, not {found.dtype} of shape "
            f"{found.shape}"
        )
    if found.min() < 1:
        raise ValueError(f"item {int(np.argmin(found))} has length {found.min()}")
    return found.astype(np.int64)


def cluster_codes(clusters: ArrayLike | pa.Array | pa.ChunkedArray, n: int) -> NDArray[np.int64]:
    """Clusters of n items, numbered in the order in which they appear.

    Raises
    ------
    ValueError
        Not one for each item.
    """
    if not isinstance(clusters, pa.Array | pa.ChunkedArray):
        clusters = pa.array(np.asarray(clusters))
    if isinstance(clusters, pa.ChunkedArray):
        clusters = pa.concat_arrays(clusters.chunks) if clusters.num_chunks else pa.array([])
    if len(clusters) != n:
        raise ValueError(f"{len(clusters)} clusters for {n} items")
    if clusters.null_count:
        raise ValueError(
            f"{clusters.null_count} of {n} items have no cluster; leave them out, or give each a "
            "cluster of its own"
        )
    if pa.types.is_dictionary(clusters.type):
        clusters = clusters.cast(clusters.type.value_type)
    return clusters.dictionary_encode().indices.to_numpy().astype(np.int64)


def _weights(weights: ArrayLike, n: int) -> NDArray[np.float64]:
    found = np.asarray(weights, np.float64)
    if found.shape != (n,):
        raise ValueError(f"weights of shape {found.shape} for {n} items")
    wrong = ~(np.isfinite(found) & (found >= 0))
    if wrong.any():
        k = int(np.argmax(wrong))
        raise ValueError(f"the weight of item {k} is {found[k]}; weights are not negative")
    return found


def _described(parts: Parts) -> NDArray[np.float64]:
    return np.stack([parts.sizes, parts.probabilities, parts.clustered]).astype(np.float64)


def _sha256(array: NDArray[Any]) -> str:
    return hashlib.sha256(array.astype(array.dtype.newbyteorder("<")).tobytes()).hexdigest()[:32]
