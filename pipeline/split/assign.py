"""Chains → splits: pure functions of the chains, the options and the pairs of similar sequences."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.seeded import seed_bytes
from pipeline.split.chains import Chains
from pipeline.split.components import clusters_of_chains, components_of_entries, hub_clusters
from pipeline.split.leaks import Leaks, find_leaks
from pipeline.split.options import NOWHERE, SplitOptions, listed
from pipeline.split.split_list import SplitList

NO_SPLIT = -1

LARGE_GROUP = 0.05
"""Groups heavier than this share of the smallest split are placed before the others, heavy ones
first. The rest comes in random order, so that no split is made of small families alone."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """Where each chain goes; rows as in `Chains`.

    Attributes
    ----------
    names : tuple of str
        The splits.
    clusters : (n,) int64
        The first chain of the chain's cluster.
    components : (n,) int64
        A chain of the first entry of the component (``unit="entry"``), or the cluster.
    split : (n,) int64
        Number into `names`, −1 for none.
    reasons : list of (str or None), n
        Why a chain is in no split: ``cut``, ``leak``, ``undated`` or ``not-listed``.
    leaks : Leaks
        As found before any were dropped.
    warnings : tuple of str
        Sentences for the person who runs this.
    """

    names: tuple[str, ...]
    clusters: NDArray[np.int64]
    components: NDArray[np.int64]
    split: NDArray[np.int64]
    reasons: list[str | None]
    leaks: Leaks
    warnings: tuple[str, ...] = ()


def assign_splits(
    chains: Chains,
    options: SplitOptions,
    similar: NDArray[np.int64] | None = None,
    split_list: SplitList | None = None,
) -> Assignment:
    """Divide chains as the options say.

    Parameters
    ----------
    chains : Chains
    options : SplitOptions
        Neither files nor programs that they name are touched.
    similar : (m, 2) int64, optional
        Pairs of numbers of sequences that belong to one cluster, from `mmseqs.similar_sequences`;
        without them clusters are of identical sequences.
    split_list : SplitList, optional
        For ``method="list"``.

    Returns
    -------
    Assignment
        With ``on_leak="drop"`` the chains that leak are in no split; otherwise they are where the
        method put them, and `Assignment.leaks` tells them.

    Raises
    ------
    UsageError
        Chains have no date and `undated` says nothing of them, or no line of the list fits.
    """
    clusters = clusters_of_chains(chains.keys, similar)
    entries = chains.entry_numbers()
    first = np.unique(entries, return_index=True)[1]
    warnings: list[str] = []
    cut = np.zeros(len(chains), bool)
    weights = chains.lengths if options.balance == "residues" else np.ones(len(chains), np.int64)
    if options.max_component is not None:
        cut = hub_clusters(entries, clusters, weights, options.max_component * weights.sum())
    if options.unit == "entry":
        components = first[components_of_entries(entries, clusters, ~cut)][entries]
    else:
        components = clusters
    reason = None
    if options.by_share:
        if options.method == "cluster":
            groups = components
        else:
            groups = first[entries] if options.unit == "entry" else np.arange(len(chains))
        split = _by_share(chains, groups, weights, cut, options)
        reason = "cut"
        if options.method == "cluster":
            warnings += _about_components(chains, components, clusters, weights, cut, options)
    elif options.method == "time":
        split = _by_date(chains, options)
        reason = "undated"
    else:
        assert split_list is not None, "method list needs a list"
        split, warning = _by_list(chains, split_list, options.names)
        warnings += warning
        reason = "not-listed"
    reasons: list[str | None] = [reason if s == NO_SPLIT else None for s in split]
    leaks = find_leaks(chains.keys if options.leak == "sequence" else clusters[:, None], split)
    if options.method == "cluster" and len(leaks):
        raise AssertionError("components were cut; this is a mistake of the program")
    assignment = Assignment(
        tuple(options.names), clusters, components, split, reasons, leaks, tuple(warnings)
    )
    if options.on_leak == "drop":
        assignment = _without_leaks(assignment)
    about = _about_splits(assignment, entries, options)
    return replace(assignment, warnings=(*assignment.warnings, *about))


def share_out(
    ids: Sequence[str],
    weights: NDArray[np.int64],
    fractions: Sequence[float],
    seed: int,
    loads: Sequence[int] | None = None,
) -> NDArray[np.int64]:
    """Divide groups so that each split gets about its share of the weight.

    Each group goes to the split that lacks most. Therefore no split ends further from its share
    than the heaviest group weighs, in whatever order groups come.

    Parameters
    ----------
    ids : sequence of str, g
        With the seed they decide the order of groups; that of the arguments does not matter.
    weights : (g,) int64
    fractions : sequence of float
    seed : int
    loads : sequence of int, optional
        What the splits hold already.

    Returns
    -------
    (g,) int64
        Number of the split.
    """
    loads = [0] * len(fractions) if loads is None else loads
    total = int(weights.sum()) + sum(loads)
    lacking = [f * total - load for f, load in zip(fractions, loads, strict=True)]
    large = LARGE_GROUP * min(fractions) * total
    keys = [seed_bytes(f"{seed}:{i}") for i in ids]
    order = sorted(
        range(len(ids)), key=lambda g: (-w if (w := int(weights[g])) > large else 0, keys[g])
    )
    split = np.zeros(len(ids), np.int64)
    for g in order:
        most = max(range(len(lacking)), key=lacking.__getitem__)
        split[g] = most
        lacking[most] -= int(weights[g])
    return split


def _by_share(
    chains: Chains,
    groups: NDArray[np.int64],
    weights: NDArray[np.int64],
    cut: NDArray[np.bool_],
    options: SplitOptions,
) -> NDArray[np.int64]:
    """Groups are shared out; chains of cut clusters stay in the largest split, or go nowhere."""
    home = max(range(len(options.fractions)), key=options.fractions.__getitem__)
    names, group = np.unique(groups, return_inverse=True)
    counted = np.bincount(group, weights * ~cut, minlength=len(names)).astype(np.int64)
    # Groups of cut clusters alone have nothing that could go elsewhere.
    free = np.flatnonzero(np.bincount(group, ~cut, minlength=len(names)) > 0)
    loads = [0] * len(options.fractions)
    loads[home] = int(weights[~np.isin(group, free)].sum())
    of_group = np.full(len(names), home, np.int64)
    ids = [chains.uids[k] for k in names[free]]
    of_group[free] = share_out(ids, counted[free], options.fractions, options.seed, loads)
    split = of_group[group]
    return np.where(cut & (split != home), NO_SPLIT, split)


def _by_date(chains: Chains, options: SplitOptions) -> NDArray[np.int64]:
    n_undated = sum(day is None for day in chains.dates)
    if n_undated and options.undated is None:
        names = [u for u, day in zip(chains.uids, chains.dates, strict=True) if day is None]
        raise UsageError(
            f"{n_undated:,} chains have neither release nor deposition date ({listed(names)}); say "
            f"where they go: --undated {', '.join(options.names)} or {NOWHERE}"
        )
    undated = NO_SPLIT
    if options.undated in options.names:
        undated = options.names.index(options.undated or "")
    before = options.before or []
    # Days as YYYY-MM-DD are in order as texts.
    return np.array(
        [undated if day is None else bisect_right(before, day) for day in chains.dates], np.int64
    )


def _by_list(
    chains: Chains, split_list: SplitList, names: Sequence[str]
) -> tuple[NDArray[np.int64], list[str]]:
    listed_splits, unused = split_list.look_up(chains.uids, chains.entry_ids, chains.asym_ids)
    if all(name is None for name in listed_splits):
        raise UsageError(
            f"--split-list names no chain of this dataset ({listed(unused)}; the dataset has "
            f"{listed(chains.uids)}){split_list.remark(unused)}"
        )
    number: dict[str | None, int] = {name: k for k, name in enumerate(names)}
    number[None] = NO_SPLIT
    warnings = []
    if unused:
        warnings.append(
            f"{len(unused):,} of the list are not in the dataset, such as {listed(unused)}"
            f"{split_list.remark(unused)}"
        )
    return np.array([number[name] for name in listed_splits], np.int64), warnings


def _without_leaks(assignment: Assignment) -> Assignment:
    leaking = assignment.leaks.chains
    reasons = [
        "leak" if leaks else reason
        for leaks, reason in zip(leaking, assignment.reasons, strict=True)
    ]
    return replace(assignment, split=np.where(leaking, NO_SPLIT, assignment.split), reasons=reasons)


LARGE_COMPONENT = 0.2
"""A component that holds more than this share of the data is worth a warning."""

LARGE_FOLD = 0.1
"""The same for clusters by structure, which single linkage can chain into one."""


def _about_components(
    chains: Chains,
    components: NDArray[np.int64],
    clusters: NDArray[np.int64],
    weights: NDArray[np.int64],
    cut: NDArray[np.bool_],
    options: SplitOptions,
) -> list[str]:
    """Whether the largest component is too large, and what to do."""
    loads = np.bincount(components, weights * ~cut)
    largest = int(loads.argmax())
    share = float(loads[largest] / weights.sum())
    limit = LARGE_COMPONENT if options.max_component is None else options.max_component
    if options.by == "structure":
        limit = min(limit, LARGE_FOLD)
    if share <= limit:
        return []
    inside = (components == largest) & ~cut
    if options.by == "structure" and options.linkage == "single":
        return [
            f"the largest component, that of {chains.entry_ids[largest]}, holds {share:.0%} of the "
            f"{options.balance}: pairs of one fold have chained many folds into one; --linkage "
            "representatives joins a chain only to one that is like it"
        ]
    if len({chains.entry_ids[k] for k in np.flatnonzero(inside)}) == 1:
        return []  # a large entry in a small dataset
    if len(np.unique(clusters[inside])) == 1:
        return [
            f"one cluster, that of {chains.uids[int(clusters[inside][0])]}, holds {share:.0%} of "
            f"the {options.balance} and is never cut; a higher --min-identity makes smaller ones"
        ]
    return [
        f"one component of entries that share clusters, that of {chains.entry_ids[largest]}, holds "
        f"{share:.0%} of the {options.balance} and goes to one split as a whole; --max-component "
        "0.1 cuts the clusters that hold it together, --unit chain lets the chains of an entry go "
        "to different splits"
    ]


def _about_splits(
    assignment: Assignment, entries: NDArray[np.int64], options: SplitOptions
) -> list[str]:
    split = assignment.split
    warnings = [
        f"{name} is empty" for k, name in enumerate(assignment.names) if not (split == k).any()
    ]
    kept = split >= 0
    n_parted = int(
        (np.bincount(np.unique(np.stack([entries, split])[:, kept], axis=1)[0]) > 1).sum()
    )
    if n_parted and options.unit == "entry":
        warnings.append(f"{n_parted:,} entries have chains in several splits")
    return warnings
