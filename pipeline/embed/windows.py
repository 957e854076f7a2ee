"""Sequences → windows that a language model can take, and batches of windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

N_SPECIAL = 2
"""Tokens around the residues of a window: its beginning and its end."""


@dataclass(frozen=True, slots=True)
class Window:
    """Residues of a sequence that are embedded together.

    Attributes
    ----------
    sequence : int
        Number of the sequence.
    begin, end : int
        Residues that the model sees.
    keep_begin, keep_end : int
        Residues whose embeddings are taken from this window.
    """

    sequence: int
    begin: int
    end: int
    keep_begin: int
    keep_end: int

    def __len__(self) -> int:
        return self.end - self.begin


def windows_of(number: int, length: int, max_length: int) -> list[Window]:
    """Windows of one sequence: one, or overlapping ones by about a quarter.

    They are spread evenly. Of the residues that two windows share each takes one half, so every
    residue is seen with an eighth of `max_length` on both its sides, or up to the sequence's end.
    """
    if length <= max_length:
        return [Window(number, 0, length, 0, length)]
    step = max_length - max_length // 4
    n = -(-(length - max_length) // step) + 1
    begins = [k * (length - max_length) // (n - 1) for k in range(n)]
    # Between two windows: the middle of what they share.
    bounds = [0, *((b + a + max_length) // 2 for a, b in pairwise(begins)), length]
    return [
        Window(number, begin, begin + max_length, bounds[k], bounds[k + 1])
        for k, begin in enumerate(begins)
    ]


def batches_of(windows: Sequence[Window], batch_residues: int) -> list[list[Window]]:
    """Windows of similar length together, long ones first.

    Parameters
    ----------
    batch_residues : int
        Tokens of a batch at most, padding and `N_SPECIAL` included; a longer window is alone.
    """
    batches: list[list[Window]] = []
    for window in sorted(windows, key=lambda w: (-len(w), w.sequence, w.begin)):
        if batches:
            widest = len(batches[-1][0]) + N_SPECIAL
            if widest * (len(batches[-1]) + 1) <= batch_residues:
                batches[-1].append(window)
                continue
        batches.append([window])
    return batches
