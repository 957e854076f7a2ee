"""Whether C that was compiled here runs in several threads."""

from __future__ import annotations

import ctypes

import pytest

_STARTS = ("GOMP_parallel", "__kmpc_fork_call")
"""What starts threads in the OpenMP of GCC, and in that of LLVM."""


def skip_without_openmp(library: ctypes.CDLL | None) -> None:
    """Skip a test of threads where a library has been compiled without them."""
    # A name is looked up in the library and in what that was linked to.
    if library is None or not any(hasattr(library, name) for name in _STARTS):
        pytest.skip("there is no C compiler with OpenMP here: nothing would run in threads")
