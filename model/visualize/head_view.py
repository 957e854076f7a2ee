"""`HeadView`: one head of one layer for one protein, as figures want it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class HeadView:
    """Matrices of N residues, padding and residues without a frame left out; rows are queries.

    Attributes
    ----------
    title : str
        Which layer, head, step and protein.
    logits_before, geometric_bias, logits_after, attention : (N, N) float
        As in `AttentionMaps`.
    distances : (N, N) float
        Between CA, Å.
    gamma : float
        Weight of the geometry in this head.
    residue_index, chain_index : (N,) int
    """

    title: str
    logits_before: NDArray[np.floating]
    geometric_bias: NDArray[np.floating]
    logits_after: NDArray[np.floating]
    attention: NDArray[np.floating]
    distances: NDArray[np.floating]
    gamma: float
    residue_index: NDArray[np.integer]
    chain_index: NDArray[np.integer]

    def __len__(self) -> int:
        return len(self.residue_index)

    @property
    def pairs(self) -> NDArray[np.bool_]:
        """(N, N): i ≠ j."""
        return ~np.eye(len(self), dtype=bool)

    @property
    def chain_starts(self) -> NDArray[np.intp]:
        """Positions at which another chain begins, the first chain's left out."""
        return np.flatnonzero(np.diff(self.chain_index)) + 1
