"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def appears_whole(path: Path, scratch: Path) -> Iterator[Path]:
    """Yield a scratch path; what was written there gets the name `path` at once, or vanishes.

    Parameters
    ----------
    path : Path
        Final name.
    scratch : Path
        Folder on the same file system.
    """
    temporary = scratch / f"{path.name}.{os.getpid()}.tmp"
    try:
        yield temporary
        publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def publish(temporary: Path, path: Path) -> None:
    """Flush a finished file to the disk, and rename it."""
    descriptor = os.open(temporary, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(temporary, path)
    # The rename itself is in the folder, which has to reach the disk as well.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
