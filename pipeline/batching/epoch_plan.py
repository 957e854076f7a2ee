"""(lengths, clusters, weights, seed, epoch, world size) → the batches of an epoch.

Pure functions. Random numbers are raw words of PCG64 under a `SeedSequence`; NumPy keeps both as
they are from version to version. Everything is drawn in integers, so every rank and every machine
comes to the same plan.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from pipeline.dataset.draw import Draw

_ONE = 1 << 32
"""1 in the fixed-point numbers of expected draws."""


class _Use(IntEnum):
    """What random words are for; each use has its own."""

    ORDER_OF_GROUPS = 0
    FIRST_DRAW = 1
    MEMBERS = 2
    LENGTH_NOISE = 3
    ORDER_OF_BATCHES = 4


@dataclass(frozen=True, slots=True)
class Parts:
    """Datasets of a mixture, whose items are numbered one dataset behind the other.

    Attributes
    ----------
    sizes : (k,) int64
        Items of each.
    probabilities : (k,) float64
        Its share of the samples; all positive, together 1.
    clustered : (k,) bool
        One item of a cluster is drawn. Otherwise each item is a cluster of its own, and its weight
        is against those of all items of the dataset.
    """

    sizes: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    clustered: NDArray[np.bool_]

    def of_items(self) -> NDArray[np.int64]:
        """(n,) the dataset of each item."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    def shared_out(
        self,
        items: NDArray[np.int64],
        groups: NDArray[np.int64],
        weights: NDArray[np.float64] | None,
    ) -> NDArray[np.float64]:
        """(g,) weights of the groups of items: those of a dataset have its share together.

        Raises
        ------
        ValueError
            Nothing of a dataset can be drawn.
        """
        first = items[groups[:-1]]
        part = self.of_items()[first]
        within = np.ones(len(first))
        if weights is not None:
            within = np.where(self.clustered[part], within, weights[first])
        shares = np.empty(len(first))
        for k, probability in enumerate(self.probabilities.tolist()):
            of_part = part == k
            if not of_part.any():
                raise ValueError(
                    f"nothing of dataset {k + 1} of the mixture can be drawn: all of its items are "
                    "oversized or of weight 0"
                )
            relative = within[of_part] / within[of_part].max()
            shares[of_part] = relative * (probability / math.fsum(relative))
        return shares


@dataclass(frozen=True, slots=True)
class Population:
    """What the samples of an epoch are drawn from: groups of items.

    Attributes
    ----------
    items : (k,) int64
        Eligible items, those of a group side by side.
    shares : (k + 1,) int64
        Running sum, from 0, of the items' shares in their groups.
    groups : (g + 1,) int64
        Group i has the items ``items[groups[i]:groups[i + 1]]``. Without clusters every item is a
        group.
    expected : (g,) int64
        Expected draws of each group in an epoch, times 2³².
    n_samples : int
        Sum of the expected draws.
    """

    items: NDArray[np.int64]
    shares: NDArray[np.int64]
    groups: NDArray[np.int64]
    expected: NDArray[np.int64]
    n_samples: int


@dataclass(frozen=True, slots=True)
class EpochPlan:
    """The batches of all ranks in one epoch.

    Attributes
    ----------
    samples : (m,) int64
        Items, batch after batch.
    repeats : (m,) int64
        How often the same item stands before it in `samples`.
    bounds : (b + 1,) int64
        Batch i is ``samples[bounds[i]:bounds[i + 1]]``.
    order : (n_steps, world_size) int64
        The batch of each step and rank.
    n_left_out : int
        Samples in batches that no rank gets.
    """

    samples: NDArray[np.int64]
    repeats: NDArray[np.int64]
    bounds: NDArray[np.int64]
    order: NDArray[np.int64]
    n_left_out: int

    def batch(self, step: int, rank: int) -> list[int]:
        """Items; those that the epoch has more than once are `Draw`."""
        k = self.order[step, rank]
        here = slice(self.bounds[k], self.bounds[k + 1])
        drawn = zip(self.samples[here].tolist(), self.repeats[here].tolist(), strict=True)
        return [Draw(item, repeat) if repeat else item for item, repeat in drawn]


