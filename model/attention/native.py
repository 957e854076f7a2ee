"""`overlap.c`, compiled by the C compiler of this machine (`model.compiled_c`).

Nothing depends on it: without a compiler, `tiled.py` does the same arithmetic with torch, some ten
times slower.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import torch
from torch import Tensor

from model.attention.gaussians import HeadGaussians
from model.compiled_c import at, compiled, is_off

SOURCE = Path(__file__).with_name("overlap.c")
WORTH_A_THREAD = 1 << 16
"""Pairs × heads × Gaussians of a call for each thread that it uses."""


def is_usable(tensor: Tensor) -> bool:
    """Whether the compiled functions work on tensors like this one."""
    return (
        tensor.device.type == "cpu"
        and tensor.dtype in (torch.float32, torch.float64)
        and not is_off()
        and _library(tensor.dtype) is not None
    )


def overlap(query: HeadGaussians, key: HeadGaussians, items: slice, rows: slice) -> Tensor:
    """`tiled.overlap_of_tile`."""
    _, _, n_heads, _, n = query.mean.shape
    n_items, n_rows = items.stop - items.start, rows.stop - rows.start
    g = query.mean.new_empty((n_items, n_heads, n_rows, n))
    library, arguments = _call(query, key, items, rows)
    library.overlap(*arguments, at(g))
    return g


def add_gradient(
    query: HeadGaussians,
    key: HeadGaussians,
    items: slice,
    rows: slice,
    weight: Tensor,
    d_query: HeadGaussians,
    d_key: HeadGaussians,
) -> None:
    """`tiled.add_gradient_of_tile`."""
    weight = weight.contiguous()
    gradients = (d_query.mean, d_query.covariance, d_key.mean, d_key.covariance)
    library, arguments = _call(query, key, items, rows)
    library.overlap_gradient(*arguments, at(weight), *(at(d) for d in gradients))


def _call(
    query: HeadGaussians, key: HeadGaussians, items: slice, rows: slice
) -> tuple[ctypes.CDLL, list[ctypes.c_int64 | ctypes.c_void_p]]:
    """The library, and the arguments that both functions begin with."""
    _, n_items, n_heads, n_gaussians, n = query.mean.shape
    library = _library(query.mean.dtype)
    if library is None:
        raise RuntimeError("ask `is_usable` first")
    gaussians = (query.mean, query.covariance, key.mean, key.covariance)
    if not all(t.is_contiguous() and t.dtype == query.mean.dtype for t in gaussians):
        raise ValueError("Gaussians are contiguous and of one precision")
    first, last = items.start * n_heads, items.stop * n_heads
    work = (last - first) * (rows.stop - rows.start) * n * n_gaussians
    n_threads = min(torch.get_num_threads(), last - first, max(work // WORTH_A_THREAD, 1))
    plane = n_items * n_heads * n_gaussians * n
    numbers = (n_threads, n_gaussians, n, plane, first, last, rows.start, rows.stop)
    return library, [*(ctypes.c_int64(x) for x in numbers), *(at(t) for t in gaussians)]


@functools.cache
def _library(dtype: torch.dtype) -> ctypes.CDLL | None:
    """The compiled functions for a precision, or None where they cannot be had."""
    return compiled(SOURCE, dtype)
