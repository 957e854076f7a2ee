"""Atoms of one model + what the file says about them → chains.

Every step works on all chains of the model at once, in columns; only what is rare (alternates
without a backbone, SEQRES alignments) is done residue by residue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline import frames
from pipeline.chain import Chain, EntryMetadata
from pipeline.parsing import altlocs, seqres
from pipeline.parsing.atom_table import ABSENT, AtomTable
from pipeline.parsing.entry_info import UNDESCRIBED, EntryInfo, Polymer
from pipeline.parsing.errors import ParseError
from pipeline.parsing.fields import changes, codes
from pipeline.residues import (
    ALTERNATIVE_SLOT_OF,
    N_SLOTS,
    SLOT_OF,
    UNKNOWN,
    Component,
    Linking,
    atom_indices,
    component,
    override_names,
    sequence_string,
)

MAX_PEPTIDE_BOND = 2500
"""0.001 Å. A C–N bond is 1.33 Å; an unmodelled residue between leaves at least 3 Å."""

MAX_RESIDUES = 2_000_000
"""Rows of one model, unresolved residues among them: a sequence may be told once and claimed by ten
thousand chains of one atom. The largest entries have some 300,000."""

_BITS = (1 << np.arange(N_SLOTS)).astype(np.uint16)


@dataclass(frozen=True, slots=True)
class DroppedChain:
    """A polypeptide chain that gives no `Chain`, and why."""

    model: int
    label_asym_id: str
    auth_asym_id: str
    n_residues: int
    reason: str


@dataclass(frozen=True, slots=True)
class Interpretation:
    """The chains of one model. `flags` are remarks for ``inputs.parquet``."""

    chains: list[Chain]
    dropped: list[DroppedChain]
    flags: list[str]


def interpret(atoms: AtomTable, info: EntryInfo, entry_id: str) -> Interpretation:
    """Make the chains of a model.

    Parameters
    ----------
    atoms : AtomTable
        Rows of one model.
    info : EntryInfo
    entry_id : str
    """
    if not len(atoms):
        return Interpretation([], [], [])
    unnumbered = (atoms.auth_seq_id == ABSENT) & (atoms.label_seq_id == ABSENT)
    if unnumbered.any():
        atoms = replace(atoms, auth_seq_id=_numbered_by_place(atoms, unnumbered))
    runs = _Runs(atoms)
    flags: list[str] = []
    table = _polymer_residues(atoms, runs, info, flags)
    metadata = _with_counts(info.metadata, runs, table)
    if table is None:
        return Interpretation([], [], flags)
    return _build(atoms, table, metadata, entry_id, flags)


def _numbered_by_place(atoms: AtomTable, unnumbered: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Author numbers, going on from the last one where the file gives none (``****``).

    A residue ends where its name or chain changes and where an atom comes again.
    """
    numbers = atoms.auth_seq_id.copy()
    last: dict[bytes, int] = {}
    residue: tuple[bytes, bytes] | None = None
    seen: set[tuple[bytes, bytes]] = set()
    previous = -2
    for row in np.flatnonzero(unnumbered).tolist():
        chain = atoms.auth_asym_id[row]
        atom = (atoms.name[row], atoms.altloc[row])
        if row != previous + 1:
            residue = None
            if row and atoms.auth_asym_id[row - 1] == chain:
                last[chain] = int(numbers[row - 1])
        if residue != (chain, atoms.comp_id[row]) or atom in seen:
            residue, seen = (chain, atoms.comp_id[row]), set()
            last[chain] = last.get(chain, 0) + 1
        seen.add(atom)
        numbers[row] = last[chain]
        previous = row
    return numbers


