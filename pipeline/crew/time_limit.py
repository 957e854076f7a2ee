"""How long a file may take."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class FileTimeout(BaseException):
    """A file took longer than its time; no library's ``except Exception`` may swallow that."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `FileTimeout` in the block after so many seconds (in a main thread on POSIX).

    A call into native code that never returns is beyond this; the parent watches for those.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        yield
        return

    def stop(*_: object) -> None:
        raise FileTimeout

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
