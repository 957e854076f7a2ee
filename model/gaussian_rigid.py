"""A residue as one object: its frame, and the Gaussian ellipsoid that it carries.

With frame (R, t), local mean m and log scale ℓ (symbols of the design, section 4)

    μ = R m + t                 Σ = R diag(e^{2ℓ}) Rᵀ

All functions are batched, differentiable and follow the precision of their inputs; none is touched
by autocast, since they are elementwise arithmetic and not matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import roma
import torch
from torch import Tensor

from model.tensor_record import TensorRecord
from pipeline.geometry.frames import to_global, to_local
from pipeline.geometry.gaussians import BASE_THICKNESS, matrix_from_upper, upper_from_root

MISSING_THICKNESS = 2.5
"""Standard deviation of a residue without a frame, in Å: about that of any residue, anywhere."""


@dataclass(frozen=True)
class GaussianRigid(TensorRecord):
    """Frames with an axis-aligned Gaussian each.

    Attributes
    ----------
    rotations : (..., 3, 3) float
        Columns are the axes of the frame in global coordinates.
    translations : (..., 3) float
        Origin of the frame (CA).
    local_mean : (..., 3) float
        Centroid in the frame.
    log_scale : (..., 3) float
        Logarithm of the standard deviation along each axis of the frame.
    """

    rotations: Tensor
    translations: Tensor
    local_mean: Tensor
    log_scale: Tensor

    @classmethod
    def from_frames(
        cls,
        rotations: Tensor,
        translations: Tensor,
        backbone: Tensor,
        atoms: Tensor,
        atoms_mask: Tensor,
        frame_mask: Tensor | None = None,
        *,
        base_thickness: float = BASE_THICKNESS,
        missing_thickness: float = MISSING_THICKNESS,
    ) -> GaussianRigid:
        """Ellipsoids of atoms that are given in frames, in just these frames.

        The frame is not derived from the backbone again, so atoms on their way from noise to a
        residue need not be consistent with it.

        Parameters
        ----------
        rotations, translations : (..., 3, 3) and (..., 3) float
        backbone : (..., 4, 3) float
            N, CA, C and O in the frame, Å; all present.
        atoms : (..., K, 3) float
            Further atoms in the frame, Å. What is masked may hold anything, NaN included.
        atoms_mask : (..., K) bool
        frame_mask : (...) bool, optional
            False where there is no frame: local mean 0, scale `missing_thickness`.
        base_thickness : float
            Å, added to the standard deviation of each axis.
        missing_thickness : float
            Å, the standard deviation where there is no frame.
        """
        present = torch.cat([torch.ones_like(backbone[..., 0], dtype=torch.bool), atoms_mask], -1)
        if frame_mask is not None:
            present = present & frame_mask[..., None]
        present = present[..., None]
        # Absent atoms vanish before any arithmetic: neither value nor gradient (0 · NaN) leaks.
        y = torch.where(present, torch.cat([backbone, atoms], dim=-2), 0.0)
        count = present.sum(dim=-2).clamp(min=1)
        mean = y.sum(dim=-2) / count
        variance = (torch.where(present, y - mean[..., None, :], 0.0) ** 2).sum(dim=-2) / count
        extended = variance > 0
        std = torch.where(extended, torch.where(extended, variance, 1.0).sqrt(), 0.0)
        return cls.from_moments(
            *(rotations, translations, mean, std, frame_mask),
            base_thickness=base_thickness,
            missing_thickness=missing_thickness,
        )

    @classmethod
    def from_moments(
        cls,
        rotations: Tensor,
        translations: Tensor,
        local_mean: Tensor,
        std: Tensor,
        frame_mask: Tensor | None = None,
        *,
        base_thickness: float = BASE_THICKNESS,
        missing_thickness: float = MISSING_THICKNESS,
    ) -> GaussianRigid:
        """Ellipsoids of the mean and standard deviation of atoms (..., 3) along the frames' axes.

        Other parameters as in `from_frames`.
        """
        scale = std + base_thickness
        if frame_mask is not None:
            scale = torch.where(frame_mask[..., None], scale, missing_thickness)
            local_mean = torch.where(frame_mask[..., None], local_mean, 0.0)
        return cls(rotations, translations, local_mean, scale.log())

    def apply(self, points: Tensor) -> Tensor:
        """Global coordinates R y + t of points (..., *P, 3) in the frames."""
        return to_global(self.rotations, self.translations, points)

    def to_local(self, points: Tensor) -> Tensor:
        """Coordinates Rᵀ(x − t) in the frames of global points (..., *P, 3)."""
        return to_local(self.rotations, self.translations, points)

    @property
    def scale(self) -> Tensor:
        """Standard deviation along each axis of the frame, (..., 3)."""
        return self.log_scale.exp()

    @property
    def centroid(self) -> Tensor:
        """μ = R m + t, (..., 3)."""
        return self.apply(self.local_mean)

    @property
    def covariance6(self) -> Tensor:
        """Upper triangle xx xy xz yy yz zz of Σ in global axes, (..., 6)."""
        root = self.rotations * self.scale[..., None, :]
        return torch.stack(upper_from_root(root.unbind(-2), -1), dim=-1)

    @property
    def covariance(self) -> Tensor:
        """Σ = R diag(scale²) Rᵀ in global axes, (..., 3, 3), exactly symmetric."""
        return matrix_from_upper(self.covariance6)

    def update_frame(self, vector: Tensor) -> GaussianRigid:
        """Rotate by a rotation vector and translate, (..., 6), both in the frame."""
        if vector.shape[-1] != 6:
            raise ValueError(
                f"an update of frames has 6 components, found shape {tuple(vector.shape)}"
            )
        vector = vector.to(self.translations.dtype)
        return replace(
            self,
            rotations=_product(self.rotations, roma.rotvec_to_rotmat(vector[..., :3])),
            translations=self.apply(vector[..., 3:]),
        )


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Matrix product of rotations, elementwise: autocast and TF32 would lower its precision."""
    return (a[..., :, :, None] * b[..., None, :, :]).sum(dim=-2)
