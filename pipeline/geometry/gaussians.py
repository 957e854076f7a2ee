"""Residues as Gaussian ellipsoids: centroid and covariance of a residue's atoms.

With atoms x_k under a mask, in the residue's frame (R, t): y_k = Rᵀ(x_k − t), and

    local_mean = ȳ                        μ = R ȳ + t
    std_a      = sqrt(mean (y_a − ȳ_a)²)   for each frame axis a, dividing by the number of atoms
    scale      = std + base_thickness     Σ = R diag(scale²) Rᵀ

One implementation for NumPy and torch; elementwise, so a residue's numbers do not depend on its
neighbours in the array; differentiable under torch. Masked atoms may hold anything, NaN included.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.geometry.array_namespace import array_namespace
from pipeline.geometry.frames import (
    Array,
    Vector,
    frame_components,
    stack_rotations,
    to_global,
    unstack,
)
from pipeline.geometry.moments import (
    UPPER,
    Shape,
    Symmetric,
    from_axes,
    matrix_from_upper,
    moments,
    rotate,
    sqrt,
    sum_atoms,
)
from pipeline.short_repr import short_repr

BASE_THICKNESS = 0.5
"""Added to every standard deviation, in Å: no residue is thinner than an atom's own cloud."""

MAX_ANISOTROPY = 90.0
"""Largest ratio of two axes for a solver: condition number 8,100, below the limit of 1e4."""

_BLOCK = 1024
"""Residues per block in `residue_gaussians`: many to a call, few enough for a core's cache."""


@dataclass(frozen=True)
class Gaussians:
    """One Gaussian per residue, in the residue's frame.

    Attributes
    ----------
    rotations : (..., 3, 3) float
        Columns are the axes of the frame.
    translations : (..., 3) float
        Origin of the frame (CA).
    local_mean : (..., 3) float
        ȳ, in the frame.
    scale : (..., 3) float
        Standard deviation plus base thickness: along the frame's axes, or, where
        `local_covariance` is given, along its principal axes in ascending order.
    local_covariance : (..., 3, 3) float, optional
        Covariance in the frame of ``shape="full"``; None means diag(scale²).
    """

    rotations: Array
    translations: Array
    local_mean: Array
    scale: Array
    local_covariance: Array | None = None

    __repr__ = short_repr

    @property
    def centroid(self) -> Array:
        """μ = R ȳ + t, (..., 3)."""
        return to_global(self.rotations, self.translations, self.local_mean)

    @property
    def log_scale(self) -> Array:
        """log scale, (..., 3)."""
        return array_namespace(self.scale).log(self.scale)

    @property
    def covariance6(self) -> Array:
        """Upper triangle xx xy xz yy yz zz of Σ in global axes, (..., 6)."""
        r = self.rotations
        axes = (unstack(r[..., 0]), unstack(r[..., 1]), unstack(r[..., 2]))
        if self.local_covariance is None:
            sigma = from_axes(axes, unstack(self.scale * self.scale))
        else:
            sigma = rotate(axes, tuple(self.local_covariance[..., i, j] for i, j in UPPER))
        return array_namespace(r).stack(sigma, axis=-1)

    @property
    def covariance(self) -> Array:
        """Σ = R diag(scale²) Rᵀ in global axes, (..., 3, 3), exactly symmetric."""
        return matrix_from_upper(self.covariance6)


def from_all_atoms(
    n: Array,
    ca: Array,
    c: Array,
    o: Array,
    sidechain: Array,
    sidechain_mask: Array,
    base_thickness: float = BASE_THICKNESS,
    *,
    o_mask: Array | None = None,
    frame_mask: Array | None = None,
    shape: Shape = "axis_aligned",
) -> Gaussians:
    """Gaussians of N, CA, C, O and the side chain: the default constructor.

    A side chain of no or one atom has no extent of its own, and a long one draws its centroid far
    from CA; with the backbone atoms every residue has a body of comparable size around its CA.

    Parameters
    ----------
    n, ca, c, o : (..., 3) float
        Å.
    sidechain : (..., 10, 3) float
        Slots 4–13 of atom14. Any number of slots is accepted.
    sidechain_mask : (..., 10) bool
    base_thickness : float
        Å, added to the standard deviation of each axis.
    o_mask : (...) bool, optional
        False where O is absent.
    frame_mask : (...) bool, optional
        False where N, CA or C is absent.
    shape : {"axis_aligned", "full"}
        "full" keeps the 3×3 second moment, and adds the thickness along its principal axes. Its
        gradient does not exist where two principal axes are equal (fewer than three atoms, say).

    Returns
    -------
    Gaussians
        Rows without a frame (see `pipeline.geometry.frames.is_frame`) are empty: identity rotation,
        local_mean 0, scale `base_thickness`.

    Raises
    ------
    ValueError
        Shapes that do not fit, or an unknown `shape`.
    """
    xp = array_namespace(n, ca, c, o, sidechain)
    backbone, backbone_mask = _backbone(xp, n, ca, c, o, o_mask)
    points = xp.concat([backbone, sidechain], axis=-2)
    mask = xp.concat([backbone_mask, xp.astype(sidechain_mask, xp.bool)], axis=-1)
    return _from_points(n, ca, c, points, mask, frame_mask, base_thickness, shape)


