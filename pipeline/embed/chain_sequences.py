"""Which sequence the language model sees for a chain, and which of its residues are stored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.shards import Rows

COLUMNS = ("chain_uid", "sequence", "entity_sequence", "residue_index", "n_microhet")
"""Of a shard: what `chain_sequences` needs."""


@dataclass(frozen=True, slots=True)
class ChainSequence:
    """A chain as the language model sees it.

    Attributes
    ----------
    uid : str
    sequence : str
        The whole entity's where that is known, else that of the rows.
    rows : (L,) int64
        Place in `sequence` of each residue of the chain, from 0.
    is_whole : bool
        Whether `sequence` is the entity's.
    """

    uid: str
    sequence: str
    rows: NDArray[np.int64]
    is_whole: bool


def chain_sequences(rows: Rows) -> list[ChainSequence]:
    """The sequences of some rows of a shard, read with `COLUMNS`."""
    columns = rows.scalars.select([name for name in COLUMNS if name != "residue_index"])
    return [
        chain_sequence(**row, residue_index=rows.of_chain(k)["residue_index"])
        for k, row in enumerate(columns.to_pylist())
    ]


def chain_sequence(
    chain_uid: str,
    sequence: str,
    entity_sequence: str | None,
    n_microhet: int,
    residue_index: NDArray[np.int32],
) -> ChainSequence:
    """Choose between the entity's sequence and that of the rows.

    A language model should see residues that are not resolved, the cut-off ends among them. That
    needs ``residue_index`` to be the place in the entity's sequence; it is by the format, and is
    believed if both sequences have the same letters there. An X agrees with everything, and sites
    where the crystal holds several residues (``n_microhet``) may differ.
    """
    index = residue_index.astype(np.int64) - 1
    if entity_sequence and len(index) and index[0] >= 0 and index[-1] < len(entity_sequence):
        here, there = _letters(sequence), _letters(entity_sequence)[index]
        differ = (here != there) & (here != _X) & (there != _X)
        if np.count_nonzero(differ) <= n_microhet and (np.diff(index) > 0).all():
            return ChainSequence(chain_uid, entity_sequence, index, True)
    return ChainSequence(chain_uid, sequence, np.arange(len(sequence)), False)


_X = ord("X")


def _letters(sequence: str) -> NDArray[np.uint8]:
    return np.frombuffer(sequence.encode("ascii", "replace"), np.uint8)
