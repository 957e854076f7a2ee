"""Which parts of the sequences have no coordinates: by position, from one end to the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.shards import Rows

POSITIONS = 25
"""Equal pieces of a sequence, whatever its length."""

LENGTHS = (50, 100, 200, 400, 800)
"""Where classes of sequence lengths begin; the first has what is shorter."""

_BACKBONE = 0b111


@dataclass(frozen=True)
class MissingMap:
    """Residues of the entities' sequences, ends included, and those without N, CA and C.

    Attributes
    ----------
    residues, missing : (n_classes, POSITIONS) int64
        By class of length and position.
    chains : (n_classes,) int64
    n_without : int
        Chains whose file gives no sequence of the whole entity.
    """

    residues: NDArray[np.int64]
    missing: NDArray[np.int64]
    chains: NDArray[np.int64]
    n_without: int


class MissingCounter:
    """Counts over row groups."""

    columns = ("atom14_mask", "residue_index", "entity_sequence")

    def __init__(self) -> None:
        shape = (len(LENGTHS) + 1, POSITIONS)
        self._residues, self._resolved = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        self._chains = np.zeros(shape[0], np.int64)
        self._n_without = 0

    def add(self, rows: Rows) -> None:
        """Count the chains of a row group whose residues are numbered by a sequence."""
        lengths = pc.fill_null(pc.utf8_length(rows.scalars["entity_sequence"]), 0)
        whole = lengths.to_numpy().astype(np.int64)
        chain = np.repeat(np.arange(len(rows)), np.diff(rows.residues))
        number = rows.lists["residue_index"].astype(np.int64)
        fits = whole > 0
        fits[chain[(number < 1) | (number > whole[chain])]] = False
        group = np.searchsorted(LENGTHS, whole, side="right")

        # The k-th of L residues, from 0, is in the piece ⌊kP/L⌋: pieces begin at ⌈pL/P⌉.
        begins = -(-np.arange(POSITIONS + 1) * whole[fits, None] // POSITIONS)
        np.add.at(self._residues, group[fits], np.diff(begins, axis=1))
        resolved = (rows.lists["atom14_mask"] & _BACKBONE) == _BACKBONE
        chosen = resolved & fits[chain]
        at = chain[chosen]
        piece = (number[chosen] - 1) * POSITIONS // whole[at]
        size = self._resolved.size
        self._resolved += np.bincount(group[at] * POSITIONS + piece, minlength=size).reshape(
            self._resolved.shape
        )
        self._chains += np.bincount(group[fits], minlength=len(self._chains))
        self._n_without += int(np.count_nonzero(~fits))

    def map(self) -> MissingMap:
        """What was counted."""
        missing = self._residues - self._resolved
        return MissingMap(self._residues, missing, self._chains, self._n_without)
