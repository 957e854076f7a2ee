"""Noise on backbones that are given: what a network learns from them is then the fold, not the
refinement."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from model.flow.clean import Clean
from pipeline.errors import UsageError
from pipeline.geometry.frames import backbone_frames, is_frame, to_global, to_local

MAX_DESIGN = 0.5
"""Å. Beyond, bonds and angles are no longer told from each other."""

MAX_PACKING = 0.02
"""Å. Side chains are placed to a few tenths of an Å: more would blur what is asked for."""


@dataclass(frozen=True)
class BackboneNoise:
    """Standard deviation in Å of normal noise on N, CA, C and O of training samples, by their task.

    Refinement leaves traces of a residue's type in its backbone, which designed backbones do not
    have. ProteinMPNN is trained with 0.02 to 0.3 Å, its published default with 0.2 Å (J. Dauparas
    et al., Science 378, 49, 2022). Validation is without noise.

    Parameters
    ----------
    design
        At most 0.5.
    packing
        At most 0.02. Torsions to be learned are those of the file, whatever the noise.
    """

    design: float = 0.0
    packing: float = 0.0

    def __post_init__(self) -> None:
        for task, most in (("design", MAX_DESIGN), ("packing", MAX_PACKING)):
            if not 0 <= (sd := getattr(self, task)) <= most:
                raise UsageError(f"backbone_noise.{task} is from 0 to {most} Å, found {sd}")

    def of(self, tasks: list[str]) -> Tensor:
        """(B,) standard deviation for samples of these tasks; 0 where frames are made."""
        return torch.tensor([float(getattr(self, task, 0.0)) for task in tasks])


def noised_backbones(clean: Clean, noise: Tensor, sd: Tensor) -> Clean:
    """The proteins as if their files had N, CA, C and O elsewhere: frames are made anew.

    Side-chain atoms stay where they are, and have other coordinates in the new frames.

    Parameters
    ----------
    clean : Clean
    noise : (B, N, 4, 3) float
        Standard normal.
    sd : (B,) float
        Å; where it is 0, a protein comes back bit by bit.
    """
    positions = to_global(clean.rotations, clean.translations, clean.backbone)
    moved = positions + sd[:, None, None, None] * noise
    n, ca, c, _ = moved.unbind(2)
    framed = clean.frame_mask & is_frame(n, ca, c, clean.frame_mask)
    rotations, translations = backbone_frames(n, ca, c, framed)
    translations = torch.where(framed[..., None], translations, 0.0)
    atoms = to_global(clean.rotations, clean.translations, clean.atoms)
    there = torch.stack([framed, framed, framed, framed & clean.oxygen_mask], -1)
    backbone = torch.where(there[..., None], to_local(rotations, translations, moved), 0.0)
    present = clean.atoms_mask & framed[..., None]
    atoms = torch.where(present[..., None], to_local(rotations, translations, atoms), 0.0)
    noised = replace(
        clean,
        rotations=rotations,
        translations=translations,
        backbone=backbone,
        atoms=atoms,
        frame_mask=framed,
        oxygen_mask=there[..., 3],
        atoms_mask=present,
    )
    changed = sd > 0
    return replace(clean, **{name: _where(changed, noised, clean, name) for name in _CHANGED})


_CHANGED = (
    *("rotations", "translations", "backbone", "atoms"),
    *("frame_mask", "oxygen_mask", "atoms_mask"),
)


def _where(changed: Tensor, noised: Clean, clean: Clean, name: str) -> Tensor:
    new, old = getattr(noised, name), getattr(clean, name)
    return torch.where(changed[(...,) + (None,) * (old.ndim - 1)], new, old)
