"""What is wanted of types beside what the network says: biases, types left out, tied residues."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from model.tensor_record import TensorRecord


@dataclass(frozen=True)
class TypeConstraints(TensorRecord):
    """Of B proteins of N residues.

    Attributes
    ----------
    bias : (B, N, 20) float
        Added to the logits; −∞ for a type that a residue never gets, and never +∞.
    ties : (B, N) int64
        Residues of one number are tied: the number is the row of the first of them. A residue that
        is not tied has its own row.
    """

    bias: Tensor
    ties: Tensor

    def applied(self, logits: Tensor, hidden: Tensor) -> Tensor:
        """Logits (B, N, 20) with biases, each the mean over the hidden ones that are tied.

        As ProteinMPNN designs homo-oligomers (J. Dauparas et al., 2022). What comes back for tied
        residues has the same bits.

        Parameters
        ----------
        logits : (B, N, 20) float
        hidden : (B, N) bool
            Others do not count.
        """
        weighed = torch.where(hidden[..., None], logits + self.bias, 0.0)
        where = self.ties[..., None].expand_as(weighed)
        total = torch.zeros_like(weighed).scatter_add(1, where, weighed)
        count = torch.zeros_like(total[..., 0]).scatter_add(1, self.ties, hidden.to(total.dtype))
        mean = total / count.clamp(min=1)[..., None]
        return mean.gather(1, where)

    def shared(self, draws: Tensor) -> Tensor:
        """Random numbers (B, N, K), those of the first residue for all that are tied to it."""
        return draws.gather(1, self.ties[..., None].expand_as(draws))
