"""Locks of the file system: who has one loses it with its last breath, so none is ever stale."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


class Held(Exception):
    """Somebody else has the lock; `str` of this says who, as far as that is known."""


@contextmanager
def file_lock(path: Path, *, shared: str | None = None) -> Iterator[None]:
    """Hold a lock, in a file that is made if it is not there and says who has it.

    Parameters
    ----------
    path : Path
    shared : str, optional
        Others may have it too who share it; this says what all of them are.

    Raises
    ------
    Held
    OSError
    """
    with open(path, "a+") as lock:
        take(lock, shared=shared is not None)
        lock.truncate(0)
        lock.write(f"{shared or f'process {os.getpid()} on {os.uname().nodename}'}\n")
        lock.flush()
        yield


def take(lock: IO[str], *, shared: bool) -> None:
    """Take the lock of an open file until it is closed.

    Raises
    ------
    Held
    OSError
    """
    try:
        fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        raise Held(lock.read().strip() or "unknown") from None
