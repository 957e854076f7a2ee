"""The interface of a modality; `model.flow.product.Flow` composes them."""

from __future__ import annotations

from typing import Protocol, TypeVar

from torch import Tensor

from model.flow.noise import Noise
from model.flow.state import NoisyProtein, Prediction, ProteinState, Times
from model.flow.target import Target

Value = TypeVar("Value")


class Modality(Protocol[Value]):
    """One part of the state, with a path from a prior (time 0) to the data (time 1).

    `Value` is whatever the modality is made of: a tensor, or a tuple of them. Times are (B, N).
    """

    def sample_prior(self, noise: Noise, scale: float) -> Value:
        """x₀ from random numbers; `scale` multiplies the standard deviation of normal priors."""

    def interpolate(self, prior: Value, clean: Value, time: Tensor, noise: Noise) -> Value:
        """x_t. At time 0 it is x₀, at time 1 the clean value, both to the last bit."""

    def to_clean(self, noisy: NoisyProtein, prediction: Prediction) -> Value:
        """The clean value that the network predicts; what is held clean stays as it is."""

    def loss(
        self, noisy: NoisyProtein, prediction: Prediction, target: Target
    ) -> dict[str, Tensor]:
        """Name → (B, N) endpoint error of each residue; what counts is told by the target."""

    def step(
        self,
        state: ProteinState,
        clean: Value,
        times: Times,
        next_times: Times,
        draws: Tensor,
        temperature: float,
    ) -> Value:
        """From x_t towards the predicted clean value, at residues whose time changes."""
