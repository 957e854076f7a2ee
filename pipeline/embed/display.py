"""What an embedding shows while it runs."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

PLAIN_SECONDS = 10.0


class Progression:
    """A live bar on a terminal, a line every ten seconds elsewhere, nothing if `quiet`.

    Parameters
    ----------
    total : int
        Residues to be embedded.
    """

    def __init__(self, console: Console, quiet: bool, total: int):
        self._console, self._quiet, self._total = console, quiet, total
        self._done = 0
        self._begin = self._last_line = time.monotonic()
        self._live: Progress | None = None
        if not quiet and console.is_terminal:
            self._live = Progress(
                TextColumn("embedding"),
                BarColumn(),
                TextColumn("{task.completed:,}/{task.total:,} residues  {task.fields[speed]:,}/s"),
                TimeRemainingColumn(),
                console=console,
                transient=True,
            )
            self._task = self._live.add_task("embed", total=total, speed=0)

    def __enter__(self) -> Progression:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def advance(self, n_residues: int) -> None:
        """Say that so many more are done."""
        self._done += n_residues
        now = time.monotonic()
        speed = round(self._done / max(now - self._begin, 1e-3))
        if self._live is not None:
            self._live.update(self._task, completed=self._done, speed=speed)
        elif not self._quiet and now - self._last_line >= PLAIN_SECONDS:
            self._last_line = now
            self._console.print(
                f"{self._done:,}/{self._total:,} residues, {speed:,}/s", highlight=False
            )
