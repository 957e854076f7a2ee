"""Residue names and chain ids of PDB records: what a letter in column 21 belongs to.

The column is blank by the format. Where it is not, it is the first letter of a two-letter chain id
(entries with more than 62 chains), or the fourth of a residue name (AMBER, CHARMM, CYANA, GROMACS).
Where both can be, ``CASN A`` without its blank being one, the residue's atoms decide, and its
place: what stands among the numbers of chain A is of chain A.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.geometry.neighbours import ranges
from pipeline.parsing.fields import BLANK, Field, is_name, item_size, names, run_lengths
from pipeline.residues import Linking, component
from pipeline.residues.components import is_name_of_standard

BLANK_CHAIN = b"_"
_BEGIN, _END = 17, 22
_FOUR_LETTER_NAMES = frozenset({"TIP3", "TIP4", "TIP5", "SPCE", "POPC", "POPE"})
_ATOMS_OF = {
    Linking.PEPTIDE: (b"CA",),
    Linking.NUCLEIC: (b"C1'", b"C1*", b"P"),
}
"""Of a residue whose name has this meaning, one of these is there, if anything is."""
_DIGITS = "0123456789"


def comp_and_chain(
    rows: Field, heads: NDArray[np.int64]
) -> tuple[NDArray[np.bytes_], NDArray[np.bytes_], tuple[str, ...]]:
    """Read residue names (columns 18–20) and chain ids (22).

    Parameters
    ----------
    rows : (n, 80) uint8
        Records of atoms.
    heads : (h,) int
        First records of stretches of one residue name, chain id and number.

    Returns
    -------
    comp_id, chain : (h,) bytes
    flags : tuple of str
        Names that might have been read otherwise.
    """
    of_head = rows[heads]
    comp_id = names(of_head[:, _BEGIN : _BEGIN + 3])
    chain = names(of_head[:, _END - 1 : _END])
    flags: tuple[str, ...] = ()
    if (of_head[:, _BEGIN + 3] != BLANK).any():
        spilled = _Spilled(rows, heads)
        long = spilled.long_names()
        comp_id = comp_id.astype(f"S{item_size(max([4, *map(len, long.values())]))}")
        chain = chain.astype("S2")
        for place in spilled.places:
            cell = spilled.cells[place]
            name, ident = long.get(cell, cell[:3]), cell[3:]
            if cell in long:
                ident = cell[4] if len(name) == 4 else spilled.around[place].ident
            comp_id[place] = name.strip().encode("latin-1")
            chain[place] = ident.strip().encode("latin-1")
        flags = spilled.flags
    chain[chain == b""] = BLANK_CHAIN
    return comp_id, chain, flags


@dataclass(frozen=True, slots=True)
class _Around:
    """What stands around a stretch of residues with a letter in column 21.

    Attributes
    ----------
    before, behind : str
        Chain ids of the residues of a protein directly before and behind, without such a letter;
        empty where there are none.
    lower, higher : str
        The same, where the number before is no higher, and that behind no lower.
    next_to : str
        Those of them whose number is the next one, or the same.
    is_alone : bool
        The stretch is one residue.
    """

    before: str
    behind: str
    lower: str
    higher: str
    next_to: str
    is_alone: bool

    @property
    def ident(self) -> str:
        """The chain whose numbers go on behind the stretch."""
        return self.lower if self.lower == self.higher else ""


class _Spilled:
    """The residues with a letter in column 21.

    Attributes
    ----------
    cells : list of str
        Name and chain, five characters, of all residues.
    places : list of int
        Where the letter is.
    around : dict
        Place → what is around it.
    flags : tuple of str
        Set by `long_names`.
    """

    def __init__(self, rows: Field, heads: NDArray[np.int64]):
        self._heads = heads
        self._counts = run_lengths(heads, len(rows))
        of_head = rows[heads]
        self._is_hetero = of_head[:, 0] == ord("H")
        self._numbers = np.ascontiguousarray(of_head[:, _END : _END + 4]).view("S4").ravel()
        words = np.ascontiguousarray(of_head[:, _BEGIN:_END]).view("S5").ravel().tolist()
        self.cells = [word.decode("latin-1").ljust(5) for word in words]
        self.places = np.flatnonzero(of_head[:, _BEGIN + 3] != BLANK).tolist()
        self._where: dict[str, list[int]] = {}  # cell → its places
        for place in self.places:
            self._where.setdefault(self.cells[place], []).append(place)
        self.around = self._look_around()
        self._name = names(rows[:, 12:16])
        self._with: dict[tuple[bytes, ...], NDArray[np.bool_]] = {}
        self.flags: tuple[str, ...] = ()

    def _has(self, *atoms: bytes) -> NDArray[np.bool_]:
        """Which residues have one of the atoms."""
        if atoms not in self._with:
            found = np.logical_or.reduce([is_name(self._name, atom) for atom in atoms])
            self._with[atoms] = np.logical_or.reduceat(found, self._heads)
        return self._with[atoms]

    def _look_around(self) -> dict[int, _Around]:
        around: dict[int, _Around] = {}
        stretch: list[int] = []
        for place, following in zip(self.places, [*self.places[1:], -1], strict=True):
            stretch.append(place)
            if following == place + 1:
                continue
            numbers = [self._number(k) for k in stretch]
            first, last = stretch[0] - 1, place + 1
            before, behind = self._chain_at(first), self._chain_at(last)
            up = min(numbers) - self._number(first) if before else -1
            down = self._number(last) - max(numbers) if behind else -1
            lower, higher = (before if up >= 0 else ""), (behind if down >= 0 else "")
            next_to = (before if 0 <= up <= 1 else "") + (behind if 0 <= down <= 1 else "")
            found = _Around(before, behind, lower, higher, next_to, len(stretch) == 1)
            around.update(dict.fromkeys(stretch, found))
            stretch = []
        return around

    def _number(self, place: int) -> float:
        """NaN where there is none."""
        text = self._numbers[place].strip()
        return int(text) if text.removeprefix(b"-").isdigit() else float("nan")

    def _chain_at(self, place: int) -> str:
        """The id of a residue of a protein without a letter in column 21; else empty. One of the
        twenty in a HETATM record is a ligand."""
        cell = self.cells[place] if 0 <= place < len(self.cells) else ""
        if cell[3:4] != " " or (self._is_hetero[place] and is_name_of_standard(cell[:3])):
            return ""
        found = component(cell[:3].strip())
        is_peptide = found is not None and found.linking == Linking.PEPTIDE
        return cell[4] if is_peptide or is_name_of_standard(cell[:3]) else ""

    # ---- what is a name ----

    def long_names(self) -> dict[str, str]:
        """Cell → its name of four letters, or five; the others begin with a name of three."""
        cells = sorted(self._where)
        known = {cell for cell in cells if _is_known(cell)}
        agreeing = {cell for cell in known if self._has_atoms_of(cell)}
        runs = self._runs()
        free = [cell for cell in cells if cell[3:] not in runs]
        inside = {cell for cell in free if self._is_inside(cell)}
        beside = {cell for cell in free if self._is_beside(cell)}
        is_standard = {cell: is_name_of_standard(cell[:4]) for cell in cells}
        # A letter before a blank column 22 is no chain id, if chain ids elsewhere are blank.
        is_chain = agreeing - inside - {cell for cell in beside if cell[4] == " "}
        chains = {cell[3:] for cell in is_chain if not is_standard[cell]}

        contradicted = known - agreeing
        if chains or not (contradicted and any(map(self._chain_at, range(len(self.cells))))):
            contradicted = set()  # every residue may be of a chain with two letters

        long: dict[str, str] = {}
        decided: set[str] = set()  # names of which column 21 might have been a chain's
        for cell in cells:
            name = cell[:4]
            is_certain = False
            if name in _FOUR_LETTER_NAMES:
                is_certain = True
            elif is_standard[cell]:
                if cell[3:] in chains or not self._is_of_standard(cell, bool(chains)):
                    continue
                is_certain = cell not in known
            elif cell not in known and component(name) is not None:
                is_certain = True
            elif cell in inside:
                idents = {self.around[place].ident for place in self._where[cell]}
                name = name if cell[4] in idents else cell
            elif cell[3:] in chains or cell not in beside | contradicted:
                continue
            long[cell] = name
            if not is_certain:
                decided.add(name)
        n_residues = Counter(self.cells[place][3:] for place in self.places)
        unclear = {c for c in beside - long.keys() if n_residues[c[3:]] == 1}
        self.flags = _flags(decided, unclear)
        return long

    def _runs(self) -> set[str]:
        """Chain ids of two letters that three residues in a row have, not all of one name, nor all
        of a name of four letters that force fields have."""
        found = set()
        for one, two, three in zip(self.places, self.places[1:], self.places[2:], strict=False):
            cells = [self.cells[place] for place in (one, two, three)]
            if three - one != 2 or len({cell[3:] for cell in cells}) > 1 or cells[0][4] == " ":
                continue
            if len({*cells}) > 1 and not all(is_name_of_standard(cell[:4]) for cell in cells):
                found.add(cells[0][3:])
        return found

    def _has_atoms_of(self, cell: str) -> bool:
        """Whether the atoms allow what the first three letters mean."""
        found = component(cell[:3].strip())
        wanted = _ATOMS_OF.get(found.linking) if found is not None else None
        return wanted is None or bool(self._has(*wanted)[self._where[cell]].any())

    def _is_inside(self, cell: str) -> bool:
        """Whether all residues of this cell are beside one chain, by their numbers, and some are
        between two of its residues. If column 22 does not have its id, the name takes the column:
        then each of them, alone."""
        around = {self.around[place] for place in self._where[cell]}
        idents = {a.ident for a in around if a.ident}
        if len(idents) != 1:
            return False
        (ident,) = idents
        if ident == cell[4]:
            return all(ident in (a.lower, a.higher) for a in around)
        return all(a.ident and a.is_alone for a in around)

    def _is_beside(self, cell: str) -> bool:
        """Whether all residues of this cell have a CA, and are next to the chain that column 22
        names."""
        around = {self.around[place] for place in self._where[cell]}
        return all(cell[4] in a.next_to for a in around) and bool(
            self._has(b"CA")[self._where[cell]].all()
        )

    def _is_of_standard(self, cell: str, has_long_chain_ids: bool) -> bool:
        """Whether it is a force field's name of one of the twenty: by its place and its atoms,
        unless nothing else can be meant."""
        if not _is_known(cell) or cell[3] in "+-":
            return True
        where = self._where[cell]
        if not any(self._has_neighbour(place, has_long_chain_ids) for place in where):
            return False
        atoms = self._name[ranges(self._heads[where], self._counts[where])]
        return component(cell[:4], _heavy(atoms)) is not None

    def _has_neighbour(self, place: int, has_long_chain_ids: bool) -> bool:
        """Whether a residue beside it has the same chain id, in column 22 alone: behind the first
        of a chain, before the last, on either side of another."""
        cell, around = self.cells[place], self.around[place]
        end = _end(cell)
        if not end and has_long_chain_ids:
            return around.ident == cell[4]
        before = around.before == cell[4] or self._is_other_end(place, place - 1)
        behind = around.behind == cell[4] or self._is_other_end(place, place + 1)
        return (before and end != "N") or (behind and end != "C")

    def _is_other_end(self, place: int, other: int) -> bool:
        """Of a dipeptide."""
        if not 0 <= other < len(self.cells) or self.cells[other][3] == " ":
            return False
        one, two = self.cells[place], self.cells[other]
        return one[4] == two[4] and {_end(one), _end(two)} == {"N", "C"}


def _flags(decided: set[str], unclear: set[str]) -> tuple[str, ...]:
    def told(flag: str, found: Iterable[str]) -> list[str]:
        texts = sorted(text.strip() for text in found)
        return [f"{flag}:" + ",".join(texts)] if texts else []

    return (
        *told("four_letter_names", (name for name in decided if len(name) == 4)),
        *told("five_letter_names", (name for name in decided if len(name) == 5)),
        *told("name_or_chain", unclear),
    )


def _is_known(cell: str) -> bool:
    """The first three letters have a meaning without the fourth."""
    return component(cell[:3].strip()) is not None


def _end(cell: str) -> str:
    """N or C where the name is that of a terminal residue: CASN, but not CYSH."""
    return cell[0] if cell[0] in "NC" and is_name_of_standard(cell[1:4]) else ""


def _heavy(found: NDArray[np.bytes_]) -> set[str]:
    """Names of heavy atoms; none of the twenty's begins with H or D."""
    texts = {name.decode("latin-1") for name in set(found.tolist())}
    return {text for text in texts if text.lstrip(_DIGITS)[:1] not in ("H", "D")}
