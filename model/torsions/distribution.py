"""`ChiDistribution`: what the network says of the side chains, to be asked.

The distribution of a residue is p(χ1) p(χ2|χ1) p(χ3|χ1, χ2) p(χ4|χ1, χ2, χ3). Which χ come first is
up to whoever asks: the true ones for the loss, the likeliest for rotamers, drawn ones for a sample.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.tensor_record import TensorRecord
from model.torsions.angles import N_CHI, free_chi, periodic_chi
from model.torsions.bins import N_BINS, N_WELLS, angles_at, log_probabilities, wells
from model.torsions.rotamers import N_ROTAMERS, Rotamers

HARMONICS = 3
"""Of the χ that come before: 3χ tells wells apart."""

Conditional = Callable[[Tensor, int, Tensor], tuple[Tensor, Tensor]]
"""(features (…, C), k, χ before it (…, R, k)) → logits and offsets (…, R, 36) of χ_k; R may be 1.
Dots are B, N, or the residues that have a χ_k."""


class ChiHead(nn.Module):
    """The conditionals: a small perceptron for each χ.

    Parameters
    ----------
    c_s : int
        Channels of the features.
    c : int
        Channels of the hidden layer.
    """

    def __init__(self, c_s: int, c: int):
        super().__init__()
        self.of_residue = nn.ModuleList(nn.Linear(c_s, c) for _ in range(N_CHI))
        self.of_before = nn.ModuleList(
            nn.Linear(2 * HARMONICS * k, c, bias=False) for k in range(1, N_CHI)
        )
        self.out = nn.ModuleList(nn.Linear(c, 2 * N_BINS) for _ in range(N_CHI))
        for layer in self.out:
            assert isinstance(layer, nn.Linear)
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor, k: int, before: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.of_residue[k](features)[..., None, :]
        if k:
            turns = before[..., None] * torch.arange(1, HARMONICS + 1, device=before.device)
            waves = torch.cat([torch.sin(turns), torch.cos(turns)], -1).flatten(-2)
            hidden = hidden + self.of_before[k - 1](waves)
        logits, offsets = self.out[k](nn.functional.silu(hidden)).to(before.dtype).chunk(2, -1)
        return logits, offsets


def independent(logits: Tensor, k: int, before: Tensor) -> tuple[Tensor, Tensor]:
    """A `Conditional` of marginals: features are (B, N, 4, 36) logits, and no χ tells of others."""
    of_chi = logits[..., k, None, :].to(before.dtype)
    return of_chi, torch.zeros_like(of_chi)


@dataclass(frozen=True)
class ChiDistribution(TensorRecord):
    """p(χ1 … χ4) of B proteins of N residues.

    Attributes
    ----------
    features : (B, N, …) float
        Whatever `conditional` takes.
    sequence : (B, N) int64
        Types by which torsions exist; X and MASK have none.
    conditional : callable
        See `Conditional`.
    dtype : torch.dtype
        Of angles.
    """

    features: Tensor
    sequence: Tensor
    conditional: Conditional
    dtype: torch.dtype = torch.float32

    def given(self, chi: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities and offsets (B, N, 4, 36) of each χ, given the (B, N, 4) before it."""
        periodic = periodic_chi(self.sequence)
        logits, offsets = zip(
            *(self.conditional(self.features, k, chi[..., None, :k]) for k in range(N_CHI)),
            strict=True,
        )
        return log_probabilities(torch.cat(logits, -2), periodic), torch.cat(offsets, -2)

    @torch.no_grad()
    def rotamers(self, number: int = N_ROTAMERS) -> Rotamers:
        """The likeliest joint rotamers: a beam through the wells of each conditional.

        Parameters
        ----------
        number : int
            How many are kept, from 3.
        """
        free, periodic = free_chi(self.sequence), periodic_chi(self.sequence)
        b, n = self.sequence.shape
        chi = self.features.new_zeros(b, n, 1, 0, dtype=self.dtype)
        weight = free[..., :1].to(self.dtype)
        # A residue of a known type without torsions has one rotamer.
        weight = torch.where((self.sequence < len(_KNOWN))[..., None], 1.0, weight)
        marginal = chi.new_zeros(b, n, N_CHI, N_BINS)
        for k in range(N_CHI):
            # Few residues have a χ3. To know which, a GPU would have to be waited for: it asks all.
            asked = (free[..., k],) if free.device.type == "cpu" else (slice(None), slice(None))
            exists = free[..., k][asked][..., None]
            of_asked = weight[asked]
            logits, offsets = self.conditional(self.features[asked], k, chi[asked])
            turns = periodic[..., k][asked][..., None].expand(logits.shape[:-1])
            p = log_probabilities(logits, turns).exp()
            share = (of_asked[..., None] * p).sum(-2)
            marginal[(*asked, ..., k, slice(None))] = torch.where(exists, share, 0.0)
            # One angle where there is no such torsion, whatever it is.
            angles = chi.new_zeros(*weight.shape, N_WELLS)
            mass = torch.zeros_like(angles)
            mass[..., 0] = 1.0
            # Where no χ tells of another, one is asked once for all that come before.
            found = (x.expand(*of_asked.shape, N_WELLS) for x in wells(p, offsets, turns))
            for into, value in zip((angles, mass), found, strict=True):
                into[asked] = torch.where(exists[..., None], value, into[asked])
            weight = (weight[..., None] * mass).flatten(-2)
            chi = torch.cat(
                [
                    chi[..., None, :].expand(*angles.shape, k).flatten(-3, -2),
                    angles.flatten(-2)[..., None],
                ],
                -1,
            )
            if weight.shape[-1] > number:
                weight, kept = weight.topk(number, -1)
                chi = chi.gather(-2, kept[..., None].expand(*kept.shape, k + 1))
        total = weight.sum(-1, keepdim=True)
        return Rotamers(chi, weight / torch.where(total > 0, total, 1.0), marginal)

    @torch.no_grad()
    def draw(self, uniform: Tensor, temperature: float) -> Tensor:
        """(B, N, M, 4) torsions: M draws of each residue, each χ given those drawn before it.

        Parameters
        ----------
        uniform : (B, N, M, 4) float
            In [0, 1).
        temperature : float
            Above 0: log-probabilities are divided by it.
        """
        periodic = periodic_chi(self.sequence)
        m = uniform.shape[-2]
        chi = self.features.new_zeros(*self.sequence.shape, m, 0, dtype=self.dtype)
        for k in range(N_CHI):
            logits, offsets = self.conditional(self.features, k, chi)
            p = log_probabilities(logits, periodic[..., k, None].expand(logits.shape[:-1]))
            below = torch.softmax(p / temperature, -1).cumsum(-1)
            below = below.expand(*below.shape[:2], m, N_BINS)
            # Bins without probability come last, and the first that reaches the total is taken.
            level = uniform[..., k, None].to(below) * below[..., -1:]
            drawn = (below < level).sum(-1, keepdim=True)
            angle = angles_at(drawn, offsets.expand(below.shape).gather(-1, drawn))
            # What is no number gives none.
            chi = torch.cat([chi, angle + 0.0 * logits.sum(-1, keepdim=True)], -1)
        return chi


_KNOWN = range(20)
