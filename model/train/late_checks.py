"""`LateChecks`: is a number finite that a device has yet to compute?

To ask a GPU is to wait for it, and while it is waited for it gets nothing new to do. So the answer
is sent for, and looked at when it has come: mostly in the next step. Steps in between may have been
made with a number that is none; whoever writes a checkpoint or a log has all answers first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor


class Answer(Protocol):
    """A truth value that may be on its way."""

    def has_come(self) -> bool:
        """Whether `is_yes` would answer at once."""

    def is_yes(self) -> bool:
        """The value; waits for it."""


class _AtOnce:
    def __init__(self, value: Tensor):
        self._value = bool(value)

    def has_come(self) -> bool:
        return True

    def is_yes(self) -> bool:
        return self._value


class _OnItsWay:
    def __init__(self, value: Tensor):
        self._here = torch.empty((), dtype=torch.bool, pin_memory=True)
        self._here.copy_(value, non_blocking=True)
        self._copied = torch.cuda.Event()
        self._copied.record(torch.cuda.current_stream(value.device))

    def has_come(self) -> bool:
        return self._copied.query()

    def is_yes(self) -> bool:
        self._copied.synchronize()
        return bool(self._here)


def ask(value: Tensor) -> Answer:
    """The answer of a () bool tensor: from a GPU later, from any other device at once."""
    return _OnItsWay(value) if value.device.type == "cuda" else _AtOnce(value)


class LateChecks:
    """Checks in the order in which they were asked for."""

    def __init__(self) -> None:
        self._open: deque[tuple[Answer, Callable[[], None]]] = deque()

    def expect(self, value: Tensor, otherwise: Callable[[], None]) -> None:
        """See that a () bool tensor is true, now or later.

        Parameters
        ----------
        value : () bool
        otherwise : callable
            Called if it is not, by this or by a later call; raises.
        """
        self._open.append((ask(value), otherwise))
        self.look()

    def look(self) -> None:
        """At the answers that have come, in their order."""
        while self._open and self._open[0][0].has_come():
            self._close()

    def settle(self) -> None:
        """Wait for all answers."""
        while self._open:
            self._close()

    def clear(self) -> None:
        self._open.clear()

    def _close(self) -> None:
        answer, otherwise = self._open.popleft()
        if not answer.is_yes():
            # What came after it is made of what is wrong.
            self._open.clear()
            otherwise()
