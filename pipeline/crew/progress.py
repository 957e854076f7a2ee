"""A worker's word on where it is, in a file that the parent polls.

It serves the progress bar, and it outlives the worker: when one dies or hangs, the file in
progress is known by number.
"""

from __future__ import annotations

import os
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_LAYOUT = struct.Struct("<iiidiiqq")
IDLE = -1
COMPUTING = -2


@dataclass(frozen=True, slots=True)
class ProgressNote:
    """Where a worker is.

    Attributes
    ----------
    part, pid : int
    current : int
        Index into the part's files; `IDLE` between files, `COMPUTING` while the geometry of several
        files is computed together.
    since : float
        `time.monotonic` (one clock for all processes of a machine) when that was begun.
    n_done, n_failed : int
        Files.
    n_residues, n_bytes : int
    """

    part: int
    pid: int
    current: int
    since: float
    n_done: int
    n_failed: int
    n_residues: int
    n_bytes: int

    @classmethod
    def read(cls, path: Path) -> ProgressNote | None:
        """The note in a file, or ``None`` if there is none yet."""
        try:
            data = path.read_bytes()
        except OSError:
            return None
        return cls(*_LAYOUT.unpack(data)) if len(data) == _LAYOUT.size else None


class ProgressFile:
    """Writes notes; each is one small write at the start of the file, so it is never torn."""

    def __init__(self, path: Path, part: int):
        self.path = path
        self._part = part
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        self.restart()

    def restart(self) -> None:
        """Nothing is done yet."""
        self._done = self._failed = self._residues = self._bytes = 0
        self._write(IDLE)

    def begin(self, index: int) -> None:
        """A file is about to be read."""
        self._write(index)

    def compute(self) -> None:
        """Files that were read are about to be computed together."""
        self._write(COMPUTING)

    def end(self, *, failed: bool, residues: int, size: int) -> None:
        """It is done with."""
        self._done += 1
        self._failed += failed
        self._residues += residues
        self._bytes += size
        self._write(IDLE)

    def _write(self, current: int) -> None:
        note = _LAYOUT.pack(
            self._part,
            os.getpid(),
            current,
            time.monotonic(),
            self._done,
            self._failed,
            self._residues,
            self._bytes,
        )
        os.pwrite(self._descriptor, note, 0)

    def close(self) -> None:
        """Remove the file: the part is done."""
        os.close(self._descriptor)
        with suppress(OSError):
            self.path.unlink(missing_ok=True)


class NoProgress:
    """For who does not report."""

    def begin(self, index: int) -> None: ...

    def compute(self) -> None: ...

    def end(self, *, failed: bool, residues: int, size: int) -> None: ...
