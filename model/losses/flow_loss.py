"""`FlowLoss`: every term by name, per protein, with its weight and time."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch.nn import functional

from model.flow import Flow, NoisyProtein, Prediction
from model.flow.residue_error import residue_error
from model.flow.target import Target
from model.losses.structure import (
    at_slot,
    gaussian_nll,
    gaussian_parameters,
    pair_distances,
    predicted_ellipsoids,
    tips,
    true_ellipsoids,
)
from pipeline.errors import UsageError
from pipeline.geometry.frames import to_global

TIME_BINS = 4
"""Equal bins of [0, 1) by which terms are logged."""


@dataclass(frozen=True)
class LossWeights:
    """Weight of each term in the sum.

    Attributes
    ----------
    translation, rotation, torsion : float
        Of frames; see `model.flow.frames.Frames.loss`.
    atoms : float
        See `model.flow.atoms.Atoms.loss`.
    sequence : float
        Cross-entropy.
    pairs : float
        Distances between residues.
    gaussian : float
        Local mean and log scale of the ellipsoids of predicted atoms.
    nll : float
        True atoms under predicted ellipsoids.
    confidence : float
        Of the prediction of the error itself; it moves nothing else.
    """

    translation: float = 1.0
    rotation: float = 0.5
    torsion: float = 0.25
    atoms: float = 0.5
    sequence: float = 1.0
    pairs: float = 0.5
    gaussian: float = 5.0
    nll: float = 3e-4
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
        times = noisy.times
        frames, atoms, _ = self._flow.to_clean(noisy, prediction)
        predicted, true = predicted_ellipsoids(frames, atoms, target), true_ellipsoids(target)
        hidden = target.frames_count | target.atoms_count
        time = torch.where(target.atoms_count, times.atoms, times.frames)

        slot = tips(target)
        predicted_tip = to_global(frames[0], frames[1], at_slot(atoms, slot))
        true_tip = to_global(target.rotations, target.translations, at_slot(target.atoms, slot))
        pairs = pair_distances(predicted, predicted_tip, true, true_tip, target, hidden)
        body = target.frame_mask & (target.atoms_count | target.frames_count)
        body = body & (target.atoms_count | (times.atoms == 1))
        per_residue["pairs"] = (pairs, hidden, time)
        per_residue["gaussian"] = (gaussian_parameters(predicted, true), body, time)
        per_residue["nll"] = (gaussian_nll(predicted, target), body, time)
        error = residue_error(noisy, prediction, target)
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
