"""The lock that a build holds while it writes to a dataset."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from typing import IO

from pipeline.layout import Layout


class InUse(Exception):
    """A build, or a repair, is writing to the dataset."""


@contextlib.contextmanager
def locked(layout: Layout) -> Iterator[None]:
    """Keep builds and other repairs out of the dataset.

    Raises
    ------
    InUse
    """
    layout.state.mkdir(exist_ok=True)
    with open(layout.lock, "a+") as lock:
        _take(lock, fcntl.LOCK_EX, layout)
        yield


def expect_unlocked(layout: Layout) -> None:
    """See that nobody is writing to the dataset, without writing anything.

    Raises
    ------
    InUse
    """
    with contextlib.suppress(FileNotFoundError, PermissionError), open(layout.lock) as lock:
        _take(lock, fcntl.LOCK_SH, layout)


def _take(lock: IO[str], kind: int, layout: Layout) -> None:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        who = lock.read().strip() or "unknown"
        raise InUse(f"a build is writing to {layout.root} ({who}); wait for its end") from None
