"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
"""A full disk, a limit on the size of files, a quota."""


@contextmanager
def no_room_is_named(path: Path) -> Iterator[None]:
    """Within the block, an error that there is no room names the file, which Arrow's do not."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM or error.filename is not None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from None


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
        with no_room_is_named(path):
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
