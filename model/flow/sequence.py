"""Sequence: types are hidden behind MASK and revealed one by one."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from model.flow.noise import Noise
from model.flow.state import NoisyProtein, Prediction, ProteinState, Times
from model.flow.target import Target
from model.flow.type_constraints import TypeConstraints
from pipeline.residues import MASK, N_TYPES


class Sequence:
    """The modality of residue types, (B, N) int64: a masking flow.

    Notes
    -----
    A. Campbell et al., "Generative flows on discrete state-spaces" (2024), with the masking
    interpolant: at time t a residue is still MASK with probability 1 − t.
    """

    def sample_prior(self, noise: Noise, scale: float = 1.0) -> Tensor:
        return torch.full_like(noise.sequence, MASK, dtype=torch.int64)

    def interpolate(self, prior: Tensor, clean: Tensor, time: Tensor, noise: Noise) -> Tensor:
        revealed = (noise.sequence < time) | (time == 1)
        return torch.where(revealed, clean, prior)

    def to_clean(self, noisy: NoisyProtein, prediction: Prediction) -> Tensor:
        """The likeliest type where the type is MASK; see `step` for sampling."""
        masked = noisy.state.sequence == MASK
        return torch.where(masked, prediction.logits.argmax(-1), noisy.state.sequence)

    def loss(
        self, noisy: NoisyProtein, prediction: Prediction, target: Target
    ) -> dict[str, Tensor]:
        """``sequence``: cross-entropy in nats of the types that are MASK."""
        # X has no logit; it never counts, any type will do.
        wanted = target.sequence.clamp(0, N_TYPES - 1)
        entropy = functional.cross_entropy(
            prediction.logits.transpose(1, 2), wanted, reduction="none"
        )
        return {"sequence": entropy}

    def step(
        self,
        state: ProteinState,
        clean: Tensor,
        times: Times,
        next_times: Times,
        draws: Tensor,
        temperature: float,
        *,
        constraints: TypeConstraints | None = None,
    ) -> Tensor:
        """Reveal each MASK with probability dt/(1 − t); `clean` holds logits here.

        Parameters
        ----------
        clean : (B, N, 20) float
            Logits.
        draws : (B, N, 21) float
            Uniform in [0, 1): the first decides whether, the others (Gumbel) which.
        temperature : float
            Logits are divided by it; 0 takes the likeliest type.
        constraints : TypeConstraints, optional
            Biases are divided by the temperature, too.
        """
        if constraints is not None:
            clean = constraints.applied(clean, state.sequence == MASK)
            draws = constraints.shared(draws)
        t, dt = times.sequence, next_times.sequence - times.sequence
        rate = torch.where(dt > 0, dt / (1 - t).clamp(min=1e-6), 0.0)
        revealed = (state.sequence == MASK) & (dt > 0)
        revealed &= (draws[..., 0] < rate) | (next_times.sequence == 1)
        if temperature > 0:
            gumbel = -torch.log(-torch.log(draws[..., 1:].clamp(1e-7, 1 - 1e-7)))
            types = (clean / temperature + gumbel).argmax(-1)
        else:
            types = clean.argmax(-1)
        return torch.where(revealed, types, state.sequence)
