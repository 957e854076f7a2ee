"""`overlap.c`, compiled by the C compiler of this machine when it is first needed.

Nothing is built at installation, and nothing depends on it: without a compiler, `tiled.py` does the
same arithmetic with torch, some ten times slower. Compiling takes about a second and is done once
per machine; the library is kept in ``$XDG_CACHE_HOME/ellipsoid-flow`` (``~/.cache``), named after
its source, the compiler and the processor. ``ELLIPSOID_FLOW_NATIVE=0`` turns it off.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from model.attention.gaussians import HeadGaussians

SOURCE = Path(__file__).with_name("overlap.c")
SWITCH = "ELLIPSOID_FLOW_NATIVE"
FLAGS = ("-O3", "-std=gnu11", "-fPIC", "-shared", "-fno-math-errno", "-fno-trapping-math")
TUNED = (
    # From the fastest to what every compiler knows. Threads are those of torch, which has loaded
    # the same OpenMP library before.
    ("-fopenmp", "-march=native", "-mprefer-vector-width=512"),
    ("-fopenmp-simd", "-march=native", "-mprefer-vector-width=512"),
    ("-fopenmp-simd", "-march=native"),
    ("-fopenmp-simd",),
    (),
)
COMPILE_SECONDS = 60
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


def is_off() -> bool:
    """Whether the user wants nothing but torch."""
    return os.environ.get(SWITCH, "1") == "0"


def overlap(query: HeadGaussians, key: HeadGaussians, items: slice, rows: slice) -> Tensor:
    """`tiled.overlap_of_tile`."""
    _, _, n_heads, _, n = query.mean.shape
    n_items, n_rows = items.stop - items.start, rows.stop - rows.start
    g = query.mean.new_empty((n_items, n_heads, n_rows, n))
    library, arguments = _call(query, key, items, rows)
    library.overlap(*arguments, _at(g))
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
    library.overlap_gradient(*arguments, _at(weight), *(_at(d) for d in gradients))


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
    return library, [*(ctypes.c_int64(x) for x in numbers), *(_at(t) for t in gaussians)]


def _at(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())


@functools.cache
def _library(dtype: torch.dtype) -> ctypes.CDLL | None:
    """The compiled functions for a precision, or None where they cannot be had."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None or os.name != "posix":
        return None
    try:
        version = subprocess.run(
            [*compiler.split(), "--version"], capture_output=True, timeout=COMPILE_SECONDS
        ).stdout
        identity = (SOURCE.read_bytes(), repr((FLAGS, TUNED)).encode(), version, _processor())
        name = f"overlap-{hashlib.sha256(b'|'.join(identity)).hexdigest()[:20]}"
        name += ".double.so" if dtype == torch.float64 else ".so"
        for folder in _cache_folders():
            try:
                return _open_or_compile(compiler, folder / name, dtype)
            except OSError:
                continue  # not writable, or mounted without permission to execute
    except (OSError, subprocess.SubprocessError):
        pass
    return None


def _open_or_compile(compiler: str, path: Path, dtype: torch.dtype) -> ctypes.CDLL:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            built = Path(scratch) / path.name
            double = ["-DDOUBLE"] if dtype == torch.float64 else []
            for tuned in TUNED:
                command = [
                    *compiler.split(),
                    *(*FLAGS, *tuned, *double),
                    *("-o", str(built), str(SOURCE), "-lm"),
                ]
                done = subprocess.run(command, capture_output=True, timeout=COMPILE_SECONDS)
                if done.returncode == 0:
                    break
            else:
                raise OSError(f"{compiler} does not compile {SOURCE}")
            # Other processes see all of it or nothing.
            os.replace(built, path)
    return ctypes.CDLL(str(path))


def _cache_folders() -> list[Path]:
    """Where to keep the library: the user's cache, else a folder for this process."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return [Path(home) / "ellipsoid-flow", _scratch_folder()]


@functools.cache
def _scratch_folder() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="ellipsoid-flow-")
    _KEPT.append(folder)
    return Path(folder.name)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


def _processor() -> bytes:
    """What ``-march=native`` depends on."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return line.encode()
    except OSError:
        pass
    return f"{platform.machine()} {platform.processor()}".encode()
