"""All that is random about a step, as a pure function of (seed, step, ``chain_uid``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from model.tensor_record import TensorRecord
from pipeline.seeded import seed_bytes

N_CHOICES = 16
"""Uniform numbers per protein: task, times, sizes and places of motifs."""


@dataclass(frozen=True)
class Noise(TensorRecord):
    """Random numbers of B proteins of N residues; zeros at padding.

    Attributes
    ----------
    choices : (B, 16) float
        Uniform in [0, 1).
    translations : (B, N, 3) float
        Standard normal.
    quaternions : (B, N, 4) float
        Standard normal: the directions are uniform rotations.
    torsions : (B, N) float
        Uniform in [0, 1).
    sequence : (B, N) float
        Uniform in [0, 1).
    residues : (B, N) float
        Uniform in [0, 1): which residues are held.
    backbone : (B, N, 4, 3) float
        Standard normal: of N, CA, C and O, where a network is trained with noise on them.
    """

    choices: Tensor
    translations: Tensor
    quaternions: Tensor
    torsions: Tensor
    sequence: Tensor
    residues: Tensor
    backbone: Tensor


def generator(seed: int, step: int, uid: str) -> torch.Generator:
    """A generator that depends on nothing but its arguments."""
    key = seed_bytes(seed, step, uid, size=8)
    # The sign bit is left alone: some generators take no larger seed.
    return torch.Generator().manual_seed(int.from_bytes(key, "little") >> 1)


def draw_noise(
    uids: Sequence[str], lengths: Sequence[int] | Tensor, size: int, seed: int, step: int
) -> Noise:
    """Random numbers for a batch; a protein's are the same in any batch and under any padding.

    Parameters
    ----------
    uids : sequence of str
        ``chain_uid`` of each protein.
    lengths : (B,) int
        Residues of each protein.
    size : int
        N, padding included.
    seed, step : int

    Returns
    -------
    Noise
        float32, on the CPU.
    """
    drawn = [
        _draw(int(n), generator(seed, step, uid)) for uid, n in zip(uids, lengths, strict=True)
    ]
    padded: dict[str, Tensor] = {}
    for field in fields(Noise):
        values = [getattr(one, field.name) for one in drawn]
        if field.name == "choices":
            padded[field.name] = torch.stack(values)
            continue
        whole = values[0].new_zeros(len(values), size, *values[0].shape[1:])
        for row, value in zip(whole, values, strict=True):
            row[: len(value)] = value
        padded[field.name] = whole
    return Noise(**padded)


def _draw(length: int, g: torch.Generator) -> Noise:
    return Noise(
        choices=torch.rand(N_CHOICES, generator=g),
        translations=torch.randn(length, 3, generator=g),
        quaternions=torch.randn(length, 4, generator=g),
        torsions=torch.rand(length, generator=g),
        sequence=torch.rand(length, generator=g),
        residues=torch.rand(length, generator=g),
        # The last, so that runs without noise on backbones draw what they have always drawn.
        backbone=torch.randn(length, 4, 3, generator=g),
    )
