"""The place of one worker process of this machine: how it starts, and how it ends.

The process stands behind a connection, `pipeline.crew.worker`. So a seat can be in a thread and
in a daemon, as those of a cluster's workers are. These outlive a build: their process is kept warm
between parts, and goes by itself when there has been nothing to do for a while.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from multiprocessing.connection import Pipe
from typing import Any

from pipeline.commands.termination import interruptions_wait, say
from pipeline.crew.worker import INTERRUPTS
from pipeline.errors import Failure

POLL_SECONDS = 0.2

IDLE_SECONDS = 60.0

LAST_SECONDS = 5.0
"""So long may a worker take to end by itself once it has hung up, and again when it is killed. One
that waits in the kernel, for a file system that does not answer, ends when that does."""

_LOOK_SECONDS = 1.0

_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ARROW_NUM_THREADS"), "1"
)
# glibc gives freed memory back to the system at once, and asks for it again for the next file;
# keeping up to so much of it spares a worker about a tenth of its time.
_ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": "268435456", "MALLOC_MMAP_THRESHOLD_": "67108864"}

WORKER_ENVIRONMENT = {**_ONE_THREAD, **_ALLOCATOR}


class WorkersFail(Failure):
    """Workers die, or raise what they should not, and no input is to blame."""


class WorkerDied(Exception):
    """A worker process ended before it replied."""


class Seat:
    """A worker process, replaced when it dies."""

    def __init__(self, idle_seconds: float = IDLE_SECONDS) -> None:
        self._idle_seconds = idle_seconds
        self._guard = threading.Lock()
        self._keeper: _Keeper | None = None

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Run a function in the worker; `WorkerDied` if that dies of it, `WorkersFail` if none can
        be started."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        message = pickle.dumps((function, arguments))
        with interruptions_wait(), self._guard:
            if self._keeper is None or not self._keeper.takes(future, message):
                keeper = _Keeper(self._idle_seconds)
                keeper.takes(future, message)
                try:
                    keeper.start()
                except RuntimeError as error:  # no more threads
                    raise WorkersFail(f"a worker process cannot be started: {error}") from error
                self._keeper = keeper
        return future

    def stop(self) -> None:
        """Kill the worker, and wait until it is gone."""
        stop_all([self])

    def _dismiss(self) -> _Keeper | None:
        with self._guard:
            keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.end()
        return keeper


def stop_all(seats: Iterable[Seat]) -> None:
    """End the seats, all of them: an impatient second Ctrl-C waits until that is done."""
    with interruptions_wait():
        for keeper in [seat._dismiss() for seat in seats]:
            if keeper is not None:
                keeper.join()


class _Keeper(threading.Thread):
    """Starts a worker, and lives as long as that may: Linux ends a process that wants to end with
    its parent when the *thread* ends that started it."""

    def __init__(self, idle_seconds: float) -> None:
        super().__init__(daemon=True)
        self._idle_seconds = idle_seconds
        self._requests: queue.SimpleQueue[tuple[Future[Any], bytes] | None] = queue.SimpleQueue()
        self._guard = threading.Lock()
        self._is_over = False
        self._worker: _Worker | None = None

    def takes(self, future: Future[Any], message: bytes) -> bool:
        """Hand over a request; false if this one has ended."""
        with self._guard:
            if not self._is_over:
                self._requests.put((future, message))
            return not self._is_over

    def end(self) -> None:
        """Kill the worker; the thread ends soon after."""
        with self._guard:
            self._is_over = True
            self._requests.put(None)
            worker = self._worker
        if worker is not None:
            worker.process.kill()

    def run(self) -> None:
        # Ctrl-C goes to the whole process group. A worker starts with what is blocked here, so it
        # leaves that to its parent from its first moment on.
        signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
        try:
            while (request := self._next()) is not None:
                future, message = request
                try:
                    future.set_result(self._ask(message))
                except BaseException as error:
                    future.set_exception(error)
        finally:
            if self._worker is not None:
                self._worker.end()

    def _next(self) -> tuple[Future[Any], bytes] | None:
        try:
            return self._requests.get(timeout=self._idle_seconds)
        except queue.Empty:
            with self._guard:
                self._is_over = self._requests.empty()
            return None if self._is_over else self._requests.get()

    def _ask(self, message: bytes) -> Any:
        with self._guard:
            if self._is_over:
                raise WorkerDied("the worker was stopped")
            if self._worker is None or self._worker.process.poll() is not None:
                self._worker = _Worker()
            worker = self._worker
        try:
            worker.connection.send_bytes(message)
            while not worker.connection.poll(_LOOK_SECONDS):
                if self._is_over:  # it was killed, and yet has not hung up
                    raise EOFError
            reply = worker.connection.recv_bytes()
        except (EOFError, OSError):
            self._worker = None
            raise WorkerDied(worker.end(LAST_SECONDS)) from None
        value, error, story, has_grown = pickle.loads(reply)
        if has_grown:
            self._worker = None
            worker.end()
        if error is not None:
            error.add_note(f"In the worker:\n{story}")
            raise error
        return value


def _open_standard_descriptors() -> None:
    """A connection under the number of a standard output that is closed would be printed to."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


class _Worker:
    """A worker process, and the connection to it."""

    def __init__(self) -> None:
        if not sys.executable:
            raise WorkersFail(
                "a worker process cannot be started: this Python does not know its program"
            )
        # Not what its working folder would mislead it to, but what this process finds, it loads.
        path = [str(folder) for folder in sys.path]
        code = f"import sys; sys.path[:] = {path}; from pipeline.crew.worker import work"
        try:
            _open_standard_descriptors()
            self.connection, theirs = Pipe()
            with theirs:
                self.process = subprocess.Popen(
                    [sys.executable, "-P", "-c", f"{code}; work({os.getpid()}, {theirs.fileno()})"],
                    stdin=subprocess.DEVNULL,
                    # What something prints is no reply, and no output of this process.
                    stdout=2,
                    env={**os.environ, **WORKER_ENVIRONMENT},
                    pass_fds=[theirs.fileno()],
                )
        except OSError as error:
            raise WorkersFail(f"a worker process cannot be started: {error}") from error

    def end(self, seconds: float = 0.0) -> str:
        """Kill it, unless it ends by itself in so many seconds; how it ended, in words."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        self.process.kill()
        self.connection.close()
        try:
            status = self.process.wait(LAST_SECONDS)
        except subprocess.TimeoutExpired:
            sentence = (
                f"worker process {self.process.pid} was killed and does not end: does a file "
                "system not answer? It is left behind, and can do no more than end"
            )
            say(f"warning: {sentence}")
            return sentence
        if status >= 0:
            return f"the worker ended with status {status}"
        return f"the worker was ended by signal {-status}, {signal.strsignal(-status)}"
