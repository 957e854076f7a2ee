"""`FlowLoss`: every term by name, per protein, with its weight and time."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch.nn import functional

from model.flow import Flow, NoisyProtein, Prediction
from model.flow.residue_error import frame_error
from model.flow.target import Target
from model.losses.structure import chain_links, pair_distances
from pipeline.errors import UsageError

TIME_BINS = 4
"""Equal bins of [0, 1) by which terms are logged."""


@dataclass(frozen=True)
class LossWeights:
    """Weight of each term in the sum.

    Attributes
    ----------
    translation, rotation, torsion : float
        Of frames; see `model.flow.frames.Frames.loss`.
    chi, chi_offset, chi_of_blocks : float
        Of side chains whose types are known; see `model.flow.atoms.Atoms.loss`.
    sequence : float
        Cross-entropy.
    pairs : float
        Distances between residues, where frames are hidden.
    links : float
        Distances across peptides, where frames are hidden.
    confidence : float
        Of the prediction of the error of frames itself; it moves nothing else.
    """

    translation: float = 1.0
    rotation: float = 0.5
    torsion: float = 0.25
    chi: float = 1.0
    chi_offset: float = 1.0
    chi_of_blocks: float = 0.25
    sequence: float = 1.0
    pairs: float = 0.5
    links: float = 0.25
    confidence: float = 0.1

    def __post_init__(self) -> None:
        for name, weight in asdict(self).items():
            if not 0 <= weight < float("inf"):
                raise UsageError(f"the weight of {name} is a number from 0, found {weight}")


@dataclass(frozen=True)
class LossTerm:
    """One term of the loss.

    Attributes
    ----------
    value : (B,) float
        Mean over the residues that count; 0 where none does.
    count : (B,) int64
        How many count.
    time : (B,) float
        Mean time of these residues, for the bins.
    """

    value: Tensor
    count: Tensor
    time: Tensor

    def detach(self) -> LossTerm:
        """Without what it was computed from."""
        return LossTerm(self.value.detach(), self.count, self.time)

    @property
    def mean(self) -> Tensor:
        """Mean over the proteins in which something counts; 0 if there is none."""
        some = self.count > 0
        return torch.where(some, self.value, 0.0).sum() / some.sum().clamp(min=1)

    @property
    def is_empty(self) -> bool:
        return not bool((self.count > 0).any())


class FlowLoss:
    """All terms of the loss.

    Parameters
    ----------
    weights : LossWeights, optional
    """

    def __init__(self, weights: LossWeights | None = None):
        self.weights = weights or LossWeights()
        self._flow = Flow()

    def __call__(
        self, noisy: NoisyProtein, prediction: Prediction, target: Target
    ) -> tuple[Tensor, dict[str, LossTerm]]:
        """The weighted sum of the means, and the terms without weights.

        Returns
        -------
        total : () float
        terms : dict
            Name → `LossTerm`, in the order of `LossWeights`.
        """
        terms = self.terms(noisy, prediction, target)
        weights = asdict(self.weights)
        total = sum(weights[name] * term.mean for name, term in terms.items())
        assert isinstance(total, Tensor)
        return total, terms

    def terms(
        self, noisy: NoisyProtein, prediction: Prediction, target: Target
    ) -> dict[str, LossTerm]:
        """All terms, without weights.

        Raises
        ------
        AssertionError
            A term has no weight in `LossWeights`, or a weight no term.
        """
        per_residue = self._flow.loss(noisy, prediction, target)
        hidden, time = target.frames_count, noisy.times.frames
        frames = self._flow.frames.to_clean(noisy, prediction)
        per_residue["pairs"] = (pair_distances(frames, target, hidden), hidden, time)
        per_residue["links"] = chain_links(frames, noisy, target, time)
        error = frame_error(noisy, prediction, target)
        per_residue["confidence"] = (
            functional.huber_loss(
                prediction.confidence, torch.log1p(error).detach(), reduction="none"
            ),
            hidden,
            time,
        )
        weights = asdict(self.weights)
        unpaired = sorted(per_residue.keys() ^ weights.keys())
        assert not unpaired, f"terms without a weight, or weights without a term: {unpaired}"
        return {name: _per_protein(*per_residue[name]) for name in weights}


def binned(term: LossTerm) -> dict[int, tuple[float, int]]:
    """Time bin → (sum over the proteins in it, how many)."""
    found: dict[int, tuple[float, int]] = {}
    some = term.count > 0
    bins = (term.time * TIME_BINS).long().clamp(0, TIME_BINS - 1)
    for k in bins[some].unique().tolist():
        here = some & (bins == k)
        found[int(k)] = (float(term.value[here].sum()), int(here.sum()))
    return found


def _per_protein(error: Tensor, counts: Tensor, time: Tensor) -> LossTerm:
    count = counts.sum(1)
    share = count.clamp(min=1)
    value = torch.where(counts, error, 0.0).sum(1) / share
    return LossTerm(value, count, torch.where(counts, time, 0.0).sum(1) / share)