def population(
    eligible: NDArray[np.bool_],
    clusters: NDArray[np.int64] | None,
    weights: NDArray[np.float64] | None,
    samples_per_epoch: int | None,
    parts: Parts | None = None,
) -> Population:
    """What can be drawn, and how often.

    Parameters
    ----------
    eligible : (n,) bool
    clusters : (n,) int64, optional
        Numbers of the clusters. A draw takes one item of one cluster.
    weights : (n,) float64, optional
        With clusters, of the items of a cluster against each other; else of all items.
    samples_per_epoch : int, optional
        By default one for every group.
    parts : Parts, optional
        Datasets of a mixture; then there are clusters, each in one dataset, which may be drawn more
        than once.

    Raises
    ------
    ValueError
        Nothing can be drawn, or more samples are asked for than there are clusters.
    """
    if weights is not None:
        eligible = eligible & (weights > 0)
    items = np.flatnonzero(eligible)
    if not len(items):
        raise ValueError("no item is left to be sampled: all are oversized or of weight 0")
    if clusters is None:
        groups = np.arange(len(items) + 1)
        shares = groups
        group_weights = np.ones(len(items)) if weights is None else weights[items]
    else:
        items = items[np.argsort(clusters[items], kind="stable")]
        of_item = clusters[items]
        starts = np.flatnonzero(np.diff(of_item, prepend=of_item[0] - 1))
        groups = np.append(starts, len(items))
        shares = _running_sum(_shares(items, groups, weights))
        group_weights = np.ones(len(starts))
        if parts is not None:
            group_weights = parts.shared_out(items, groups, weights)
    n_groups = len(groups) - 1
    n_samples = n_groups if samples_per_epoch is None else samples_per_epoch
    if clusters is not None and parts is None and n_samples > n_groups:
        raise ValueError(
            f"samples_per_epoch is {n_samples}, and there are {n_groups} clusters with one sample "
            "each; ask for fewer, or leave clusters out and weight the items"
        )
    expected = _fixed_point(group_weights, n_samples)
    return Population(items, shares, groups, expected, n_samples)


def plan_epoch(
    drawn_from: Population,
    lengths: NDArray[np.int64],
    *,
    budget: int,
    max_batch_size: int | None,
    length_noise: float,
    seed: int,
    epoch: int,
    world_size: int,
) -> EpochPlan:
    """The batches of an epoch; see `LengthBatchSampler` for the parameters.

    Raises
    ------
    ValueError
        Fewer samples than ranks.
    """

    def random_words(n: int, use: _Use) -> NDArray[np.uint64]:
        seeds = np.random.SeedSequence(seed, spawn_key=(epoch, use))
        return np.random.PCG64(seeds).random_raw(n)

    groups = _draw_groups(
        drawn_from.expected,
        random_words(len(drawn_from.expected), _Use.ORDER_OF_GROUPS),
        int(random_words(1, _Use.FIRST_DRAW)[0] >> np.uint64(32)),
    )
    samples = _draw_members(drawn_from, groups, random_words(len(groups), _Use.MEMBERS))
    # Samples come in random order, which a stable sort keeps among equals.
    noise = (random_words(len(samples), _Use.LENGTH_NOISE) >> np.uint64(11)) * 2.0**-53
    about = lengths[samples] * (1.0 + length_noise * noise)
    samples = samples[np.argsort(-about, kind="stable")]
    repeats = _repeats(samples)
    bounds = cut(lengths[samples], budget, max_batch_size)
    bounds, n_spare = split_for_ranks(bounds, world_size)
    order = np.argsort(random_words(len(bounds) - 1, _Use.ORDER_OF_BATCHES), kind="stable")
    order, spare = order[: len(order) - n_spare], order[len(order) - n_spare :]
    if not len(order):
        raise ValueError(
            f"{len(samples)} samples cannot be dealt to {world_size} ranks; "
            "use fewer ranks or more data"
        )
    left_out = int((bounds[spare + 1] - bounds[spare]).sum())
    return EpochPlan(samples, repeats, bounds, order.reshape(-1, world_size), left_out)


def cut(lengths: NDArray[np.int64], budget: int, max_batch_size: int | None) -> NDArray[np.int64]:
    """Cut a sequence of samples into batches, each as long as the budget allows.

    Parameters
    ----------
    lengths : (m,) int64
    budget : int
        ``size × longest²`` of a batch of several samples is at most this.
    max_batch_size : int, optional

    Returns
    -------
    (b + 1,) int64
        Where batches begin, and the end.
    """
    bounds = [0]
    most = max_batch_size or len(lengths)
    size = longest = 0
    # A loop, because the cut depends on all cuts before it; 0.1 s for a million samples.
    for k, length in enumerate(lengths.tolist()):
        if length > longest:
            longest = length
        size += 1
        if size > 1 and (size > most or size * longest * longest > budget):
            bounds.append(k)
            size, longest = 1, length
    bounds.append(len(lengths))
    return np.array(bounds, np.int64)


