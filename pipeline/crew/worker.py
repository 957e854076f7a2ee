"""What a worker process does: it is asked through a pipe and replies through another, until its
parent or its work ends."""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import struct
import sys
import threading
import time
from typing import IO, Any

import psutil

from pipeline.commands.without_pandas import without_pandas

INTERRUPTS = (signal.SIGINT, signal.SIGTERM)

MAX_GROWTH = 300_000_000
"""Bytes. A worker that holds so much more than after its first task goes on holding what some
large file took; it is replaced."""

_LENGTH = struct.Struct("<q")
_PR_SET_PDEATHSIG = 1
_LOOK_SECONDS = 0.2


def work(parent: int) -> None:
    """Take tasks from standard input, and put what becomes of them on standard output.

    A task is a function with its arguments. A reply is its value, the exception that it raised, and
    whether this process has grown and ends now.
    """
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no reply
    _begin(parent)
    memory = psutil.Process().memory_info
    most = None
    has_grown = False
    while not has_grown and (message := receive(sys.stdin.buffer)) is not None:
        value: Any = None
        problem: Exception | None = None
        try:
            function, arguments = pickle.loads(message)
            value = function(*arguments)
        except Exception as error:
            problem = error
        most = most or memory().rss + MAX_GROWTH
        has_grown = memory().rss > most
        try:
            reply = pickle.dumps((value, problem, has_grown))
            pickle.loads(reply)
        except Exception:  # an exception of somebody's own making need not travel
            unsaid = RuntimeError(f"{type(problem).__name__}: {problem}")
            reply = pickle.dumps((None, unsaid, has_grown))
        send(replies, reply)


def send(pipe: IO[bytes], message: bytes) -> None:
    """Write a message as `receive` reads it."""
    pipe.write(_LENGTH.pack(len(message)) + message)
    pipe.flush()


def receive(pipe: IO[bytes]) -> bytes | None:
    """A message; ``None`` where the other end is gone."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    message = pipe.read(length)
    return message if len(message) == length else None


def _begin(parent: int) -> None:
    """What a worker does first: it leaves Ctrl-C to its parent, ends when its parent does, and does
    not spread over other cores."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTS)
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
        time.sleep(_LOOK_SECONDS)
    os._exit(1)
