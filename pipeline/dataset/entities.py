"""Which chains of an item are copies of each other, as AlphaFold-Multimer numbers them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.residues import UNKNOWN

MIN_SHARED = 0.5
"""Of the shorter of two chains whose entities nobody says: residues of a known type that the other
has with the same number and type. Among the numbers that both have, no known types may differ."""

NO_ENTITY = -1


def entities_and_copies(
    entities: Sequence[int], numbers: Sequence[NDArray[Any]], types: Sequence[NDArray[Any]]
) -> tuple[list[int], list[int]]:
    """The entity of each chain of an item, and which copy of it the chain is.

    These are ``entity_id`` and ``sym_id`` of AlphaFold-Multimer (R. Evans et al. 2021), which knows
    copies by their whole sequences; here they count from 0.

    Parameters
    ----------
    entities : (k,) int
        Code of the entity that the file gives each chain, or `NO_ENTITY`. Such chains are of one
        entity if they are alike wherever both have a residue of a number, and share enough of
        these (`MIN_SHARED`).
    numbers, types : k arrays of (L,) int
        ``residue_index`` and ``aatype`` of each chain.

    Returns
    -------
    entity, copy : lists of int
        Of each chain, in the order in which they first appear.
    """
    of_code: dict[int, int] = {}
    unnamed: list[tuple[int, int]] = []
    entity: list[int] = []
    n_copies: list[int] = []
    copy: list[int] = []
    for k, code in enumerate(entities):
        number = of_code.get(code)
        if code == NO_ENTITY:
            alike = (e for other, e in unnamed if _alike(numbers, types, other, k))
            number = next(alike, None)
        if number is None:
            number = len(n_copies)
            n_copies.append(0)
            if code == NO_ENTITY:
                unnamed.append((k, number))
            else:
                of_code[code] = number
        entity.append(number)
        copy.append(n_copies[number])
        n_copies[number] += 1
    return entity, copy


def _alike(
    numbers: Sequence[NDArray[Any]], types: Sequence[NDArray[Any]], one: int, other: int
) -> bool:
    _, here, there = np.intersect1d(
        numbers[one], numbers[other], assume_unique=True, return_indices=True
    )
    a, b = types[one][here], types[other][there]
    known = (a != UNKNOWN) & (b != UNKNOWN)
    enough = known.sum() >= MIN_SHARED * min(len(numbers[one]), len(numbers[other]))
    return bool(enough and np.array_equal(a[known], b[known]))
