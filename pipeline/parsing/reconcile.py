"""What a file says about its chains, held against its atoms.

Entity tables, label ids and sequences come from other programs than the coordinates do, and
contradict them more often than one would wish. Each contradiction is resolved in one way, here, and
leaves a flag; a file without one passes after a few comparisons of whole columns.

Between `Runs` (residues as the file has them) and `polymers` (the residues of the protein chains).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipeline.parsing import seqres
from pipeline.parsing.atom_table import ABSENT
from pipeline.parsing.entry_info import UNDESCRIBED, EntryInfo, Polymer
from pipeline.parsing.fields import codes
from pipeline.parsing.runs import BackboneGeometry, Runs, text
from pipeline.residues import UNKNOWN, Linking, component

_FEW = 3
"""Residues that a placement by names must explain beyond ``label_seq_id``: fewer may be mutations
that the sequence was not told of."""

MAX_LEFT_OUT = 5
MIN_KEPT = 0.9
"""A file that loses more residues, or keeps a smaller share of them, is flagged ``left_out``."""

Select = Callable[[NDArray[np.int64], Polymer], NDArray[np.int64]]
"""(runs of a chain, what is known of it) → the runs that are residues of its polymer."""
Split = Callable[[NDArray[np.int64]], list[NDArray[np.int64]]]
"""Runs of a polymer → its copies under one id."""


def set_labels_aside(
    runs: Runs, geometry: BackboneGeometry, info: EntryInfo, select: Select, split: Split
) -> list[str]:
    """Let the author's ids be the chains where label ids cut through an author's chain.

    Only in files without entity records. There label ids may be no more than numbers that a writer
    made up: some give every HETATM residue of a polymer an id of its own. With entity records a
    label is a chain, and a cleaved chain is two. A peptide bond from one label to the next proves
    the cut: molecules may be numbered through under one author's id. A label that is the same for
    residues of several author's chains (one for the whole file) is none either.

    Returns
    -------
    list of str
        A flag for each protein chain that the labels cut, or whose id has changed.
    """
    if info.has_entities or runs.label_asym is runs.auth_asym:
        return []
    peptide = np.flatnonzero((runs.linking == Linking.PEPTIDE) | (runs.linking == Linking.OTHER))
    cut = np.diff(runs.asym[peptide]) != 0
    cut &= runs.auth_asym[peptide][1:] == runs.auth_asym[peptide][:-1]
    told = peptide[(runs.linking[peptide] == Linking.PEPTIDE) & ~runs.hetero[peptide]]
    joined = np.diff(runs.asym[told]) == 0
    joined &= runs.auth_asym[told][1:] != runs.auth_asym[told][:-1]
    if not (cut.any() or joined.any()) or any(
        (ids[peptide] == b"").any() for ids in (runs.label_asym, runs.auth_asym)
    ):
        return []
    is_cut = bool(joined.any())
    flags = []
    for author in dict.fromkeys(runs.auth_asym[peptide].tolist()):
        chosen = select(np.flatnonzero(runs.auth_asym == author), UNDESCRIBED)
        if not len(chosen):
            continue
        # Labels that tell apart chains under one author id are right.
        for copy in split(chosen):
            before, after = copy[:-1], copy[1:]
            at_label = np.flatnonzero(runs.asym[before] != runs.asym[after])
            is_cut |= bool(geometry.bonded(before[at_label], after[at_label]).any())
        if set(runs.label_asym[chosen].tolist()) != {author}:
            flags.append(f"labels_set_aside:{text(author)}")
    if not is_cut:
        return []
    runs.group_by_author()
    return flags


def chains_of(runs: Runs, info: EntryInfo) -> list[tuple[int, NDArray[np.int64]]]:
    """(index of the asym id, its runs) of every chain, in order of appearance.

    An asym id under which the atoms name several entities is several chains: some programs write
    the author's ids over the labels.
    """
    by_chain = np.argsort(runs.asym, kind="stable")
    bounds = np.searchsorted(runs.asym[by_chain], np.arange(len(runs.asym_ids) + 1))
    chains = []
    mixed: set[int] = set()
    if info.entities:
        asym, entity = runs.asym[by_chain], codes(runs.entity)[by_chain]
        is_mixed = (asym[1:] == asym[:-1]) & (entity[1:] != entity[:-1])
        mixed = set(asym[1:][is_mixed].tolist())
    for k in range(len(runs.asym_ids)):
        of_chain = by_chain[bounds[k] : bounds[k + 1]]
        if k not in mixed:
            chains.append((k, of_chain))
            continue
        known = np.array(
            [e if text(e) in info.entities else b"" for e in runs.entity[of_chain].tolist()]
        )
        chains += [(k, of_chain[known == e]) for e in dict.fromkeys(known.tolist())]
    return chains


class Describer:
    """Finds what the file says about a chain: the entity that its atoms name, or else the one that
    its id leads to, if its residues agree."""

    def __init__(self, runs: Runs, geometry: BackboneGeometry, info: EntryInfo, select: Select):
        self._runs, self._geometry, self._info, self._select = runs, geometry, info, select

    def polymer(self, asym: int, of_chain: NDArray[np.int64], flags: list[str]) -> Polymer:
        """What is known about a chain; contradictions leave a flag."""
        asym_id = self._runs.asym_ids[asym]
        by_id = self._info.polymers.get(asym_id, UNDESCRIBED)
        if not self._info.entities:  # PDB: the header speaks of chains
            return by_id
        named = self._info.entities.get(text(self._runs.entity[of_chain[0]]))
        if named is not None:
            if named.is_protein is not False and by_id not in (named, UNDESCRIBED):
                flags.append(f"entity_by_atoms:{asym_id}")
            return named
        residues = self._select(of_chain, UNDESCRIBED)
        if len(residues) < 2 or not self._geometry.bonded(residues[:-1], residues[1:]).any():
            return by_id
        return self._by_sequence(asym_id, residues, by_id, flags)

    def _by_sequence(
        self, asym_id: str, residues: NDArray[np.int64], by_id: Polymer, flags: list[str]
    ) -> Polymer:
        """The entity whose sequence the residues spell."""
        proteins = [p for p in self._info.entities.values() if p.is_protein is not False]
        fits: list[tuple[int, Polymer]] = []
        for polymer in proteins:
            if polymer.sequence is not None:
                places = placed_by_names(residues, self._runs, self._geometry, polymer)
                if places is not None:
                    fits.append((n_differing(residues, places, self._runs, polymer), polymer))
        best = [p for n, p in fits if n == min(m for m, _ in fits)]
        has_label = bool((self._runs.label_asym[residues] != b"").all())
        untold = by_id.is_protein is not False and by_id.sequence is None
        if has_label and (by_id in best or (untold and by_id is not UNDESCRIBED)):
            return by_id
        if len(best) > 1:
            flags.append(f"entity_unclear:{asym_id}")
            alike = all(p.sequence == best[0].sequence for p in best)
            return Polymer(is_protein=True, sequence=best[0].sequence if alike else None)
        if best:
            if best[0] != by_id:
                flags.append(f"entity_by_sequence:{asym_id}")
            return best[0]
        if by_id.is_protein is not False:
            return by_id
        flags.append(f"entity_set_aside:{asym_id}")
        return UNDESCRIBED


def numbered_residues(
    of_chain: NDArray[np.int64], runs: Runs, geometry: BackboneGeometry
) -> NDArray[np.int64]:
    """Runs of a protein entity: those with a ``label_seq_id``, and those that lack one.

    The latter are peptide-linking, or unknown with a backbone; if they are HETATM, which free amino
    acids are too, they are bonded to a neighbour.
    """
    numbered = runs.seq[of_chain] != ABSENT
    if numbered.all():
        return of_chain
    if not numbered.any():
        return of_chain[:0]
    linking = runs.linking[of_chain]
    kept = numbered | (linking == Linking.PEPTIDE)
    unknown = of_chain[~numbered & (linking == Linking.OTHER)]
    kept |= np.isin(of_chain, geometry.with_backbone(unknown))
    places = np.flatnonzero(kept)
    chosen = of_chain[places]
    bonds = geometry.bonded(chosen[:-1], chosen[1:])
    is_bonded = np.concatenate(([False], bonds)) | np.concatenate((bonds, [False]))
    return chosen[numbered[places] | ~runs.hetero[chosen] | is_bonded]


def placed(
    chosen: NDArray[np.int64], runs: Runs, geometry: BackboneGeometry, polymer: Polymer, label: str,
    flags: list[str],
) -> NDArray[np.int64] | None:  # fmt: skip
    """1-based positions of runs in the entity sequence.

    ``label_seq_id`` says them, unless the names say otherwise; where there is none the names do.

    Returns
    -------
    (r,) int or None
        ``None`` where the sequence does not describe the chain (flag ``sequence_mismatch``).
    """
    sequence = polymer.sequence
    assert sequence is not None
    said = runs.seq[chosen].astype(np.int64)
    by_label = None
    n_wrong = len(chosen)
    if said.min() >= 1 and said.max() <= len(sequence) and not _joins(said, chosen, runs):
        n_wrong = n_differing(chosen, said, runs, polymer)
        if not n_wrong:
            return said
        by_label = said
    by_names = placed_by_names(chosen, runs, geometry, polymer)
    if by_label is None and (by_names is None or n_differing(chosen, by_names, runs, polymer)):
        in_order, n_late = _placed_in_order_of_numbers(chosen, runs, geometry, polymer)
        if in_order is not None:
            by_names = in_order
            flags.append(f"put_in_order:{label}:{n_late}")
    places, n_differ = by_label, n_wrong
    if by_names is not None:
        n_differ_by_names = n_differing(chosen, by_names, runs, polymer)
        if by_label is None or n_wrong - n_differ_by_names >= _FEW:
            places, n_differ = by_names, n_differ_by_names
            if ((said != ABSENT) & (said != by_names)).any():
                flags.append(f"label_seq_set_aside:{label}")
    if places is None or n_differ > seqres.MAX_MISMATCHES * len(chosen):
        flags.append(f"sequence_mismatch:{label}")
        return None
    if n_differ:
        flags.append(f"sequence_differs:{label}:{n_differ}")
    return places


def _placed_in_order_of_numbers(
    chosen: NDArray[np.int64], runs: Runs, geometry: BackboneGeometry, polymer: Polymer
) -> tuple[NDArray[np.int64] | None, int]:
    """(1-based positions of runs whose numbers fall, how many stand behind a higher number), if the
    order by number spells the sequence without one difference."""
    keys = runs.author_keys(chosen)
    n_late = int(np.count_nonzero(keys < np.maximum.accumulate(keys)))
    if not n_late:
        return None, 0
    order = np.argsort(keys, kind="stable")
    places = placed_by_names(chosen[order], runs, geometry, polymer)
    if places is None or n_differing(chosen[order], places, runs, polymer):
        return None, 0
    return places[np.argsort(order)], n_late


def _joins(places: NDArray[np.int64], chosen: NDArray[np.int64], runs: Runs) -> bool:
    """Whether residues of several author numbers have one place."""
    if (np.diff(places) > 0).all():
        return False
    return len(np.unique(places)) < len(merged_repeats(chosen, runs)[1])


def placed_by_names(
    chosen: NDArray[np.int64], runs: Runs, geometry: BackboneGeometry, polymer: Polymer
) -> NDArray[np.int64] | None:
    """1-based positions that names, author numbers and bonds tell; see `seqres.place`."""
    sequence = polymer.sequence
    assert sequence is not None
    residue, firsts = merged_repeats(chosen, runs)
    heads = chosen[firsts]
    alternatives: dict[int, set[str]] = {}
    if len(firsts) != len(chosen):
        for r, run in zip(residue.tolist(), chosen.tolist(), strict=True):
            alternatives.setdefault(r, set()).add(runs.comp_ids[runs.comp[run]].upper())
    mixed = np.flatnonzero(
        np.maximum.reduceat(runs.atom_comp, runs.firsts)[heads]
        != np.minimum.reduceat(runs.atom_comp, runs.firsts)[heads]
    )
    for r in mixed.tolist():
        comps = (runs.comp_ids[c].upper() for c in runs.comps_within(heads[r]))
        alternatives.setdefault(r, set()).update(comps)

    def bonded() -> list[bool]:
        return [False, *geometry.bonded(heads[:-1], heads[1:]).tolist()]

    ins = runs.ins[heads]
    ins_codes = list(map(text, ins.tolist())) if (ins != b"").any() else [""] * len(heads)
    places = seqres.place(
        [runs.comp_ids[c].upper() for c in runs.comp[heads].tolist()],
        list(zip(runs.auth_seq[heads].tolist(), ins_codes, strict=True)),
        bonded,
        sequence,
        polymer.missing,
        alternatives,
    )
    return None if places is None else np.array(places)[residue]


def merged_repeats(
    chosen: NDArray[np.int64], runs: Runs
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(residue of each run, run that first names each residue) by author number and insertion
    code: a residue may be told in two places."""
    key = runs.author_keys(chosen)
    if (key[1:] > key[:-1]).all():
        each = np.arange(len(key))
        return each, each
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank[inverse], first[order]