class _Runs:
    """Stretches of atoms of one residue, as the file has them.

    Attributes
    ----------
    firsts, counts : (r,) int
        First atom and number of atoms.
    asym : (r,) int
        Index into `asym_ids`, which are in order of appearance.
    comp : (r,) int
        Index into `comp_ids`.
    """

    def __init__(self, atoms: AtomTable):
        self.firsts = changes(
            atoms.auth_seq_id,
            atoms.label_seq_id,
            atoms.ins_code,
            atoms.label_asym_id,
            atoms.auth_asym_id,
        )
        self.counts = np.diff(self.firsts, append=len(atoms))
        asym = atoms.label_asym_id[self.firsts]
        if (asym == b"").any():  # writers without label ids (PyMOL)
            asym = np.where(asym == b"", atoms.auth_asym_id[self.firsts], asym)
        names, at, inverse = np.unique(asym, return_index=True, return_inverse=True)
        order = np.argsort(at, kind="stable")
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        self.asym = rank[inverse]
        self.asym_ids = [_text(names[k]) or "_" for k in order]
        self.entity_ids = [_text(atoms.label_entity_id[self.firsts[at[k]]]) for k in order]
        self.auth_asym = atoms.auth_asym_id[self.firsts]
        self.seq = atoms.label_seq_id[self.firsts]
        self.auth_seq = atoms.auth_seq_id[self.firsts]
        self.ins = atoms.ins_code[self.firsts]
        self.hetero = atoms.hetero[self.firsts]
        self.after_ter = atoms.after_ter[self.firsts]
        self.stretch = None if atoms.stretch is None else atoms.stretch[self.firsts]

        # Components are numbered once for the model; atoms carry the numbers.
        comp_names, self.atom_comp = _numbered(atoms.comp_id)
        self.comp = self.atom_comp[self.firsts]
        self.comp_ids = [_text(name) for name in comp_names]
        special = override_names()
        self.components: list[Component | None] = []
        for k, comp_id in enumerate(self.comp_ids):
            heavy = None
            if comp_id in special:
                of_comp = (self.atom_comp == k) & ~_is_hydrogen(atoms)
                heavy = {_text(n) for n in np.unique(atoms.name[of_comp])}
            self.components.append(component(comp_id, heavy))
        linking = np.array(
            [c.linking if c is not None else Linking.OTHER for c in self.components], np.int8
        )
        self.linking = linking[self.comp]
        self.aatypes = np.array([c.aatype if c else UNKNOWN for c in self.components], np.int8)

    def is_modified(self, run: int) -> bool:
        """Whether the run's component is none of the twenty under any name."""
        found = self.components[self.comp[run]]
        return found is None or found.is_modified or found.aatype == UNKNOWN


def _numbered(names: NDArray[np.bytes_]) -> tuple[list[bytes], NDArray[np.int64]]:
    """Number the distinct names: (names, number of each atom)."""
    view = codes(names)
    heads = np.flatnonzero(np.concatenate(([True], view[1:] != view[:-1])))
    _, first, inverse = np.unique(view[heads], return_index=True, return_inverse=True)
    return names[heads[first]].tolist(), np.repeat(inverse, np.diff(heads, append=len(names)))


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")


def _is_hydrogen(atoms: AtomTable) -> NDArray[np.bool_]:
    """Hydrogen, deuterium and tritium, by element; by name where the file gives no element."""
    element = atoms.element
    hydrogen = (element == b"H") | (element == b"D") | (element == b"T") | (element == b"h")
    unnamed = element == b""
    if unnamed.any():
        name = atoms.name.view(np.uint8).reshape(len(atoms), -1)
        first = name[:, 0]
        if name.shape[1] > 1:  # old names put a digit first: 1HB
            first = np.where((first >= ord("0")) & (first <= ord("9")), name[:, 1], first)
        hydrogen |= unnamed & ((first == ord("H")) | (first == ord("D")))
    return hydrogen


