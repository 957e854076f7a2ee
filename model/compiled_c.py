"""C that the compiler of this machine compiles when it is first needed.

Nothing is built at installation. Compiling takes about a second and is done once per machine; a
library is kept in ``$XDG_CACHE_HOME/ellipsoid-flow`` (``~/.cache``), named after its source, the
compiler and the processor. ``ELLIPSOID_FLOW_NATIVE=0`` turns it off.
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


def is_off() -> bool:
    """Whether the user wants nothing but torch."""
    return os.environ.get(SWITCH, "1") == "0"


def at(tensor: Tensor) -> ctypes.c_void_p:
    """Where the numbers of a contiguous tensor begin."""
    if not tensor.is_contiguous():
        raise ValueError("C reads contiguous tensors")
    return ctypes.c_void_p(tensor.data_ptr())


@functools.cache
def structure(
    dtype: torch.dtype, integers: tuple[str, ...], reals: tuple[str, ...]
) -> type[ctypes.Structure]:
    """A struct of int64_t and, after them, of REAL."""
    real = ctypes.c_double if dtype == torch.float64 else ctypes.c_float
    fields = [(name, ctypes.c_int64) for name in integers] + [(name, real) for name in reals]
    return type("Numbers", (ctypes.Structure,), {"_fields_": fields})


def compiled(source: Path, dtype: torch.dtype) -> ctypes.CDLL | None:
    """The functions of a source for a precision, or None where they cannot be had.

    Parameters
    ----------
    source : Path
        Of C whose numbers are REAL: float or, with -DDOUBLE, double.
    dtype : torch.dtype
    """
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None or os.name != "posix":
        return None
    try:
        version = subprocess.run(
            [*compiler.split(), "--version"], capture_output=True, timeout=COMPILE_SECONDS
        ).stdout
        identity = (source.read_bytes(), repr((FLAGS, TUNED)).encode(), version, _processor())
        name = f"{source.stem}-{hashlib.sha256(b'|'.join(identity)).hexdigest()[:20]}"
        name += ".double.so" if dtype == torch.float64 else ".so"
        for folder in _cache_folders():
            try:
                return _open_or_compile(compiler, source, folder / name, dtype)
            except OSError:
                continue  # not writable, or mounted without permission to execute
    except (OSError, subprocess.SubprocessError):
        pass
    return None


def _open_or_compile(compiler: str, source: Path, path: Path, dtype: torch.dtype) -> ctypes.CDLL:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            built = Path(scratch) / path.name
            double = ["-DDOUBLE"] if dtype == torch.float64 else []
            for tuned in TUNED:
                command = [
                    *compiler.split(),
                    *(*FLAGS, *tuned, *double),
                    *("-o", str(built), str(source), "-lm"),
                ]
                done = subprocess.run(command, capture_output=True, timeout=COMPILE_SECONDS)
                if done.returncode == 0:
                    break
            else:
                raise OSError(f"{compiler} does not compile {source}")
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
