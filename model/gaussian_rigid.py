"""A residue as one object: its frame, and the Gaussian ellipsoid that it carries.

With frame (R, t), local mean m and log scale ℓ (symbols of the design, section 4)

    μ = R m + t                 Σ = R diag(e^{2ℓ}) Rᵀ

All functions are batched, differentiable and follow the precision of their inputs; none is touched
by autocast, since they are elementwise arithmetic and not matrix products.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import roma
import torch
from torch import Tensor

from model.tensor_record import TensorRecord
from pipeline.geometry.frames import is_frame, to_global, to_local
from pipeline.geometry.gaussians import (
    BASE_THICKNESS,
    from_all_atoms,
    matrix_from_upper,
    upper_from_root,
)

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

    # ---- constructors -------------------------------------------------------------------------

    @classmethod
    def from_atoms(
        cls,
        n: Tensor,
        ca: Tensor,
        c: Tensor,
        o: Tensor,
        sidechain: Tensor,
        sidechain_mask: Tensor,
        *,
        o_mask: Tensor | None = None,
        frame_mask: Tensor | None = None,
        base_thickness: float = BASE_THICKNESS,
        missing_thickness: float = MISSING_THICKNESS,
    ) -> GaussianRigid:
        """Frames and ellipsoids of global atoms, by `pipeline.geometry.gaussians.from_all_atoms`.

        Parameters
        ----------
        n, ca, c, o : (..., 3) float
            Å.
        sidechain : (..., K, 3) float
        sidechain_mask : (..., K) bool
        o_mask, frame_mask : (...) bool, optional
            False where O, or one of N, CA and C, is absent.
        base_thickness : float
            Å, added to the standard deviation of each axis.
        missing_thickness : float
            Å, the standard deviation where there is no frame (the frame is then the identity).
        """
        gaussians = from_all_atoms(
            *(n, ca, c, o, sidechain, sidechain_mask, base_thickness),
            o_mask=o_mask,
            frame_mask=frame_mask,
        )
        framed = is_frame(n, ca, c, frame_mask)[..., None]
        return cls(
            rotations=gaussians.rotations,
            translations=gaussians.translations,
            local_mean=gaussians.local_mean,
            log_scale=torch.where(framed, gaussians.log_scale, math.log(missing_thickness)),
        )

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
        base_thickness, missing_thickness : float
            As in `from_atoms`.
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
        scale = std + base_thickness
        if frame_mask is not None:
            scale = torch.where(frame_mask[..., None], scale, missing_thickness)
        return cls(rotations, translations, mean, scale.log())

    # ---- the frame ----------------------------------------------------------------------------

    def apply(self, points: Tensor) -> Tensor:
        """Global coordinates R y + t of points (..., *P, 3) in the frames."""
        return to_global(self.rotations, self.translations, points)

    def to_local(self, points: Tensor) -> Tensor:
        """Coordinates Rᵀ(x − t) in the frames of global points (..., *P, 3)."""
        return to_local(self.rotations, self.translations, points)

    def compose(self, inner: GaussianRigid) -> GaussianRigid:
        """`inner`, whose coordinates are meant in these frames, in global coordinates.

        ``a.compose(b).apply(x) == a.apply(b.apply(x))``; the ellipsoid is that of `inner`, moved.
        """
        return replace(
            inner,
            rotations=_product(self.rotations, inner.rotations),
            translations=self.apply(inner.translations),
        )

    def invert(self) -> GaussianRigid:
        """The inverse of the frame; local mean and scale are left as they are.

        ``a.invert().compose(b)`` is b as seen from a, ellipsoid included.
        """
        inverse = self.rotations.transpose(-1, -2)
        zero = torch.zeros_like(self.translations)
        return replace(
            self, rotations=inverse, translations=-to_global(inverse, zero, self.translations)
        )

    # ---- the ellipsoid ------------------------------------------------------------------------

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

    # ---- changes ------------------------------------------------------------------------------

    def scaled(self, factor: float) -> GaussianRigid:
        """The same in another unit of length: 0.1 makes nm of Å."""
        return replace(
            self,
            translations=self.translations * factor,
            local_mean=self.local_mean * factor,
            log_scale=self.log_scale + math.log(factor),
        )

    def update(self, vector: Tensor) -> GaussianRigid:
        """Move frame and ellipsoid by a vector (..., 12) in the residue's own terms.

        Components: a rotation vector (rad) and a translation, both in the frame, so that a
        rotation of everything rotates the update along; then the change of the local mean in units
        of the scale, and the change of the log scale.
        """
        if vector.shape[-1] != 12:
            raise ValueError(f"an update has 12 components, found shape {tuple(vector.shape)}")
        vector = vector.to(self.translations.dtype)
        return replace(
            self.update_frame(vector[..., :6]),
            local_mean=self.local_mean + vector[..., 6:9] * self.scale,
            log_scale=self.log_scale + vector[..., 9:],
        )

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
