"""What a split prints when it is done."""

from __future__ import annotations

from collections import Counter

import numpy as np

from pipeline.built.novelty import KINDS, SAME_FOLD, UNKNOWN, counts_of, kinds_of, shares_told
from pipeline.commands.words import several
from pipeline.split.assign import Assignment
from pipeline.split.chains import Chains
from pipeline.split.leaks import PAIRS_NAMED, find_leaks
from pipeline.split.nearest import Nearest
from pipeline.split.options import SplitOptions


def summary_rows(
    chains: Chains,
    found: Assignment,
    options: SplitOptions,
    mmseqs_version: str | None,
    nearest: Nearest | None = None,
) -> list[tuple[str, str]]:
    """(what, the numbers) line by line."""
    entries = chains.entry_numbers()
    n, n_residues = len(chains), int(chains.lengths.sum())
    rows = [
        ("dataset", f"{n:,} chains of {entries.max() + 1:,} entries, {n_residues:,} residues"),
        ("clusters", _clusters(chains, found, options, mmseqs_version)),
    ]
    if options.unit == "entry":
        rows.append(("components", _components(chains, found, entries)))
    whole = n if options.balance == "chains" else n_residues
    for k, name in enumerate(found.names):
        chosen = found.split == k
        n_chains, n_inside = int(chosen.sum()), int(chains.lengths[chosen].sum())
        share = (n_chains if options.balance == "chains" else n_inside) / whole
        asked = f" (asked {options.fractions[k]:.1%})" if options.by_share else ""
        rows.append(
            (
                name,
                f"{share:.1%} of the {options.balance}{asked}: {n_chains:,} chains of "
                f"{len(set(entries[chosen])):,} entries, {n_inside:,} residues, "
                f"{len(set(found.clusters[chosen])):,} clusters",
            )
        )
    reasons = Counter(reason for reason in found.reasons if reason)
    if reasons:
        told = ", ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items()))
        rows.append(("in no split", f"{sum(reasons.values()):,} chains: {told}"))
    rows.append(("leaks", _leaks(found, options)))
    if options.with_mmseqs and options.leak == "sequence" and options.method != "cluster":
        similar = find_leaks(found.clusters[:, None], found.split)
        rows.append(
            ("similar", f"{len(similar):,} chains share a cluster with one of an earlier split")
        )
    if nearest is not None:
        if options.by == "structure":
            rows += _one_fold(chains, found, options, nearest)
        rows += [("nearest", sentence) for sentence in _nearest(found, nearest)]
    return rows


def _one_fold(
    chains: Chains, found: Assignment, options: SplitOptions, nearest: Nearest
) -> list[tuple[str, str]]:
    """Held-out chains whose fold trains, in spite of clusters by fold: how many, which, and why."""
    kinds = kinds_of(nearest.tm)
    alike = np.flatnonzero((kinds != UNKNOWN) & (kinds != KINDS.index("novel")))
    training, *held_out = found.names
    limit = f"TM-score from {SAME_FOLD:g}"
    if not len(alike):
        told = (
            f"no chain of {' or '.join(held_out)} was found to have the fold of one of {training}"
        )
        return [("one fold", f"{told} ({limit})")]
    pairs = [
        f"{chains.uids[k]} ({found.names[found.split[k]]}) is like "
        f"{chains.uids[nearest.by_structure[k]]} ({nearest.tm[k]:.3f})"
        for k in alike[:PAIRS_NAMED]
    ]
    more = ", …" if len(alike) > PAIRS_NAMED else ""
    has = "has" if len(alike) == 1 else "have"
    compared = several(int((kinds != UNKNOWN).sum()), "compared chain")
    why = "Clusters are made of pairs that a search of letters names, and it misses some."
    if options.linkage == "representatives":
        why = f"They join only what is like one representative. {why}"
    names = ", ".join(f'split="{name}"' for name in held_out)
    return [
        (
            "one fold",
            f"{len(alike):,} of {compared} of {' and '.join(held_out)} {has} the fold of a chain "
            f"of {training} ({limit}) in spite of the clusters: {', '.join(pairs)}{more}",
        ),
        ("", why),
        ("", f'To do without them, use {names} with where="nearest_tm < {SAME_FOLD:g}"'),
    ]


def _nearest(found: Assignment, nearest: Nearest) -> list[str]:
    """How new each held-out split is to the training split."""
    training, *held_out = found.names
    sentences = []
    for k, name in enumerate(held_out, 1):
        inside = found.split == k
        if not inside.any():
            continue
        counts = counts_of(nearest.tm[inside])
        if not sum(counts):
            sentences.append(f"{name}: no chain of it can be compared with {training}")
            continue
        left = int(inside.sum()) - sum(counts)
        known = nearest.identity[inside & ~np.isnan(nearest.identity)]
        told = f"{name}, to {training}: {shares_told(counts)}"
        if len(known):
            told += f"; median identity {np.median(known):.0%}"
        sentences.append(told + (f"; {several(left, 'chain')} not compared" if left else ""))
    return sentences


def _clusters(
    chains: Chains, found: Assignment, options: SplitOptions, mmseqs_version: str | None
) -> str:
    sizes = np.bincount(found.clusters)
    how = "of identical sequences"
    if options.with_mmseqs:
        how = (
            f"{options.clustering}, identity {options.min_identity:g}, coverage "
            f"{options.coverage:g}; MMseqs2 {(mmseqs_version or '')[:12]}"
        )
    share = ""
    if options.by == "structure":
        share = f" ({sizes.max() / len(chains):.1%})"
        how += f"; and of one fold, TM-score from {SAME_FOLD:g}, {options.linkage}"
    return (
        f"{(sizes > 0).sum():,} ({how}), of {len(set(chains.keys[:, 1])):,} different sequences; "
        f"the largest has {sizes.max():,} chains{share}"
    )


def _components(chains: Chains, found: Assignment, entries: np.ndarray) -> str:
    sizes = np.bincount(found.components)
    largest = int(sizes.argmax())
    inside = found.components == largest
    return (
        f"{(sizes > 0).sum():,} of entries that share clusters; the largest has {sizes.max():,} "
        f"chains of {len(set(entries[inside])):,} entries ({sizes.max() / len(chains):.1%})"
    )


def _leaks(found: Assignment, options: SplitOptions) -> str:
    what = "sequence" if options.leak == "sequence" else "cluster"
    if not len(found.leaks):
        folds = ", which says nothing of folds" if options.by == "structure" else ""
        return f"none: no {what} is in two splits{folds if what == 'sequence' else ''}"
    if options.on_leak == "drop":
        return f"none any more: {len(found.leaks):,} chains with a {what} of an earlier split left"
    return f"{len(found.leaks):,} chains have a {what} that is in an earlier split"
