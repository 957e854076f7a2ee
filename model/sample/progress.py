"""How far sampling is: over proteins, and over the steps of those in progress."""

from __future__ import annotations

from collections.abc import Sequence

from model.flow.state import Network, NoisyProtein, Prediction
from pipeline.commands.progress_line import ProgressLine
from pipeline.commands.words import several


class SamplingProgress:
    """Counts proteins by their residues, and evaluations of the network within a batch.

    Parameters
    ----------
    line : ProgressLine
    lengths : sequence of int
        Residues of each protein that is to be sampled.
    evaluations : int
        Of the network, for a batch.
    """

    def __init__(self, line: ProgressLine, lengths: Sequence[int], evaluations: int):
        self._line, self._lengths, self._evaluations = line, lengths, evaluations
        self._finished: list[int] = []
        self._batch: list[int] = []
        self._step = 0

    def begin(self, batch: Sequence[int]) -> None:
        """A batch of these proteins follows; the one before is done."""
        self._finished += self._batch
        self._batch, self._step = list(batch), 0
        self._show()

    def watched(self, network: Network) -> Network:
        """The network, each of whose evaluations is a step."""

        def evaluate(noisy: NoisyProtein) -> Prediction:
            prediction = network(noisy)
            self._step += 1
            self._show()
            return prediction

        return evaluate

    def _show(self) -> None:
        step = min(self._step, self._evaluations)
        done, doing = (sum(self._lengths[k] for k in x) for x in (self._finished, self._batch))
        self._line.show(
            done + doing * step / self._evaluations,
            f"{len(self._finished)} of {several(len(self._lengths), 'protein')}, "
            f"{several(len(self._batch), 'protein')} at step {step} of {self._evaluations}",
            total=sum(self._lengths),
        )
