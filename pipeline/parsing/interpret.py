"""Atoms of one model + what the file says about them → chains.

Every step works on all chains of the model at once, in columns; only what is rare (alternates
without a backbone, SEQRES alignments) is done residue by residue.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.chain import Beside, Chain, EntryMetadata
from pipeline.geometry import frames
from pipeline.geometry.neighbours import ranges
from pipeline.parsing import altlocs, reconcile
from pipeline.parsing.atom_table import AtomTable, ChainAtoms
from pipeline.parsing.entry_info import EntryInfo
from pipeline.parsing.errors import ParseError
from pipeline.parsing.polymers import ResidueTable, polymer_residues
from pipeline.parsing.runs import BackboneGeometry, Runs, is_hydrogen, numbered_by_place, text
from pipeline.residues import (
    ALTERNATIVE_SLOT_OF,
    N_SLOTS,
    SLOT_OF,
    UNKNOWN,
    Linking,
    atom_indices,
    sequence_string,
)
from pipeline.residues.components import (
    is_glycosylated_in_glycam,
    is_name_of_standard,
    is_of_an_end,
)

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
    """The chains of one model. `flags` are remarks for ``inputs.parquet``; `others` are the atoms
    beside the protein, if they were asked for; `beside` is the same in short, if there are several
    chains or it was asked for; `n_ends` counts residues with atoms at the ends of chains, which
    have no backbone and are in no row; `of_chains` are the atoms of each chain, if `others` were
    asked for."""

    chains: list[Chain]
    dropped: list[DroppedChain]
    flags: list[str]
    others: AtomTable | None = None
    beside: Beside | None = None
    n_ends: int = 0
    of_chains: list[ChainAtoms] = field(default_factory=list)


def interpret(
    atoms: AtomTable,
    info: EntryInfo,
    entry_id: str,
    *,
    with_others: bool = False,
    with_unoccupied: bool = False,
    with_beside: bool = False,
) -> Interpretation:
    """Make the chains of a model.

    Parameters
    ----------
    atoms : AtomTable
        Rows of one model.
    info : EntryInfo
    entry_id : str
    with_others : bool
        Tell all that the file has: what is beside the protein, and of its chains what has no row or
        no slot.
    with_unoccupied : bool
        Atoms without occupancy are atoms.
    with_beside : bool
        The same in short, even if there is only one chain.
    """
    if not len(atoms):
        return Interpretation([], [], [])
    atoms, n_guessed = numbered_by_place(atoms)
    runs = Runs(atoms)
    geometry = BackboneGeometry(atoms, runs)
    flags = [f"numbers_guessed:{n_guessed}"] if n_guessed else []
    flags += [
        f"glycam_name:{known.comp_id}:{np.count_nonzero(runs.comp == k)}"
        for k, known in enumerate(runs.components)
        if known is not None and is_glycosylated_in_glycam(known)
    ]
    flags += [
        f"lower_case_name:{comp_id}:{np.count_nonzero(runs.comp == k)}"
        for k, (comp_id, known) in enumerate(zip(runs.comp_ids, runs.components, strict=True))
        if known is not None and known.comp_id != comp_id
    ]
    table = polymer_residues(atoms, runs, geometry, info, flags)
    metadata = _with_counts(info.metadata, runs, table)
    if table is None:
        others = _others(atoms, runs, None, np.zeros(0, np.int64)) if with_others else None
        none = np.zeros(0, np.int64)
        return Interpretation([], [], flags + reconcile.left_out(runs, geometry, none), others)
    made, placed = _build(
        atoms, runs, geometry, table, metadata, entry_id, flags, with_unoccupied=with_unoccupied
    )
    others = None
    if with_others:
        of_chains, caps = _atoms_of_chains(placed, atoms, runs, table)
        others = _others(atoms, runs, table, table.atom[caps])
        n_caps = len(np.unique(table.residue[caps]))
        made = replace(made, of_chains=of_chains, n_ends=made.n_ends - n_caps)
    is_wanted = len(made.chains) > 1 or (with_beside and made.chains)
    beside = _beside(atoms, runs, table) if is_wanted else None
    return replace(made, others=others, beside=beside)


def _others(
    atoms: AtomTable, runs: Runs, table: ResidueTable | None, caps: NDArray[np.int64]
) -> AtomTable:
    """Atoms but hydrogens of what is neither in a protein chain nor water, and of caps."""
    keep = np.repeat(runs.linking != Linking.WATER, runs.counts)
    keep &= atoms.located & ~is_hydrogen(atoms)
    if table is not None:
        keep[table.atom] = False
        keep[caps] = True
    return atoms.select(keep)


def _atoms_of_chains(
    placed: _Placed, atoms: AtomTable, runs: Runs, table: ResidueTable
) -> tuple[list[ChainAtoms], NDArray[np.int64]]:
    """The atoms of each chain; and which of the table's belong to caps (ACE, NH2) at its ends,
    which are in no row."""
    wanted = (atoms.located & ~is_hydrogen(atoms))[table.atom]
    atom, row = table.atom[wanted], table.row[table.residue[wanted]]
    in_slot = np.isin(atom, placed.source)
    is_cap = np.array([not is_name_of_standard(name) for name in runs.comp_ids], bool)
    cap = np.zeros(len(atom), bool)
    of_chains = []
    for begin, end, first, last in placed.extents:
        mine = (row >= first) & (row < last)
        of_chains.append(ChainAtoms(atoms.select(atom[mine]), row[mine] - first, in_slot[mine]))
        cap |= (row >= begin) & (row < end) & ~mine
    cap &= is_cap[runs.atom_comp[atom]]
    return of_chains, np.flatnonzero(wanted)[cap]


def _beside(atoms: AtomTable, runs: Runs, table: ResidueTable) -> Beside | None:
    """Heavy atoms of ligands and nucleic acids, as few columns as contacts take."""
    is_beside = runs.linking != Linking.WATER
    is_beside[table.run] = False
    run = np.flatnonzero(is_beside)
    if not len(run):
        return None
    counts = runs.counts[run]
    row = ranges(runs.firsts[run], counts)
    residue = np.repeat(np.arange(len(run)), counts)
    kept = atoms.located[row] & (atoms.occupancy[row] > 0)
    kept &= ~is_hydrogen(atoms)[row]
    row, residue = row[kept], residue[kept]
    return Beside(
        model=int(atoms.model[0]),
        coords=atoms.coords[row],
        residue=residue,
        is_nucleic=(runs.linking[run] == Linking.NUCLEIC)[residue],
        label_asym_id=atoms.label_asym_id[row],
        auth_asym_id=atoms.auth_asym_id[row],
    )


def _with_counts(metadata: EntryMetadata, runs: Runs, table: ResidueTable | None) -> EntryMetadata:
    waters = int(np.count_nonzero(runs.linking == Linking.WATER))
    nucleic = int(np.count_nonzero(runs.linking == Linking.NUCLEIC))
    polymer = len(table.run) if table is not None else 0
    return replace(
        metadata,
        n_waters=waters,
        n_nucleic=nucleic,
        n_ligands=max(0, len(runs.firsts) - waters - nucleic - polymer),
    )


@dataclass(frozen=True, slots=True)
class _Placed:
    """Where atoms went: `source` (rows, 14), -1 where none; of each chain that is made, its rows in
    the table (begin, end) and those of them that are its own (first, last)."""

    source: NDArray[np.int64]
    extents: list[tuple[int, int, int, int]]


def _build(
    atoms: AtomTable,
    runs: Runs,
    geometry: BackboneGeometry,
    table: ResidueTable,
    metadata: EntryMetadata,
    entry_id: str,
    flags: list[str],
    *,
    with_unoccupied: bool,
) -> tuple[Interpretation, _Placed]:
    """Fill the rows with atoms, and cut the chains out of them."""
    n_chains = len(table.chains)
    n_rows = int(table.row_offsets[-1])

    # Hydrogens and (as a rule) unoccupied atoms go first; unreadable ones are counted.
    atom, residue = table.atom, table.residue
    heavy = ~is_hydrogen(atoms)[atom]
    if not heavy.all():
        atom, residue = atom[heavy], residue[heavy]
    occupied = atoms.occupancy[atom] > 0
    chain = table.chain[residue]
    unoccupied = np.zeros(n_chains)
    if not occupied.all():
        unoccupied += np.bincount(chain[~occupied], minlength=n_chains)
        unoccupied /= np.maximum(1, np.bincount(chain, minlength=n_chains))
    has_occupancies = np.zeros(n_chains, bool)
    has_occupancies[chain[occupied]] = True
    keep = occupied | ~has_occupancies[chain] | with_unoccupied
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
    comp, name = runs.atom_comp[atom], atoms.name[atom]
    columns = altlocs.ResidueAtoms(
        residue, comp, name, atoms.altloc[atom], atoms.occupancy[atom], atoms.coords, atom
    )
    ids = [(auth_id, asym_id) for asym_id, auth_id, _ in table.chains]
    choice = altlocs.choose(columns, joins, chain, ids)
    found = _fill_slots(columns, choice, runs, row, n_rows)
    suspects = choice.heterogeneous
    if len(found.second):
        suspects = suspects.copy()
        suspects[found.second] = True
    if suspects.any():
        labels = altlocs.with_repeats_labelled(columns, suspects)
        if labels is not columns.altloc:
            columns = replace(columns, altloc=labels)
            choice = altlocs.choose(columns, joins, chain, ids)
            found = _fill_slots(columns, choice, runs, row, n_rows)
    source = found.source
    told = {"unknown_atoms": found.unknown, "ambiguous_atoms": found.ambiguous}
    flags = flags + [f"{flag}:{n}" for flag, n in told.items() if n]
    modified = np.array([c is None or c.is_modified for c in runs.components], bool)
    mask = source >= 0

    aatype = table.aatype.copy()
    aatype[row] = runs.aatypes[choice.comp]
    auth_seq = np.zeros(n_rows, np.int32)
    auth_seq[table.row] = table.auth_seq
    ins = np.zeros(n_rows, np.uint8)
    ins[table.row] = table.ins
    b_factor = np.zeros(n_rows, np.float32)
    alphas = np.flatnonzero(found.slot == 1)[::-1]
    b_factor[found.row[alphas]] = atoms.b_factor[found.atom[alphas]]
    n, ca, c = (atoms.coords.take(source[:, k], axis=0, mode="clip") / 1000.0 for k in range(3))
    resolved = frames.is_frame(n, ca, c, mask[:, 0] & mask[:, 1] & mask[:, 2])
    _check_unit(n, ca, c, resolved)
    bits = (mask * _BITS).sum(axis=1, dtype=np.uint16)
    coords = atoms.coords.take(source[mask], axis=0)
    ends = np.cumsum(np.concatenate(([0], mask.sum(axis=1))))

    def count(of_residue: NDArray[np.bool_], begin: int, end: int) -> int:
        lo, hi = np.searchsorted(row, (begin, end))
        return int(np.count_nonzero(of_residue[lo:hi]))

    chains: list[Chain] = []
    dropped: list[DroppedChain] = []
    in_chain = np.zeros(n_rows, bool)
    n_ends = 0
    extents: list[tuple[int, int, int, int]] = []
    model = int(atoms.model[0])
    for k, (asym_id, auth_id, polymer) in enumerate(table.chains):
        begin, end = int(table.row_offsets[k]), int(table.row_offsets[k + 1])
        good = np.flatnonzero(resolved[begin:end])
        if not len(good):
            dropped.append(
                DroppedChain(model, asym_id, auth_id, end - begin, _why_unresolved(mask[begin:end]))
            )
            continue
        n_whole = np.diff(np.searchsorted(row, (begin, end)))
        whole_chain = begin, end
        begin, end = begin + int(good[0]), begin + int(good[-1]) + 1
        extents.append((*whole_chain, begin, end))
        n_ends += int((n_whole - np.diff(np.searchsorted(row, (begin, end))))[0])
        in_chain[begin:end] = resolved[begin:end]
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
                coords=coords[ends[begin] : ends[end]],
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
                zero_occupancy_fraction=float(unoccupied[k]),
                metadata=metadata,
            )
        )
    kept = table.run[in_chain[table.row][table.residue_of_run]]
    flags = flags + reconcile.left_out(runs, geometry, kept)
    made = Interpretation(chains, dropped, flags, n_ends=n_ends)
    return made, _Placed(source, extents)


_BONDS_IN_NM = 0.12, 0.18
"""Å. N–CA is 1.47 Å and CA–C 1.53 Å long."""


def _check_unit(
    n: NDArray[np.float64],
    ca: NDArray[np.float64],
    c: NDArray[np.float64],
    resolved: NDArray[np.bool_],
) -> None:
    """Refuse coordinates in nanometres: of nine of ten residues both bonds are a tenth as long as
    they should be."""
    some = np.flatnonzero(resolved)
    for rows in (some[:10], some):  # a few tell of nearly all files
        bonds = np.linalg.norm([n[rows] - ca[rows], c[rows] - ca[rows]], axis=-1)
        is_tenth = ((bonds > _BONDS_IN_NM[0]) & (bonds < _BONDS_IN_NM[1])).all(axis=0)
        if np.count_nonzero(is_tenth) < 0.9 * len(rows) or not len(rows):
            return
    raise ParseError(
        "in-nanometres",
        f"its coordinates are in nanometres, not in Å: from N to CA it is "
        f"{np.median(bonds[0]):.3f}, and should be 1.47. Multiply them by ten, or have the program "
        "that wrote them write Å",
    )


def _short_codes(name: NDArray[np.bytes_]) -> NDArray[np.uint32]:
    """Names as the four-byte codes of the atom table; a longer name has a code that no atom has."""
    if name.dtype.itemsize <= 4:
        return name.astype("S4").view("<u4")
    found = name.astype("S4").view("<u4")
    found[name.view(np.uint8).reshape(len(name), -1)[:, 4] != 0] = 0
    return found


@dataclass(frozen=True, slots=True)
class _Slots:
    """Atoms of the chosen conformer, and their slots.

    Attributes
    ----------
    source : (rows, 14) int
        The atom in each slot, -1 where none.
    atom, row, slot : (n,) int
        Of the atoms kept; slot -1 where the kind of residue has none for the name.
    second : (k,) int
        Residues in which two of them have one slot.
    unknown, ambiguous : int
        Atoms of standard residues that are none of theirs; those in a slot that might as well be in
        the other of two.
    """

    source: NDArray[np.int64]
    atom: NDArray[np.int64]
    row: NDArray[np.int64]
    slot: NDArray[np.int8]
    second: NDArray[np.int64]
    unknown: int
    ambiguous: int


def _fill_slots(
    columns: altlocs.ResidueAtoms,
    choice: altlocs.AltlocChoice,
    runs: Runs,
    row: NDArray[np.int64],
    n_rows: int,
) -> _Slots:
    """Put the atoms of the chosen conformer into their slots; of two for one, the first stays."""
    atom, residue, name = columns.row, columns.residue, columns.name
    if not choice.keep.all():
        atom, residue, name = atom[choice.keep], residue[choice.keep], name[choice.keep]
    kinds = np.array([c.kind if c else UNKNOWN for c in runs.components], np.int64)
    kind = kinds[choice.comp][residue]
    index = atom_indices(_short_codes(name))
    slot = SLOT_OF[kind, index]
    row = row[residue]
    source = np.full((n_rows, N_SLOTS), -1)
    n_wanted = _fill(source, row, slot, atom)
    second = residue[:0]
    if n_wanted > np.count_nonzero(source >= 0):
        wanted = np.flatnonzero(slot >= 0)
        second = residue[wanted[source[row[wanted], slot[wanted]] != atom[wanted]]]
    # A force field's name counts only where the proper one is not there.
    odd = np.flatnonzero(slot < 0)
    other = ALTERNATIVE_SLOT_OF[kind[odd], index[odd]]
    unknown = _n_unknown(name[odd[other < 0]], runs, choice.comp[residue[odd[other < 0]]])
    spare, other = odd[other >= 0], other[other >= 0]
    is_free = source[row[spare], other] < 0
    spare, other = spare[is_free], other[is_free]
    _fill(source, row[spare], other, atom[spare])
    ambiguous = int(np.count_nonzero(np.char.startswith(name[spare], b"A")))
    return _Slots(source, atom, row, slot, second, unknown, ambiguous)


def _n_unknown(name: NDArray[np.bytes_], runs: Runs, comp: NDArray[np.integer]) -> int:
    """How many of the atoms without a slot are heavy atoms that their standard residues lack."""
    if not len(name):
        return 0
    in_standard = name[runs.is_standard_component[comp]]
    return sum(not is_of_an_end(text(some)) for some in in_standard.tolist())


def _fill(
    source: NDArray[np.int64],
    row: NDArray[np.int64],
    slot: NDArray[np.int8],
    atom: NDArray[np.int64],
) -> int:
    """Write atoms into their slots, from the last to the first; how many there are."""
    wanted = np.flatnonzero(slot >= 0)[::-1]
    source.reshape(-1)[row[wanted] * N_SLOTS + slot[wanted]] = atom[wanted]
    return len(wanted)


def _why_unresolved(mask: NDArray[np.bool_]) -> str:
    if mask[:, 1].any() and not mask[:, 0].any() and not mask[:, 2:].any():
        return "ca-only"
    return "nothing-resolved"
