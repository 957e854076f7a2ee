"""Residues of an input by the author's chain ids and numbers: ``A10-20,A35``, ``1:10-20``."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.errors import RequestError
from model.sample.inputs import InputStructure

# Author's numbers may be negative: A-5--2 is -5 to -2.
_RANGE = re.compile(r"(?:([A-Za-z_]+)|([^\s:,/]+):)(-?\d+)(?:-(-?\d+))?")


@dataclass(frozen=True)
class ResidueRange:
    """Residues `first` to `last` of a chain, both included."""

    chain: str
    first: int
    last: int

    def __str__(self) -> str:
        chain = self.chain if re.fullmatch("[A-Za-z_]+", self.chain) else f"{self.chain}:"
        if self.first == self.last:
            return f"{chain}{self.first}"
        return f"{chain}{self.first}-{self.last}"


def parse_residue_range(token: str) -> ResidueRange | None:
    """The range that a word such as ``A10-20`` or ``A35`` names; None if it is no such word.

    A chain id with digits in it ends with a colon: ``1:10-20``.

    Raises
    ------
    RequestError
        It ends before it begins.
    """
    match = _RANGE.fullmatch(token)
    if match is None:
        return None
    chain = match[1] or match[2]
    first = int(match[3])
    last = first if match[4] is None else int(match[4])
    if last < first:
        turned = ResidueRange(chain, last, first)
        raise RequestError(f"{token!r} ends before it begins; write {turned}")
    return ResidueRange(chain, first, last)


def parse_fixed(text: str) -> list[ResidueRange]:
    """Ranges separated by commas.

    Raises
    ------
    RequestError
        Names the token.
    """
    found = []
    for token in re.split(r"[,\s]+", text.strip(", \t")):
        residues = parse_residue_range(token)
        if residues is None:
            raise RequestError(
                f"--fixed: {token!r} names no residues; write chain and numbers, as in A10-20,A35"
            )
        found.append(residues)
    return found


def find_rows(residues: ResidueRange, structure: InputStructure) -> NDArray[np.int64]:
    """Rows of the residues, in the order of the file; residues with insertion codes are in.

    Raises
    ------
    RequestError
        There is no such chain, or the first or last residue is not there.
    """
    in_chain = structure.auth_asym_id == residues.chain
    if not in_chain.any():
        there = " ".join(dict.fromkeys(structure.auth_asym_id.tolist()))
        raise RequestError(
            f"{str(residues)!r}: {structure.name} has no chain {residues.chain}; it has {there}"
        )
    numbers = structure.auth_seq_id[in_chain & structure.numbered]
    for number in (residues.first, residues.last):
        if number not in numbers:
            raise RequestError(
                f"{str(residues)!r}: chain {residues.chain} of {structure.name} has no residue "
                f"{number}; its residues go from {numbers.min()} to "
                f"{numbers.max()}"
            )
    all_numbers = structure.auth_seq_id
    inside = in_chain & structure.numbered
    inside &= (all_numbers >= residues.first) & (all_numbers <= residues.last)
    # Residues without a number, because they were not resolved, are among their neighbours.
    rows = np.flatnonzero(inside)
    between = np.arange(rows[0], rows[-1] + 1)
    return between[inside[between] | (in_chain & ~structure.numbered)[between]]
