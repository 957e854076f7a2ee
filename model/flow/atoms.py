"""Side-chain atoms: linear in the residue's frame."""

from __future__ import annotations

import torch
from torch import Tensor

from model.flow.frames import amplify
from model.flow.noise import Noise
from model.flow.slots import existing_slots, swapped
from model.flow.state import NoisyProtein, Prediction, ProteinState, Times
from model.flow.target import Target

PRIOR_STD = 1.0
"""Å."""

DATA_STD = 2.0
"""Å, of a clean coordinate about its mean over residue types; see `precondition`."""

TIE = 1e-3
"""Å²: what rounding may make of two ways that are as long."""


class Atoms:
    """The modality of local side-chain atoms, (B, N, 10, 3).

    While a residue's type is hidden, all ten slots flow; those that its type does not have end at
    CA and are dropped when the type is revealed.
    """

    def sample_prior(self, noise: Noise, scale: float = 1.0) -> Tensor:
        return noise.atoms * (PRIOR_STD * scale)

    def interpolate(self, prior: Tensor, clean: Tensor, time: Tensor, noise: Noise) -> Tensor:
        t = time[..., None, None]
        between = (1 - t) * prior + t * clean
        return torch.where(t == 1, clean, torch.where(t == 0, prior, between))

    def to_clean(self, noisy: NoisyProtein, prediction: Prediction) -> Tensor:
        held = noisy.times.atoms == 1
        return torch.where(held[..., None, None], noisy.state.atoms, prediction.atoms)

    def loss(
        self, noisy: NoisyProtein, prediction: Prediction, target: Target
    ) -> dict[str, Tensor]:
        """``atoms``: squared error in Å² / (1 − min(t, 0.9))², averaged over slots.

        An atom counts in proportion to 1 Å + its distance from CA, so that the far end of an
        arginine, which moves most, is not averaged away among atoms that hardly move.
        """
        counted = existing_slots(noisy.state.sequence)
        remoteness = 1 + torch.sqrt(target.atoms.square().sum(-1))
        weight = torch.where(counted, remoteness, 0.0)
        error = (prediction.atoms - target.atoms).square().sum(-1)
        mean = (weight * error).sum(-1) / weight.sum(-1).clamp(min=1.0)
        return {"atoms": mean * amplify(noisy.times.atoms)}

    def step(
        self,
        state: ProteinState,
        clean: Tensor,
        times: Times,
        next_times: Times,
        draws: Tensor,
        temperature: float,
    ) -> Tensor:
        t, dt = times.atoms, next_times.atoms - times.atoms
        fraction = torch.where(dt > 0, dt / (1 - t).clamp(min=1e-6), 0.0).clamp(max=1.0)
        between = torch.lerp(state.atoms, clean, fraction[..., None, None])
        arrived = ((dt > 0) & (next_times.atoms == 1))[..., None, None]
        return torch.where(arrived, clean, between)


def nearer_labels(prior: Tensor, clean: Tensor, sequence: Tensor) -> Tensor:
    """Clean atoms, with equivalent ones named so that the way from the prior is shorter.

    Where both ways are as long, the names stay.

    Parameters
    ----------
    prior, clean : (..., 10, 3) float
    sequence : (...) int64
    """
    other = swapped(clean, sequence)
    way = (clean - prior).square().sum((-1, -2))
    other_way = (other - prior).square().sum((-1, -2))
    return torch.where((other_way < way - TIE)[..., None, None], other, clean)


def precondition(time: Tensor) -> tuple[Tensor, Tensor]:
    """(skip, scale) for a network that predicts clean = skip · x_t + scale · output.

    The best linear guess of x₁ from x_t = (1 − t) x₀ + t x₁ and the standard deviation of what it
    leaves, so that the output has about unit size at all times (T. Karras et al., "Elucidating the
    design space of diffusion-based generative models", 2022, appendix B.6, for this path).

    Parameters
    ----------
    time : (...) float
    """
    data, prior = DATA_STD**2, PRIOR_STD**2
    total = time.square() * data + (1 - time).square() * prior
    return time * data / total, (1 - time) * torch.sqrt(data * prior / total)
