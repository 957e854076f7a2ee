"""Random residues for the tests of attention."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import roma
import torch
from torch import Tensor, nn

from model.attention import FrameAttention, build_attention
from model.gaussian_rigid import GaussianRigid
from pipeline.geometry.frames import backbone_frames, to_local

SIZES = {"c_s": 16, "n_heads": 2, "c_hidden": 4, "n_gaussians": 3, "n_points": 2}


@dataclass
class Inputs:
    """What an attention layer takes: (s, z, rigid, mask)."""

    s: Tensor
    z: Tensor | None
    rigid: GaussianRigid
    mask: Tensor

    def __iter__(self):
        return iter((self.s, self.z, self.rigid, self.mask))

    def leaves(self) -> dict[str, Tensor]:
        found = {"s": self.s} | {f.name: getattr(self.rigid, f.name) for f in fields(self.rigid)}
        return found if self.z is None else found | {"z": self.z}

    def with_gradients(self) -> Inputs:
        return self.map(lambda x: x.detach().clone().requires_grad_())

    def map(self, function) -> Inputs:
        z = None if self.z is None else function(self.z)
        return Inputs(function(self.s), z, self.rigid.map(function), self.mask)


def random_rigid(
    *shape: int,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float64,
    spread: float = 8.0,
    at: float = 0.0,
) -> GaussianRigid:
    """Frames `spread` Å about the point (at, −at, at/2), with ellipsoids of residues' size."""

    def normal(*size: int) -> Tensor:
        return torch.randn(*shape, *size, generator=generator, dtype=dtype)

    return GaussianRigid(
        rotations=random_rotations(*shape, generator=generator, dtype=dtype),
        translations=spread * normal(3) + at * torch.tensor([1.0, -1.0, 0.5], dtype=dtype),
        local_mean=normal(3),
        log_scale=0.4 + 0.3 * normal(3),
    )


def random_rotations(
    *shape: int, generator: torch.Generator, dtype: torch.dtype = torch.float64
) -> Tensor:
    quaternions = torch.randn(*shape, 4, generator=generator, dtype=dtype)
    return roma.unitquat_to_rotmat(nn.functional.normalize(quaternions, dim=-1))


def random_inputs(
    n_items: int = 2,
    n: int = 9,
    *,
    c_z: int = 5,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    masked: bool = True,
    spread: float = 8.0,
    at: float = 0.0,
) -> Inputs:
    g = torch.Generator().manual_seed(seed)
    s = torch.randn(n_items, n, SIZES["c_s"], generator=g, dtype=dtype)
    z = torch.randn(n_items, n, n, c_z, generator=g, dtype=dtype) if c_z else None
    rigid = random_rigid(n_items, n, generator=g, dtype=dtype, spread=spread, at=at)
    mask = torch.ones(n_items, n, dtype=torch.bool)
    if masked:
        mask = torch.rand(n_items, n, generator=g) > 0.25
        mask[:, 0] = True
    return Inputs(s, z, rigid, mask)


def layer(
    kind: str = "iga", *, c_z: int = 5, dtype: torch.dtype = torch.float64, **options
) -> FrameAttention:
    """A layer with weights at work: the output layer starts at zero, Gaussians small."""
    g = torch.Generator().manual_seed(1)
    built = build_attention(kind, c_z=c_z, **SIZES, **options).double()
    for name, parameter in built.named_parameters():
        if not name.endswith(("gamma_weight", "head_weight")):
            value = torch.randn(parameter.shape, generator=g, dtype=torch.float64)
            parameter.data = value / math.sqrt(parameter.shape[-1])
    return built.to(dtype)


def moved(rigid: GaussianRigid, rotation: Tensor, translation: Tensor) -> GaussianRigid:
    """The whole turned about the origin, then shifted."""
    return replace(
        rigid,
        rotations=rotation @ rigid.rotations,
        translations=rigid.translations @ rotation.T + translation,
    )


def from_atoms(atoms: Tensor, sidechain_mask: Tensor) -> GaussianRigid:
    """Residues of global atom14 positions, (..., 14, 3), whose backbones are there."""
    rotations, translations = backbone_frames(*atoms[..., :3, :].unbind(-2))
    local = to_local(rotations, translations, atoms)
    backbone, rest = local[..., :4, :], local[..., 4:, :]
    return GaussianRigid.from_frames(rotations, translations, backbone, rest, sidechain_mask)


def largest(difference: Tensor) -> float:
    """Largest absolute value; NaN if there is one."""
    return difference.detach().abs().max().item() if difference.numel() else 0.0
