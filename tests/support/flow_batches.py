"""Small proteins for the tests of the model: built from ideal residues, with known masks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from model.flow import Clean, Held
from model.flow.backbone import ideal_backbone
from model.torsions import ChiDistribution, periodic_chi, smoothed
from pipeline.batching import collate
from pipeline.geometry.frames import backbone_frames, to_global
from pipeline.residues import ATOM14_EXISTS

UIDS = ["a_1_A", "b_1_A", "c_1_A"]


def random_item(uid: str, length: int, seed: int, *, scale: float = 8.0) -> dict[str, Any]:
    """A protein of random residues at random places, whose atoms are about where atoms are."""
    g = torch.Generator().manual_seed(seed)
    aatype = torch.randint(0, 20, (length,), generator=g)
    n, ca, c = torch.randn(3, length, 3, generator=g)
    rotations, _ = backbone_frames(n, ca, c)
    translations = torch.randn(length, 3, generator=g) * scale
    angle = 2 * np.pi * torch.rand(length, generator=g)
    backbone = ideal_backbone(torch.sin(angle), torch.cos(angle))
    chain = torch.cumsum(torch.rand(length, 10, 3, generator=g) * 0.9, 1)
    side = chain * torch.tensor([-1.0, -1.0, -1.0])
    local = torch.cat([backbone, side], 1)
    mask = torch.tensor(ATOM14_EXISTS)[aatype]
    positions = torch.where(mask[..., None], to_global(rotations, translations, local), 0.0)
    return {
        "chain_uid": uid,
        "aatype": aatype,
        "residue_index": torch.arange(1, length + 1),
        "chain_index": torch.zeros(length, dtype=torch.int64),
        "atom14_positions": positions,
        "atom14_mask": mask,
        "rotmats": rotations,
        "trans": translations,
        "residue_mask": torch.ones(length, dtype=torch.bool),
    }


def unresolved(item: dict[str, Any], *residues: int) -> dict[str, Any]:
    """The same with residues that were not seen."""
    item = {key: value.clone() if torch.is_tensor(value) else value for key, value in item.items()}
    for k in residues:
        item["atom14_mask"][k] = False
        item["atom14_positions"][k] = 0
        item["rotmats"][k] = torch.eye(3)
        item["trans"][k] = 0
        item["residue_mask"][k] = False
    return item


def without_atoms(item: dict[str, Any], residue: int, *slots: int) -> dict[str, Any]:
    """The same with atoms that were not seen."""
    item = {key: value.clone() if torch.is_tensor(value) else value for key, value in item.items()}
    for slot in slots:
        item["atom14_mask"][residue, slot] = False
        item["atom14_positions"][residue, slot] = 0
    return item


def three_proteins() -> list[dict[str, Any]]:
    """Complete proteins of 9, 14 and 5 residues, named as in `UIDS`."""
    return [random_item(uid, n, k) for k, (uid, n) in enumerate(zip(UIDS, (9, 14, 5), strict=True))]


def batch_of(*items: dict[str, Any]) -> dict[str, Any]:
    return collate(items)


def with_garbage(clean: Clean, held: Held) -> Clean:
    """Hidden values replaced: coordinates by NaN, masks and types by others."""
    nan = float("nan")
    f, a, s = ~held.frames & clean.mask, ~held.atoms & clean.mask, ~held.sequence & clean.mask
    embedding = clean.embedding
    if embedding is not None:
        embedding = torch.where(s.any(1)[:, None, None], nan, embedding)
    return replace(
        clean,
        placed=torch.where(f | a | s, ~clean.placed, clean.placed),
        rotations=torch.where(f[..., None, None], nan, clean.rotations),
        translations=torch.where(f[..., None], nan, clean.translations),
        backbone=torch.where(f[..., None, None], nan, clean.backbone),
        atoms=torch.where(a[..., None, None], nan, clean.atoms),
        sequence=torch.where(s, (clean.sequence + 7) % 21, clean.sequence),
        frame_mask=torch.where(f, ~clean.frame_mask, clean.frame_mask),
        oxygen_mask=torch.where(f, ~clean.oxygen_mask, clean.oxygen_mask),
        atoms_mask=torch.where(a[..., None], ~clean.atoms_mask, clean.atoms_mask),
        embedding=embedding,
    )


def certain(chi: torch.Tensor, sequence: torch.Tensor, sharpness: float = 50.0) -> ChiDistribution:
    """A distribution about these torsions (B, N, 4), the narrower the sharper."""
    features = torch.cat([chi, periodic_chi(sequence).to(chi.dtype)], -1)

    def conditional(
        features: torch.Tensor, k: int, before: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        chi, periodic = features.chunk(2, -1)
        _, away = smoothed(chi[..., k], periodic[..., k] > 0)
        return (-sharpness * away.square())[..., None, :], away[..., None, :]

    return ChiDistribution(features, sequence, conditional, chi.dtype)
