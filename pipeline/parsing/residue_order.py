"""The residues of a chain in the order of the chain, where a file writes them in another.

Between `Runs` (residues as the file has them) and `polymers` (the residues of the protein chains).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.parsing.atom_table import ABSENT, AtomTable
from pipeline.parsing.runs import BackboneGeometry, Runs
from pipeline.residues import Linking


def in_order(
    of_chain: NDArray[np.int64],
    runs: Runs,
    atoms: AtomTable,
    geometry: BackboneGeometry,
    sequence: tuple[str, ...] | None,
) -> tuple[NDArray[np.int64], int]:
    """(runs of a chain in the order of the chain, how many residues stood elsewhere).

    The latter count as standing before the TER of their neighbours from then on. A chain stays as
    it is if it has an entity sequence and ``label_seq_id``, which says the places in it.
    """
    n_late = 0
    if sequence is None or (runs.seq[of_chain] == ABSENT).any():
        of_chain, n_late = _by_number(of_chain, runs, atoms, geometry)
    of_chain, moved = _with_hetero_put_back(of_chain, runs, geometry, sequence)
    return of_chain, n_late + len(moved)


def _by_number(
    of_chain: NDArray[np.int64], runs: Runs, atoms: AtomTable, geometry: BackboneGeometry
) -> tuple[NDArray[np.int64], int]:
    """(runs up to the last ATOM residue by number, how many residues stood behind a higher one).

    Some programs write a rebuilt loop behind its chain. But numbers also fall where nothing is
    amiss: within chimeras, circular permutants and cyclic peptides, and from one molecule to the
    next. So the order by number must join more residues by peptide bonds than that of the file.
    """
    linking = runs.linking[of_chain]
    may_be = (linking == Linking.PEPTIDE) | (linking == Linking.OTHER)
    fixed = np.flatnonzero(may_be & ~runs.hetero[of_chain])
    numbers = runs.auth_seq[of_chain[fixed]]
    if (numbers[1:] > numbers[:-1]).all():
        return of_chain, 0
    begin, behind = np.split(of_chain, fixed[-1:] + 1)
    of_begin = runs.linking[begin]
    is_residue = of_begin == Linking.PEPTIDE
    is_residue |= np.isin(begin, geometry.with_backbone(begin[of_begin == Linking.OTHER]))
    residues = begin[is_residue]
    if not len(residues):
        return of_chain, 0

    best = 0
    order = late = None
    labels = runs.seq.astype(np.int64)
    for keys in (labels[begin], runs.author_keys(begin)):
        told = keys[is_residue]
        if (told == ABSENT).any() or _come_again(residues, told, runs, atoms):
            continue
        _, first, residue = np.unique(told, return_index=True, return_inverse=True)
        as_in_file = np.argsort(first)
        by_number, by_file = geometry.n_joined(
            residues, residue, (np.arange(len(first)), as_in_file)
        )
        if by_number - by_file > best:
            best = by_number - by_file
            order = np.argsort(keys, kind="stable")
            late = int(np.count_nonzero(as_in_file < np.maximum.accumulate(as_in_file)))
    if order is None or late is None:
        return of_chain, 0
    # A TER stands behind a residue only if it does so behind all that come before it in the chain.
    placed = begin[order][is_residue[order]]
    for of_run in (runs.after_ter, runs.stretch):
        if of_run is not None:
            of_run[placed] = np.minimum.accumulate(of_run[placed][::-1])[::-1]
    return np.concatenate((begin[order], behind)), late


def _come_again(
    residues: NDArray[np.int64], keys: NDArray[np.int64], runs: Runs, atoms: AtomTable
) -> bool:
    """Whether some number comes again with the same atoms: the numbers then name no residue."""
    if len(np.unique(keys)) == len(keys):
        return False
    seen: set[tuple[int, bytes, bytes]] = set()
    n_atoms = 0
    for run, key in zip(residues.tolist(), keys.tolist(), strict=True):
        rows = slice(runs.firsts[run], runs.firsts[run] + runs.counts[run])
        names, labels = atoms.name[rows].tolist(), atoms.altloc[rows].tolist()
        seen.update((key, *atom) for atom in zip(names, labels, strict=True))
        n_atoms += len(names)
    return len(seen) < n_atoms


def _with_hetero_put_back(
    of_chain: NDArray[np.int64],
    runs: Runs,
    geometry: BackboneGeometry,
    sequence: tuple[str, ...] | None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(runs of a chain, those of them that stood behind the others and belong between them).

    The latter count as standing before the TER from then on. Some programs sort all HETATM behind
    all ATOM, modified residues too. Their numbers say where they belong, if the peptide bonds
    agree: a ligand has none to the residues next to it. Behind the last residue a TER is believed,
    unless bonds join one after the other, and a sequence, if there is one, ends with them.
    """
    may_move = runs.is_hetero_residue[of_chain]
    hetero = runs.hetero[of_chain]
    if not may_move.any() or hetero.all() or (runs.seq[of_chain] != ABSENT).any():
        return of_chain, of_chain[:0]
    fixed = np.flatnonzero(~hetero & (runs.linking[of_chain] == Linking.PEPTIDE))
    if not len(fixed):
        return of_chain, of_chain[:0]
    keys = runs.author_keys(of_chain)
    behind = np.arange(len(of_chain)) > fixed[-1]
    # What follows the last one needs to be told only behind a TER, which would make it a ligand.
    late = np.flatnonzero(may_move & behind & ((keys < keys[fixed[-1]]) | runs.after_ter[of_chain]))
    late = late[np.isin(of_chain[late], geometry.with_backbone(of_chain[late]))]
    if not len(late) or (np.diff(keys[fixed]) <= 0).any():
        return of_chain, of_chain[:0]
    late = late[np.argsort(keys[late], kind="stable")]
    gap = np.searchsorted(keys[fixed], keys[late])
    stretch = of_chain[fixed]
    is_open = np.concatenate(([True], ~geometry.bonded(stretch[:-1], stretch[1:]), [True]))
    moved = []
    for k in np.unique(gap[is_open[gap]]).tolist():
        within = of_chain[late[gap == k]]
        chain = np.concatenate(
            (stretch[k - 1 : k] if k else stretch[:0], within, stretch[k : k + 1])
        )
        bonds = geometry.bonded(chain[:-1], chain[1:])
        if k < len(stretch):
            # All of them, or none: several may follow each other.
            begin = int(k > 0)
            has_bond = np.append(False, bonds) | np.append(bonds, False)
            if has_bond[begin : begin + len(within)].all():
                moved.append((k, within))
        else:
            within = within[np.logical_and.accumulate(bonds)]
            if len(within) and _ends_with(sequence, within, runs, len(stretch)):
                moved.append((k, within))
    if not moved:
        return of_chain, of_chain[:0]
    runs_moved = np.concatenate([within for _, within in moved])
    gaps = np.concatenate([np.full(len(within), k) for k, within in moved])
    places = np.append(fixed, fixed[-1] + 1)[gaps]
    runs.after_ter[runs_moved] = False
    if runs.stretch is not None:
        runs.stretch[runs_moved] = runs.stretch[of_chain[np.append(fixed, fixed[-1])[gaps]]]
    stay = ~np.isin(of_chain, runs_moved)
    # What is moved stands behind all places, so that these do not shift.
    return np.insert(of_chain[stay], places, runs_moved), runs_moved


def _ends_with(
    sequence: tuple[str, ...] | None, last: NDArray[np.int64], runs: Runs, n_before: int
) -> bool:
    """Whether a sequence has these residues at its end, and room for those before."""
    if sequence is None:
        return True
    comp_ids = tuple(runs.comp_ids[k].upper() for k in runs.comp[last])
    return n_before + len(last) <= len(sequence) and sequence[-len(last) :] == comp_ids


def n_falls(residues: NDArray[np.int64], runs: Runs, geometry: BackboneGeometry) -> int:
    """How often the number falls from one residue to the next, and no peptide bond joins them:
    neither the numbers nor the file can then be trusted with the order."""
    numbers = runs.auth_seq[residues]
    falls = np.flatnonzero(numbers[1:] < numbers[:-1])
    return int(np.count_nonzero(~geometry.bonded(residues[falls], residues[falls + 1])))
