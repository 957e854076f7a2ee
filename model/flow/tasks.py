"""Tasks: what is held clean. One model serves all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from model.flow.clean import Clean
from model.flow.noise import Noise
from model.flow.state import MODALITIES, Held, Times
from model.on_device import sent
from pipeline.errors import UsageError

Task = Literal["packing", "design", "inpainting", "unconditional"]
TASKS: tuple[Task, ...] = get_args(Task)


@dataclass(frozen=True)
class TaskWeights:
    """How often a training sample is of each task; any non-negative numbers."""

    packing: float = 1.0
    design: float = 1.0
    inpainting: float = 1.0
    unconditional: float = 1.0

    def __post_init__(self) -> None:
        weights = [getattr(self, task) for task in TASKS]
        if min(weights) < 0 or sum(weights) <= 0:
            raise UsageError(f"task weights must be non-negative and not all zero, found {self}")


def draw_tasks(weights: TaskWeights, noise: Noise) -> Tensor:
    """A task for each protein, as its number in `TASKS`.

    Returns
    -------
    (B,) int64
    """
    shares = torch.tensor([getattr(weights, task) for task in TASKS], dtype=torch.float64)
    edges = (torch.cumsum(shares, 0) / shares.sum())[:-1]
    return torch.searchsorted(edges, noise.choices[:, 0].double(), right=True)


def held_for(tasks: Tensor, clean: Clean, noise: Noise) -> Held:
    """What each task holds clean, as `HOLDS` says.

    A residue without a frame cannot be part of a motif, and one that lacks atoms cannot hold them.

    Parameters
    ----------
    tasks : (B,) int64
    clean : Clean
    noise : Noise

    Returns
    -------
    Held
    """
    each = [HOLDS[task](clean, noise) for task in TASKS]
    tasks = sent(tasks, clean.mask.device)
    items = torch.arange(len(tasks), device=tasks.device)
    return Held(*(torch.stack([getattr(h, m) for h in each])[tasks, items] for m in MODALITIES))


def hold_packing(clean: Clean, noise: Noise) -> Held:
    """Frames and sequence, and in one of eight samples the side chains of a random part.

    A residue without a frame is not part of the problem: it is masked.
    """
    u = noise.choices
    around = (u[:, 10] < 0.125)[:, None] & (noise.residues >= u[:, 11, None])
    around = around & (clean.sequence < 20) & clean.complete
    return Held(clean.mask, around & clean.mask, clean.mask)


def hold_design(clean: Clean, noise: Noise) -> Held:
    """Frames, and in half of the samples the types and atoms of a random part of the residues."""
    u = noise.choices
    # The hidden share is 1 in half of the samples, else uniform in (0.1, 1).
    hidden_share = torch.where(u[:, 1] < 0.5, 1.0, 0.1 + 0.9 * u[:, 2])
    fixed = (noise.residues >= hidden_share[:, None]) & clean.mask
    return Held(clean.mask, fixed & (clean.sequence < 20) & clean.complete, fixed)


def hold_motif(clean: Clean, noise: Noise) -> Held:
    """Inpainting: everything at a motif of one to three segments."""
    resolved = _motif(clean, noise) & clean.frame_mask
    return Held(resolved, resolved & clean.complete, resolved)


def hold_nothing(clean: Clean, noise: Noise) -> Held:
    nothing = torch.zeros_like(clean.mask)
    return Held(nothing, nothing, nothing)


HOLDS: dict[Task, Callable[[Clean, Noise], Held]] = {
    "packing": hold_packing,
    "design": hold_design,
    "inpainting": hold_motif,
    "unconditional": hold_nothing,
}
"""What each task holds in training."""


def _motif(clean: Clean, noise: Noise) -> Tensor:
    """(B, N) bool: one to three segments, together a tenth to a half of the residues."""
    u = noise.choices
    length = clean.mask.sum(1)
    position = torch.arange(clean.mask.shape[1], device=clean.mask.device)[None]
    segments = 1 + (3 * u[:, 3]).long()
    share = (0.1 + 0.4 * u[:, 4]) / segments
    size = torch.clamp((share * length).round(), min=1)
    motif = torch.zeros_like(clean.mask)
    for k in range(3):
        begin = torch.floor(u[:, 5 + k] * (length - size + 1).clamp(min=1))
        inside = (position >= begin[:, None]) & (position < (begin + size)[:, None])
        motif |= inside & (segments > k)[:, None]
    return motif & clean.mask


def draw_times(held: Held, noise: Noise) -> Times:
    """Times of each protein: one for frames, one for types, uniform in [0, 1); 1 where held.

    Returns
    -------
    Times
    """
    return held.times(noise.choices[:, 8, None], noise.choices[:, 9, None])
