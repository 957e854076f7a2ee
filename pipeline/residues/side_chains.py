"""Side chains from torsions: ideal bond lengths and angles on given backbones.

One implementation for NumPy and torch; elementwise, so a residue's atoms have the same bits
whichever other residues are in the array; differentiable under torch. χ angles are radians with the
IUPAC sign. No bond and no angle can come out wrong but where the backbone itself is:

- CB makes its ideal angles with the bonds CA–N and CA–C as they are, on the side of L residues.
- χ1 starts at the N that is there, so the atoms have exactly the torsions that were asked for.
- Proline has one variable, χ1. CG lies at its bond's length from CB, CD from CG and from the N that
  is there; which way CD points is a function of χ1 (`ProlineRing`). χ2 is not read.
- π-periodic torsions (`CHI_PI_PERIODIC`) give the same atoms after half a turn, with names traded.
"""

from __future__ import annotations

from functools import cache
from math import pi, radians
from typing import Any

import numpy as np
from array_api_compat import device
from numpy.typing import NDArray

from pipeline.geometry.array_namespace import array_namespace
from pipeline.geometry.frames import (
    Array,
    Vector,
    cross,
    dot,
    frame_components,
    normalize,
    stack_rotations,
    to_global,
    unstack,
)

from .atom14 import ATOM14_EXISTS
from .geometry import GROUP, GROUP_LOCAL, IDEAL_BACKBONE, N_BEYOND, PROLINE, TO_CB
from .torsions import CHI_MASK, CHI_SLOTS
from .types import RESTYPES, UNKNOWN

MAX_COSINE, MIN_COSINE = 0.2, -0.7
"""Of the angle N–CA–C (78° to 134°). Beyond, no CB makes its ideal angles with both bonds; it is
placed as if the angle were the nearest within."""

_PRO = RESTYPES.index("PRO")


def _rows() -> NDArray[np.float64]:
    """(21, 76): all that is looked up by type, side by side: one table is one gather."""
    # Where each later group starts: the direction and length of the bond that its χ turns about.
    bonds = np.tile(np.array([1.0, 0.0, 1.0]), (UNKNOWN + 1, 3, 1))
    for aatype, k in zip(*np.nonzero(CHI_MASK[:, 1:]), strict=True):
        third = GROUP_LOCAL[aatype, CHI_SLOTS[aatype, k + 1, 2] - 5]
        bonds[aatype, k] = *(third[:2] / np.hypot(*third[:2])), np.hypot(*third[:2])
    ideal = np.full((UNKNOWN + 1, 4), pi)
    ideal[_PRO, 0] = radians(PROLINE.pucker)
    parts = [TO_CB, ideal, np.arange(UNKNOWN + 1)[:, None] == _PRO, ATOM14_EXISTS[:, 4:], GROUP]
    parts += [bonds.reshape(UNKNOWN + 1, 9), *np.moveaxis(GROUP_LOCAL, -1, 0)]
    parts.append(IDEAL_BACKBONE[:, 0])
    return np.concatenate([np.asarray(part, np.float64) for part in parts], axis=1)


_ROWS = _rows()
_ENDS = np.cumsum([3, 4, 1, 10, N_BEYOND, 9, N_BEYOND, N_BEYOND, N_BEYOND, 3]).tolist()


def place_side_chains(
    chi: Array, positions: Array, mask: Array, aatype: Array
) -> tuple[Array, Array]:
    """Side chains of given torsions on given backbones.

    Parameters
    ----------
    chi : (..., 4) float
        χ1–χ4 in radians. What is not finite stands for the ideal torsion (180°; proline: a pucker);
        torsions that the type does not have are not read.
    positions : (..., 14, 3) float
        Å, atom14; only N, CA, C and O are read. Absent atoms may hold anything.
    mask : (..., 14) bool
    aatype : (...) int
        0–19; larger numbers mean X or hidden, and have a CB.

    Returns
    -------
    positions : (..., 14, 3) float
        N, CA, C and O as given; zeros where there is no atom.
    mask : (..., 14) bool
        All side-chain atoms of the type where the backbone has a frame (`frames.is_frame`), none
        elsewhere.
    """
    xp = array_namespace(chi, positions, mask, aatype)
    mask = xp.astype(mask, xp.bool)
    given = xp.where(mask[..., :4, None], positions[..., :4, :], 0.0)
    n, ca, c = (unstack(given[..., slot, :]) for slot in range(3))
    present = mask[..., 0] & mask[..., 1] & mask[..., 2]
    axes, origin, has_frame = frame_components(n, ca, c, present)
    # Where there is no frame, any N will do that harms no gradient.
    to_n = tuple(xp.where(has_frame, a - b, 1.0) for a, b in zip(n, origin, strict=True))
    along, aside = (xp.where(has_frame, dot(axis, to_n), 1.0) for axis in axes[:2])
    local_n = xp.stack([along, aside, xp.zeros_like(along)], axis=-1)
    local, there = build_side_chains(chi, aatype, local_n)
    there = there & has_frame[..., None]
    placed = to_global(stack_rotations(axes), xp.stack(origin, axis=-1), local)
    placed = xp.where(there[..., None], placed, 0.0)
    return (
        xp.concat([given, placed], axis=-2),
        xp.concat([mask[..., :4], there], axis=-1),
    )


