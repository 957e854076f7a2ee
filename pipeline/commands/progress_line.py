"""How far a command is: a bar where somebody looks on, now and then a line where nobody does."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

PLAIN_SECONDS = 10.0


class ProgressLine:
    """A live bar on a terminal, a line every ten seconds elsewhere, nothing if `quiet`.

    A context manager: the bar is there between its ends.

    Parameters
    ----------
    console : Console
    quiet : bool
    doing : str
        In one word, before the bar.
    total : float
        At which the bar is full.
    """

    def __init__(self, console: Console, quiet: bool, doing: str, total: float = 0):
        self._console, self._quiet = console, quiet
        self._last_line = time.monotonic()
        self._live: Progress | None = None
        if not quiet and console.is_terminal:
            self._live = Progress(
                TextColumn(doing),
                BarColumn(),
                _Told(),
                TimeRemainingColumn(),
                console=console,
                transient=True,
            )
            self._task = self._live.add_task(doing, total=total, told="")

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    @property
    def is_due(self) -> bool:
        """Whether `show` would show anything now."""
        if self._live is not None:
            return True
        return not self._quiet and time.monotonic() - self._last_line >= PLAIN_SECONDS

    def show(
        self,
        done: float,
        told: str | Text,
        *,
        plain: str | None = None,
        total: float | None = None,
    ) -> None:
        """Say how far it is.

        Parameters
        ----------
        done : float
            Of the total.
        told : str or Text
            Behind the bar.
        plain : str, optional
            The line where there is no bar, if not `told`.
        total : float, optional
            If it has changed.
        """
        if self._live is not None:
            self._live.update(self._task, completed=done, total=total, told=told)
        elif self.is_due:
            self._last_line = time.monotonic()
            self._console.print(told if plain is None else plain, highlight=False, markup=False)


class _Told(ProgressColumn):
    def render(self, task: Task) -> Text:
        told = task.fields["told"]
        return told if isinstance(told, Text) else Text(told)
