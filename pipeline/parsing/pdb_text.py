"""PDB text → `AtomTable`: the coordinate section, read as one matrix of characters.

Format: wwPDB "Atomic Coordinate Entry Format Description", version 3.30; older and foreign
writers where noted.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.parsing.atom_table import (
    ABSENT,
    NOTHING_LATER,
    AtomTable,
    empty_names,
    in_capitals,
    is_same_in_all,
    only_later,
)
from pipeline.parsing.cif_atoms import MAX_COORDINATE, Models
from pipeline.parsing.cif_text import newlines_of
from pipeline.parsing.elements import read_elements
from pipeline.parsing.errors import NotAStructure, ParseError
from pipeline.parsing.fields import (
    BLANK,
    Field,
    changes,
    is_constant,
    is_name,
    item_size,
    names,
    run_heads,
    run_lengths,
    windows,
)
from pipeline.parsing.numbers import decimals, decimals_of_fixed_places
from pipeline.parsing.residue_names import BLANK_CHAIN, comp_and_chain
from pipeline.parsing.residue_numbers import read_residue_numbers, read_thousands_below_zero
from pipeline.parsing.wide_records import (
    WideValues,
    coordinate_fields,
    cut_coordinates,
    mend,
    mend_z,
)
from pipeline.residues import with_hydrogens_named_for_metals

_WIDTH = 80
_RESIDUE_END, _COORDINATES_END = 26, 54
_MODEL = re.compile(r"MODEL\s+(-?[0-9]{1,9})\s*")
# Blanks, then an atom with three points where those of its coordinates belong.
_INDENTED = re.compile(
    rb"( ++)(?:(ATOM  |HETATM)[^\n]{24}(?:[^\n]{3}[0-9]\.[0-9]{3}){3}"
    rb"|TER[ \n]|MODEL +[0-9]|ENDMDL|END[ \n])"
)
_OF_ATOMS = ("ATOM", "HETATM", "ANISOU")


class PdbText:
    """The lines of a PDB file, by record name.

    Raises
    ------
    NotAStructure
        No ATOM or HETATM record.
    ParseError
        All of them break off before their coordinates.
    """

    def __init__(self, data: bytes):
        if data.startswith(b"\xef\xbb\xbf"):
            data = data[3:]
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self.ends_with_newline = data.endswith(b"\n")
        if not self.ends_with_newline:
            data += b"\n"
        self._find_lines(data)
        indents = self._indents()
        self.n_indented = len(indents)  # records that were told from what follows blanks
        if indents:
            begins = [0, *(end for _, end in indents)]
            ends = [*(begin for begin, _ in indents), len(data)]
            kept = [data[begin:end] for begin, end in zip(begins, ends, strict=True)]
            self._find_lines(b"".join(kept))
        atom = (self._heads & np.uint64(0xFFFFFFFF)) == _word(b"ATOM")
        self.is_hetero = self._heads == _word(b"HETATM")
        records = np.flatnonzero(atom | self.is_hetero)
        if not len(records):
            raise NotAStructure("no-atoms", "the PDB file has no ATOM or HETATM record")
        # A record that breaks off before its residue number belongs to no residue.
        self.atom_lines = records[self.lengths[records] >= _RESIDUE_END]
        self.n_cut_records = len(records) - len(self.atom_lines)
        self.is_cut = not self.ends_with_newline and self._breaks_off(records)
        self.n_wide_residues = 0  # with records that `wide_records` mended; set by `read_atoms`
        self.flags_of_names: tuple[str, ...] = ()  # set by `read_atoms`
        self.n_behind_end = 0  # atoms left out for an END before them; set by `read_atoms`
        if not len(self.atom_lines):
            raise ParseError(
                "unreadable-coordinates",
                f"all {len(records)} ATOM and HETATM records end before their coordinates",
            )

    def _find_lines(self, data: bytes) -> None:
        self.data = data
        padded = np.frombuffer(data + b" " * _WIDTH, np.uint8)
        newlines = newlines_of(padded)
        self.starts = np.concatenate(([0], newlines[:-1] + 1))
        self.lengths = newlines - self.starts
        self._windows = windows(padded, _WIDTH)
        # The record name as one integer; a short line is not read into the next one.
        heads = np.zeros((len(self.starts), 8), np.uint8)
        heads[:, :6] = self._windows[self.starts, :6]
        short = np.flatnonzero(self.lengths < 6)
        beyond = np.arange(6) >= self.lengths[short, None]
        heads[short, :6] = np.where(beyond, np.uint8(BLANK), heads[short, :6])
        self._heads = heads.view("<u8").ravel()
        self._may_be_indented = heads[:, 0] == BLANK

    def _indents(self) -> list[tuple[int, int]]:
        """(begin, end) of the blanks before records of atoms, and before what ends chains and
        models between them."""
        found = []
        of_atoms = False
        for start in self.starts[self._may_be_indented & (self.lengths > 3)].tolist():
            match = _INDENTED.match(self.data, start)
            if match:
                found.append((start, match.end(1)))
                of_atoms = of_atoms or match.group(2) is not None
        return found if of_atoms else []

    def lines_of(self, record: bytes) -> NDArray[np.int64]:
        """Numbers of the lines of a record (its name padded to six characters)."""
        return np.flatnonzero(self._heads == _word(record.ljust(6)))

    def ters(self) -> NDArray[np.int64]:
        """Numbers of the lines of TER: it may have a wide serial number, or a tab behind it."""
        lines = np.flatnonzero((self._heads & np.uint64(0xFFFFFF)) == _word(b"TER"))
        fourth = (self._heads[lines] >> np.uint64(24)).astype(np.uint8)
        is_serial = (fourth - np.uint8(ord("0"))) < 10
        return lines[is_serial | (fourth == BLANK) | (fourth == ord("\t"))]

    def line(self, number: int) -> str:
        start = self.starts[number]
        return self.data[start : start + self.lengths[number]].decode("latin-1")

    def _breaks_off(self, records: NDArray[np.int64]) -> bool:
        """Whether the last line, which no newline ends, is the beginning of a record of an atom:
        of the name only, or shorter than all others of its kind."""
        last = len(self.lengths) - 1
        text = self.line(last)
        if any(name.startswith(text) for name in _OF_ATOMS):
            return True
        if not text.startswith(_OF_ATOMS):
            return False
        alike = records if records[-1] == last else np.flatnonzero(self._heads == self._heads[last])
        shortest = self.lengths[alike[:-1]].min(initial=_WIDTH)
        return int(self.lengths[last]) < min(int(shortest), _WIDTH)

    @property
    def head(self) -> bytes:
        """All before the first atom: a header may stand behind the record of a model."""
        return self.data[: self.starts[self.atom_lines[0]]]

    def header(self, records: Collection[str], remarks: Collection[str] = ()) -> list[str]:
        """The lines of some records, and of REMARKs of some numbers (all, if REMARK is among the
        records), before the first atom."""
        first = int(self.atom_lines[0])
        if not first:
            return []
        heads = self._heads[:first]
        # Sets of the few names: `np.isin` would sort the lines for them.
        named = {int(_word(r.ljust(6).encode())) for r in records}
        wanted = np.array([head in named for head in heads.tolist()], bool)
        of_remarks = np.flatnonzero((heads == _word(b"REMARK")) & ~wanted)
        numbers = np.ascontiguousarray(self._windows[self.starts[of_remarks], 7:10])
        of_number = {r.encode() for r in remarks}
        wanted[of_remarks] = [n in of_number for n in numbers.view("S3").ravel().tolist()]
        return [self.line(k) for k in np.flatnonzero(wanted).tolist()]

    def fields(self, lines: NDArray[np.int64], first: int = 0) -> Field:
        """80 columns of lines, from the one at `first` on, ``(n, 80) uint8``, blank-padded."""
        starts, lengths = self.starts[lines], self.lengths[lines]
        starts += first
        lengths -= first
        rows = self._windows[starts]
        if (lengths < _WIDTH).any():
            rows[np.arange(_WIDTH) >= lengths[:, None]] = BLANK
        return rows


def _word(text: bytes) -> np.uint64:
    return np.frombuffer(text.ljust(8, b"\0"), "<u8")[0]


def read_atoms(pdb: PdbText, models: Models, *, every_b_factor: bool = False) -> AtomTable:
    """Read the atoms of the first model of the file (whatever its number), or of all models;
    B-factors of CA only, or of every atom."""
    lines = pdb.atom_lines
    breaks = np.concatenate([pdb.lines_of(r) for r in (b"MODEL", b"ENDMDL", b"END")])
    breaks.sort()
    segment = np.searchsorted(breaks, lines)
    later_chains, later_residues = NOTHING_LATER
    if segment[0] != segment[-1] and models == "first":
        if len(pdb.lines_of(b"MODEL")):
            later_chains, later_residues = _later_content(pdb, segment)
        else:
            pdb.n_behind_end = _n_other_atoms(pdb, segment)
        lines = lines[segment == segment[0]]
        segment = segment[: len(lines)]
    model = _model_numbers(pdb, lines, segment)
    rows = pdb.fields(lines)
    n = len(lines)

    axes = coordinate_fields(rows)
    values, valid = decimals_of_fixed_places(axes, 3)
    all_exact = True
    mended = np.zeros(0, np.int64)
    wide: list[WideValues] = []
    if not valid.all():
        odd = np.flatnonzero(~valid.reshape(3, n).all(axis=0))

        def columns(some: NDArray[np.int64], first: int) -> Field:
            return pdb.fields(lines[some], first)

        mended, wide = mend(rows, odd, columns)
        values, valid, exact = decimals(coordinate_fields(rows) if len(mended) else axes, 3)
        valid.reshape(3, n)[:, odd] &= ~cut_coordinates(rows[odd])
        of_wide_z, z = mend_z(rows, odd, columns)
        values[2 * n + of_wide_z], valid[2 * n + of_wide_z] = z, True
        exact[2 * n + of_wide_z] = True
        mended = np.sort(np.concatenate((mended, of_wide_z)))
        all_exact = bool(exact.all())
    # Residue name, chain, number and insertion code: columns 18–27.
    heads = run_heads(rows, [(17, 27)])
    counts = run_lengths(heads, n)
    comp_id, chain, pdb.flags_of_names = comp_and_chain(rows, heads)
    of_heads, model_of_heads = rows[heads], segment[heads]
    seq_id, ins_code = read_residue_numbers(of_heads, chain, model_of_heads)
    n_below_zero = read_thousands_below_zero(of_heads, chain, model_of_heads, seq_id)
    comp_id, chain, ins_code = (np.repeat(texts, counts) for texts in (comp_id, chain, ins_code))
    seq_id = np.repeat(seq_id, counts)
    segid = rows[:, 72:76]
    for records in wide:
        comp_id = _with(comp_id, records.rows, records.comp_id)
        blank = records.chain == b""
        chain = _with(chain, records.rows, np.where(blank, BLANK_CHAIN, records.chain))
        seq_id[records.rows] = records.seq_id
        ins_code[records.rows] = records.ins_code
    if len(mended):
        residues = (segment, chain, seq_id, ins_code, comp_id)
        pdb.n_wide_residues = len(changes(*(column[mended] for column in residues)))
    pdb.n_wide_residues += n_below_zero
    valid &= np.abs(values) <= MAX_COORDINATE
    values[~valid] = 0
    coords = np.ascontiguousarray(values.reshape(3, n).T, np.int32)
    located: NDArray[np.bool_] = np.logical_and.reduce(valid.reshape(3, n), axis=0)
    if not pdb.ends_with_newline and lines[-1] == len(pdb.lengths) - 1:
        # The file is cut within this record; half a number looks like a number.
        located[-1] &= pdb.lengths[-1] >= _COORDINATES_END
    steps = run_heads(rows, [(54, 60)])
    values, valid, _ = decimals(rows[steps, 54:60], 2)
    occupancy = np.where(valid, np.clip(values, -(2**20), 2**20), 100).astype(np.int32)
    name, had_lower_case_names = in_capitals(names(rows[:, 12:16]))
    alphas = np.arange(n) if every_b_factor else np.flatnonzero(is_name(name, b"CA"))
    values, valid, _ = decimals(rows[alphas, 60:66], 2)
    b_factor = np.zeros(n, np.float32)
    b_factor[alphas] = np.where(valid, values, 0) / 1e2
    stretch, after_ter = _stretches(pdb, lines, chain, segment)
    return AtomTable(
        model=model,
        hetero=pdb.is_hetero[lines],
        element=with_hydrogens_named_for_metals(read_elements(rows, name, comp_id), name, comp_id),
        name=name,
        altloc=names(rows[:, 16:17]),
        comp_id=comp_id,
        label_asym_id=chain,
        auth_asym_id=chain,
        label_entity_id=empty_names(n),
        label_seq_id=np.full(n, ABSENT, np.int32),
        auth_seq_id=seq_id,
        ins_code=ins_code,
        coords=coords,
        located=located,
        occupancy=np.repeat(occupancy, run_lengths(steps, n)),
        b_factor=b_factor,
        after_ter=after_ter,
        stretch=stretch,
        segid=None if is_constant(segid) else names(segid),
        rounded=not all_exact,
        later_chains=later_chains,
        later_residues=later_residues,
        had_lower_case_names=had_lower_case_names,
    )


def _later_content(
    pdb: PdbText, segment: NDArray[np.intp]
) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    rows = pdb.fields(pdb.atom_lines)
    heads = np.union1d(run_heads(rows, [(17, 27)]), changes(segment))
    model = segment[heads]
    if is_same_in_all(model, np.ascontiguousarray(rows[heads, 17:27]).view("S10").ravel()):
        return NOTHING_LATER
    comp_id, chain, _ = comp_and_chain(rows, heads)
    numbers = np.ascontiguousarray(rows[heads, 22:27]).view("S5").ravel()
    hetero = pdb.is_hetero[pdb.atom_lines[heads]]
    return only_later(model, chain, comp_id, [numbers], hetero)


def count_unread(pdb: PdbText) -> dict[str, int]:
    """What is read of no file: later models, formal charges of atoms of the first, and CONECT
    records."""
    lines, ends = pdb.atom_lines, pdb.lines_of(b"ENDMDL")
    if len(ends):
        lines = lines[lines < ends[0]]
    digit, sign = pdb.fields(lines)[:, 78:80].T
    charged = (digit > ord("0")) & (digit <= ord("9")) & ((sign == ord("+")) | (sign == ord("-")))
    return {
        "later model": max(0, len(pdb.lines_of(b"MODEL")) - 1),
        "formal charge": int(np.count_nonzero(charged)),
        "CONECT record": len(pdb.lines_of(b"CONECT")),
    }


def _n_other_atoms(pdb: PdbText, segment: NDArray[np.intp]) -> int:
    """Atoms behind the first END or ENDMDL that are not those before it, once more.

    A trajectory has the same atoms again; files that were put behind each other have others.
    """
    names = pdb.fields(pdb.atom_lines)[:, 12:26]
    first = names[segment == segment[0]]
    bounds = [*changes(segment).tolist(), len(segment)]
    later = [names[begin:end] for begin, end in pairwise(bounds)][1:]
    return sum(len(other) for other in later if not np.array_equal(other, first))


def _with(
    column: NDArray[np.bytes_], rows: NDArray[np.int64], values: NDArray[np.bytes_]
) -> NDArray[np.bytes_]:
    """The column with other names at some rows, as wide as they need."""
    if values.dtype.itemsize > column.dtype.itemsize:
        column = column.astype(f"S{item_size(values.dtype.itemsize)}")
    column[rows] = values
    return column


def _model_numbers(
    pdb: PdbText, lines: NDArray[np.int64], segment: NDArray[np.intp]
) -> NDArray[np.int32]:
    """The number on each segment's MODEL record; its place in the file where there is none."""
    headers = pdb.lines_of(b"MODEL")
    numbers = np.ones(len(lines), np.int32)
    used: set[int] = set()
    firsts = changes(segment) if segment[0] != segment[-1] else np.zeros(1, np.int64)
    ends = [*firsts[1:].tolist(), len(lines)]
    for ordinal, (first, end) in enumerate(zip(firsts.tolist(), ends, strict=True), start=1):
        number = ordinal
        k = int(np.searchsorted(headers, lines[first]))
        if k:
            match = _MODEL.fullmatch(pdb.line(headers[k - 1]))
            if match and int(match[1]) not in used:
                number = int(match[1])
        while number in used:
            number += 1
        used.add(number)
        numbers[first:end] = number
    return numbers


def _stretches(
    pdb: PdbText, lines: NDArray[np.int64], chain: NDArray[np.bytes_], segment: NDArray[np.intp]
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """(number of TER of its chain and model before each atom, whether these are all).

    What stands behind the last TER are ligands and waters, as a rule.
    """
    stretch = np.zeros(len(lines), np.int32)
    after = np.zeros(len(lines), bool)
    before = np.searchsorted(lines, pdb.ters()) - 1  # the atom that a TER follows
    ended: dict[tuple[int, bytes], list[int]] = {}
    for k in before[before >= 0].tolist():
        ended.setdefault((int(segment[k]), chain[k]), []).append(k)
    for (model, name), ends in ended.items():
        if ends[0] >= len(lines) - 1:
            continue
        rows = np.flatnonzero((chain == name) & (segment == model))
        stretch[rows] = np.searchsorted(ends, rows)
        after[rows] = stretch[rows] == len(ends)
    return stretch, after