def n_differing(
    chosen: NDArray[np.int64], places: NDArray[np.int64], runs: Runs, polymer: Polymer
) -> int:
    """Residues that are of another type than the sequence says at their place.

    A modified residue and its parent are of one type; of several components at one place one that
    agrees is enough.
    """
    sequence = polymer.sequence
    assert sequence is not None
    types = sequence_aatypes(sequence)
    wrong = np.flatnonzero(types[places - 1] != runs.aatypes[runs.comp[chosen]])
    if not len(wrong):
        return 0
    differing: set[int] = set()
    for k in wrong.tolist():
        place = int(places[k])
        told = chosen[np.flatnonzero(places == place)].tolist()
        comps = {c for run in told for c in runs.comps_within(run)}
        if not any(runs.aatypes[c] == types[place - 1] for c in comps):
            differing.add(place)
    return len(differing)


def left_out(runs: Runs, geometry: BackboneGeometry, kept: NDArray[np.int64]) -> list[str]:
    """The flag ``left_out:kept/seen``, where too many residues of the file are in no chain.

    Parameters
    ----------
    kept : (k,) int
        Runs of resolved residues within the rows of a chain.
    """
    # A nucleotide's name on a residue with a backbone is a name of one letter: I, C, DA.
    may_be = np.flatnonzero((runs.linking != Linking.WATER) & runs.has_alpha)
    if not _are_too_few(len(kept), len(may_be)):
        return []
    seen = geometry.with_backbone(may_be)
    n_kept = int(np.count_nonzero(np.isin(seen, kept)))
    return [f"left_out:{n_kept}/{len(seen)}"] if _are_too_few(n_kept, len(seen)) else []


def _are_too_few(kept: int, seen: int) -> bool:
    return kept < MIN_KEPT * seen or seen - kept > MAX_LEFT_OUT


@lru_cache(maxsize=8)
def sequence_aatypes(sequence: tuple[str, ...]) -> NDArray[np.int8]:
    """(n,) amino acid number of component ids; 20 for what is none of the twenty.

    Kept, for chains of one entity share it, and each is asked about twice.
    """
    aatypes = np.fromiter(map(_AATYPES.__getitem__, sequence), np.int8, len(sequence))
    aatypes.flags.writeable = False
    return aatypes


class _Aatypes(dict[str, int]):
    """Amino acid number by component id, looked up once per process."""

    def __missing__(self, comp_id: str) -> int:
        entry = component(comp_id)
        if entry is None:  # not kept: anybody can make up names, a million of them
            return UNKNOWN
        self[comp_id] = entry.aatype
        return entry.aatype


_AATYPES = _Aatypes()
