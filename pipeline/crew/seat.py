"""The place of one worker process of this machine: how it starts, and how it ends.

The process stands behind a pair of pipes, `pipeline.crew.worker`. So a seat can be in a thread and
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
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any

from pipeline.crew.worker import INTERRUPTS, receive, send
from pipeline.errors import Failure

POLL_SECONDS = 0.2

IDLE_SECONDS = 60.0

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
        self._thread: _Keeper | None = None

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Run a function in the worker; `WorkerDied` if that dies of it, `WorkersFail` if none can
        be started."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        message = pickle.dumps((function, arguments))
        with _interrupts_held(), self._guard:
            if self._thread is None or not self._thread.takes(future, message):
                keeper = _Keeper(self._idle_seconds)
                keeper.takes(future, message)
                try:
                    keeper.start()
                except RuntimeError as error:  # no more threads
                    raise WorkersFail(f"a worker process cannot be started: {error}") from error
                self._thread = keeper
        return future

    def stop(self) -> None:
        """Kill the worker, and wait until it is gone."""
        with self._guard:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.end()


def stop_all(seats: Iterable[Seat]) -> None:
    """End the seats, all of them: an impatient second Ctrl-C waits until that is done."""
    with _interrupts_held():
        for seat in seats:
            seat.stop()


class _Keeper(threading.Thread):
    """Starts a worker, and lives as long as that may: Linux ends a process that wants to end with
    its parent when the *thread* ends that started it."""

    def __init__(self, idle_seconds: float) -> None:
        super().__init__(daemon=True)
        self._idle_seconds = idle_seconds
        self._requests: queue.SimpleQueue[tuple[Future[Any], bytes] | None] = queue.SimpleQueue()
        self._guard = threading.Lock()
        self._is_over = False
        self._process: subprocess.Popen[bytes] | None = None

    def takes(self, future: Future[Any], message: bytes) -> bool:
        """Hand over a request; false if this one has ended."""
        with self._guard:
            if not self._is_over:
                self._requests.put((future, message))
            return not self._is_over

    def end(self) -> None:
        with self._guard:
            self._is_over = True
            self._requests.put(None)
            if self._process is not None:
                self._process.kill()
        self.join()

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
            if self._process is not None:
                _end(self._process)

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
            if self._process is None or self._process.poll() is not None:
                self._process = _start()
            process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            send(process.stdin, message)
            reply = receive(process.stdout)
        except OSError:
            reply = None
        if reply is None:
            _end(process)
            raise WorkerDied(f"the worker ended with status {process.returncode}")
        value, error, has_grown = pickle.loads(reply)
        if has_grown:
            _end(process)
        if error is not None:
            raise error
        return value


def _start() -> subprocess.Popen[bytes]:
    # Not what its working folder would mislead it to, but what this process finds, it loads.
    path = [str(folder) for folder in sys.path]
    code = f"import sys; sys.path[:] = {path}; from pipeline.crew.worker import work"
    if not sys.executable:
        raise WorkersFail(
            "a worker process cannot be started: this Python does not know its program"
        )
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-c", f"{code}; work({os.getpid()})"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **WORKER_ENVIRONMENT},
        )
    except OSError as error:
        raise WorkersFail(f"a worker process cannot be started: {error}") from error


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        with contextlib.suppress(OSError):  # what was still to be written has no reader
            pipe.close()


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """What interrupts the block interrupts after it: no seat is left half-started or half-ended."""
    held: list[int] = []
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        # Blocking is not enough: another thread may get the signal, and Python answers it in this.
        for number in INTERRUPTS:
            handlers[number] = signal.signal(number, lambda n, _: held.append(n))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
    if held:
        signal.raise_signal(held[0])
