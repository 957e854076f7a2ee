"""Backbone frames: one rigid body per residue, for NumPy arrays and torch tensors alike.

Everything is elementwise (no matrix product, hence no BLAS): a residue's frame has the same bits
whichever other residues are in the array. Inputs are never written to, and under torch every
function is differentiable, with zero gradients at rows that have no frame.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from pipeline.geometry.array_namespace import array_namespace

Array: TypeAlias = Any
Vector: TypeAlias = tuple[Array, Array, Array]
"""Three components as separate arrays of one shape: the form in which all arithmetic is done."""

MIN_SINE = 0.05
"""Sine of the angle N–CA–C below which the three atoms count as collinear (2.9° off a line).

Real backbones are near 111° (sine 0.93). Three-decimal coordinates move the direction of a bond by
less than 0.001, so at 0.05 the plane is still known to about one degree.
"""

MIN_BOND = 1e-3
"""Shortest N–CA and CA–C with a direction: the resolution of the coordinates, in Å."""

MAX_COORDINATE = 1e7
"""Larger numbers are not positions; their fourth powers would leave the range of float32."""


def backbone_frames(
    n: Array, ca: Array, c: Array, mask: Array | None = None
) -> tuple[Array, Array]:
    """Frames from three backbone atoms: origin CA, x towards C, N in the xy plane (y > 0).

    Parameters
    ----------
    n, ca, c : (..., 3) float
        Positions in any unit of length near Å.
    mask : (...) bool, optional
        False where one of the three atoms is absent; its position may then be anything, NaN
        included.

    Returns
    -------
    rotations : (..., 3, 3) float
        Columns are the axes of the frame in global coordinates.
    translations : (..., 3) float
        CA.

    Notes
    -----
    AlphaFold 2 supplementary information, algorithm 21 (Jumper et al. 2021). Rows without a frame
    (see `is_frame`) get the identity; their origin is CA if the three atoms are collinear and zero
    if one of them is absent or not finite. Neither makes a NaN, forward or backward.
    """
    axes, origin, _ = frame_components(unstack(n), unstack(ca), unstack(c), mask)
    return stack_rotations(axes), _stack(origin)


def is_frame(n: Array, ca: Array, c: Array, mask: Array | None = None) -> Array:
    """Whether N, CA and C span a plane.

    True where all three are finite, both bonds are longer than `MIN_BOND` and the sine of the angle
    between them exceeds `MIN_SINE`.

    Parameters
    ----------
    n, ca, c : (..., 3) float
    mask : (...) bool, optional
        False where one of the three atoms is absent.

    Returns
    -------
    (...) bool
    """
    xp = array_namespace(n, ca, c)
    usable, points = mask, []
    for atom in (n, ca, c):
        bounded = xp.abs(atom) < MAX_COORDINATE
        for along in unstack(bounded):
            usable = along if usable is None else usable & along
        points.append(unstack(xp.where(bounded, atom, 0.0)))
    n, ca, c = points
    return usable & _are_bent(_subtract(c, ca), _subtract(n, ca))


def to_local(rotations: Array, translations: Array, points: Array) -> Array:
    """Coordinates of points in their residue's frame, y = Rᵀ(x − t).

    Parameters
    ----------
    rotations : (..., 3, 3) float
    translations : (..., 3) float
    points : (..., *P, 3) float
        Any number of point axes P after the residue axes; none gives one point per residue.

    Returns
    -------
    Like `points`.
    """
    rotations, translations = _over_points(rotations, translations, points)
    d = unstack(points - translations)
    return _stack(dot(tuple(rotations[..., i, a] for i in range(3)), d) for a in range(3))


def to_global(rotations: Array, translations: Array, points: Array) -> Array:
    """Global coordinates of points given in their residue's frame, x = R y + t.

    Parameters
    ----------
    rotations : (..., 3, 3) float
    translations : (..., 3) float
    points : (..., *P, 3) float
        Any number of point axes P after the residue axes; none gives one point per residue.

    Returns
    -------
    Like `points`.
    """
    rotations, translations = _over_points(rotations, translations, points)
    y = unstack(points)
    rotated = _stack(dot(tuple(rotations[..., i, a] for a in range(3)), y) for i in range(3))
    return rotated + translations


def frame_components(
    n: Vector, ca: Vector, c: Vector, mask: Array | None = None
) -> tuple[tuple[Vector, Vector, Vector], Vector, Array]:
    """`backbone_frames` and `is_frame` on separate component arrays.

    Parameters
    ----------
    n, ca, c : three (...) float arrays each
    mask : (...) bool, optional

    Returns
    -------
    axes : three vectors e_x, e_y, e_z, each three (...) arrays
    origin : three (...) arrays
    is_frame : (...) bool
    """
    xp = array_namespace(*n, *ca, *c)
    ok, ca, v1, v2 = _spanned(xp, n, ca, c, mask)
    v1 = tuple(xp.where(ok, x, float(x0)) for x, x0 in zip(v1, (1, 0, 0), strict=True))
    v2 = tuple(xp.where(ok, x, float(x0)) for x, x0 in zip(v2, (0, 1, 0), strict=True))

    e1 = normalize(xp, v1)
    along = dot(e1, v2)
    u2 = _subtract(v2, tuple(e * along for e in e1))
    e2 = normalize(xp, u2)
    return (e1, e2, cross(e1, e2)), ca, ok


def _spanned(
    xp: Any, n: Vector, ca: Vector, c: Vector, mask: Array | None
) -> tuple[Array, Vector, Vector, Vector]:
    """(whether N, CA and C span a plane, CA, CA→C, CA→N), harmless where atoms are not usable."""
    usable = mask
    for component in (*n, *ca, *c):
        # A comparison with NaN is False, so this is also the test for NaN and infinity.
        bounded = xp.abs(component) < MAX_COORDINATE
        usable = bounded if usable is None else usable & bounded
    # Replaced before the first subtraction, not after the last: a NaN that is computed and then
    # discarded forward would come back as 0 · NaN in the backward pass.
    n, ca, c = (
        tuple(xp.where(usable, x, float(x0)) for x, x0 in zip(atom, ideal, strict=True))
        for atom, ideal in ((n, (0, 1, 0)), (ca, (0, 0, 0)), (c, (1, 0, 0)))
    )
    v1, v2 = _subtract(c, ca), _subtract(n, ca)
    return usable & _are_bent(v1, v2), ca, v1, v2


def _are_bent(v1: Vector, v2: Vector) -> Array:
    """Whether two bonds have a length each and an angle between them."""
    l1, l2 = dot(v1, v1), dot(v2, v2)
    normal = cross(v1, v2)
    bent = dot(normal, normal) > MIN_SINE**2 * l1 * l2
    return bent & (l1 > MIN_BOND**2) & (l2 > MIN_BOND**2)


def stack_rotations(axes: tuple[Vector, Vector, Vector]) -> Array:
    """(..., 3, 3) rotation matrices whose columns are the given axes."""
    e1, e2, e3 = axes
    rows = _stack(axis[i] for i in range(3) for axis in (e1, e2, e3))
    return rows.reshape((*rows.shape[:-1], 3, 3))


def _over_points(rotations: Array, translations: Array, points: Array) -> tuple[Array, Array]:
    """Give the frames one axis of length 1 for every point axis."""
    for _ in range(points.ndim - translations.ndim):
        rotations, translations = rotations[..., None, :, :], translations[..., None, :]
    return rotations, translations


def unstack(points: Array) -> Vector:
    """The three components of positions (..., 3)."""
    if points.shape[-1] != 3:
        raise ValueError(f"positions need a last axis of length 3, found shape {points.shape}")
    return points[..., 0], points[..., 1], points[..., 2]


def _stack(components: Any) -> Array:
    components = tuple(components)
    return array_namespace(*components).stack(components, axis=-1)


def _subtract(a: Vector, b: Vector) -> Vector:
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


def dot(a: Vector, b: Vector) -> Array:
    """a · b, (...)."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def cross(a: Vector, b: Vector) -> Vector:
    """a × b."""
    return (
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    )


def normalize(xp: Any, a: Vector) -> Vector:
    """a / |a|; a vector of length 0 has none."""
    length = xp.sqrt(dot(a, a))
    return a[0] / length, a[1] / length, a[2] / length