def build_side_chains(chi: Array, aatype: Array, n: Array | None = None) -> tuple[Array, Array]:
    """Side chains of given torsions in the backbone frame (`frames.backbone_frames`).

    Parameters
    ----------
    chi : (..., 4) float
        As for `place_side_chains`.
    aatype : (...) int
        May have axes of length 1: of R rotamers of each residue, χ is (..., R, 4), and the type
        (..., 1) and N (..., 1, 3).
    n : (..., 3) float, optional
        N of the residue in its frame, Å: in the xy plane, at y > 0. By default that of an ideal
        residue.

    Returns
    -------
    positions : (..., 10, 3) float
        Å, slots 4–13 of atom14; zeros where the type has no atom.
    mask : (..., 10) bool
        Slots that the type has.
    """
    xp = array_namespace(chi, aatype)
    kinds = _between(xp, xp.astype(aatype, xp.int64), most=UNKNOWN)
    rows = _rows_on(xp, chi.dtype, device(chi))[kinds]
    (to_cb, ideal, is_proline, exists, group, bonds, x, y, z, ideal_n) = (
        rows[..., start:end] for start, end in zip([0, *_ENDS[:-1]], _ENDS, strict=True)
    )
    is_proline, exists = is_proline[..., 0] > 0.5, exists > 0.5
    n = unstack(ideal_n if n is None else n)
    chi = xp.where(xp.isfinite(chi), chi, ideal)
    chi1 = _possible(xp, chi[..., 0], is_proline)
    x, y = _cg_of_proline(xp, (x, y), chi1, is_proline)

    # From the last group inwards: what χ4 turns is laid into the group of χ3, and so on.
    for k in (3, 2, 1):
        beyond = group > k - 0.5
        y_turned, z_turned = _turned(xp, chi[..., k], y, z)
        ux, uy, length = (bonds[..., i, None] for i in range(3 * k - 3, 3 * k))
        x, y, z = (
            xp.where(beyond, ux * (length + x) - uy * y_turned, x),
            xp.where(beyond, uy * (length + x) + ux * y_turned, y),
            xp.where(beyond, z_turned, z),
        )
    y, z = _turned(xp, chi1, y, z)
    cb = _cb(xp, to_cb, n)
    axes = _axes_at_cb(xp, n, cb)
    x, y, z = (
        cb[i][..., None] + axes[0][i][..., None] * x + axes[1][i][..., None] * y
        + axes[2][i][..., None] * z
        for i in range(3)
    )  # fmt: skip
    cd = _cd_of_proline(xp, n, cb, (x[..., 0], y[..., 0], z[..., 0]), chi1, is_proline)
    second = is_proline[..., None] & _is_slot(xp, 6, x)
    exists = xp.broadcast_to(exists, (*x.shape[:-1], exists.shape[-1]))
    atoms = (
        xp.concat(
            [
                xp.broadcast_to(first[..., None], (*rest.shape[:-1], 1)),
                xp.where(second, closed[..., None], rest),
            ],
            axis=-1,
        )
        for first, rest, closed in zip(cb, (x, y, z), cd, strict=True)
    )
    return xp.stack([xp.where(exists, atom, 0.0) for atom in atoms], axis=-1), exists


@cache
def _rows_on(xp: Any, dtype: Any, on: Any) -> Array:
    """The table, never written to; a GPU that it had to be copied to each time would wait."""
    return xp.asarray(_ROWS.copy(), dtype=dtype, device=on)


def _between(xp: Any, x: Array, least: float | None = None, most: float | None = None) -> Array:
    """`clip`, which array_api_compat does by boolean indices: a GPU is waited for to count them."""
    if least is not None:
        x = xp.where(x < least, least, x)
    return x if most is None else xp.where(x > most, most, x)


def _turned(xp: Any, angle: Array, y: Array, z: Array) -> tuple[Array, Array]:
    """y and z (..., 9) turned about x."""
    cosine, sine = xp.cos(angle)[..., None], xp.sin(angle)[..., None]
    return cosine * y - sine * z, sine * y + cosine * z


