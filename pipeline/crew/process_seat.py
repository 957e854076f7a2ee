"""A worker process behind a pair of pipes, for where loky's cannot be: in a thread, or in a daemon.

The worker processes of a cluster are both, and they outlive a build. So such a worker is kept warm
between parts, and goes by itself when there has been nothing to do for a while.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import IO, Any

from joblib.externals.loky.process_executor import BrokenProcessPool

from pipeline.crew.crew import WORKER_ENVIRONMENT, WorkersFail, start_worker

IDLE_SECONDS = 60.0
_LENGTH = struct.Struct("<q")
_PACKAGES = Path(__file__).parents[2]


class ProcessSeat:
    """A worker process, replaced when it dies; what `Crew` asks of a seat."""

    def __init__(self, idle_seconds: float = IDLE_SECONDS) -> None:
        self._idle_seconds = idle_seconds
        self._guard = threading.Lock()
        self._thread: _Keeper | None = None

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Run a function in the worker."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        message = pickle.dumps((function, arguments))
        with self._guard:
            if self._thread is None or not self._thread.takes(future, message):
                self._thread = _Keeper(self._idle_seconds)
                self._thread.takes(future, message)
                self._thread.start()
        return future

    def stop(self) -> None:
        """Kill the worker, and wait until it is gone."""
        with self._guard:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.end()


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
                raise BrokenProcessPool("the worker was stopped")
            if self._process is None or self._process.poll() is not None:
                self._process = _start()
            process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            _send(process.stdin, message)
            reply = _receive(process.stdout)
        except OSError:
            reply = None
        if reply is None:
            _end(process)
            raise BrokenProcessPool(f"the worker ended with status {process.returncode}")
        value, error = pickle.loads(reply)
        if error is not None:
            raise error
        return value


def _start() -> subprocess.Popen[bytes]:
    paths = [str(_PACKAGES), *filter(None, [os.environ.get("PYTHONPATH")])]
    try:
        # -P: a pipeline.py of somebody's in the working folder is not what the worker is to load.
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "pipeline.crew.process_seat", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **WORKER_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(paths)},
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


def _send(pipe: IO[bytes], message: bytes) -> None:
    pipe.write(_LENGTH.pack(len(message)) + message)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> bytes | None:
    """A message; ``None`` where the other end is gone."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    message = pipe.read(length)
    return message if len(message) == length else None


def _work(parent: int) -> None:
    """What the worker process does until nobody speaks to it any more."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no reply
    start_worker(parent)
    while (message := _receive(sys.stdin.buffer)) is not None:
        value: Any = None
        problem: Exception | None = None
        try:
            function, arguments = pickle.loads(message)
            value = function(*arguments)
        except Exception as error:
            problem = error
        try:
            reply = pickle.dumps((value, problem))
            pickle.loads(reply)
        except Exception:  # an exception of somebody's own making need not travel
            reply = pickle.dumps((None, RuntimeError(f"{type(problem).__name__}: {problem}")))
        _send(replies, reply)


if __name__ == "__main__":
    _work(int(sys.argv[1]))
