"""What a worker process does: it is asked and replies through a connection of its own, until its
parent or its work ends."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection
from typing import Any

import psutil

from pipeline.commands.without_pandas import without_pandas

INTERRUPTS = (signal.SIGINT, signal.SIGTERM)

MAX_GROWTH = 300_000_000
"""Bytes. A worker that holds so much more than after its first task goes on holding what some
large file took; it is replaced."""

_PR_SET_PDEATHSIG = 1
_LOOK_SECONDS = 0.2


def work(parent: int, number: int) -> None:
    """Take tasks from the connection of that number, and put what becomes of them there.

    A task is a function with its arguments. A reply is its value, the exception that it raised, the
    traceback of that, and whether this process has grown and ends now.
    """
    os.set_inheritable(number, False)
    _begin(parent)
    memory = psutil.Process().memory_info
    most = None
    has_grown = False
    with Connection(number) as connection, contextlib.suppress(EOFError, OSError):  # parent is gone
        while not has_grown:
            message = connection.recv_bytes()
            value: Any = None
            problem: Exception | None = None
            story = ""
            try:
                function, arguments = pickle.loads(message)
                value = function(*arguments)
            except Exception as error:
                problem, story = error, traceback.format_exc()
            most = most or memory().rss + MAX_GROWTH
            has_grown = memory().rss > most
            try:
                reply = pickle.dumps((value, problem, story, has_grown))
                pickle.loads(reply)
            except Exception as error:  # not everything can travel
                reply = pickle.dumps((None, _unsaid(value, problem, error), story, has_grown))
            connection.send_bytes(reply)


def _unsaid(value: Any, problem: Exception | None, error: Exception) -> RuntimeError:
    """What is told instead of a value or an exception that cannot be pickled."""
    if problem is not None:
        return RuntimeError("".join(traceback.format_exception_only(problem)).strip())
    return RuntimeError(f"a value of type {type(value).__name__} cannot be sent: {error}")


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