def _cb(xp: Any, to_cb: Array, n: Vector) -> Vector:
    """CB in the backbone frame, from its angles with N and C; L residues have it at z < 0."""
    length, to_n, to_c = (to_cb[..., i] for i in range(3))
    cosine = n[0] / xp.sqrt(n[0] * n[0] + n[1] * n[1])
    cosine = _between(xp, cosine, MIN_COSINE, MAX_COSINE)
    along = to_c
    aside = (to_n - to_c * cosine) / xp.sqrt(1.0 - cosine * cosine)
    return (
        length * along,
        length * aside,
        -length * xp.sqrt(1.0 - along * along - aside * aside),
    )


def _axes_at_cb(xp: Any, n: Vector, cb: Vector) -> tuple[Vector, Vector, Vector]:
    """The group of χ1: x from CA, which is the origin, to CB; N in the xy plane at y > 0."""
    e_x = normalize(xp, cb)
    along = dot(n, e_x)
    e_y = normalize(xp, tuple(ni - along * ei for ni, ei in zip(n, e_x, strict=True)))
    return e_x, e_y, cross(e_x, e_y)


def _possible(xp: Any, chi1: Array, is_proline: Array) -> Array:
    """χ1, and of proline the nearest χ1 of a closed ring (a gradient of 0 beyond)."""
    wrapped = chi1 - 2 * pi * xp.round(chi1 / (2 * pi))
    limit = radians(PROLINE.max_chi1)
    return xp.where(is_proline, _between(xp, wrapped, -limit, limit), chi1)


def _cg_of_proline(
    xp: Any, xy: tuple[Array, Array], chi1: Array, is_proline: Array
) -> tuple[Array, Array]:
    """x and y (..., 9) in the group of χ1, with the angle CA–CB–CG that proline's χ1 has."""
    degrees = chi1 * (180.0 / pi)
    at_cb = (PROLINE.at_cb + PROLINE.at_cb_by_square * degrees * degrees) * (pi / 180.0)
    cg = -PROLINE.cb_cg * xp.cos(at_cb), PROLINE.cb_cg * xp.sin(at_cb)
    is_cg = is_proline[..., None] & _is_slot(xp, 5, xy[0])
    return tuple(xp.where(is_cg, g[..., None], old) for g, old in zip(cg, xy, strict=True))


def _cd_of_proline(
    xp: Any, n: Vector, cb: Vector, cg: Vector, chi1: Array, is_proline: Array
) -> Vector:
    """CD on the circle that lies at the lengths of its bonds from N and from CG."""
    # Other types get a proline's atoms: no gradient must pass through a circle that does not exist.
    n, cb, cg = (
        tuple(xp.where(is_proline, x, x0) for x, x0 in zip(atom, ideal, strict=True))
        for atom, ideal in zip((n, cb, cg), _SOME_PROLINE, strict=True)
    )
    to_cg = tuple(g - ni for g, ni in zip(cg, n, strict=True))
    distance = xp.sqrt(dot(to_cg, to_cg))
    axis = tuple(x / distance for x in to_cg)
    along = (distance * distance + (PROLINE.n_cd**2 - PROLINE.cg_cd**2)) / (2 * distance)
    # N and CG of a broken backbone may be too far apart for any ring.
    radius = xp.sqrt(_between(xp, PROLINE.n_cd**2 - along * along, 0.01))
    centre = tuple(ni + along * a for ni, a in zip(n, axis, strict=True))
    # CA is the origin, so that CA–CB's middle is half of CB.
    away = tuple(m - 0.5 * b for m, b in zip(centre, cb, strict=True))
    inwards = dot(away, axis)
    outwards = normalize(xp, tuple(w - inwards * a for w, a in zip(away, axis, strict=True)))
    upwards = cross(axis, outwards)
    flap = PROLINE.flap + PROLINE.flap_by_tanh * xp.tanh(chi1 * (180.0 / pi / PROLINE.flap_width))
    right, up = radius * xp.cos(flap * (pi / 180.0)), radius * xp.sin(flap * (pi / 180.0))
    return tuple(m + right * o + up * u for m, o, u in zip(centre, outwards, upwards, strict=True))


_SOME_PROLINE = ((-0.57, 1.35, 0.0), (-0.56, -0.60, -1.29), (-0.75, 0.56, -2.19))
"""N, CB and CG of a ring."""


def _is_slot(xp: Any, slot: int, like: Array) -> Array:
    """(9,) True at one of slots 5–13."""
    return xp.arange(5, 5 + N_BEYOND, device=device(like)) == slot