def from_rigid_and_sidechain(
    n: Array,
    ca: Array,
    c: Array,
    sidechain: Array,
    sidechain_mask: Array,
    base_thickness: float = BASE_THICKNESS,
    *,
    frame_mask: Array | None = None,
    shape: Shape = "axis_aligned",
) -> Gaussians:
    """Gaussians of the side chain alone; without side-chain atoms μ = CA, scale = base_thickness.

    Parameters and result as for `from_all_atoms`.
    """
    xp = array_namespace(n, ca, c, sidechain)
    mask = xp.astype(sidechain_mask, xp.bool)
    return _from_points(n, ca, c, sidechain, mask, frame_mask, base_thickness, shape)


def from_backbone_atoms(
    n: Array,
    ca: Array,
    c: Array,
    o: Array,
    base_thickness: float = BASE_THICKNESS,
    *,
    o_mask: Array | None = None,
    frame_mask: Array | None = None,
    shape: Shape = "axis_aligned",
) -> Gaussians:
    """Gaussians of N, CA, C and O.

    Parameters and result as for `from_all_atoms`.
    """
    xp = array_namespace(n, ca, c, o)
    points, mask = _backbone(xp, n, ca, c, o, o_mask)
    return _from_points(n, ca, c, points, mask, frame_mask, base_thickness, shape)


def rotamer_moments(
    backbone: Array,
    sidechains: Array,
    sidechain_mask: Array,
    weights: Array,
    *,
    o_mask: Array | None = None,
) -> tuple[Array, Array]:
    """Mean and standard deviation of a residue's atoms where the side chain is a distribution.

    A residue whose side chain is rotamer r with the probability w_r is the mixture of the rotamers'
    atoms: with K side-chain atoms, each of them counts w_r and each backbone atom 1,

        ȳ = (Σ_bb y + Σ_r w_r Σ_k y_rk) / (N_bb + K)

    and the variance, about this mean, likewise. With one rotamer these are `from_all_atoms`'s
    local_mean and std; scale is std + base_thickness, as there.

    Parameters
    ----------
    backbone : (..., 4, 3) float
        N, CA, C and O in the residue's frame, Å.
    sidechains : (..., R, K, 3) float
        Atoms of each rotamer in the same frame. What is masked may hold anything, NaN included.
    sidechain_mask : (..., K) bool
        Which atoms the type has, whichever the rotamer.
    weights : (..., R) float
        Not negative. They are divided by their sum; where all are 0, all rotamers count alike.
    o_mask : (...) bool, optional
        False where O is absent.

    Returns
    -------
    local_mean, std : (..., 3) float

    Raises
    ------
    ValueError
        Shapes that do not fit.
    """
    xp = array_namespace(backbone, sidechains, weights)
    n_rotamers, n_atoms = sidechains.shape[-3:-1]
    if weights.shape[-1] != n_rotamers or sidechain_mask.shape[-1] != n_atoms:
        raise ValueError(
            f"{n_rotamers} rotamers of {n_atoms} atoms do not fit weights "
            f"{tuple(weights.shape)} and a mask {tuple(sidechain_mask.shape)}"
        )
    total = sum_atoms(xp, xp.moveaxis(weights, -1, 0))[..., None]
    known = total > 0
    weights = xp.where(known, weights / xp.where(known, total, 1.0), 1.0 / n_rotamers)
    n, ca, c, o = (backbone[..., slot, :] for slot in range(4))
    points, present = _backbone(xp, n, ca, c, o, o_mask)
    there = xp.astype(sidechain_mask, xp.bool)[..., None, :]
    # An absent atom goes before any arithmetic, as in `moments`.
    sidechains = xp.where(there[..., None], sidechains, 0.0)
    each = xp.where(there, weights[..., None], 0.0)
    y = xp.concat([xp.where(present[..., None], points, 0.0), _flat(xp, sidechains, 3)], axis=-2)
    weight = xp.concat([xp.astype(present, y.dtype), _flat(xp, each, 2)], axis=-1)
    y, weight = xp.moveaxis(y, -2, 0), xp.moveaxis(weight, -1, 0)[..., None]
    count = sum_atoms(xp, weight)
    mean = sum_atoms(xp, y * weight) / count
    return mean, sqrt(xp, sum_atoms(xp, (y - mean) ** 2 * weight) / count)


