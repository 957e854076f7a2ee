"""A limit on what a worker holds, kept by the system: a file too large for it fails alone."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from pipeline.commands.words import MEBIBYTE

OUT_OF_MEMORY = "out-of-memory"
"""The reason of a file that needs more than there is."""

_at_start: tuple[int, int] | None = None
"""What this process held, and the limit that it had, when it was first limited."""


class LacksMemory(Exception):
    """A worker cannot hold a file. It may go on holding what that took, so it is not asked again.

    Attributes
    ----------
    name : str
        Of the file.
    """

    def __init__(self, name: str):
        super().__init__(name)
        self.name = name


def limit_memory(more: int) -> None:
    """Let this process hold so many bytes more than it did at the first call; 0 for no limit.

    On Linux only. What counts is memory of its own that it may write to, touched or not: neither
    mapped files nor reserved addresses. Beyond, an allocation fails, which is a `MemoryError` in
    Python, NumPy, Arrow and the decompressors.

    For processes that do nothing else: every thread is held to it.
    """
    global _at_start
    if sys.platform != "linux":
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if _at_start is None:
        _at_start = _bytes_held(), soft
    held, soft = _at_start
    bounds = [soft, hard]
    if more:
        bounds.append(held + more)
    known = [b for b in bounds if b != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(known, default=resource.RLIM_INFINITY), hard))


def _bytes_held() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmData:")[2].split()[0]) << 10


def exceeded(more: int) -> str:
    """A sentence about what needs more."""
    if not more:
        return "needs more memory than there is"
    return (
        f"needs more memory than a worker may take, {more // MEBIBYTE:,} MiB (--max-memory), or "
        "than there is"
    )
