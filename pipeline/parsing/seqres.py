"""Placing the residues of a PDB chain in its SEQRES sequence.

mmCIF files say the place (``label_seq_id``); PDB files have to be read between the lines: REMARK
465 lists what is missing, and where it does not, numbering and peptide bonds tell.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Key = tuple[int, str]  # author number, insertion code

_MATCH, _MISMATCH = 4.0, -6.0
_CONSISTENT, _CONTIGUOUS, _UNEXPECTED, _GAP_IN_BOND = 0.0, -1.0, -2.0, -8.0
MAX_CELLS = 64 << 20
"""Of an alignment, four bytes each. Titin's 35,000 residues and 1,900 that are resolved would fit;
a chain and a SEQRES of 60,000 each would take 14 GB."""
_PROBES = 12
MAX_MISMATCHES = 0.1
"""Above this share of differing residues a SEQRES does not describe the chain."""


def place(
    observed: Sequence[str],
    keys: Sequence[Key],
    bonded: Callable[[], Sequence[bool]],
    sequence: Sequence[str],
    missing: Sequence[tuple[str, int, str]] = (),
    alternatives: dict[int, set[str]] | None = None,
) -> list[int] | None:
    """1-based positions of observed residues in the entity sequence, strictly ascending.

    Parameters
    ----------
    observed : (m,) str
        Component ids in the order of the file.
    keys : (m,)
        Author number and insertion code.
    bonded : callable
        () → (m,) bool, peptide-bonded to the residue before; called only where numbers and names
        leave a doubt.
    sequence : (n,) str
        SEQRES.
    missing : (comp id, number, insertion code)
        REMARK 465, in its order.
    alternatives : dict, optional
        Further component ids of heterogeneous residues, by index into `observed`.

    Returns
    -------
    list of int or None
        ``None`` where the sequence does not describe the chain.
    """
    m, n = len(observed), len(sequence)
    if m == 0 or m > n:
        return None
    alternatives = alternatives or {}

    def agrees(i: int, comp: str) -> bool:
        return observed[i] == comp or comp in alternatives.get(i, ())

    if m == n and (list(observed) == list(sequence) or all(map(agrees, range(m), sequence))):
        return list(range(1, n + 1))
    if missing and m + len(missing) == n:
        numbers = None
        if not alternatives:
            numbers = _merge_stretches(list(observed), list(keys), missing, list(sequence))
        if numbers is None:
            numbers = _merge(keys, missing, sequence, agrees)
        if numbers is not None:
            return numbers
    numbers = _by_numbers(observed, keys, sequence)
    if numbers is not None:
        return numbers
    if m * n > MAX_CELLS:
        return None
    return _align(observed, keys, bonded(), sequence, alternatives)


def _by_numbers(
    observed: Sequence[str], keys: Sequence[Key], sequence: Sequence[str]
) -> list[int] | None:
    """Places that author numbers tell: one shift of the numbers under which every name agrees."""
    numbers = np.array([number for number, _ in keys])
    if any(code for _, code in keys) or (np.diff(numbers) <= 0).any():
        return None
    steps = numbers - numbers[0]
    code: dict[str, int] = {name: k for k, name in enumerate(dict.fromkeys(sequence))}
    of_sequence = np.fromiter(map(code.__getitem__, sequence), np.int32, len(sequence))
    of_observed = np.fromiter((code.get(name, -1) for name in observed), np.int32, len(observed))
    starts = np.arange(max(0, len(sequence) - int(steps[-1])))
    # Names at a few places leave hardly a start, unless the sequence repeats itself.
    for k in range(min(_PROBES, len(steps))):
        starts = starts[of_sequence[starts + steps[k]] == of_observed[k]]
    if len(starts) * len(steps) > MAX_CELLS:
        return None
    fits = []
    for start in starts.tolist():
        if np.array_equal(of_sequence[start + steps], of_observed):
            fits.append(start)
            if len(fits) > 1:
                return None
    return (fits[0] + 1 + steps).tolist() if fits else None


def _merge_stretches(
    observed: list[str],
    keys: list[Key],
    missing: Sequence[tuple[str, int, str]],
    sequence: list[str],
) -> list[int] | None:
    """`_merge` for ascending numbers: whole stretches of observed residues at once."""
    if keys != sorted(keys):
        return None
    places: list[int] = []
    i = position = 0
    for name, number, code in missing:
        stop = bisect_left(keys, (number, code), i)
        end = position + stop - i
        if observed[i:stop] != sequence[position:end] or sequence[end : end + 1] != [name]:
            return None
        places += range(position + 1, end + 1)
        i, position = stop, end + 1
    if observed[i:] != sequence[position:]:
        return None
    return [*places, *range(position + 1, len(sequence) + 1)]


def _merge(keys, missing, sequence, agrees) -> list[int] | None:
    """Interleave observed and missing residues by author number; it must spell the sequence."""
    places: list[int] = []
    i = j = 0
    for position, comp in enumerate(sequence, start=1):
        take_observed = j == len(missing) or (i < len(keys) and keys[i] < missing[j][1:])
        if take_observed:
            if i == len(keys) or not agrees(i, comp):
                return None
            places.append(position)
            i += 1
        else:
            if missing[j][0] != comp:
                return None
            j += 1
    return places


def _align(observed, keys, bonded, sequence, alternatives) -> list[int] | None:
    """Global alignment in which only the observed chain may have gaps.

    A step from one observed residue to the next is free where it agrees with the author numbers,
    and cheaper where the chain is broken than where a peptide bond says that nothing is between.
    """
    m, n = len(observed), len(sequence)
    names, code = np.unique(np.array([*sequence, *observed]), return_inverse=True)
    of_sequence, of_observed = code[:n], code[n:]
    index = {str(name): k for k, name in enumerate(names)}
    best: NDArray[np.float64] = np.zeros(n)
    came = np.zeros((m, n), np.int32)
    arange = np.arange(n)
    scores = [np.where(of_sequence == k, _MATCH, _MISMATCH) for k in range(len(names))]
    for i in range(m):
        score = scores[of_observed[i]]
        if i in alternatives:
            score = score.copy()
        for other in alternatives.get(i, ()):
            if other in index:
                score[of_sequence == index[other]] = _MATCH
        if i == 0:
            # A gap before the first residue costs nothing, whatever its number.
            total, source = np.zeros(n), np.full(n, -1)
        else:
            step = keys[i][0] - keys[i - 1][0]
            plain = not keys[i][1] and not keys[i - 1][1]
            free = 1 if bonded[i] else (step if plain and step > 0 else 1)
            # From the direct neighbour.
            total = np.full(n, -np.inf)
            source = np.full(n, -1)
            direct = _CONSISTENT if bonded[i] or step in (0, 1) else _CONTIGUOUS
            total[1:] = best[:-1] + direct
            source[1:] = arange[:-1]
            # Over a gap of any length: the best so far among all that end before the neighbour.
            if n > 2:
                lead = np.maximum.accumulate(best[:-2])
                where = np.maximum.accumulate(np.where(best[:-2] == lead, arange[:-2], 0))
                jump = lead + (_GAP_IN_BOND if bonded[i] else _UNEXPECTED)
                better = jump > total[2:]
                total[2:] = np.where(better, jump, total[2:])
                source[2:] = np.where(better, where, source[2:])
            # Over exactly the gap that the numbers say.
            if 1 < free < n:
                exact = best[:-free] + _CONSISTENT
                better = exact >= total[free:]
                total[free:] = np.where(better, exact, total[free:])
                source[free:] = np.where(better, arange[:-free], source[free:])
        best = total + score
        came[i] = source
    end = int(np.argmax(best))
    if not np.isfinite(best[end]):
        return None
    places = [0] * m
    for i in range(m - 1, -1, -1):
        places[i] = end + 1
        end = int(came[i, end])
    if any(b <= a for a, b in pairwise(places)) or places[0] < 1:
        return None
    wrong = sum(
        observed[i] != sequence[p - 1] and sequence[p - 1] not in alternatives.get(i, ())
        for i, p in enumerate(places)
    )
    return places if wrong <= MAX_MISMATCHES * m else None