@dataclass(frozen=True, slots=True)
class _ResidueTable:
    """Polymer residues of all protein chains, chain by chain in the order of their rows.

    A row is a residue of the output before trimming; residues without atoms have rows too.
    """

    chains: list[tuple[str, str, Polymer]]  # (label_asym_id, auth_asym_id, polymer)
    row_offsets: NDArray[np.int64]  # (C+1,)
    aatype: NDArray[np.int8]  # (rows,) of the entity sequence, or of the first atom's residue
    residue_index: NDArray[np.int32]  # (rows,)
    row: NDArray[np.int64]  # (R,) row of each observed residue, ascending
    chain: NDArray[np.int64]  # (R,)
    auth_seq: NDArray[np.int32]  # (R,)
    ins: NDArray[np.uint8]  # (R,)
    atom: NDArray[np.int64]  # (n,) atoms of the residues, sorted by residue, file order within
    residue: NDArray[np.int64]  # (n,) their residue
    runs: _Runs
    n_runs_used: int


def _polymer_residues(
    atoms: AtomTable, runs: _Runs, info: EntryInfo, flags: list[str]
) -> _ResidueTable | None:
    """Which residues belong to polypeptide chains, and where in their sequences."""
    by_chain = np.argsort(runs.asym, kind="stable")
    bounds = np.searchsorted(runs.asym[by_chain], np.arange(len(runs.asym_ids) + 1))
    chains: list[tuple[str, str, Polymer]] = []
    offsets = [0]
    parts: list[tuple[NDArray, NDArray, NDArray, NDArray]] = []  # runs, residue of run, rows, index
    sequences: list[NDArray[np.int8]] = []
    geometry = _BondGeometry(atoms, runs)
    for k, asym_id in enumerate(runs.asym_ids):
        of_chain = by_chain[bounds[k] : bounds[k + 1]]
        polymer = info.polymers.get(asym_id) or info.entities.get(runs.entity_ids[k]) or UNDESCRIBED
        if polymer.is_protein is False:
            continue
        if polymer.is_protein:
            chosen = of_chain[runs.seq[of_chain] != ABSENT]
        else:
            chosen = _select_polymer(of_chain, runs, geometry, polymer)
        if polymer.is_protein and not len(chosen):
            chosen = _select_polymer(of_chain, runs, geometry, polymer)
        if not len(chosen):
            continue
        copies = _split_copies(chosen, runs, atoms, polymer)
        if len(copies) > 1:
            flags.append(f"several_chains_of_one_id:{asym_id}")
        for number, copy in enumerate(copies, start=1):
            label = asym_id if number == 1 else f"{asym_id}.{number}"
            placed = None
            if polymer.sequence is not None:
                placed = _place(copy, runs, geometry, polymer)
                if placed is None:
                    flags.append(f"sequence_mismatch:{label}")
            if placed is not None:
                rows, residue = np.unique(placed - 1, return_inverse=True)
                kinds = _sequence_aatypes(polymer.sequence or ())
                index = np.arange(1, len(kinds) + 1)
                n_rows = len(kinds)
            else:
                residue, firsts = _merge_repeats(copy, runs)
                n_rows = len(firsts)
                rows = np.arange(n_rows)
                index = _increasing(runs.auth_seq[copy[firsts]])
                kinds = runs.aatypes[runs.comp[copy[firsts]]]
            described = polymer if placed is not None else replace(polymer, sequence=None)
            chains.append((label, _text(runs.auth_asym[copy[0]]) or "_", described))
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
    atom = _ranges(runs.firsts[run], counts)
    residue = np.repeat(residue_of_run, counts)
    head = run[np.searchsorted(residue_of_run, np.arange(len(row)))]
    auth = runs.auth_seq[head]
    ins = runs.ins[head].view(np.uint8).reshape(len(head), -1)[:, 0]
    return _ResidueTable(
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
        runs=runs,
        n_runs_used=len(run),
    )


def _ranges(starts: NDArray, counts: NDArray) -> NDArray[np.int64]:
    """Concatenated ``arange(start, start + count)``."""
    total = int(counts.sum())
    begin = np.cumsum(counts) - counts
    return np.arange(total) + np.repeat(starts - begin, counts)


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


