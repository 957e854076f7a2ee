"""Was the network trained on the chains that it is evaluated on?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.checkpoint import CheckpointInfo
from model.trained_on import TrainedOn, hashes_of
from pipeline.commands.words import several


@dataclass(frozen=True)
class Seen:
    """The answer.

    Attributes
    ----------
    chains : int
        That are evaluated.
    seen : int or None
        Those of them that were trained on; None if that is unknown.
    reason : str
        How it is known, or why it is not.
    """

    chains: int
    seen: int | None
    reason: str

    @property
    def told(self) -> str:
        """For the page of an evaluation."""
        if self.seen is None:
            return f"unknown: {self.reason}"
        return f"{self.seen} of {several(self.chains, 'chain')} ({self.reason})"

    @property
    def sentence(self) -> str:
        """What has to be said before anything is measured; nothing if no chain was seen."""
        if self.seen is None:
            return (
                f"note: whether the network was trained on these chains is unknown: {self.reason}"
            )
        if self.seen == 0:
            return ""
        return (
            f"warning: the network was trained on {self.seen} of these "
            f"{several(self.chains, 'chain')} ({self.reason}): what is measured is how well it "
            "remembers"
        )


def seen_in_training(
    info: CheckpointInfo, digest: str, split: str, sequences: Sequence[str]
) -> Seen:
    """Compare what a checkpoint knows of its training with the chains of an evaluation.

    Sequences tell, whatever the datasets are called; without them the dataset and its split do.

    Parameters
    ----------
    info : CheckpointInfo
    digest, split : str
        Of what is evaluated.
    sequences : sequence of str
        Of each chain that is evaluated.
    """
    n = len(sequences)
    trained = TrainedOn.from_plain(info.trained_on)
    if trained.sequences is not None:
        known = np.isin(hashes_of(sequences), trained.sequences)
        return Seen(n, int(known.sum()), "by their sequences")
    splits = [where for of, where in trained.datasets if of == digest]
    if any(where in (None, split) for where in splits):
        return Seen(n, n, f"by the dataset's digest and the split {split}")
    if splits and len(splits) == len(trained.datasets):
        return Seen(n, 0, f"it was trained on the split {' and '.join(map(str, splits))} alone")
    if not trained.datasets and info.dataset_digest == digest:
        return Seen(n, None, "it was trained on this dataset, and does not say on which split")
    return Seen(n, None, "its checkpoint does not say which sequences it was trained on")
