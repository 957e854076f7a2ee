"""How commands end: by SIGTERM as by Ctrl-C, and without words once all is done."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


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


def leave(status: int) -> NoReturn:
    """End the process, which takes a moment: a Ctrl-C in it shows nobody a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(status)
