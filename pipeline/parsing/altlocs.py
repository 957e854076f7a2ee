"""Alternate locations: which atoms of a residue are kept.

One label per contiguous run of residues with alternates, so that neighbouring residues never come
from different conformers; a residue decides for itself only where the run's label does not exist.
Runs may touch in space without touching in sequence. Where what they choose clashes, they choose
together, among labels of nearly the same occupancy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.parsing.clashes import clashing_pairs
from pipeline.parsing.fields import changes, codes, run_lengths

NEARLY_EQUAL = 10
"""Hundredths of occupancy, per atom, that a label may lack of the largest and still be taken to
avoid a clash."""

MAX_LABELS = 8
"""Labels of a run that are tried."""

MAX_COMBINATIONS = 4096
"""Combinations of labels that are tried one and all; beyond, the runs take turns."""

_MAX_ROUNDS = 16
_MAX_UNLABELLED = 31
"""Alternates of one atom that are told apart without a label: by what stands before the blank."""
_BACKBONE = (b"N", b"CA", b"C", b"O")


@dataclass(frozen=True, slots=True)
class AltlocChoice:
    """Attributes
    ----------
    keep : (n,) bool
        Over the atoms.
    alternates, heterogeneous : (R,) bool
        Residues with a labelled atom; residues with atoms of several components.
    comp : (R,) int
        Code of the component of each residue.
    """

    keep: NDArray[np.bool_]
    alternates: NDArray[np.bool_]
    heterogeneous: NDArray[np.bool_]
    comp: NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class ResidueAtoms:
    """Atoms of R residues, in columns.

    Attributes
    ----------
    residue : (n,) int
        Residue of each atom, ascending; every residue 0 … R-1 has an atom.
    comp : (n,) int
        Component of each atom, as a code.
    name, altloc : (n,) bytes
    occupancy : (n,) int
        Hundredths.
    coords : (N, 3) int32
        Units of 0.001 Å, of all atoms of the file.
    row : (n,) int
        Row of each atom in `coords`.
    """

    residue: NDArray[np.int64]
    comp: NDArray[np.integer]
    name: NDArray[np.bytes_]
    altloc: NDArray[np.bytes_]
    occupancy: NDArray[np.int32]
    coords: NDArray[np.int32]
    row: NDArray[np.int64]


def choose(
    atoms: ResidueAtoms,
    joins_previous: NDArray[np.bool_],
    chain: NDArray[np.int64],
    chain_ids: Sequence[tuple[str, ...]],
) -> AltlocChoice:
    """Choose one conformer.

    Parameters
    ----------
    atoms : ResidueAtoms
    joins_previous : (R,) bool
        The residue stands directly behind the one before it in its chain.
    chain : (R,) int
        Chain of each residue.
    chain_ids : sequence
        By chain. They, and not the order of the chains, tell which run is the first.

    Returns
    -------
    AltlocChoice
        The label of a run is the one with the largest summed occupancy, ties going to the smallest
        label; a residue that lacks it takes its own best by the same rule. Kept are the unlabelled
        atoms and those of the label, of one component. If that leaves the residue without N, CA, C
        or O, which another of its labels has, that one's atom is taken.

        If atoms that have a label then clash with others (`clashing_pairs`), runs are chosen for
        together (`combine`).
    """
    residue, comp, altloc = atoms.residue, atoms.comp, atoms.altloc
    n_residues = len(joins_previous)
    starts = changes(residue)
    first_comp = comp[starts]
    heterogeneous = np.zeros(n_residues, bool)
    heterogeneous[residue[comp != first_comp[residue]]] = True
    alternates = np.zeros(n_residues, bool)
    labelled = altloc != b""
    if not labelled.any():
        keep = comp == first_comp[residue]
        return AltlocChoice(keep, alternates, heterogeneous, first_comp)

    # Sorted, the empty label first if there is one. Single characters sort as numbers, and faster.
    code = codes(altloc)
    labels, label = np.unique(code if (code < 256).all() else altloc, return_inverse=True)
    alternates[residue[labelled]] = True
    run_start = alternates & ~(np.concatenate(([False], alternates[:-1])) & joins_previous)
    run = np.cumsum(run_start) - 1
    with_alternates = np.flatnonzero(alternates)

    rows = np.flatnonzero(labelled)
    of_residue, of_label, occupancy = residue[rows], label[rows], atoms.occupancy[rows]
    ranked = _RankedLabels(run[of_residue], of_label, occupancy, len(labels))

    def select(wanted: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.integer]]:
        """(atoms kept, component of each residue) if each run takes the label `wanted` of it."""
        chosen = np.full(n_residues, -1)
        chosen[with_alternates] = wanted[run[with_alternates]]
        has_chosen = np.zeros(n_residues, bool)
        has_chosen[of_residue[of_label == chosen[of_residue]]] = True
        lacking = with_alternates[~has_chosen[with_alternates]]
        if len(lacking):
            own = _RankedLabels(of_residue, of_label, occupancy, len(labels))
            chosen[lacking] = own.label[own.first][np.searchsorted(with_alternates, lacking)]
        is_chosen = labelled & (label == chosen[residue])
        # The component is that of the chosen label; reversed: the first atom is written last.
        comp_of = first_comp.copy()
        picked = np.flatnonzero(is_chosen)[::-1]
        comp_of[residue[picked]] = comp[picked]
        keep = (~labelled | is_chosen) & (comp == comp_of[residue])
        _restore_backbone(keep, comp_of, atoms, label, with_alternates)
        return keep, comp_of

    keep, comp_of = select(ranked.label[ranked.first])
    is_open = alternates & ranked.is_open[run]
    if is_open.any():
        moves = np.zeros(len(residue), bool)
        moves[rows] = is_open[of_residue]
        if heterogeneous.any():
            moves |= (heterogeneous & is_open)[residue]

        def clashes(rows: NDArray[np.int64]) -> NDArray[np.int64] | None:
            asking = np.flatnonzero(moves[rows])
            xyz = np.take(atoms.coords, atoms.row[rows], axis=0)
            return clashing_pairs(xyz, rows, atoms.name, residue, joins_previous, asking)

        found = clashes(np.flatnonzero(keep))
        if found is not None and len(found):
            run_of = np.where(is_open, run, -1)[residue]
            ids = [chain_ids[k] for k in chain[np.flatnonzero(run_start)].tolist()]
            wanted = _with_fewest_clashes(ranked, run_of, ids, keep, select, clashes)
            keep, comp_of = select(wanted)
    return AltlocChoice(keep, alternates, heterogeneous, comp_of)


def with_repeats_labelled(atoms: ResidueAtoms, residues: NDArray[np.bool_]) -> NDArray[np.bytes_]:
    """Labels of all atoms, among them some for alternates that have none.

    Such are unlabelled atoms of the given residues (R,) whose name comes again in the residue. The
    first of a name gets one label, the second another, and so on; all are smaller than those of
    files. The column itself is returned if there are none.
    """
    labels = atoms.altloc
    rows = np.flatnonzero(residues[atoms.residue])
    told = list(zip(atoms.residue[rows].tolist(), atoms.name[rows].tolist(), strict=True))
    n_told, n_seen = Counter(told), Counter[tuple[int, bytes]]()
    for row, key in zip(rows.tolist(), told, strict=True):
        if n_told[key] < 2 or atoms.altloc[row] != b"":
            continue
        if labels is atoms.altloc:
            labels = labels.copy()
        n_seen[key] = min(n_seen[key] + 1, _MAX_UNLABELLED)
        labels[row] = bytes([n_seen[key]])
    return labels


class _RankedLabels:
    """Labels of groups (runs, or residues), those of the largest summed occupancy first.

    Attributes
    ----------
    label, lack : (L,) int
        Sorted by group, then rank: ties go to the smaller label. `lack` is what the sum lacks of
        the group's largest.
    first, n_near : (G,) int
        Where a group's labels begin; how many of them are nearly equal to the first.
    is_open : (G,) bool
        There is a choice: two or more labels are nearly equal.
    """

    def __init__(
        self,
        group: NDArray[np.int64],
        label: NDArray[np.int64],
        occupancy: NDArray[np.int32],
        n_labels: int,
    ):
        key = group.astype(np.int64) * n_labels + label
        order = np.argsort(key, kind="stable")
        key = key[order]
        heads = np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1])))
        counts = run_lengths(heads, len(key))
        sums = np.add.reduceat(occupancy[order].astype(np.int64), heads)
        groups, labels = np.divmod(key[heads], n_labels)
        order = np.lexsort((labels, -sums, groups))
        groups, sums, counts = groups[order], sums[order], counts[order]
        self.label = labels[order]
        is_first = np.concatenate(([True], groups[1:] != groups[:-1]))
        self.first = np.flatnonzero(is_first)
        place = np.cumsum(is_first) - 1
        self.lack = sums[self.first][place] - sums
        near = self.lack <= NEARLY_EQUAL * counts[self.first][place]
        self.n_near = np.minimum(np.add.reduceat(near.astype(np.int64), self.first), MAX_LABELS)
        self.is_open = self.n_near > 1


def _with_fewest_clashes(
    ranked: _RankedLabels,
    run: NDArray[np.int64],
    chain_ids: Sequence[tuple[str, ...]],
    keep: NDArray[np.bool_],
    select: Callable[[NDArray[np.int64]], tuple[NDArray[np.bool_], NDArray[np.integer]]],
    clashes: Callable[[NDArray[np.int64]], NDArray[np.int64] | None],
) -> NDArray[np.int64]:
    """The label of each run; the best one, unless others have fewer clashes.

    Parameters
    ----------
    ranked : _RankedLabels
        Of the runs.
    run : (n,) int
        Run of each atom; -1 where there is no choice.
    chain_ids : sequence
        By run.
    keep : (n,) bool
        Atoms that the best labels keep.
    select, clashes : callable
        Labels of the runs → atoms kept; places of atoms → pairs of them.
    """
    wanted = ranked.label[ranked.first]
    is_open = np.flatnonzero(ranked.is_open).tolist()
    runs = np.array(sorted(is_open, key=lambda r: (chain_ids[r], r)))
    place = np.full(len(ranked.first) + 1, -1)  # the last one is that of run -1
    place[runs] = np.arange(len(runs))
    at = place[run]

    # A state is a run with one of its labels. The atoms of all states are laid out together, and
    # with them the atoms that stay what they are (state -1).
    sizes = ranked.n_near[runs]
    bounds = np.concatenate(([0], np.cumsum(sizes)))
    place_of_state = np.repeat(np.arange(len(runs)), sizes)
    atoms = [np.flatnonzero(keep & (at < 0))]
    states = [np.full(len(atoms[0]), -1)]
    for rank in range(int(sizes.max())):
        kept, _ = select(ranked.label[ranked.first + np.minimum(rank, ranked.n_near - 1)])
        atoms.append(np.flatnonzero(kept & (at >= 0) & (rank < sizes[at])))
        states.append(bounds[at[atoms[-1]]] + rank)
    state = np.concatenate(states)
    found = clashes(np.concatenate(atoms))
    if found is None:
        return wanted
    a, b = state[found].T
    alone = np.bincount(a[(b < 0) | (a == b)], minlength=len(place_of_state))
    two = (b >= 0) & (place_of_state[a] != place_of_state[b])
    pairs, counts = np.unique(np.sort(state[found[two]], axis=1), axis=0, return_counts=True)
    contacts: dict[tuple[int, int], NDArray[np.int64]] = {}
    for (s, t), count in zip(pairs.tolist(), counts.tolist(), strict=True):
        p, q = int(place_of_state[s]), int(place_of_state[t])
        if (p, q) not in contacts:
            contacts[p, q] = np.zeros((sizes[p], sizes[q]), np.int64)
        contacts[p, q][s - bounds[p], t - bounds[q]] = count

    for group, tables in _groups(len(runs), contacts):
        first = [int(ranked.first[runs[p]]) for p in group]
        ranks = combine(
            [alone[bounds[p] : bounds[p + 1]] for p in group],
            tables,
            [ranked.lack[f : f + sizes[p]] for f, p in zip(first, group, strict=True)],
            [ranked.label[f : f + sizes[p]] for f, p in zip(first, group, strict=True)],
        )
        wanted[runs[group]] = ranked.label[np.add(first, ranks)]
    return wanted


def _groups(
    n: int, contacts: dict[tuple[int, int], NDArray[np.int64]]
) -> list[tuple[list[int], dict[tuple[int, int], NDArray[np.int64]]]]:
    """Runs that are in contact, directly or through others: (runs, contacts between them).

    The keys of the contacts are places in the list of runs, which is ascending.
    """
    parent = list(range(n))

    def root(p: int) -> int:
        while parent[p] != p:
            parent[p] = parent[parent[p]]
            p = parent[p]
        return p

    for p, q in contacts:
        parent[root(q)] = root(p)
    members: dict[int, list[int]] = {}
    place: list[int] = []
    for p in range(n):
        group = members.setdefault(root(p), [])
        place.append(len(group))
        group.append(p)
    tables: dict[int, dict[tuple[int, int], NDArray[np.int64]]] = {r: {} for r in members}
    for (p, q), table in contacts.items():
        tables[root(p)][place[p], place[q]] = table
    return [(group, tables[r]) for r, group in members.items()]


def combine(
    alone: Sequence[NDArray[np.int64]],
    contacts: dict[tuple[int, int], NDArray[np.int64]],
    lack: Sequence[NDArray[np.int64]],
    label: Sequence[NDArray[np.int64]],
) -> list[int]:
    """Choose one label for each of the runs of a group.

    Parameters
    ----------
    alone : sequence of (k,) int
        By run and label, clashes within the run and with atoms that have no choice.
    contacts : dict
        (p, q) with p < q → (k_p, k_q) int, clashes of each label of p with each of q.
    lack, label : sequence of (k,) int
        By run, what each label's summed occupancy lacks of the largest, ascending from 0; the
        labels, as numbers in their order.

    Returns
    -------
    list of int
        Place of the label of each run: all zero, unless other labels have fewer clashes. Of those
        with fewest, the one that lacks the least occupancy; then that in which fewest runs in
        contact have different labels; then the smallest label of the first run, the second, and so
        on. With more than `MAX_COMBINATIONS` of them, the runs in turn take the label with fewest
        clashes, as long as that lessens them.
    """
    n = len(alone)
    if not any(int(k[0]) for k in alone) and not any(int(t[0, 0]) for t in contacts.values()):
        return [0] * n
    n_combinations = 1
    for k in alone:
        n_combinations *= len(k)
        if n_combinations > MAX_COMBINATIONS:
            return _in_turns(alone, contacts, lack, label)
    rank = np.indices([len(k) for k in alone]).reshape(n, -1)
    clashes, lacking, different = np.zeros((3, n_combinations), np.int64)
    for p in range(n):
        clashes += alone[p][rank[p]]
        lacking += lack[p][rank[p]]
    labels = [k[r] for k, r in zip(label, rank, strict=True)]
    for (p, q), table in contacts.items():
        clashes += table[rank[p], rank[q]]
        different += labels[p] != labels[q]
    if clashes[0] == clashes.min():
        return [0] * n
    first = np.lexsort((*reversed(labels), different, lacking, clashes))[0]
    return rank[:, first].tolist()


def _in_turns(alone, contacts, lack, label) -> list[int]:
    """`combine`, changing one run at a time."""
    beside: list[list[tuple[int, NDArray[np.int64]]]] = [[] for _ in alone]
    for (p, q), table in contacts.items():
        beside[p].append((q, table))
        beside[q].append((p, table.T))
    rank = [0] * len(alone)
    for _ in range(_MAX_ROUNDS):
        before = list(rank)
        for p, near in enumerate(beside):
            clashes, different = alone[p].copy(), np.zeros(len(alone[p]), np.int64)
            for q, table in near:
                clashes += table[:, rank[q]]
                different += label[p] != label[q][rank[q]]
            if clashes.min() < clashes[rank[p]]:
                rank[p] = int(np.lexsort((label[p], different, lack[p], clashes))[0])
        if rank == before:
            break
    return rank


def _restore_backbone(
    keep: NDArray[np.bool_],
    comp_of: NDArray[np.integer],
    atoms: ResidueAtoms,
    label: NDArray[np.integer],
    with_alternates: NDArray[np.int64],
) -> None:
    """Give back to `keep`, in place, backbone atoms that only another label of the residue has."""
    starts, labelled = changes(atoms.residue), atoms.altloc != b""
    slot = np.full(len(keep), -1)
    for k, text in enumerate(_BACKBONE):
        slot[atoms.name == text] = k
    ends = np.append(starts[1:], len(keep))
    bit = np.where(slot >= 0, 1 << np.maximum(slot, 0), 0)
    has = np.bitwise_or.reduceat(np.where(keep, bit, 0), starts)
    could = np.bitwise_or.reduceat(bit, starts)
    for r in with_alternates[(has != could)[with_alternates]].tolist():
        rows = np.arange(starts[r], ends[r])
        totals: dict[int, int] = {}
        for row in rows[labelled[rows]].tolist():
            totals[label[row]] = totals.get(label[row], 0) + int(atoms.occupancy[row])
        order = sorted(totals, key=lambda k: (-totals[k], k))
        for k in range(len(_BACKBONE)):
            candidates = rows[slot[rows] == k]
            if not len(candidates) or keep[candidates].any():
                continue
            # Of the chosen component if any; then one that stands for all; then the best label's.
            rank = {this: k for k, this in enumerate(order, start=1)}
            own = (atoms.comp[candidates] == comp_of[r]).tolist()
            ranks = [
                rank[this] if has_label else 0
                for this, has_label in zip(
                    label[candidates].tolist(), labelled[candidates].tolist(), strict=True
                )
            ]
            places = range(len(candidates))
            keep[candidates[min(places, key=lambda i: (not own[i], ranks[i]))]] = True