def _sequence_aatypes(sequence: Sequence[str]) -> NDArray[np.int8]:
    numbers = map(_AATYPES.__getitem__, sequence)
    return np.fromiter(numbers, np.int8, len(sequence))


class _Aatypes(dict[str, int]):
    """Amino acid number by component id, looked up once per process."""

    def __missing__(self, comp_id: str) -> int:
        entry = component(comp_id)
        if entry is None:  # not kept: anybody can make up names, a million of them
            return UNKNOWN
        self[comp_id] = entry.aatype
        return entry.aatype


_AATYPES = _Aatypes()


def _merge_repeats(chosen: NDArray, runs: _Runs) -> tuple[NDArray, NDArray]:
    """(residue of each run, run that first names each residue) by (number, insertion code)."""
    key = _author_keys(chosen, runs)
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank[inverse], first[order]


def _author_keys(chosen: NDArray, runs: _Runs) -> NDArray[np.int64]:
    """Author number and insertion code of runs as one integer each."""
    ins = runs.ins[chosen].view(np.uint8).reshape(len(chosen), -1)[:, 0]
    return (runs.auth_seq[chosen].astype(np.int64) << 8) | ins


def _split_copies(
    chosen: NDArray, runs: _Runs, atoms: AtomTable, polymer: Polymer
) -> list[NDArray]:
    """Cut the runs of one chain id where another chain under the same id begins.

    That is where residues come again, atoms and all: files with more chains than letters reuse
    the id, and programs of molecular dynamics write none. A chain without id and without a SEQRES
    is also cut at TER, the only sign of its end. What comes again under another alternate label
    is the same residue, told in two places.
    """
    stretch = None
    is_anonymous = runs.asym_ids[runs.asym[chosen[0]]] == "_" and polymer.sequence is None
    if is_anonymous and runs.stretch is not None:
        stretch = runs.stretch[chosen]
    keys = _author_keys(chosen, runs)
    if polymer.is_protein and (runs.seq[chosen] != ABSENT).all():
        keys = runs.seq[chosen].astype(np.int64)
    one_stretch = stretch is None or (stretch == stretch[0]).all()
    if one_stretch and ((np.diff(keys) > 0).all() or len(np.unique(keys)) == len(keys)):
        return [chosen]

    copies: list[list[int]] = [[]]
    seen: dict[int, set[tuple[bytes, bytes]]] = {}
    for k, (run, key) in enumerate(zip(chosen.tolist(), keys.tolist(), strict=True)):
        rows = slice(runs.firsts[run], runs.firsts[run] + runs.counts[run])
        here = set(zip(atoms.name[rows].tolist(), atoms.altloc[rows].tolist(), strict=True))
        ended = stretch is not None and k > 0 and stretch[k] != stretch[k - 1]
        if ended or not here.isdisjoint(seen.get(key, ())):
            copies.append([])
            seen = {}
        copies[-1].append(run)
        seen.setdefault(key, set()).update(here)
    return [np.array(copy) for copy in copies]


class _BondGeometry:
    """Backbone N and C of runs, looked up only where a file leaves something to be guessed."""

    def __init__(self, atoms: AtomTable, runs: _Runs):
        self._atoms, self._runs = atoms, runs
        self._found: dict[bytes, NDArray] = {}

    def _position(self, name: bytes) -> NDArray[np.float64]:
        """(r, 3): the first atom of that name in each run; NaN where it has none."""
        if name not in self._found:
            atoms, runs = self._atoms, self._runs
            rows = np.flatnonzero((atoms.name == name) & atoms.located)[::-1]
            run = np.searchsorted(runs.firsts, rows, side="right") - 1
            position = np.full((len(runs.firsts), 3), np.nan)
            position[run] = atoms.coords[rows]
            self._found[name] = position
        return self._found[name]

    def has_backbone(self, runs: NDArray) -> NDArray[np.bool_]:
        return np.logical_and.reduce(
            [np.isfinite(self._position(n)[runs, 0]) for n in (b"N", b"CA", b"C")]
        )

    def bonded(self, before: NDArray, after: NDArray) -> NDArray[np.bool_]:
        """Whether C of the one and N of the other run are within bonding distance."""
        gap = self._position(b"C")[before] - self._position(b"N")[after]
        with np.errstate(invalid="ignore"):
            return (gap * gap).sum(axis=-1) <= MAX_PEPTIDE_BOND**2


