"""How commands end: by SIGTERM as by Ctrl-C, and without words once all is done."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from pipeline.errors import Failure, UsageError

OK, FAILURE, USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses of all commands."""

NOTHING_BEGUN = "interrupted before anything was begun"


@contextmanager
def _answered(answer: Callable[[int, object], None], *signals: int) -> Iterator[None]:
    """Within the block, signals are answered so, where it is Python's main thread that runs it.

    One that is ignored goes on being ignored. One whose handler is not Python's (``None``) keeps
    it: that could not be put back.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in signals:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, answer)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def terminable() -> Iterator[None]:
    """Within the block, SIGTERM raises KeyboardInterrupt, so that everything is put away."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with _answered(stop, signal.SIGTERM):
        yield


@contextmanager
def ended_at_once() -> Iterator[None]:
    """Within the block, Ctrl-C and SIGTERM end the process; nothing is to be put away.

    While modules are loaded, an exception may not arrive: extensions that look whether another
    module is there take it for a sign that it is not, and go on.
    """

    def stop(*_: object) -> None:
        with suppress(OSError):
            os.write(2, f"{NOTHING_BEGUN}\n".encode())
        os._exit(INTERRUPTED)

    with _answered(stop, signal.SIGINT, signal.SIGTERM):
        yield


@contextmanager
def interruptions_wait() -> Iterator[None]:
    """Ctrl-C and SIGTERM that come within the block are heard at its end.

    What a block starts has then a name, by which whoever is interrupted can end it.
    """
    heard: list[int] = []
    try:
        with _answered(lambda number, _: heard.append(number), signal.SIGINT, signal.SIGTERM):
            yield
    finally:
        if heard:
            signal.raise_signal(heard[0])


def leave(status: int) -> NoReturn:
    """End the process, which takes a moment: a Ctrl-C in it shows nobody a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(status)


def say(sentence: str) -> None:
    """Tell on stderr, which may be gone."""
    with suppress(OSError):
        print(sentence, file=sys.stderr)


def end_with(sentence: str, status: int) -> int:
    """Tell why, and the exit status."""
    say(sentence)
    return status


def status_of(
    command: Callable[[], int | None], *, interrupted: str, cannot: str | None = "cannot write"
) -> int:
    """Run a command, tell of what is expected to go wrong in a sentence, and the exit status.

    A `UsageError` ends it with `USAGE`, a `Failure` with `FAILURE`. What is neither is a defect: a
    traceback.

    Parameters
    ----------
    command : callable
        Its status; None is `OK`.
    interrupted : str
        What is left after Ctrl-C or SIGTERM, if the `KeyboardInterrupt` does not say it.
    cannot : str, optional
        What an `OSError` that is no `Failure` kept from being done; None where it is a defect, too.
    """
    try:
        with terminable():
            status = command()
        return OK if status is None else status
    except UsageError as error:
        return end_with(f"error: {error}", USAGE)
    except Failure as error:
        advice = "" if error.remedy is None else f"\n{error.remedy}"
        return end_with(f"error: {error}{advice}", FAILURE)
    except OSError as error:
        if cannot is None:
            raise
        return end_with(f"error: {cannot}: {error}", FAILURE)
    except KeyboardInterrupt as stop:
        return end_with(f"interrupted: {stop if stop.args else interrupted}", INTERRUPTED)
