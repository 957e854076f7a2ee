"""SIGTERM as an interruption: a batch system ends a command as Ctrl-C does."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def terminable() -> Iterator[None]:
    """Within the block, SIGTERM raises KeyboardInterrupt, so that everything is put away."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread: somebody's notebook
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