def _select_polymer(
    of_chain: NDArray, runs: _Runs, geometry: _BondGeometry, polymer: Polymer
) -> NDArray:
    """Runs of the polymer in a chain that no entity record describes.

    Peptide-linking components are residues, and so is an unknown component with a backbone, or one
    that SEQRES names (a cap; the two halves of what was one residue, in 1jbe). Free amino acids
    are ligands: HETATM behind the chain's last TER, and at the end of a chain without TER (or, a
    standard amino acid, at its beginning) a HETATM that is not bonded to its neighbour.
    """
    linking = runs.linking[of_chain]
    peptide = linking == Linking.PEPTIDE
    unknown = (linking == Linking.OTHER) & ~runs.after_ter[of_chain]
    if unknown.any():
        odd = np.flatnonzero(unknown)
        peptide[odd] = geometry.has_backbone(of_chain[odd])
        if polymer.sequence is not None and peptide.any():
            named = set(polymer.sequence)
            in_sequence = np.array([comp_id in named for comp_id in runs.comp_ids])
            peptide[odd] |= in_sequence[runs.comp[of_chain[odd]]]
    after_ter = runs.after_ter[of_chain]
    if after_ter.any() and not (peptide & after_ter & ~runs.hetero[of_chain]).any():
        chosen = of_chain[peptide & ~after_ter]
    else:
        # No TER, or ATOM residues behind the last one, so that it does not end the polymer.
        chosen = of_chain[peptide]
        while len(chosen) and runs.hetero[chosen[-1]]:
            if len(chosen) > 1 and geometry.bonded(chosen[-2:-1], chosen[-1:])[0]:
                break
            chosen = chosen[:-1]
        while len(chosen) > 1 and runs.hetero[chosen[0]] and not runs.is_modified(chosen[0]):
            if geometry.bonded(chosen[:1], chosen[1:2])[0]:
                break
            chosen = chosen[1:]
    if len(chosen) == 1 and runs.linking[chosen[0]] != Linking.PEPTIDE:
        return chosen[:0]
    return chosen


def _place(
    chosen: NDArray, runs: _Runs, geometry: _BondGeometry, polymer: Polymer
) -> NDArray[np.int64] | None:
    """1-based positions of runs in the entity sequence, or None where it does not describe them."""
    sequence = polymer.sequence
    assert sequence is not None
    if (runs.seq[chosen] != ABSENT).any():  # mmCIF: the file says the positions
        positions = runs.seq[chosen].astype(np.int64)
        if positions.min() < 1 or positions.max() > len(sequence):
            return None
        return positions
    residue, firsts = _merge_repeats(chosen, runs)
    heads = chosen[firsts]
    alternatives: dict[int, set[str]] = {}
    if len(firsts) != len(chosen):
        for r, run in zip(residue.tolist(), chosen.tolist(), strict=True):
            alternatives.setdefault(r, set()).add(runs.comp_ids[runs.comp[run]])
    ends = runs.firsts[heads] + runs.counts[heads]
    mixed = np.flatnonzero(
        np.maximum.reduceat(runs.atom_comp, runs.firsts)[heads]
        != np.minimum.reduceat(runs.atom_comp, runs.firsts)[heads]
    )
    for r in mixed.tolist():
        seen = np.unique(runs.atom_comp[runs.firsts[heads[r]] : ends[r]])
        alternatives.setdefault(r, set()).update(runs.comp_ids[c] for c in seen.tolist())

    def bonded() -> list[bool]:
        return [False, *geometry.bonded(heads[:-1], heads[1:]).tolist()]

    ins = runs.ins[heads]
    ins_codes = list(map(_text, ins.tolist())) if (ins != b"").any() else [""] * len(heads)
    places = seqres.place(
        [runs.comp_ids[c] for c in runs.comp[heads].tolist()],
        list(zip(runs.auth_seq[heads].tolist(), ins_codes, strict=True)),
        bonded,
        sequence,
        polymer.missing,
        alternatives,
    )
    if places is None:
        return None
    return np.array(places)[residue]


