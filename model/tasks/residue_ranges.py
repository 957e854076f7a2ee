"""Residues by chain and author's number: ``A10-20,A35``, ``A52A``, ``1:10-20``; ``B``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.tasks.inputs import InputStructure, told_ids
from pipeline.errors import UsageError
from pipeline.residues import UNKNOWN

# Author's numbers may be negative: A-5--2 is -5 to -2. An insertion code is a letter.
_RANGE = re.compile(
    r"(?:([A-Za-z_]+)|([^\s:,/]+):)(-?\d+)([A-Za-z]?)(?:-(-?\d+)([A-Za-z]?))?", re.ASCII
)
_CHAIN = re.compile(r"([A-Za-z_]+)|([^\s:,/]+):", re.ASCII)
_LETTERS = re.compile("[A-Za-z_]+")
_SHOWN = 6
"""Parts that a sentence lists."""


@dataclass(frozen=True)
class ResidueRange:
    """Residues `first` to `last` of a chain, both included; or all of it, without numbers.

    `first_code` and `last_code` are their insertion codes, ``""`` where they have none.
    """

    chain: str
    first: int | None = None
    last: int | None = None
    first_code: str = ""
    last_code: str = ""

    def __str__(self) -> str:
        chain = self.chain if _LETTERS.fullmatch(self.chain) else f"{self.chain}:"
        if self.is_whole:
            return chain
        first, last = (f"{number}{code}" for number, code in self.ends)
        return f"{chain}{first}" if first == last else f"{chain}{first}-{last}"

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the chain."""
        return self.first is None or self.last is None

    @property
    def ends(self) -> tuple[tuple[int, str], ...]:
        """Number and insertion code of the first and of the last residue; nothing for a chain."""
        if self.first is None or self.last is None:
            return ()
        return (self.first, self.first_code), (self.last, self.last_code)


def parse_residue_range(token: str) -> ResidueRange | None:
    """The range that a word such as ``A10-20``, ``A52A`` or ``B`` names; None if it names none.

    A chain id that is not of letters ends with a colon: ``1:10-20``, ``A.2:10-20``, ``A.2:``.

    Raises
    ------
    UsageError
        It ends before it begins.
    """
    whole = _CHAIN.fullmatch(token)
    if whole is not None:
        return ResidueRange(whole[1] or whole[2])
    match = _RANGE.fullmatch(token)
    if match is None:
        return None
    chain = match[1] or match[2]
    first, code = int(match[3]), match[4]
    if match[5] is None:
        return ResidueRange(chain, first, first, code, code)
    last = int(match[5])
    if last < first:
        turned = ResidueRange(chain, last, first, match[6], code)
        raise UsageError(f"{token!r} ends before it begins; write {turned}")
    return ResidueRange(chain, first, last, code, match[6])


def parse_ranges(text: str, option: str) -> list[ResidueRange]:
    """Ranges separated by commas, as an option has them.

    Raises
    ------
    UsageError
        Names the token.
    """
    found = []
    for token in re.split(r"[,\s]+", text.strip(", \t")):
        residues = parse_residue_range(token)
        if residues is None:
            raise UsageError(
                f"{option}: {token!r} names no residues; write chain and numbers, as in "
                "A10-20,A35,A52A, 1:10-20 for a chain whose id is not of letters, _10-20 for one "
                "without an id, or the chain alone for all of it"
            )
        found.append(residues)
    return found


def find_rows(residues: ResidueRange, structure: InputStructure) -> NDArray[np.int64]:
    """Rows of the residues, from the first to the last in the order of the file.

    Raises
    ------
    UsageError
        There is no such chain; the first or last residue is not there, or twice; or the numbers of
        the chain do not say which residues lie between.
    """
    chain = structure.find_chain(residues.chain)
    if chain is None:
        raise UsageError(
            f"{str(residues)!r}: {structure.name} has no chain {residues.chain}; it has "
            f"{told_ids(structure.chain_ids)}"
        )
    if residues.first is None or residues.last is None:
        return np.flatnonzero(structure.structure.chain_index == chain)
    begin, end = (_row_of(e, residues, chain, structure) for e in residues.ends)
    if end < begin:
        raise UsageError(
            f"{str(residues)!r}: residue {structure.number(end)} comes before "
            f"{structure.number(begin)} in chain {residues.chain} of {structure.name}; write the "
            f"parts that you mean, in the order of the file: {parts_of(structure, end, begin)}"
        )
    rows = np.arange(begin, end + 1)
    numbers = structure.auth_seq_id
    # Residues without a number, because they were not resolved, are among their neighbours.
    asked = (numbers > residues.first) & (numbers < residues.last)
    within = structure.structure.chain_index == chain
    stray = within & structure.numbered & asked
    stray[rows] = False
    between = (numbers < residues.first) | (numbers > residues.last)
    if stray.any() or (between & structure.numbered)[rows].any():
        raise UsageError(
            f"{str(residues)!r}: the numbers of chain {residues.chain} of {structure.name} do not "
            f"rise from {structure.number(begin)} to {structure.number(end)}; write the parts that "
            f"you mean; in the file's order, {parts_of(structure, begin, end)} stand there"
        )
    return rows


