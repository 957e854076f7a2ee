"""Atoms of a stored chain in the order of files, with the names that files give them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.chain import Chain
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


def residue_names(chain: Chain) -> list[str]:
    """(L,) three-letter names of the rows."""
    return [RESIDUE_NAMES[a] for a in chain.aatype.tolist()]


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
