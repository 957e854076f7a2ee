"""Radial basis functions of distances between points, times a matrix.

On a CPU with a C compiler neither the basis functions nor their gradients are ever an array
(`radial.c`): of 300 numbers of an edge, two thirds are 0. Elsewhere torch does the same.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from model.compiled_c import at, compiled, is_off, structure
from model.on_device import Constant

N_BASES = 12
NEAREST, FURTHEST = 2.0, 15.75
"""Å: centres of the basis functions, which are 1.25 Å apart."""

REACH = 2.5
"""Å from its centre at which a basis function (1 − d²/reach²)² ends."""

FLOOR = 1e-4
"""Å², added before the root."""

SOURCE = Path(__file__).with_name("radial.c")
WIDTH = 32
"""Channels are a multiple of this in `radial.c`."""

MOST_PAIRS = 64
"""Pairs of points of an edge."""

WORTH_A_THREAD = 1 << 16
"""Distances of a call for each thread that it uses."""

_SIZES = (
    ("n_threads", "n_residues", "n_edges", "n_points", "n_others", "n_bases", "n_channels"),
    ("first", "apart", "reach", "floor"),
)
"""Fields of `sizes` in `radial.c`."""

_CENTRES = Constant(torch.linspace(NEAREST, FURTHEST, N_BASES, dtype=torch.float64))


def radial_product(points: Tensor, of_others: Tensor, weight: Tensor) -> Tensor:
    """Distances of each edge as basis functions, times a matrix.

    Parameters
    ----------
    points : (B, N, P, 3) float
        Å.
    of_others : (B, N, K, Q, 3) float
        Points at the other end of each residue's edges. Neither has a gradient.
    weight : (C, P · Q · 12) float

    Returns
    -------
    (B, N, K, C) float

    Raises
    ------
    RuntimeError
        The types of the three differ, without autocast.

    Notes
    -----
    Distances and basis functions have the precision of the points, whatever the autocast, and so
    has what comes of C. Where torch does it, autocast makes the product, and it is of 16 bits. Of
    points in bf16, torch makes distances in bf16: give them in float32.
    """
    points, of_others = points.detach(), of_others.detach()
    if is_usable(points, of_others, weight):
        found: Tensor = _Product.apply(points, of_others, weight)
        return found
    return functional.linear(bases(points, of_others), weight)


@torch.no_grad()
def bases(points: Tensor, of_others: Tensor) -> Tensor:
    """(B, N, K, P · Q · 12) basis functions; arguments as of `radial_product`."""
    a, b = points[:, :, None, :, None], of_others[:, :, :, None]
    # Component by component: arrays of 3 are slow.
    x, y, z = ((a[..., k] - b[..., k]).square_() for k in range(3))
    distance = torch.sqrt(x.add_(y).add_(z) + FLOOR) / REACH
    # A bump that ends: tails of a Gaussian are numbers too small for the processor's fast way.
    bump = (distance[..., None] - _CENTRES.like(distance) / REACH).square_()
    return torch.sub(1.0, bump, out=bump).clamp_(min=0.0).square_().flatten(-3)


def is_usable(points: Tensor, of_others: Tensor, weight: Tensor) -> bool:
    """Whether the compiled functions work on these."""
    return (
        points.device.type == "cpu"
        and points.dtype == of_others.dtype == weight.dtype
        and points.dtype in (torch.float32, torch.float64)
        and points.shape[-2] * of_others.shape[-2] <= MOST_PAIRS
        and not is_off()
        and _library(points.dtype) is not None
    )


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, of_others: Tensor, weight: Tensor) -> Tensor:
        points, of_others = points.contiguous(), of_others.contiguous()
        ctx.save_for_backward(points, of_others)
        ctx.channels = len(weight)
        # Rows of bases, of as many channels as the loops take at once.
        matrix = functional.pad(weight.t(), (0, -len(weight) % WIDTH)).contiguous()
        out = points.new_empty(*of_others.shape[:3], matrix.shape[1])
        _call("product", points, of_others, matrix, out)
        return out[..., : len(weight)]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d_out: Tensor) -> tuple[None, None, Tensor]:
        points, of_others = ctx.saved_tensors
        padded = functional.pad(d_out[0], (0, -ctx.channels % WIDTH)).contiguous()
        pairs = points.shape[-2] * of_others.shape[-2]
        d_matrix = points.new_zeros(pairs * N_BASES, padded.shape[-1])
        _call("product_gradient", points, of_others, padded, d_matrix)
        return None, None, d_matrix[:, : ctx.channels].t().contiguous()


def _call(name: str, points: Tensor, of_others: Tensor, given: Tensor, result: Tensor) -> None:
    library = _library(points.dtype)
    if library is None:
        raise RuntimeError("ask `is_usable` first")
    b, n, n_edges, n_others, _ = of_others.shape
    n_points = points.shape[2]
    work = b * n * n_edges * n_points * n_others
    n_threads = min(torch.get_num_threads(), n_points * n_others, max(work // WORTH_A_THREAD, 1))
    numbers = (n_threads, b * n, n_edges, n_points, n_others, N_BASES, result.shape[-1])
    apart = (FURTHEST - NEAREST) / (N_BASES - 1)
    sizes = structure(points.dtype, *_SIZES)(*numbers, NEAREST, apart, REACH, FLOOR)
    arrays = (points, of_others, given, result)
    getattr(library, name)(ctypes.byref(sizes), *(at(array) for array in arrays))


@functools.cache
def _library(dtype: torch.dtype) -> ctypes.CDLL | None:
    """The compiled functions for a precision, or None where they cannot be had."""
    return compiled(SOURCE, dtype)