def _with_counts(
    metadata: EntryMetadata, runs: _Runs, table: _ResidueTable | None
) -> EntryMetadata:
    waters = int(np.count_nonzero(runs.linking == Linking.WATER))
    nucleic = int(np.count_nonzero(runs.linking == Linking.NUCLEIC))
    polymer = table.n_runs_used if table is not None else 0
    return replace(
        metadata,
        n_waters=waters,
        n_nucleic=nucleic,
        n_ligands=max(0, len(runs.firsts) - waters - nucleic - polymer),
    )


def _build(
    atoms: AtomTable,
    table: _ResidueTable,
    metadata: EntryMetadata,
    entry_id: str,
    flags: list[str],
) -> Interpretation:
    """Fill the rows with atoms, and cut the chains out of them."""
    n_chains = len(table.chains)
    n_rows = int(table.row_offsets[-1])

    # Hydrogens and unoccupied atoms go first; unreadable ones are counted.
    atom, residue = table.atom, table.residue
    heavy = ~_is_hydrogen(atoms)[atom]
    if not heavy.all():
        atom, residue = atom[heavy], residue[heavy]
    occupied = atoms.occupancy[atom] > 0
    chain = table.chain[residue]
    has_occupancies = np.zeros(n_chains, bool)
    has_occupancies[chain[occupied]] = True
    keep = occupied | ~has_occupancies[chain]
    located = atoms.located[atom]
    n_bad = np.bincount(chain[keep & ~located], minlength=n_chains)
    keep &= located
    if not keep.all():
        atom, residue = atom[keep], residue[keep]

    # Residues that still have atoms, renumbered without holes.
    alive = np.zeros(len(table.row), bool)
    alive[residue] = True
    renumber = np.cumsum(alive) - 1
    residue = renumber[residue]
    row, chain = table.row[alive], table.chain[alive]
    n_residues = len(row)
    joins = np.zeros(n_residues, bool)
    joins[1:] = (np.diff(row) == 1) & (chain[1:] == chain[:-1])
    comp = table.runs.atom_comp[atom]
    name = atoms.name[atom]
    choice = altlocs.choose(
        residue,
        n_residues,
        joins,
        atoms.altloc[atom],
        comp,
        name,
        atoms.occupancy[atom],
        atoms.coords,
        atom,
        chain,
        [(auth_id, asym_id) for asym_id, auth_id, _ in table.chains],
    )
    if not choice.keep.all():
        atom, residue, name = atom[choice.keep], residue[choice.keep], name[choice.keep]

    kinds = np.array([c.kind if c else UNKNOWN for c in table.runs.components], np.int64)
    modified = np.array([c is None or c.is_modified for c in table.runs.components], bool)

    kind = kinds[choice.comp][residue]
    index = atom_indices(_short_codes(name))
    slot = SLOT_OF[kind, index]
    row_of_atom = row[residue]
    mask = np.zeros((n_rows, N_SLOTS), bool)
    positions = np.zeros((n_rows, N_SLOTS, 3), np.int32)
    _fill(mask, positions, row_of_atom, slot, atoms.coords[atom])
    other = ALTERNATIVE_SLOT_OF[kind, index]
    spare = np.flatnonzero((other >= 0) & (slot < 0))
    if len(spare):
        # A force field's name counts only where the proper one is not there.
        spare = spare[~mask[row_of_atom[spare], other[spare]]]
        _fill(mask, positions, row_of_atom[spare], other[spare], atoms.coords[atom[spare]])

    aatype = table.aatype.copy()
    aatype[row] = table.runs.aatypes[choice.comp]
    auth_seq = np.zeros(n_rows, np.int32)
    auth_seq[table.row] = table.auth_seq
    ins = np.zeros(n_rows, np.uint8)
    ins[table.row] = table.ins
    b_factor = np.zeros(n_rows, np.float32)
    alphas = np.flatnonzero(slot == 1)[::-1]
    b_factor[row_of_atom[alphas]] = atoms.b_factor[atom[alphas]]
    backbone = positions[:, :3].astype(np.float64) / 1000.0
    resolved = frames.is_frame(
        backbone[:, 0], backbone[:, 1], backbone[:, 2], mask[:, :3].all(axis=1)
    )
    bits = (mask * _BITS).sum(axis=1, dtype=np.uint16)

    def count(of_residue: NDArray[np.bool_], begin: int, end: int) -> int:
        lo, hi = np.searchsorted(row, (begin, end))
        return int(np.count_nonzero(of_residue[lo:hi]))

    chains: list[Chain] = []
    dropped: list[DroppedChain] = []
    model = int(atoms.model[0])
    for k, (asym_id, auth_id, polymer) in enumerate(table.chains):
        begin, end = int(table.row_offsets[k]), int(table.row_offsets[k + 1])
        good = np.flatnonzero(resolved[begin:end])
        if not len(good):
            dropped.append(
                DroppedChain(model, asym_id, auth_id, end - begin, _why_unresolved(mask[begin:end]))
            )
            continue
        begin, end = begin + int(good[0]), begin + int(good[-1]) + 1
        entity_sequence = None
        if polymer.sequence is not None:
            whole = slice(int(table.row_offsets[k]), int(table.row_offsets[k + 1]))
            entity_sequence = sequence_string(table.aatype[whole])
        chains.append(
            Chain(
                entry_id=entry_id,
                model=model,
                label_asym_id=asym_id,
                auth_asym_id=auth_id,
                aatype=aatype[begin:end],
                residue_index=table.residue_index[begin:end],
                auth_seq_id=auth_seq[begin:end],
                ins_code=ins[begin:end],
                atom14_mask=bits[begin:end],
                coords=positions[begin:end][mask[begin:end]],
                b_factor=b_factor[begin:end],
                resolved=resolved[begin:end],
                entity_id=polymer.entity_id,
                entity_sequence=entity_sequence,
                uniprot=polymer.uniprot,
                taxonomy=polymer.taxonomy,
                n_modified=count(modified[choice.comp], begin, end),
                n_altloc=count(choice.alternates, begin, end),
                n_microhet=count(choice.heterogeneous, begin, end),
                n_bad_atoms=int(n_bad[k]),
                coords_rounded=atoms.rounded,
                metadata=metadata,
            )
        )
    return Interpretation(chains, dropped, flags)


def _short_codes(name: NDArray[np.bytes_]) -> NDArray[np.uint32]:
    """Names as the four-byte codes of the atom table; a longer name has a code that no atom has."""
    if name.dtype.itemsize <= 4:
        return name.astype("S4").view("<u4")
    found = name.astype("S4").view("<u4")
    found[name.view(np.uint8).reshape(len(name), -1)[:, 4] != 0] = 0
    return found


def _fill(mask: NDArray, positions: NDArray, row: NDArray, slot: NDArray, coords: NDArray) -> None:
    """Write atoms into their slots; of two atoms for one slot the first in the file stays."""
    wanted = np.flatnonzero(slot >= 0)[::-1]
    place = row[wanted] * N_SLOTS + slot[wanted]
    mask.reshape(-1)[place] = True
    positions.reshape(-1, 3)[place] = coords[wanted]


def _why_unresolved(mask: NDArray[np.bool_]) -> str:
    if mask[:, 1].any() and not mask[:, 0].any() and not mask[:, 2:].any():
        return "ca-only"
    return "nothing-resolved"
