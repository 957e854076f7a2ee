"""Stretches of atoms of one residue, as the file has them: what reading ends with and
interpretation begins with."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.parsing.atom_table import ABSENT, AtomTable
from pipeline.parsing.fields import changes, codes, is_name, run_lengths
from pipeline.residues import (
    MAX_PEPTIDE_BOND,
    RESTYPES,
    UNKNOWN,
    Component,
    Linking,
    component,
    override_names,
)
from pipeline.residues.components import is_name_of_standard

_MAX_PEPTIDE_BOND = round(1000 * MAX_PEPTIDE_BOND)
"""0.001 Å."""

MAX_ALPHA_STEP = 4000
"""0.001 Å. What a residue adds to the length of a chain at most: 3.8 Å from CA to CA."""

_MIN_ALPHA_STEP = 2000
"""0.001 Å. CA atoms of two residues are 2.9 Å (cis) or 3.8 Å apart; nearer ones are two
conformers of one."""

_BACKBONE = frozenset({b"N", b"CA", b"C"})
_MAX_PART = (1 << 20) - 1


class Runs:
    """Stretches of atoms of one residue.

    Parameters
    ----------
    atoms : AtomTable
        Of one model, with a number for every residue (`numbered_by_place`).

    Attributes
    ----------
    firsts, counts : (r,) int
        First atom and number of atoms.
    asym : (r,) int
        Index into `asym_ids`, which are in order of appearance: ``label_asym_id``, or the author's
        id where there is no label, or where `group_by_author` has set the labels aside.
    entity : (r,) bytes
        ``label_entity_id``.
    comp : (r,) int
        Index into `comp_ids` and `components`, of the run's first atom; `atom_comp` of every atom.
    is_standard_component : (k,) bool
        By index into `components`: one of the twenty, under whatever name.
    has_alpha : (r,) bool
        Some atom is named CA.
    is_hetero_residue : (r,) bool
        HETATM that may be a residue: peptide-linking or unknown, with a CA.
    part : (r,) int
        0, or how many residues directly before have the same chain, number and insertion code.
    segid : (r,) bytes or None
    """

    def __init__(self, atoms: AtomTable):
        has_labels = atoms.label_asym_id is not atoms.auth_asym_id
        columns = [atoms.auth_seq_id, atoms.label_seq_id, atoms.ins_code, atoms.auth_asym_id]
        firsts = changes(*columns, *([atoms.label_asym_id] if has_labels else []))
        alphas = np.flatnonzero(is_name(atoms.name, b"CA"))
        run_of_alpha = np.searchsorted(firsts, alphas, side="right") - 1
        if (np.diff(run_of_alpha) == 0).any():
            unlabelled = run_of_alpha[atoms.altloc[alphas] == b""]
            firsts = _cut_where_atoms_come_again(atoms, firsts, unlabelled)
            run_of_alpha = np.searchsorted(firsts, alphas, side="right") - 1
        self.firsts = firsts
        self.counts = run_lengths(firsts, len(atoms))
        self.has_alpha = np.zeros(len(firsts), bool)
        self.has_alpha[run_of_alpha] = True
        self.auth_asym = atoms.auth_asym_id[self.firsts]
        self.label_asym = atoms.label_asym_id[self.firsts] if has_labels else self.auth_asym
        self.entity = atoms.label_entity_id[self.firsts]
        self.seq = atoms.label_seq_id[self.firsts]
        self.auth_seq = atoms.auth_seq_id[self.firsts]
        self.ins = atoms.ins_code[self.firsts]
        self.hetero = atoms.hetero[self.firsts]
        self.after_ter = atoms.after_ter[self.firsts]
        self.stretch = None if atoms.stretch is None else atoms.stretch[self.firsts]
        self.segid = None if atoms.segid is None else atoms.segid[self.firsts]
        asym = self.label_asym
        if (asym == b"").any():  # writers without label ids (PyMOL)
            asym = np.where(asym == b"", self.auth_asym, asym)
        self._group_by(asym)

        # Components are numbered once for the model; atoms carry the numbers.
        comp_names, self.atom_comp = _numbered(atoms.comp_id)
        self.comp = self.atom_comp[self.firsts]
        self.comp_ids = [text(name) for name in comp_names]
        self.components = [self._component(atoms, k) for k in range(len(self.comp_ids))]
        linking = np.array(
            [c.linking if c is not None else Linking.OTHER for c in self.components], np.int8
        )
        self.linking = linking[self.comp]
        may_be_residue = (self.linking == Linking.PEPTIDE) | (self.linking == Linking.OTHER)
        self.is_hetero_residue = may_be_residue & self.hetero & self.has_alpha
        self.aatypes = np.array([c.aatype if c else UNKNOWN for c in self.components], np.int8)
        self.is_standard_component = np.array([_is_standard(c) for c in self.components], bool)
        self.part = self._parts(atoms)

    def __len__(self) -> int:
        return len(self.firsts)

    def _component(self, atoms: AtomTable, number: int) -> Component | None:
        """What a name means; that of a modified residue also without capitals, if atoms agree."""
        comp_id, special = self.comp_ids[number], override_names()
        capitals = comp_id.upper()
        if comp_id in special:
            known = component(comp_id, self._heavy_atoms(atoms, number))
            if is_name_of_standard(comp_id) and not _is_standard(known):
                known = self._meant_by_most(atoms, number) or known
            return known
        known = component(comp_id)
        if (
            known is not None
            or comp_id == capitals
            or comp_id not in (comp_id.lower(), comp_id.capitalize())
            or capitals in RESTYPES  # `component` knows their forms, whose atoms must all agree
            or (capitals not in special and component(capitals) is None)
        ):
            return known
        heavy = self._heavy_atoms(atoms, number)
        meant = component(capitals, heavy)
        is_peptide = meant is not None and meant.linking == Linking.PEPTIDE
        return meant if is_peptide and heavy.issuperset(map(text, _BACKBONE)) else None

    def _heavy_atoms(self, atoms: AtomTable, number: int) -> set[str]:
        """Their names, in all residues of one component."""
        of_comp = (self.atom_comp == number) & ~is_hydrogen(atoms)
        return {text(name) for name in np.unique(atoms.name[of_comp])}

    def _meant_by_most(self, atoms: AtomTable, number: int) -> Component | None:
        """The amino acid that most residues of one name are, each judged by its own atoms: one of
        them may have something bound to it."""
        rows = np.flatnonzero((self.atom_comp == number) & ~is_hydrogen(atoms))
        run = np.searchsorted(self.firsts, rows, side="right")
        of_runs = np.split(atoms.name[rows], np.flatnonzero(np.diff(run)) + 1)
        comp_id = self.comp_ids[number]
        meant = [
            component(comp_id, {text(name) for name in set(some.tolist())}) for some in of_runs
        ]
        standard = [known for known in meant if _is_standard(known)]
        return standard[0] if 2 * len(standard) > len(meant) else None

    def group_by_author(self) -> None:
        """Let the author's ids say what the chains are."""
        self._group_by(self.auth_asym)

    def _group_by(self, asym: NDArray[np.bytes_]) -> None:
        heads = changes(asym)
        ids: dict[bytes, int] = {}
        numbers = [ids.setdefault(name, len(ids)) for name in asym[heads].tolist()]
        self.asym = np.repeat(numbers, run_lengths(heads, len(asym)))
        self.asym_ids = [text(name) or "_" for name in ids]

    def _parts(self, atoms: AtomTable) -> NDArray[np.int64]:
        part = np.zeros(len(self), np.int64)
        again = np.flatnonzero(self.auth_seq[1:] == self.auth_seq[:-1]) + 1
        again = again[self.asym[again] == self.asym[again - 1]]
        again = again[self.ins[again] == self.ins[again - 1]]
        ends = self.firsts + self.counts
        for r in again.tolist():
            before = _Piece(atoms, self.firsts[r - 1], ends[r - 1])
            if before.is_another_than(_Piece(atoms, self.firsts[r], ends[r])):
                part[r] = min(part[r - 1] + 1, _MAX_PART)
        return part

    def is_standard(self, runs: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the runs are one of the twenty, under whatever name."""
        return self.is_standard_component[self.comp[runs]]

    def author_keys(self, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
        """Author number, part and insertion code of runs as one integer each."""
        ins = self.ins[chosen].view(np.uint8).reshape(len(chosen), -1)[:, 0]
        return (self.auth_seq[chosen].astype(np.int64) << 28) | (self.part[chosen] << 8) | ins

    def comps_within(self, run: int) -> list[int]:
        """All components of a run: several where residues share a place."""
        begin = self.firsts[run]
        return np.unique(self.atom_comp[begin : begin + self.counts[run]]).tolist()


def _is_standard(known: Component | None) -> bool:
    return known is not None and not known.is_modified and known.aatype != UNKNOWN


class _Piece:
    """Atoms that may be a residue of their own."""

    def __init__(self, atoms: AtomTable, begin: int, end: int):
        rows = slice(begin, end)
        certain = atoms.located[rows] & (atoms.altloc[rows] == b"")
        self._names = set(atoms.name[rows][certain].tolist())
        alphas = np.flatnonzero((atoms.name[rows] == b"CA") & certain)
        self._alpha = atoms.coords[rows][alphas[:1]].astype(np.float64)

    def is_another_than(self, other: _Piece) -> bool:
        """Whether both have a backbone of their own, at places of their own, and no alternate
        location is involved in either backbone."""
        return (
            self._is_whole
            and other._is_whole
            and float(((self._alpha - other._alpha) ** 2).sum()) >= _MIN_ALPHA_STEP**2
        )

    @property
    def _is_whole(self) -> bool:
        return self._names >= _BACKBONE


def _cut_where_atoms_come_again(
    atoms: AtomTable, firsts: NDArray[np.int64], run_of_alpha: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Cut runs that hold several residues under one number: some with several CA without a label.

    Programs that number nothing, or number on in four columns, write such runs. A new residue
    begins where the name changes or an atom comes again, if that gives both sides a backbone of
    their own. Residues that share a place (microheterogeneity, alternates) stay one run.
    """
    cuts: list[int] = []
    for r in np.unique(run_of_alpha[1:][np.diff(run_of_alpha) == 0]).tolist():
        begin = int(firsts[r])
        end = int(firsts[r + 1]) if r + 1 < len(firsts) else len(atoms)
        bounds = [begin]
        name, comp = atoms.name[begin:end].tolist(), atoms.comp_id[begin:end].tolist()
        seen: set[bytes] = set()
        for k in range(end - begin):
            if k and (comp[k] != comp[k - 1] or name[k] in seen):
                bounds.append(begin + k)
                seen = set()
            seen.add(name[k])
        bounds.append(end)
        last = _Piece(atoms, bounds[0], bounds[1])
        start = bounds[0]
        for a, b in pairwise(bounds[1:]):
            piece = _Piece(atoms, a, b)
            if last.is_another_than(piece):
                cuts.append(a)
                start, last = a, piece
            elif b - start <= _MAX_RESIDUE_ATOMS:
                last = _Piece(atoms, start, b)
    return np.union1d(firsts, cuts).astype(np.int64) if cuts else firsts


_MAX_RESIDUE_ATOMS = 1000
"""Pieces that are no residue are joined up to this size; beyond it nothing there is one."""


class BackboneGeometry:
    """Backbone N, CA and C of runs, looked up only where a file leaves something to be guessed."""

    def __init__(self, atoms: AtomTable, runs: Runs):
        self._atoms, self._runs = atoms, runs
        self._positions: dict[bytes, NDArray[np.float64]] = {}

    def _position(self, name: bytes) -> NDArray[np.float64]:
        """(r, 3): the first atom of that name in each run; NaN where it has none."""
        if name not in self._positions:
            atoms, runs = self._atoms, self._runs
            rows = np.flatnonzero(is_name(atoms.name, name) & atoms.located)[::-1]
            run = np.searchsorted(runs.firsts, rows, side="right") - 1
            position = np.full((len(runs), 3), np.nan)
            position[run] = atoms.coords[rows]
            self._positions[name] = position
        return self._positions[name]

    def with_backbone(self, runs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of the runs that have N, CA and C."""
        for name in (b"CA", b"N", b"C"):
            if len(runs):
                runs = runs[np.isfinite(self._position(name)[runs, 0])]
        return runs

    def bonded(self, before: NDArray[np.int64], after: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether C of the one and N of the other run are within bonding distance."""
        with np.errstate(invalid="ignore"):
            return self._squared_gap(before, after) <= _MAX_PEPTIDE_BOND**2

    def n_joined(
        self,
        runs: NDArray[np.int64],
        residue: NDArray[np.int64],
        orders: tuple[NDArray[np.int64], ...],
    ) -> list[int]:
        """How many residues each order joins to the next one by peptide bonds.

        Parameters
        ----------
        runs, residue : (r,) int
            Runs, and the residue that each is a part of.
        orders : tuple of (n,) int
            Residues.
        """
        ends = []
        for name in (b"C", b"N"):
            position = self._position(name)[runs]
            has = np.flatnonzero(np.isfinite(position[:, 0]))[::-1]
            ends.append(np.full((len(orders[0]), 3), np.nan))
            ends[-1][residue[has]] = position[has]
        counts = []
        for order in orders:
            gap = ends[0][order[:-1]] - ends[1][order[1:]]
            with np.errstate(invalid="ignore"):
                is_joined = (gap * gap).sum(axis=-1) <= _MAX_PEPTIDE_BOND**2
            counts.append(int(np.count_nonzero(is_joined)))
        return counts

    def too_far(self, before: NDArray[np.int64], after: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether the residues that are missing between two runs, by the author's numbers, could
        not reach from C of the one to N of the other; also where none is missing, or numbers fall.
        """
        step = self._runs.auth_seq[after].astype(float) - self._runs.auth_seq[before]
        reach = np.maximum(step, 0) * MAX_ALPHA_STEP
        with np.errstate(invalid="ignore"):
            far = self._squared_gap(before, after) > np.where(
                step > 1, reach**2, _MAX_PEPTIDE_BOND**2
            )
        return far | (step < 0)

    def n_unspanned(self, residues: NDArray[np.int64]) -> int:
        """How often the next residue of a higher number is farther away than the residues between
        them could reach, and one more."""
        step = np.diff(self._runs.auth_seq[residues].astype(float))
        gap = self._squared_gap(residues[:-1], residues[1:])
        with np.errstate(invalid="ignore"):
            return int(np.count_nonzero((step > 0) & (gap > ((step + 1) * MAX_ALPHA_STEP) ** 2)))

    def _squared_gap(
        self, before: NDArray[np.int64], after: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        gap = self._position(b"C")[before] - self._position(b"N")[after]
        return (gap * gap).sum(axis=-1)


def numbered_by_place(atoms: AtomTable) -> tuple[AtomTable, int]:
    """The atoms, with author numbers that go on from the last one where the file gives none
    (``****``); and how many residues have got one so.

    A residue ends where its name or chain changes and where an atom comes again.
    """
    unnumbered = (atoms.auth_seq_id == ABSENT) & (atoms.label_seq_id == ABSENT)
    if not unnumbered.any():
        return atoms, 0
    n_residues = 0
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
            n_residues += 1
        seen.add(atom)
        numbers[row] = last[chain]
        previous = row
    return replace(atoms, auth_seq_id=numbers), n_residues


_IS_HYDROGEN = np.zeros(1 << 16, bool)
_IS_HYDROGEN[list(b"HDThdt")] = True
"""By the code of an element's symbol of one or two characters."""


def is_hydrogen(atoms: AtomTable) -> NDArray[np.bool_]:
    """Hydrogen, deuterium and tritium, by element; by name where the file gives no element."""
    if atoms.element.dtype.itemsize <= 2:
        hydrogen = _IS_HYDROGEN[codes(atoms.element)]
    else:
        hydrogen = np.isin(atoms.element, [b"H", b"D", b"T", b"h", b"d", b"t"])
    unnamed = is_name(atoms.element, b"")
    if unnamed.any():
        name = atoms.name.view(np.uint8).reshape(len(atoms), -1)
        first = name[:, 0]
        if name.shape[1] > 1:  # old names put a digit first: 1HB
            first = np.where((first >= ord("0")) & (first <= ord("9")), name[:, 1], first)
        hydrogen |= unnamed & ((first == ord("H")) | (first == ord("D")))
    return hydrogen


def text(name: bytes) -> str:
    return name.decode("utf-8", "replace")


def _numbered(names: NDArray[np.bytes_]) -> tuple[list[bytes], NDArray[np.int64]]:
    """Number distinct names: (names, number of each row)."""
    heads = changes(names)
    code = codes(names)[heads]
    _, first, inverse = np.unique(code, return_index=True, return_inverse=True)
    return names[heads[first]].tolist(), np.repeat(inverse, run_lengths(heads, len(names)))
