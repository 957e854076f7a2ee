"""`Rotamers`: a side chain as a distribution over a handful of joint rotamers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from model.on_device import Constant
from model.tensor_record import TensorRecord
from model.torsions.angles import N_CHI, by_type
from model.torsions.bins import N_BINS
from pipeline.residues.rotamers import ROTAMER_CHI, ROTAMER_SHARE
from pipeline.residues.side_chains import build_side_chains

N_ROTAMERS = ROTAMER_SHARE.shape[1]


@dataclass(frozen=True)
class Rotamers(TensorRecord):
    """Joint rotamers of each residue, with their probabilities.

    Attributes
    ----------
    chi : (B, N, R, 4) float
        Radians; of what the type does not have, anything finite.
    weight : (B, N, R) float
        They sum to 1; all 0 where nothing is known of the residue (its type is hidden).
    marginal : (B, N, 4, 36) float
        p(χ) of each torsion in bins; zeros where it is not free.
    """

    chi: Tensor
    weight: Tensor
    marginal: Tensor

    def likeliest(self) -> Tensor:
        """(B, N, 4) the mode; NaN if weights are no numbers."""
        best = self.weight.argmax(-1)[..., None, None].expand(*self.chi.shape[:-2], 1, N_CHI)
        return self.chi.gather(-2, best)[..., 0, :] + 0.0 * self.weight.sum(-1, keepdim=True)

    def or_else(self, other: Rotamers) -> Rotamers:
        """These where something is known of the residue, `other` elsewhere."""
        known = self.weight.sum(-1) > 0
        return Rotamers(
            *(
                torch.where(known[(...,) + (None,) * (mine.ndim - known.ndim)], mine, theirs)
                for mine, theirs in (
                    (self.chi, other.chi),
                    (self.weight, other.weight),
                    (self.marginal, other.marginal),
                )
            )
        )


_CHI = Constant(by_type(torch.from_numpy(ROTAMER_CHI.copy()).float()))
_SHARE = Constant(by_type(torch.from_numpy(ROTAMER_SHARE.copy()).float()))
_SOME_N = Constant(torch.tensor([-0.5, 1.4, 0.0], dtype=torch.float64))


def library_rotamers(sequence: Tensor, dtype: torch.dtype = torch.float32) -> Rotamers:
    """What is known of a side chain by its type alone (`pipeline.residues.rotamers`).

    Parameters
    ----------
    sequence : (B, N) int64
        0–21; nothing is known of X and MASK.
    dtype : torch.dtype
    """
    return Rotamers(
        _CHI.on(sequence.device, dtype)[sequence],
        _SHARE.on(sequence.device, dtype)[sequence],
        torch.zeros(*sequence.shape, N_CHI, N_BINS, dtype=dtype, device=sequence.device),
    )


def build(chi: Tensor, sequence: Tensor, backbone: Tensor, mask: Tensor) -> Tensor:
    """Side chains in their frames, on the backbones as they are.

    Parameters
    ----------
    chi : (B, N, 4) or (B, N, R, 4) float
    sequence : (B, N) int64
        X and MASK have a CB.
    backbone : (B, N, 4, 3) float
        In the frame, Å.
    mask : (B, N) bool
        False: there is no backbone, and what comes out is not to be read.

    Returns
    -------
    (B, N, 10, 3) or (B, N, R, 10, 3) float
        Slots 4–13; zeros where the type has no atom.
    """
    # Any N will do where there is none.
    n = torch.where(mask[..., None], backbone[..., 0, :], _SOME_N.like(backbone))
    if chi.ndim > sequence.ndim + 1:
        sequence, n = sequence[..., None], n[..., None, :]
    return build_side_chains(chi, sequence, n)[0]