def _row_of(
    end: tuple[int, str], residues: ResidueRange, chain: int, structure: InputStructure
) -> int:
    number, code = end
    in_chain = (structure.structure.chain_index == chain) & structure.numbered
    alike = np.flatnonzero(in_chain & (structure.auth_seq_id == number))
    rows = alike[structure.ins_code[alike] == (ord(code) if code else 0)]
    if len(rows) == 1:
        return int(rows[0])
    where = f"{str(residues)!r}: chain {residues.chain} of {structure.name}"
    if len(rows):
        raise UsageError(
            f"{where} has {len(rows)} residues {number}{code}; number them anew to name one"
        )
    if len(alike):
        there = " ".join(structure.number(row) for row in alike)
        raise UsageError(f"{where} has no residue {number}{code}; it has {there}")
    numbers = structure.auth_seq_id[in_chain]
    raise UsageError(
        f"{where} has no residue {number}{code}{_other_of(end, chain, structure)}; its residues go "
        f"from {numbers.min()} to {numbers.max()}"
    )


def _other_of(end: tuple[int, str], chain: int, structure: InputStructure) -> str:
    """What has the number and is no residue of the protein."""
    others = structure.others
    if others is None:
        return ""
    number, code = end
    author = structure.chains[chain].auth_asym_id.encode()
    alike = (others.auth_seq_id == number) & (others.ins_code == code.encode())
    names = sorted({*others.comp_id[alike & (others.auth_asym_id == author)].astype("U").tolist()})
    return f" of the protein ({' and '.join(names)} comes back as it is)" if names else ""


def remarks(
    ranges: Sequence[ResidueRange], structure: InputStructure, *, keeps_types: bool = True
) -> list[str]:
    """What somebody who named these ranges should know of what they name.

    Residues that differ from an end by their insertion code alone are not in: ``A50-52`` ends with
    residue 52, and 52A is behind it. A chain may be named by its ``label_asym_id``. If what is
    named keeps its type, then of residues of which nobody knows what they are the backbone alone
    does.

    Raises
    ------
    UsageError
        As `find_rows`.
    """
    named = np.zeros(len(structure.structure), bool)
    for residues in ranges:
        named[find_rows(residues, structure)] = True
    said = []
    for residues in ranges:
        chain = structure.find_chain(residues.chain)
        assert chain is not None
        if (ident := structure.chain_ids[chain]) != residues.chain:
            said.append(f"{residues.chain} is the label_asym_id of chain {ident}")
        # Who writes a code knows of codes.
        plain = [number for number, code in residues.ends if not code]
        left = (structure.structure.chain_index == chain) & structure.numbered & ~named
        left &= np.isin(structure.auth_seq_id, plain)
        if left.any():
            there = ", ".join(structure.number(row) for row in np.flatnonzero(left))
            said.append(f"{str(residues)!r} does not name {there}")
    unknown = named & (structure.structure.aatype == UNKNOWN) & structure.resolved
    unknown &= structure.is_nameless
    if keeps_types and unknown.any():
        there = ", ".join(structure.describe(row) for row in np.flatnonzero(unknown))
        said.append(f"what type {there} is of is not known: backbones are kept, types are not")
    return [f"{structure.name}: {sentence}" for sentence in dict.fromkeys(said)]


def parts_of(structure: InputStructure, begin: int, end: int) -> str:
    """Rows `begin` to `end` as ranges, each of residues whose numbers follow one another."""
    numbered = np.arange(begin, end + 1)[structure.numbered[begin : end + 1]]
    step = np.diff(structure.auth_seq_id[numbered])
    pieces = np.split(numbered, np.flatnonzero((step < 0) | (step > 1)) + 1)
    parts = [str(_range(structure, int(piece[0]), int(piece[-1]))) for piece in pieces]
    return ", ".join(parts[:_SHOWN]) + (" …" if len(parts) > _SHOWN else "")


def _range(structure: InputStructure, begin: int, end: int) -> ResidueRange:
    codes = [chr(code) if code else "" for code in structure.ins_code[[begin, end]].tolist()]
    return ResidueRange(
        structure.chain_id(begin),
        int(structure.auth_seq_id[begin]),
        int(structure.auth_seq_id[end]),
        *codes,
    )
