"""Runs → the residues of the protein chains, each with its row in the chain."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pipeline.geometry.neighbours import ranges
from pipeline.parsing import reconcile
from pipeline.parsing.atom_table import ABSENT, AtomTable
from pipeline.parsing.entry_info import EntryInfo, Polymer
from pipeline.parsing.errors import ParseError
from pipeline.parsing.fields import changes
from pipeline.parsing.residue_order import in_order, n_falls
from pipeline.parsing.runs import BackboneGeometry, Runs, text
from pipeline.residues import Linking

MAX_RESIDUES = 2_000_000
"""Rows of one model, unresolved residues among them: a sequence may be told once and claimed by ten
thousand chains of one atom. The largest entries have some 300,000."""


@dataclass(frozen=True, slots=True)
class ResidueTable:
    """Polymer residues of all protein chains, chain by chain in the order of their rows.

    A row is a residue of the output before trimming; residues without atoms have rows too.

    Attributes
    ----------
    chains : list of (label_asym_id, auth_asym_id, polymer)
    row_offsets : (C+1,) int
    aatype : (rows,) int8
        Of the entity sequence, or of the residue's first atom.
    residue_index : (rows,) int32
    row, chain, auth_seq, ins : (R,)
        Of each observed residue, ascending by row.
    atom, residue : (n,) int
        Atoms of the residues, sorted by residue, in file order within; and their residue.
    run, residue_of_run : (u,) int
        The runs that are part of a chain, and their residue.
    """

    chains: list[tuple[str, str, Polymer]]
    row_offsets: NDArray[np.int64]
    aatype: NDArray[np.int8]
    residue_index: NDArray[np.int32]
    row: NDArray[np.int64]
    chain: NDArray[np.int64]
    auth_seq: NDArray[np.int32]
    ins: NDArray[np.uint8]
    atom: NDArray[np.int64]
    residue: NDArray[np.int64]
    run: NDArray[np.int64]
    residue_of_run: NDArray[np.int64]


def polymer_residues(
    atoms: AtomTable, runs: Runs, geometry: BackboneGeometry, info: EntryInfo, flags: list[str]
) -> ResidueTable | None:
    """Which residues belong to polypeptide chains, and where in their sequences.

    `flags` receives what was set aside, cut or renamed on the way. ``None``: no chain.
    """
    select = partial(_select_polymer, runs, geometry)
    flags += reconcile.set_labels_aside(
        runs,
        geometry,
        info,
        select,
        lambda chosen: _cut_where_residues_come_again(chosen, runs, atoms, geometry),
    )
    describer = reconcile.Describer(runs, geometry, info, select)
    chains: list[tuple[str, str, Polymer]] = []
    offsets = [0]
    parts: list[tuple[NDArray[np.int64], ...]] = []  # runs, residue of run, rows, index
    sequences: list[NDArray[np.int8]] = []
    n_of_id: dict[str, int] = {}
    for asym, of_chain in reconcile.chains_of(runs, info):
        asym_id = runs.asym_ids[asym]
        polymer = describer.polymer(asym, of_chain, flags)
        if polymer.is_protein is False:
            continue
        of_chain, n_moved = in_order(of_chain, runs, atoms, geometry, polymer.sequence)
        if n_moved:
            flags.append(f"put_in_order:{asym_id}:{n_moved}")
        chosen = of_chain[:0]
        if polymer.is_protein:
            chosen = reconcile.numbered_residues(of_chain, runs, geometry)
            n_missing = int(np.count_nonzero(runs.seq[chosen] == ABSENT))
            if n_missing:
                flags.append(f"label_seq_missing:{asym_id}:{n_missing}")
        if not len(chosen):
            chosen = select(of_chain, polymer)
            n_free = _n_free_amino_acids(of_chain, chosen, runs, geometry)
            if n_free and len(chosen):
                flags.append(f"free_amino_acids:{asym_id}:{n_free}")
        if not len(chosen):
            continue
        if asym_id in n_of_id:
            flags.append(f"several_chains_of_one_id:{asym_id}")
        pending = _split_copies(chosen, runs, atoms, geometry, polymer, info, flags)
        while pending:
            copy = pending.pop(0)
            number = n_of_id.get(asym_id, 0) + 1
            label = asym_id if number == 1 else f"{asym_id}.{number}"
            places = None
            if polymer.sequence is not None:
                remarks: list[str] = []
                places = reconcile.placed(copy, runs, geometry, polymer, label, remarks)
                if places is None:
                    # A sequence that is set aside does not say that the chain is one, either.
                    free = replace(polymer, sequence=None)
                    pieces = _split_copies(copy, runs, atoms, geometry, free, info, flags)
                    if len(pieces) > 1:
                        pending = pieces + pending
                        continue
                flags += remarks
            n_of_id[asym_id] = number
            n_repeats = int(np.count_nonzero(runs.part[copy]))
            if n_repeats:
                flags.append(f"repeated_numbers:{label}:{n_repeats}")
            if places is not None:
                rows, residue = places - 1, np.arange(len(places))
                if (rows[1:] <= rows[:-1]).any():
                    rows, residue = np.unique(rows, return_inverse=True)
                kinds = reconcile.sequence_aatypes(polymer.sequence or ())
                index = np.arange(1, len(kinds) + 1)
                n_rows = len(kinds)
            else:
                residue, firsts = reconcile.merged_repeats(copy, runs)
                n_rows = len(firsts)
                rows = np.arange(n_rows)
                index = _increasing(runs.auth_seq[copy[firsts]])
                n_fallen = n_falls(copy[firsts], runs, geometry)
                if n_fallen:
                    flags.append(f"numbers_fall:{label}:{n_fallen}")
                n_unspanned = geometry.n_unspanned(copy[firsts])
                if n_unspanned:
                    flags.append(f"wide_gaps:{label}:{n_unspanned}")
                kinds = runs.aatypes[runs.comp[copy[firsts]]]
            described = polymer if places is not None else replace(polymer, sequence=None)
            chains.append((label, text(runs.auth_asym[copy[0]]) or "_", described))
            parts.append((copy, residue, rows + offsets[-1], index))
            sequences.append(kinds)
            offsets.append(offsets[-1] + n_rows)
        if offsets[-1] > MAX_RESIDUES:
            raise ParseError(
                "too-many-rows",
                f"the sequences of its chains have over {MAX_RESIDUES:,} residues in all",
            )
    if not chains:
        return None

    n_before = np.cumsum([0] + [len(p[2]) for p in parts])
    run = np.concatenate([p[0] for p in parts])
    residue_of_run = np.concatenate([p[1] + n_before[k] for k, p in enumerate(parts)])
    row = np.concatenate([p[2] for p in parts])
    chain = np.repeat(np.arange(len(parts)), np.diff(n_before))
    # A residue that the file tells in two places (alternates apart from each other) is one.
    order = np.argsort(residue_of_run, kind="stable")
    run, residue_of_run = run[order], residue_of_run[order]
    counts = runs.counts[run]
    atom = ranges(runs.firsts[run], counts)
    residue = np.repeat(residue_of_run, counts)
    head = run[changes(residue_of_run)]
    auth = runs.auth_seq[head]
    ins = runs.ins[head].view(np.uint8).reshape(len(head), -1)[:, 0]
    return ResidueTable(
        chains=chains,
        row_offsets=np.array(offsets),
        aatype=np.concatenate(sequences),
        residue_index=np.concatenate([p[3] for p in parts]).astype(np.int32),
        row=row,
        chain=chain,
        auth_seq=np.where(auth == ABSENT, 0, auth).astype(np.int32),
        ins=ins.astype(np.uint8),
        atom=atom,
        residue=residue,
        run=run,
        residue_of_run=residue_of_run,
    )


def _increasing(auth: NDArray[np.int32]) -> NDArray[np.int64]:
    """Author numbers made strictly increasing: ``max(auth_i, index_{i-1} + 1)``."""
    steps = np.arange(len(auth))
    known = np.where(auth == ABSENT, 1, auth).astype(np.int64)
    index = np.maximum.accumulate(known - steps) + steps
    if index[-1] > np.iinfo(np.int32).max:
        raise ParseError(
            "overlong-value",
            f"residues follow number {int(known.max())}, and an index of 32 bits ends at "
            f"{np.iinfo(np.int32).max}",
        )
    return index


def _select_polymer(
    runs: Runs, geometry: BackboneGeometry, of_chain: NDArray[np.int64], polymer: Polymer
) -> NDArray[np.int64]:
    """Runs of the polymer in a chain that no entity record describes.

    Peptide-linking components are residues, and so is an unknown component with a backbone, or one
    that SEQRES names (a cap; the two halves of what was one residue, in 1jbe). Free amino acids
    are ligands: HETATM behind the chain's last TER, and without TER those at the ends that are not
    bonded to the chain.
    """
    linking = runs.linking[of_chain]
    peptide = linking == Linking.PEPTIDE
    unknown = (linking == Linking.OTHER) & ~runs.after_ter[of_chain]
    if unknown.any():
        odd = np.flatnonzero(unknown)
        peptide[odd] = np.isin(of_chain[odd], geometry.with_backbone(of_chain[odd]))
        if polymer.sequence is not None and peptide.any():
            named = set(polymer.sequence)
            in_sequence = np.array([comp_id.upper() in named for comp_id in runs.comp_ids])
            peptide[odd] |= in_sequence[runs.comp[of_chain[odd]]]
    after_ter = runs.after_ter[of_chain]
    if after_ter.any() and not (peptide & after_ter & ~runs.hetero[of_chain]).any():
        chosen = of_chain[peptide & ~after_ter]
    else:
        # No TER, or ATOM residues behind the last one, so that it does not end the polymer.
        chosen = _without_free_amino_acids(of_chain[peptide], runs, geometry)
    if len(chosen) == 1 and runs.linking[chosen[0]] != Linking.PEPTIDE:
        return chosen[:0]
    return chosen


def _without_free_amino_acids(
    chosen: NDArray[np.int64], runs: Runs, geometry: BackboneGeometry
) -> NDArray[np.int64]:
    """Residues without those HETATM at the ends that no peptide bond joins to the rest.

    At either end that is a stretch of standard amino acids, however they are bonded among each
    other (a ligand may be a dipeptide); at the end also any residue not bonded to the one before.
    """
    hetero = runs.hetero[chosen]
    if not hetero.any():
        return chosen
    bonds = geometry.bonded(chosen[:-1], chosen[1:])
    begin, end = 0, len(chosen)
    certain = np.flatnonzero(~(hetero & runs.is_standard(chosen)))
    if len(certain):
        begin, end = int(certain[0]), int(certain[-1]) + 1
        while begin and bonds[begin - 1]:
            begin -= 1
        while end < len(chosen) and bonds[end - 1]:
            end += 1
    while end > begin and hetero[end - 1] and not (end - begin > 1 and bonds[end - 2]):
        end -= 1
    while not len(certain) and end - begin > 1 and not bonds[begin]:
        begin += 1
    return chosen[begin:end]


def _n_free_amino_acids(
    of_chain: NDArray[np.int64],
    chosen: NDArray[np.int64],
    runs: Runs,
    geometry: BackboneGeometry,
) -> int:
    """How many residues with a backbone are taken for ligands, and stand behind no TER that says
    so."""
    may_be = (runs.linking[of_chain] == Linking.PEPTIDE) & ~runs.after_ter[of_chain]
    free = of_chain[may_be & ~np.isin(of_chain, chosen)]
    return len(geometry.with_backbone(free)) if len(free) else 0


def _split_copies(
    chosen: NDArray[np.int64],
    runs: Runs,
    atoms: AtomTable,
    geometry: BackboneGeometry,
    polymer: Polymer,
    info: EntryInfo,
    flags: list[str],
) -> list[NDArray[np.int64]]:
    """Cut the runs of one chain id where another chain under the same id begins."""
    by_label = bool(polymer.is_protein) and bool((runs.seq[chosen] != ABSENT).all())
    asym_id = runs.asym_ids[runs.asym[chosen[0]]]
    # TER is the only sign of the end of a chain without id and without a SEQRES.
    by_ter = asym_id == "_" and polymer.sequence is None
    copies = _cut_where_residues_come_again(chosen, runs, atoms, geometry, by_label, by_ter)
    if by_label and len(copies) > 1:
        # A number that comes again along a bonded chain is wrong.
        ends, heads = np.array([c[-1] for c in copies]), np.array([c[0] for c in copies])
        if geometry.bonded(ends[:-1], heads[1:]).any():
            copies = _cut_where_residues_come_again(chosen, runs, atoms, geometry)
    if len(copies) > 1:
        flags.append(f"several_chains_of_one_id:{asym_id}")
    if polymer.sequence is not None:
        return copies
    return [p for copy in copies for p in _cut_at_breaks(copy, runs, geometry, info, flags)]


def _cut_where_residues_come_again(
    chosen: NDArray[np.int64],
    runs: Runs,
    atoms: AtomTable,
    geometry: BackboneGeometry,
    by_label: bool = False,
    by_ter: bool = False,
) -> list[NDArray[np.int64]]:
    """Cut runs where residues come again, atoms and all.

    Files with more chains than letters reuse the id, and programs of molecular dynamics write none.
    What comes again under another alternate label is the same residue, told in two places. A chain
    may begin with residues that the one before it lacks: it begins at the last TER, or where the
    numbers fall, if no peptide bond joins there.

    Parameters
    ----------
    by_label : bool
        Residues are known by ``label_seq_id``, not by the author's number.
    by_ter : bool
        Cut at each TER too.
    """
    stretch = None if runs.stretch is None else runs.stretch[chosen]
    keys = runs.seq[chosen].astype(np.int64) if by_label else runs.author_keys(chosen)
    one_stretch = not by_ter or stretch is None or (stretch == stretch[0]).all()
    if one_stretch and ((np.diff(keys) > 0).all() or len(np.unique(keys)) == len(keys)):
        return [chosen]

    begins_stretch = np.zeros(len(chosen), bool)
    if stretch is not None:
        begins_stretch[1:] = np.diff(stretch) != 0
    begins = begins_stretch.copy()
    begins[1:] |= np.diff(keys) < 0
    begins[1:] &= ~geometry.bonded(chosen[:-1], chosen[1:])
    cuts = [0]
    begin: int | None = None  # the last place where a chain may begin
    seen: dict[int, set[tuple[bytes, bytes]]] = {}
    since: dict[int, set[tuple[bytes, bytes]]] = {}  # what has been seen from there on
    for k, (run, key) in enumerate(zip(chosen.tolist(), keys.tolist(), strict=True)):
        rows = slice(runs.firsts[run], runs.firsts[run] + runs.counts[run])
        here = set(zip(atoms.name[rows].tolist(), atoms.altloc[rows].tolist(), strict=True))
        if begins[k]:
            begin, since = k, {}
        if by_ter and begins_stretch[k]:
            cuts.append(k)
            begin, seen, since = None, {}, {}
        elif not here.isdisjoint(seen.get(key, ())):
            is_new = begin is not None and here.isdisjoint(since.get(key, ()))
            cuts.append(begin if is_new and begin is not None else k)
            begin, seen, since = None, since if is_new else {}, {}
        for told in (seen, since):
            told.setdefault(key, set()).update(here)
    return np.split(chosen, cuts[1:])


def _cut_at_breaks(
    chosen: NDArray[np.int64],
    runs: Runs,
    geometry: BackboneGeometry,
    info: EntryInfo,
    flags: list[str],
) -> list[NDArray[np.int64]]:
    """Cut runs where the segment id (columns 73–76) changes, or a TER stands, and no peptide bond
    joins.

    A segment id that is blank, or repeats the id of the chain or of the entry, says nothing. A TER
    may mark that residues are missing, if the missing ones could span the gap.
    """
    by_segid = by_ter = np.zeros(len(chosen) - 1, bool)
    if runs.segid is not None:
        segid = runs.segid[chosen]
        silent = {b"", runs.auth_asym[chosen[0]], (info.metadata.file_entry_id or "").encode()}
        tells = ~np.isin(segid, list(silent))
        by_segid = (segid[1:] != segid[:-1]) & (segid[1:] != b"") & (segid[:-1] != b"")
        by_segid &= tells[1:] | tells[:-1]
    if runs.stretch is not None:
        by_ter = np.diff(runs.stretch[chosen]) != 0
    if not by_segid.any() and not by_ter.any():
        return [chosen]
    before, after = chosen[:-1], chosen[1:]
    apart = ~geometry.bonded(before, after)
    by_segid = by_segid & apart
    by_ter = by_ter & apart & ~by_segid
    far = geometry.too_far(before, after)
    asym_id = runs.asym_ids[runs.asym[chosen[0]]]
    found = {
        f"split_by_segid:{asym_id}": by_segid,
        f"split_by_ter:{asym_id}": by_ter & far,
        f"joined_over_ter:{asym_id}": by_ter & ~far,
    }
    flags += [flag for flag, where in found.items() if where.any() and flag not in flags]
    return np.split(chosen, np.flatnonzero(by_segid | (by_ter & far)) + 1)
