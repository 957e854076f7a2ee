"""The place of one worker process of this machine: how it starts, and how it ends.

Workers are joblib's (loky). Each has an executor of its own, so that when one dies the others go
on, and it is known which part it had.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any, Protocol

from joblib.externals.loky import ProcessPoolExecutor
from joblib.externals.loky.process_executor import BrokenProcessPool

from pipeline.commands.without_pandas import without_pandas
from pipeline.errors import Failure

POLL_SECONDS = 0.2

THREAD_SECONDS = 5.0
"""So long at the most are loky's threads waited for; they need a few thousandths."""

_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ARROW_NUM_THREADS"), "1"
)
# glibc gives freed memory back to the system at once, and asks for it again for the next file;
# keeping up to so much of it spares a worker about a tenth of its time.
_ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": "268435456", "MALLOC_MMAP_THRESHOLD_": "67108864"}

WORKER_ENVIRONMENT = {**_ONE_THREAD, **_ALLOCATOR}

_PR_SET_PDEATHSIG = 1
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)


class WorkersFail(Failure):
    """Workers die, or raise what they should not, and no input is to blame."""


class Seat(Protocol):
    """The place of a worker process, replaced when it dies."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Run a function in the worker; `BrokenProcessPool` if that dies of it."""

    def stop(self) -> None:
        """Kill the worker, and wait until it is gone."""


class LokySeat:
    """A worker process, replaced when it dies."""

    def __init__(self) -> None:
        self._executor: ProcessPoolExecutor | None = None
        self._latest: Future[Any] | None = None

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Run a function in the worker."""
        try:
            with _interrupts_held():
                self._latest = self._submit(function, *arguments)
                return self._latest
        except OSError as error:
            raise WorkersFail(f"a worker process cannot be started: {error}") from error

    def _submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        if self._executor is not None:
            try:
                return self._executor.submit(function, *arguments)
            except BrokenProcessPool:
                self.stop()
        self._executor = ProcessPoolExecutor(
            max_workers=1,
            initializer=start_worker,
            initargs=(os.getpid(),),
            env=WORKER_ENVIRONMENT,
        )
        return self._executor.submit(function, *arguments)

    def stop(self) -> None:
        """Kill the worker, and wait until it and the threads that spoke to it are gone."""
        executor, self._executor = self._executor, None
        if executor is None:
            return
        # loky's manager thread fails over a function that it has not taken up when it is told to
        # end (KeyError, loky 3.6), and leaves its queues behind.
        deadline = time.monotonic() + THREAD_SECONDS
        while not self._is_taken_up() and time.monotonic() < deadline:
            time.sleep(0.001)
        # loky does not wait for the thread that feeds the worker. It holds the last semaphores: if
        # the process ends while it lets go of them, their tracker complains.
        feeder = getattr(executor._call_queue, "_thread", None)
        executor.shutdown(wait=True, kill_workers=True)
        if feeder is not None:
            feeder.join(THREAD_SECONDS)

    def _is_taken_up(self) -> bool:
        return self._latest is None or self._latest.running() or self._latest.done()


def stop_all(seats: Iterable[Seat]) -> None:
    """End the seats, all of them: an impatient second Ctrl-C waits until that is done."""
    with _interrupts_held():
        for seat in seats:
            seat.stop()


def start_worker(parent: int) -> None:
    """What a worker does first: it leaves Ctrl-C to its parent, ends when its parent does, and does
    not spread over other cores."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTS)
    _end_with(parent)
    without_pandas()
    import pyarrow as pa

    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)


def _end_with(parent: int) -> None:
    """Die at once when the parent does: somebody may start the build again, and two writers of the
    same parts could leave a shard of the one beside a record of the other."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_wait_for_end_of, args=(parent,), daemon=True).start()
    if os.getppid() != parent:
        os._exit(1)


def _wait_for_end_of(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os._exit(1)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """What interrupts the block interrupts after it; a process begun in it does not hear of it.

    The parent must not leave a worker half-started, and Ctrl-C, which goes to the whole process
    group, is the parent's to answer from a worker's first moment on: it starts with what is blocked
    here.
    """
    # Python's tracker process, which loky starts if it must, unblocks them when it is started.
    resource_tracker.ensure_running()
    held: list[int] = []
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        # Blocking is not enough: another thread may get the signal, and Python answers it in this.
        for number in _INTERRUPTS:
            handlers[number] = signal.signal(number, lambda n, _: held.append(n))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
    if held:
        signal.raise_signal(held[0])
