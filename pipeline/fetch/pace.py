"""How fast requests may follow each other, over all connections."""

from __future__ import annotations

import threading
import time

from pipeline.fetch.problems import Stopped


class Pace:
    """Hands out moments to send a request: evenly spaced, and none while the server asks for peace.

    Parameters
    ----------
    per_second : float
        Most requests in a second.
    """

    def __init__(self, per_second: float) -> None:
        self._interval = 1.0 / per_second
        self._lock = threading.Lock()
        self._next = 0.0
        self._quiet_until = 0.0
        self._stopped = threading.Event()

    def wait_for_turn(self) -> None:
        """Return when the next request may be sent.

        Raises
        ------
        Stopped
        """
        with self._lock:
            turn = max(time.monotonic(), self._next, self._quiet_until)
            self._next = turn + self._interval
        self.sleep(turn - time.monotonic())
        # Somebody may have been asked for peace meanwhile.
        while (left := self._quiet_until - time.monotonic()) > 0:
            self.sleep(left)

    def keep_quiet(self, seconds: float) -> None:
        """Nobody sends anything for so long."""
        with self._lock:
            self._quiet_until = max(self._quiet_until, time.monotonic() + seconds)

    def sleep(self, seconds: float) -> None:
        """Wait, but not beyond the end of the run.

        Raises
        ------
        Stopped
        """
        if self._stopped.wait(max(0.0, seconds)):
            raise Stopped

    def stop(self) -> None:
        """Nothing is sent any more."""
        self._stopped.set()

    @property
    def stopped(self) -> bool:
        return self._stopped.is_set()
