"""A child process that ends with its parent."""

from __future__ import annotations

import ctypes
import signal
import sys

PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Called in the child before its program (`preexec_fn`): nothing computes on unwatched, however
    the parent ends (Linux)."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def end_with_parent_alone() -> None:
    """The same for a child that leaves Ctrl-C to its parent, which then ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
