"""Which chains a network has seen in training: kept in its checkpoint, asked by an evaluation."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_SEQUENCES = 2_000_000
"""That a checkpoint keeps, at 11 bytes each; of larger datasets it keeps where they came from."""


@dataclass(frozen=True)
class TrainedOn:
    """Datasets and sequences.

    Attributes
    ----------
    datasets : tuple of (digest, split)
        Of each dataset that the weights were trained on, those before fine-tuning among them; the
        split is None for all chains.
    sequences : (n,) int64 or None
        Hashes of the different sequences, sorted; None if they, or some of them, are unknown.
    """

    datasets: tuple[tuple[str, str | None], ...]
    sequences: NDArray[np.int64] | None

    def __or__(self, other: TrainedOn) -> TrainedOn:
        """Both, one behind the other."""
        both = None
        if self.sequences is not None and other.sequences is not None:
            both = np.union1d(self.sequences, other.sequences)
        return TrainedOn(tuple(dict.fromkeys([*self.datasets, *other.datasets])), both)

    def to_plain(self) -> dict[str, Any]:
        """As a checkpoint has it."""
        known = self.sequences is not None and len(self.sequences) <= MAX_SEQUENCES
        stored = (
            self.sequences.astype("<i8").tobytes() if known and self.sequences is not None else None
        )
        return {
            "datasets": [list(pair) for pair in self.datasets],
            "sequences": None if stored is None else base64.b64encode(stored).decode(),
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> TrainedOn:
        """From a checkpoint; one that says nothing is of unknown sequences."""
        stored = plain.get("sequences")
        return cls(
            datasets=tuple((str(digest), split) for digest, split in plain.get("datasets", ())),
            sequences=None
            if stored is None
            else np.frombuffer(base64.b64decode(stored), "<i8").astype(np.int64),
        )


NOTHING = TrainedOn((), np.zeros(0, np.int64))
"""Of a network that was just initialised."""


def hashes_of(sequences: Iterable[str]) -> NDArray[np.int64]:
    """64 bits of each sequence, (n,), in their order."""
    digests = [hashlib.blake2b(s.encode(), digest_size=8).digest() for s in sequences]
    return np.frombuffer(b"".join(digests), "<i8").astype(np.int64)