def split_for_ranks(bounds: NDArray[np.int64], world_size: int) -> tuple[NDArray[np.int64], int]:
    """Make the number of batches a multiple of the number of ranks by halving the largest ones.

    Returns
    -------
    bounds : (b + 1,) int64
    n_spare : int
        Batches to leave out: 0 unless there are too few samples to split.
    """
    n_batches, n_samples = len(bounds) - 1, int(bounds[-1])
    missing = -n_batches % world_size
    if n_batches + missing > n_samples:
        return bounds, n_batches % world_size
    # The `missing` largest are all that `missing` splits of the largest can come to.
    sizes = np.diff(bounds)
    largest = np.argsort(-sizes, kind="stable")[:missing]
    heap = [(-int(sizes[k]), int(bounds[k])) for k in largest]
    heapq.heapify(heap)
    middles = []
    for _ in range(missing):
        size, start = heapq.heappop(heap)
        half = (1 - size) // 2
        middles.append(start + half)
        heapq.heappush(heap, (-half, start))
        heapq.heappush(heap, (size + half, start + half))
    return np.sort(np.append(bounds, np.array(middles, np.int64))), 0


def _draw_groups(
    expected: NDArray[np.int64], words: NDArray[np.uint64], first: int
) -> NDArray[np.int64]:
    """Systematic sampling (Madow 1949) in a random order: a group that is expected e times is drawn
    ⌊e⌋ or ⌈e⌉ times."""
    order = np.argsort(words, kind="stable")
    ends = (np.cumsum(expected[order]) + first) // _ONE
    return np.repeat(order, np.diff(ends, prepend=0))


def _draw_members(
    drawn_from: Population, groups: NDArray[np.int64], words: NDArray[np.uint64]
) -> NDArray[np.int64]:
    """One item of each drawn group, by its share."""
    if len(drawn_from.groups) - 1 == len(drawn_from.items):
        return drawn_from.items[groups]
    begin = drawn_from.shares[drawn_from.groups[groups]]
    total = drawn_from.shares[drawn_from.groups[groups + 1]] - begin
    within = ((words >> np.uint64(32)) * total.astype(np.uint64)) >> np.uint64(32)
    place = np.searchsorted(drawn_from.shares, begin + within.astype(np.int64), side="right") - 1
    return drawn_from.items[place]


def _repeats(samples: NDArray[np.int64]) -> NDArray[np.int64]:
    """How often the item of each sample stands before it."""
    order = np.argsort(samples, kind="stable")
    begins = np.diff(samples[order], prepend=-1) != 0
    place = np.arange(len(samples))
    repeats = np.empty_like(samples)
    repeats[order] = place - np.maximum.accumulate(np.where(begins, place, 0))
    return repeats


def _shares(
    items: NDArray[np.int64], groups: NDArray[np.int64], weights: NDArray[np.float64] | None
) -> NDArray[np.int64]:
    """Integer shares of items in their groups, in proportion to the weights; sums below 2³²."""
    if weights is None:
        return np.ones(len(items), np.int64)
    # Against the group's largest, so that no sum of weights can overflow or vanish.
    largest = np.repeat(np.maximum.reduceat(weights[items], groups[:-1]), np.diff(groups))
    relative = weights[items] / largest
    size = np.repeat(np.diff(groups), np.diff(groups))
    return np.maximum(1, np.rint(relative * (2.0**31 / size))).astype(np.int64)


def _fixed_point(weights: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Shares of `total` in proportion to the weights, times 2³², with exactly that sum."""
    scaled = weights / weights.max()
    # Sums are rounded, not shares, so that errors neither add up nor make a share negative.
    ends = np.rint(np.cumsum(scaled * (total / math.fsum(scaled)) * _ONE))
    ends = np.minimum(ends, float(total * _ONE)).astype(np.int64)
    ends[-1] = total * _ONE
    return np.diff(ends, prepend=0)


def _running_sum(values: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(values)))
