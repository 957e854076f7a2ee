"""Atoms of a stored chain in the order of files, with the names that files give them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.chain import Chain
from pipeline.export.others import KeptResidue
from pipeline.residues import (
    AATYPE_OF_LETTER,
    ATOM14_ELEMENT,
    ATOM14_NAMES,
    N_SLOTS,
    RESTYPES,
)

RESIDUE_NAMES = (*RESTYPES, "UNK")
"""By ``aatype``: an X is written as UNK, the component that says no more than that."""


@dataclass(frozen=True, slots=True)
class Atoms:
    """The atoms of a chain, residue by residue in the order of slots.

    Attributes
    ----------
    residue : (A,) int64
        Row of the chain.
    names, elements : list of str
    """

    residue: NDArray[np.int64]
    names: list[str]
    elements: list[str]

    @classmethod
    def of(cls, chain: Chain) -> Atoms:
        """Name the atoms that the masks say are there."""
        present = (chain.atom14_mask[:, None] >> np.arange(N_SLOTS, dtype=np.uint16)) & 1
        residue, slot = np.nonzero(present)
        places = list(zip(chain.aatype[residue].tolist(), slot.tolist(), strict=True))
        return cls(
            residue=residue,
            names=[ATOM14_NAMES[a][s] for a, s in places],
            elements=[ATOM14_ELEMENT[a][s] for a, s in places],
        )


Kept = Mapping[int, KeptResidue]
"""Row of a chain → what it is written with."""


class FileAtom(NamedTuple):
    """One atom of a chain in a file; `xyz` in units of 0.001 Å, `occupancy` in hundredths."""

    row: int
    name: str
    element: str
    altloc: str
    comp_id: str
    hetero: bool
    xyz: Sequence[int]
    occupancy: int


def file_atoms(chain: Chain, kept: Kept) -> Iterator[FileAtom]:
    """The atoms of a chain, residue by residue."""
    atoms, names = Atoms.of(chain), residue_names(chain, kept)
    coords = chain.coords.tolist()
    ends = np.searchsorted(atoms.residue, np.arange(len(chain)), side="right").tolist()
    begin = 0
    for row, end in enumerate(ends):
        own = kept.get(row)
        hetero = own is not None and own.whole and own.hetero
        if own is None or not own.whole:
            for k in range(begin, end):
                name, element = atoms.names[k], atoms.elements[k]
                yield FileAtom(row, name, element, "", names[row], hetero, coords[k], 100)
        # What is added to a residue that is left out is left out, too.
        for a in own.atoms if own is not None and (own.whole or begin < end) else ():
            yield FileAtom(row, a.name, a.element, a.altloc, names[row], hetero, a.xyz, a.occupancy)
        begin = end


def rows_with_atoms(chain: Chain, kept: Kept) -> NDArray[np.bool_]:
    """(L,) bool: rows that a file has atoms of, be it of a residue without an atom in any slot."""
    there = np.asarray(chain.atom14_mask > 0)
    there[[row for row, own in kept.items() if own.whole]] = True
    return there


def residue_names(chain: Chain, kept: Kept | None = None) -> list[str]:
    """(L,) names of the rows."""
    names = [RESIDUE_NAMES[a] for a in chain.aatype.tolist()]
    for row, own in (kept or {}).items():
        if own.whole:
            names[row] = own.comp_id
    return names


def to_first_place(chains: Iterable[Chain]) -> dict[str, int]:
    """``label_asym_id`` → what is added to `residue_index`, so that ``label_seq_id`` is from 1 on.

    Without a sequence to count in, `residue_index` is the author's number, which may be below 1.
    """
    lowest: dict[str, int] = {}
    for chain in chains:
        first = min(1, int(chain.residue_index[0]))
        lowest[chain.label_asym_id] = min(first, lowest.get(chain.label_asym_id, 1))
    return {label: 1 - first for label, first in lowest.items()}


def kept_names(chain: Chain, kept: Kept) -> dict[int, str]:
    """Place in the entity's sequence → name, of residues that are written under their own."""
    return {int(chain.residue_index[row]): own.comp_id for row, own in kept.items() if own.whole}


def entity_names(sequence: str) -> list[str]:
    """Three-letter names of a one-letter sequence."""
    return [RESIDUE_NAMES[AATYPE_OF_LETTER[letter]] for letter in sequence]


def insertion_codes(chain: Chain) -> list[str]:
    """(L,) insertion codes, ``""`` where there is none."""
    return [chr(code) if code else "" for code in chain.ins_code.tolist()]


def thousandths(value: int) -> str:
    """An integer of 0.001 Å in Å: exact, for the quotient's error is far below half a digit."""
    return f"{value / 1000:.3f}"


def shortest(value: np.float32, places: int) -> str:
    """The shortest decimal that is this float32, with at least so many places."""
    text = np.format_float_positional(value, unique=True, trim="-")
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction:0<{places}}"
