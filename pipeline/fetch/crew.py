"""Threads that fetch entries, a few at a time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator

from pipeline.fetch.entry_ids import Wanted
from pipeline.fetch.pace import Pace
from pipeline.fetch.problems import Stopped
from pipeline.fetch.speed_guard import SpeedGuard
from pipeline.fetch.state import Known, Row

_POLL_SECONDS = 0.2
_FAREWELL_SECONDS = 10.0


class Crew:
    """Fetches in threads.

    Parameters
    ----------
    fetch : callable
        (entry) → what became of it.
    at_once : int
        Threads.
    pace, guard
        Told when all is to end.
    """

    def __init__(
        self, fetch: Callable[[Wanted], Known | Row], at_once: int, pace: Pace, guard: SpeedGuard
    ) -> None:
        self._fetch, self._at_once, self._pace, self._guard = fetch, at_once, pace, guard
        self._results: queue.SimpleQueue[Known | Row | BaseException | None] = queue.SimpleQueue()
        self._lock = threading.Lock()

    def results(self, entries: Iterable[Wanted]) -> Generator[Known | Row, None, None]:
        """Yield what becomes of each entry, in any order.

        When it is closed early, or an exception is raised, no request is left behind.
        """
        todo = iter(entries)
        threads = [
            threading.Thread(target=self._work, args=(todo,), name=f"fetch-{k}", daemon=True)
            for k in range(self._at_once)
        ]
        working = len(threads)
        for thread in threads:
            thread.start()
        try:
            while working:
                try:
                    # With a limit, so that Ctrl-C is heard.
                    result = self._results.get(timeout=_POLL_SECONDS)
                except queue.Empty:
                    continue
                if result is None:
                    working -= 1
                elif isinstance(result, BaseException):
                    raise result
                else:
                    yield result
        finally:
            self._pace.stop()
            self._guard.end_all()
            for thread in threads:
                thread.join(_FAREWELL_SECONDS)

    def _work(self, todo: Iterator[Wanted]) -> None:
        try:
            while not self._pace.stopped:
                with self._lock:
                    wanted = next(todo, None)
                if wanted is None:
                    break
                self._results.put(self._fetch(wanted))
        except Stopped:
            pass
        except BaseException as error:
            self._results.put(error)
        finally:
            self._results.put(None)
