"""No server holds a connection by sending a byte now and then.

A socket's timeout starts anew with every byte, so a server that drips its headers, its content or
the sizes of its chunks could hold a connection for weeks. Here a thread looks at all transfers, and
shuts down the socket of one that has brought too little.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

LEAST_BYTES_PER_SECOND = 1000
_CHECKS_PER_PERIOD = 4
_here = threading.local()


class Transfer:
    """One request and its answer.

    Attributes
    ----------
    n_bytes : int
        Content that arrived so far; whoever reads it counts.
    too_slow : bool
        The guard has shut the socket down; what was read of late is not to be trusted.
    """

    def __init__(self) -> None:
        self.n_bytes = 0
        self.too_slow = False
        self.sock: socket.socket | None = None
        self._since, self._n_then = time.monotonic(), 0

    def restart(self) -> None:
        """Begin to count the time anew."""
        self._since, self._n_then = time.monotonic(), self.n_bytes

    def judge(self, seconds: float) -> None:
        """Shut it down if it brought too little in so many seconds."""
        passed = time.monotonic() - self._since
        if self.sock is None or passed < seconds:
            return
        if self.n_bytes - self._n_then < passed * LEAST_BYTES_PER_SECOND:
            self.too_slow = True
            self.end()
        self.restart()

    def end(self) -> None:
        """Whoever waits for the socket has waited enough."""
        # The method of the plain socket: that of an encrypted one takes away what a reader uses.
        if self.sock is not None:
            with contextlib.suppress(OSError, TypeError):
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


class SpeedGuard:
    """Watches transfers while its block lasts.

    Parameters
    ----------
    seconds : float
        Over which a transfer must bring `LEAST_BYTES_PER_SECOND`. Headers count nothing, so they
        have to be there within that time.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._transfers: set[Transfer] = set()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> SpeedGuard:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.end_all()

    @contextlib.contextmanager
    def transfer(self) -> Iterator[Transfer]:
        """Watch what this thread receives in the block."""
        transfer = Transfer()
        with self._lock:
            self._transfers.add(transfer)
        _here.transfer = transfer
        try:
            yield transfer
        finally:
            _here.transfer = None
            with self._lock:
                self._transfers.discard(transfer)

    def end_all(self) -> None:
        """Let nobody wait for an answer any more."""
        for transfer in self._current():
            transfer.end()

    def _current(self) -> list[Transfer]:
        with self._lock:
            return list(self._transfers)

    def _watch(self) -> None:
        while not self._ended.wait(self._seconds / _CHECKS_PER_PERIOD):
            for transfer in self._current():
                transfer.judge(self._seconds)


def watch_socket(sock: socket.socket) -> None:
    """Tell the transfer of this thread, if it has one, which socket it waits for."""
    transfer: Transfer | None = getattr(_here, "transfer", None)
    if transfer is not None:
        transfer.sock = sock
        transfer.restart()
