"""Residue names and chain ids of PDB records: what a letter in column 21 belongs to.

The column is blank by the format. Where it is not, it is the first letter of a two-letter chain id
(entries with more than 62 chains), or the fourth of a residue name (AMBER, CHARMM, GROMACS). Where
both can be, ``CASN A`` without its blank being one, the file and the residue's atoms decide.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.geometry.neighbours import ranges
from pipeline.parsing.fields import BLANK, Field, names, run_lengths
from pipeline.residues import Linking, component
from pipeline.residues.components import is_name_of_standard

BLANK_CHAIN = b"_"
_BEGIN, _END = 17, 22
_FOUR_LETTER_NAMES = frozenset({"TIP3", "TIP4", "TIP5", "SPCE", "POPC", "POPE", "DPPC"})
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
        First records of stretches of one residue name and chain id.

    Returns
    -------
    comp_id, chain : (h,) bytes
    decided : tuple of str
        Names of four letters whose first three have a meaning of their own.
    """
    of_head = rows[heads]
    comp_id = names(of_head[:, _BEGIN : _BEGIN + 3])
    chain = names(of_head[:, _END - 1 : _END])
    decided: tuple[str, ...] = ()
    spill = np.flatnonzero(of_head[:, _BEGIN + 3] != BLANK).tolist()
    if spill:
        comp_id = comp_id.astype("S4")
        chain = chain.astype("S2")
        words = np.ascontiguousarray(of_head[:, _BEGIN:_END]).view("S5").ravel().tolist()
        cells = [word.decode("latin-1").ljust(5) for word in words]
        long, decided = _four_letter_names(rows, heads, cells)
        for row in spill:
            cell = cells[row]
            if cell in long:
                comp_id[row] = cell[:4].strip().encode("latin-1")
            else:
                chain[row] = cell[3:].strip().encode("latin-1")
    chain[chain == b""] = BLANK_CHAIN
    return comp_id, chain, decided


def _four_letter_names(
    rows: Field, heads: NDArray[np.int64], cells: list[str]
) -> tuple[set[str], tuple[str, ...]]:
    """Which of the cells (name and chain, five characters) begin with a name of four letters; and
    those names that might have been read otherwise."""
    spilled = {cell for cell in cells if cell[3] != " "}
    chains = {cell[3:] for cell in spilled if _is_known(cell) and not _is_of_force_field(cell)}
    long: set[str] = set()
    unclear: dict[str, list[int]] = {}  # where such cells stand
    for cell in spilled:
        if cell[:4] in _FOUR_LETTER_NAMES:
            long.add(cell)
        elif _is_of_force_field(cell):
            if cell[3:] not in chains:
                unclear[cell] = []
        elif not _is_known(cell) and component(cell[:4]) is not None:
            long.add(cell)
    for place, cell in enumerate(cells):
        if cell in unclear:
            unclear[cell].append(place)
    counts = run_lengths(heads, len(rows))
    decided = set()
    for cell, where in unclear.items():
        if not _is_known(cell):
            long.add(cell)
        elif _has_neighbour(cell, where, cells, has_long_chain_ids=bool(chains)):
            atoms = rows[ranges(heads[where], counts[where]), 12:16]
            if component(cell[:4], _heavy_atoms(atoms)) is not None:
                decided.add(cell)
    return long | decided, tuple(sorted({cell[:4] for cell in decided}))


def _is_known(cell: str) -> bool:
    """The first three letters have a meaning without the fourth."""
    return component(cell[:3].strip()) is not None


def _is_of_force_field(cell: str) -> bool:
    return is_name_of_standard(cell[:4])


def _end(cell: str) -> str:
    """N or C where the name is that of a terminal residue: CASN, but not CYSH."""
    return cell[0] if cell[0] in "NC" and is_name_of_standard(cell[1:4]) else ""


def _has_neighbour(
    cell: str, where: list[int], cells: list[str], *, has_long_chain_ids: bool
) -> bool:
    """Whether a residue stands beside it that has the same chain id, in column 22 alone: behind
    the first of a chain, before the last, on either side of another."""
    end = _end(cell)
    steps = {"N": (1,), "C": (-1,), "": () if has_long_chain_ids else (-1, 1)}[end]
    places = {place + step for place in where for step in steps}
    beside = {cells[place] for place in places if 0 <= place < len(cells)}
    return any(other[4] == cell[4] and _is_plain_residue(other, end) for other in beside)


def _is_plain_residue(cell: str, beside: str) -> bool:
    if cell[3] != " ":
        return {_end(cell), beside} == {"N", "C"}
    found = component(cell[:3])
    is_peptide = found is not None and found.linking == Linking.PEPTIDE
    return is_peptide or is_name_of_standard(cell[:3])


def _heavy_atoms(field: Field) -> set[str]:
    """Their names; no heavy atom of the twenty begins with H or D."""
    found = {name.decode("latin-1") for name in set(names(field).tolist())}
    return {name for name in found if name.lstrip(_DIGITS)[:1] not in ("H", "D")}