def _flat(xp: Any, array: Array, n_last: int) -> Array:
    """The first two of the last `n_last` axes as one."""
    first = array.ndim - n_last
    # Not −1, which of no residues at all may be any number.
    both = math.prod(array.shape[first : first + 2])
    return xp.reshape(array, (*array.shape[:first], both, *array.shape[first + 2 :]))


def residue_gaussians(
    positions: NDArray[np.float64],
    mask: NDArray[np.bool_],
    base_thickness: float = BASE_THICKNESS,
    shape: Shape = "axis_aligned",
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Centroid and covariance of every residue of an atom14 array: `from_all_atoms` for a build.

    The same arithmetic as `from_all_atoms`, to the last bit, on contiguous component planes.

    Parameters
    ----------
    positions : (L, 14, 3) float64
        Å; absent atoms may hold anything.
    mask : (L, 14) bool
    base_thickness : float
        Å.
    shape : {"axis_aligned", "full"}

    Returns
    -------
    centroid : (L, 3) float64
    covariance6 : (L, 6) float64
        Upper triangle xx xy xz yy yz zz in global axes.
    is_frame : (L,) bool
        N, CA and C are present and not collinear. Rows without a frame are zeros.

    Raises
    ------
    ValueError
        Shapes other than (L, 14, 3) and (L, 14).
    """
    xp = array_namespace(positions)
    length = len(positions)
    if positions.shape != (length, 14, 3) or mask.shape != (length, 14):
        raise ValueError(
            f"expected positions (L, 14, 3) and mask (L, 14), found {positions.shape} "
            f"and {mask.shape}"
        )
    centroid = np.zeros((length, 3), dtype=positions.dtype)
    covariance6 = np.zeros((length, 6), dtype=positions.dtype)
    ok = np.zeros(length, dtype=bool)
    for start in range(0, length, _BLOCK):
        rows = slice(start, start + _BLOCK)
        x = tuple(np.ascontiguousarray(positions[rows].transpose(2, 1, 0)))
        present = np.ascontiguousarray(mask[rows].T)
        n, ca, c = ((x[0][slot], x[1][slot], x[2][slot]) for slot in range(3))
        axes, origin, ok[rows] = frame_components(n, ca, c, present[0] & present[1] & present[2])
        mean, scale, local = moments(xp, axes, origin, x, present & ok[rows], base_thickness, shape)
        if local is None:
            sigma = from_axes(axes, tuple(s * s for s in scale))
        else:
            sigma = rotate(axes, local)
        for i in range(3):
            mu = axes[0][i] * mean[0] + axes[1][i] * mean[1] + axes[2][i] * mean[2] + origin[i]
            centroid[rows, i] = mu
        for i in range(6):
            covariance6[rows, i] = sigma[i]
    if not ok.all():
        centroid[~ok] = 0
        covariance6[~ok] = 0
    return centroid, covariance6, ok


def local_mean_and_scale(
    rotations: Array, translations: Array, centroid: Array, covariance6: Array
) -> tuple[Array, Array]:
    """The frame's view of stored axis-aligned Gaussians: what a shard does not store twice.

    Parameters
    ----------
    rotations : (..., 3, 3) float
    translations : (..., 3) float
    centroid : (..., 3) float
        μ, global.
    covariance6 : (..., 6) float
        Upper triangle of Σ, global.

    Returns
    -------
    local_mean : (..., 3) float
        Rᵀ(μ − t).
    log_scale : (..., 3) float
        log sqrt(e_aᵀ Σ e_a) for each frame axis e_a; 0 where the covariance is zero (unresolved
        residues). Of a "full" covariance this is the diagonal in the frame.
    """
    xp = array_namespace(rotations, translations, centroid, covariance6)
    x, y, z = (unstack(rotations[..., :, a]) for a in range(3))
    xx, xy, xz, yy, yz, zz = (covariance6[..., k] for k in range(6))
    mean, log_scale = local_components(
        (x, y, z), unstack(translations), unstack(centroid), (xx, xy, xz, yy, yz, zz)
    )
    return xp.stack(mean, axis=-1), xp.stack(log_scale, axis=-1)


def local_components(
    axes: tuple[Vector, Vector, Vector], origin: Vector, centroid: Vector, upper: Symmetric
) -> tuple[Vector, Vector]:
    """`local_mean_and_scale` on separate component arrays, as `frames.frame_components` gives them.

    Parameters
    ----------
    axes : three vectors, each three (...) arrays
    origin, centroid : three (...) arrays each
    upper : six (...) arrays
        xx xy xz yy yz zz.

    Returns
    -------
    local_mean, log_scale : three (...) arrays each
    """
    xp = array_namespace(*origin, *centroid, *upper)
    xx, xy, xz, yy, yz, zz = upper
    d = tuple(c - o for c, o in zip(centroid, origin, strict=True))
    mean, log_scale = [], []
    for x, y, z in axes:
        mean.append(x * d[0] + y * d[1] + z * d[2])
        # eᵀ Σ e
        variance = x * (x * xx + 2 * (y * xy + z * xz)) + y * (y * yy + 2 * z * yz) + z * z * zz
        log_scale.append(0.5 * xp.log(xp.where(variance > 0, variance, 1.0)))
    return tuple(mean), tuple(log_scale)


def limit_anisotropy(scale: Array, ratio: float = MAX_ANISOTROPY) -> Array:
    """Raise each axis to at least the largest axis divided by `ratio`.

    The condition number of diag(scale²) is then at most ratio² (8,100 by default). For whoever
    feeds covariances to a solver; stored Gaussians are left as they are.

    Parameters
    ----------
    scale : (..., 3) float
    ratio : float

    Returns
    -------
    (..., 3) float
    """
    xp = array_namespace(scale)
    return xp.maximum(scale, xp.max(scale, axis=-1, keepdims=True) / ratio)


def upper_from_root(rows: Sequence[Array], axis: int) -> list[Array]:
    """Upper triangle of Σ = A Aᵀ with A = R diag(scale).

    Parameters
    ----------
    rows : three arrays
        Rows of A: one for each global component, the frame's axes along `axis`.
    axis : int
    """
    return [(rows[i] * rows[j]).sum(axis) for i, j in UPPER]


def _backbone(
    xp: Any, n: Array, ca: Array, c: Array, o: Array, o_mask: Array | None
) -> tuple[Array, Array]:
    """Points (..., 4, 3) and mask (..., 4) of N, CA, C, O."""
    always = xp.ones_like(ca[..., 0], dtype=xp.bool)
    o_mask = always if o_mask is None else xp.astype(o_mask, xp.bool)
    return (
        xp.stack([n, ca, c, o], axis=-2),
        xp.stack([always, always, always, o_mask], axis=-1),
    )


def _from_points(
    n: Array,
    ca: Array,
    c: Array,
    points: Array,
    mask: Array,
    frame_mask: Array | None,
    base_thickness: float,
    shape: Shape,
) -> Gaussians:
    """Gaussians of points (..., K, 3) under a mask (..., K) in the frames of N, CA, C."""
    if points.shape[-1] != 3 or mask.shape != points.shape[:-1]:
        raise ValueError(
            f"expected points (..., K, 3) and a mask (..., K), found {tuple(points.shape)} "
            f"and {tuple(mask.shape)}"
        )
    xp = array_namespace(n, ca, c, points)
    axes, origin, ok = frame_components(unstack(n), unstack(ca), unstack(c), frame_mask)
    # Atoms first: whatever belongs to the residue broadcasts without a new axis.
    x = tuple(xp.moveaxis(points[..., i], -1, 0) for i in range(3))
    mean, scale, local = moments(
        xp, axes, origin, x, xp.moveaxis(mask, -1, 0) & ok, base_thickness, shape
    )
    if local is not None:
        local = matrix_from_upper(xp.stack(local, axis=-1))
    return Gaussians(
        rotations=stack_rotations(axes),
        translations=xp.stack(origin, axis=-1),
        local_mean=xp.stack(mean, axis=-1),
        scale=xp.stack(scale, axis=-1),
        local_covariance=local,
    )
