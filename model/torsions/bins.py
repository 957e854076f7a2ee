"""Torsions in 36 bins of 10°, and the wells of a distribution over them.

A π-periodic torsion (`pipeline.residues.CHI_PI_PERIODIC`) has half of the bins: what is half a turn
apart is one conformation, and bins 18–35 have no probability.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from model.on_device import Constant
from model.torsions.angles import wrapped

N_BINS = 36
WIDTH = 2 * math.pi / N_BINS
SMOOTHING = 0.8
"""Standard deviation, in bins, of what is learned of one measured torsion: a bin's neighbours are
less wrong than the bin across."""

NEAR = math.radians(35.0)
"""What belongs to one peak. Its mean is a little nearer to the truth than its likeliest bin: an
RMSD of 0.855 Å on validation chains, and not 0.859 Å."""

N_WELLS = 3
"""sp³ bonds have three; a flat group's torsion has one or two, and the others stay small."""

_CENTRES = Constant((torch.arange(N_BINS) + 0.5) * WIDTH - math.pi)
_BEYOND = Constant(torch.arange(N_BINS) >= N_BINS // 2)


def _places() -> tuple[Tensor, Tensor]:
    """(2, 3, 12) bins of each well as they lie from the peak, and whether they are there."""
    within = torch.arange(N_BINS // N_WELLS)
    whole = torch.stack([within + 12 * w - 6 for w in range(N_WELLS)])
    half = torch.stack([within + 6 * w - 3 for w in range(N_WELLS)])
    there = torch.stack([torch.ones_like(whole, dtype=torch.bool), (within < 6).expand(3, 12)])
    return torch.stack([whole, half]), there


_PLACES, _THERE = (Constant(table) for table in _places())


def log_probabilities(logits: Tensor, periodic: Tensor) -> Tensor:
    """Of the bins, from logits (..., 36); −inf beyond half a turn where `periodic` (...)."""
    beyond = periodic[..., None] & _BEYOND.on(logits.device)
    return logits.masked_fill(beyond, -torch.inf).log_softmax(-1)


def smoothed(chi: Tensor, periodic: Tensor) -> tuple[Tensor, Tensor]:
    """What is learned of measured torsions.

    Parameters
    ----------
    chi : (...) float
        Radians.
    periodic : (...) bool

    Returns
    -------
    target : (..., 36) float
        Probability of the bins.
    away : (..., 36) float
        Bins from the centre of each to the torsion.
    """
    period = torch.where(periodic, math.pi, 2 * math.pi).to(chi.dtype)[..., None]
    away = wrapped(chi[..., None] - _CENTRES.like(chi), period) / WIDTH
    return log_probabilities(-0.5 * (away / SMOOTHING) ** 2, periodic).exp(), away


def angles_at(bins: Tensor, offsets: Tensor) -> Tensor:
    """Radians of bins (...) moved by offsets (...), which are in bins and at most one."""
    return _CENTRES.like(offsets)[bins] + WIDTH * offsets.clamp(-1.0, 1.0)


def wells(probabilities: Tensor, offsets: Tensor, periodic: Tensor) -> tuple[Tensor, Tensor]:
    """The three thirds of a turn about the likeliest bin: each the angle of its peak, and its mass.

    Parameters
    ----------
    probabilities, offsets : (..., 36) float
    periodic : (...) bool
        Thirds of half a turn.

    Returns
    -------
    angles, mass : (..., 3) float
        Radians: the mean of what is `NEAR` a well's likeliest bin. The well of the likeliest bin
        comes first. Masses sum to 1.
    """
    peak = probabilities.argmax(-1)
    which = periodic.long()
    period = torch.where(periodic, N_BINS // 2, N_BINS)
    places = _PLACES.of(which) + peak[..., None, None]
    bins = torch.remainder(places, period[..., None, None])
    p = probabilities.gather(-1, bins.flatten(-2)).unflatten(-1, (N_WELLS, -1))
    p = torch.where(_THERE.of(which), p, 0.0)
    best = bins.gather(-1, p.argmax(-1, keepdim=True))[..., 0]
    peaks = angles_at(best, offsets.gather(-1, best))
    every = angles_at(torch.arange(N_BINS, device=peak.device), offsets)
    turn = torch.where(periodic, math.pi, 2 * math.pi).to(offsets.dtype)[..., None, None]
    away = wrapped(every[..., None, :] - peaks[..., None], turn)
    near = torch.where(away.abs() < NEAR, probabilities[..., None, :], 0.0)
    total = near.sum(-1).clamp(min=torch.finfo(near.dtype).tiny)
    return peaks + (near * away).sum(-1) / total, p.sum(-1)
