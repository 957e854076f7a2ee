"""Mean, extent and covariance of a residue's atoms, on separate planes of x, y and z.

One implementation for NumPy and torch: elementwise, and summed over atoms in their order, so that a
residue's numbers do not depend on its neighbours in the array.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from array_api_compat import is_numpy_namespace

from pipeline.geometry.array_namespace import array_namespace
from pipeline.geometry.frames import Array, Vector

Shape = Literal["axis_aligned", "full"]

Symmetric = tuple[Array, Array, Array, Array, Array, Array]
"""Upper triangle xx xy xz yy yz zz."""

UPPER = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
"""Rows and columns of xx xy xz yy yz zz."""


def matrix_from_upper(upper: Array) -> Array:
    """(..., 3, 3) symmetric matrices from (..., 6) upper triangles xx xy xz yy yz zz."""
    xp = array_namespace(upper)
    xx, xy, xz, yy, yz, zz = (upper[..., k] for k in range(6))
    rows = xp.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], axis=-1)
    return xp.reshape(rows, (*rows.shape[:-1], 3, 3))


def moments(
    xp: Any,
    axes: tuple[Vector, Vector, Vector],
    origin: Vector,
    x: Vector,
    mask: Array,
    base_thickness: float,
    shape: Shape,
) -> tuple[Vector, Vector, Symmetric | None]:
    """Mean, scale and (for "full") covariance in the frame, of planes x (K, ...) under a mask."""
    # An absent atom is moved to the origin before any arithmetic, so that neither its value nor
    # its gradient (0 · NaN) can leak.
    d = tuple(xp.where(mask, xi, ti) - ti for xi, ti in zip(x, origin, strict=True))
    y = tuple(e[0] * d[0] + e[1] * d[1] + e[2] * d[2] for e in axes)
    weight = xp.astype(mask, y[0].dtype)
    count = sum_atoms(xp, weight)
    count = xp.where(count > 0, count, 1.0)
    mean = tuple(sum_atoms(xp, ya) / count for ya in y)
    # Two passes: Σ y² − n ȳ² would cancel.
    u = tuple((ya - ma) * weight for ya, ma in zip(y, mean, strict=True))
    if shape == "axis_aligned":
        std = (sqrt(xp, sum_atoms(xp, ua * ua) / count) for ua in u)
        return mean, tuple(s + base_thickness for s in std), None
    if shape == "full":
        second = tuple(sum_atoms(xp, u[i] * u[j]) / count for i, j in UPPER)
        return mean, *_thicken(xp, second, base_thickness)
    raise ValueError(f'shape is "axis_aligned" or "full", not {shape!r}')


def _thicken(xp: Any, second: Symmetric, base_thickness: float) -> tuple[Vector, Symmetric]:
    """Add the thickness along the principal axes: V diag((sqrt(λ) + b)²) Vᵀ.

    Computed as M + 2b √M + b² I, which is M itself at b = 0.
    """
    # Without extent there are no principal axes: any will do, as long as their gradient exists.
    extended = second[0] + second[3] + second[5] > 0
    arbitrary = (1.0, 0.0, 0.0, 2.0, 0.0, 3.0)
    safe = [xp.where(extended, m, value) for m, value in zip(second, arbitrary, strict=True)]
    eigenvalues, v = xp.linalg.eigh(matrix_from_upper(xp.stack(safe, axis=-1)))
    std = [sqrt(xp, xp.where(extended, eigenvalues[..., a], 0.0)) for a in range(3)]
    local = []
    for (i, j), m in zip(UPPER, second, strict=True):
        root = sum(v[..., i, a] * v[..., j, a] * std[a] for a in range(3))
        thick = m + 2 * base_thickness * root
        local.append(thick + base_thickness**2 if i == j else thick)
    return tuple(s + base_thickness for s in std), tuple(local)


def from_axes(axes: tuple[Vector, Vector, Vector], variance: Vector) -> Symmetric:
    """Σ_ij = Σ_a e_ai e_aj variance_a."""
    weighted = tuple(tuple(e * s for e in axis) for axis, s in zip(axes, variance, strict=True))
    return tuple(
        axes[0][i] * weighted[0][j] + axes[1][i] * weighted[1][j] + axes[2][i] * weighted[2][j]
        for i, j in UPPER
    )


def rotate(axes: tuple[Vector, Vector, Vector], local: Symmetric) -> Symmetric:
    """Σ = R C Rᵀ for a full covariance C in the frame."""
    xx, xy, xz, yy, yz, zz = local
    rows = ((xx, xy, xz), (xy, yy, yz), (xz, yz, zz))
    e1, e2, e3 = axes
    half = [[e1[i] * r[0] + e2[i] * r[1] + e3[i] * r[2] for r in rows] for i in range(3)]
    return tuple(half[i][0] * e1[j] + half[i][1] * e2[j] + half[i][2] * e3[j] for i, j in UPPER)


def sum_atoms(xp: Any, planes: Array) -> Array:
    """Sum over the first axis.

    NumPy's own reduction changes its order of summation with the other axes (it sums pairwise when
    there is only one residue), so its last bit would depend on the batch.
    """
    if not is_numpy_namespace(xp):
        return xp.sum(planes, axis=0)
    total = np.zeros(planes.shape[1:], dtype=planes.dtype)
    for plane in planes:
        total += plane
    return total


def sqrt(xp: Any, variance: Array) -> Array:
    """Square root with value and gradient 0 at 0 (and at the −ε that an eigensolver returns)."""
    positive = variance > 0
    return xp.where(positive, xp.sqrt(xp.where(positive, variance, 1.0)), 0.0)
