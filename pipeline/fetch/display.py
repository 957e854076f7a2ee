"""What a download shows while it runs, and when it ends."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from pipeline.fetch.state import Row

PLAIN_SECONDS = 10.0
MEBIBYTE = 1 << 20
REASONS_SHOWN = 8


class Display:
    """A live bar on a terminal, a line every ten seconds elsewhere, nothing if `quiet`.

    Parameters
    ----------
    total : int
        Entries.
    """

    def __init__(self, console: Console, quiet: bool, total: int) -> None:
        self._console, self._quiet, self._total = console, quiet, total
        self._done = self._failed = self._bytes = 0
        self._begun = self._last_line = time.monotonic()
        self._live: Progress | None = None
        if not quiet and console.is_terminal:
            self._live = Progress(
                TextColumn("fetching"),
                BarColumn(),
                TextColumn("{task.completed:,}/{task.total:,} entries  {task.fields[told]}"),
                TimeRemainingColumn(),
                console=console,
                transient=True,
            )
            self._task = self._live.add_task("fetch", total=total, told="")

    def __enter__(self) -> Display:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def done(self, row: Row) -> None:
        """Count an entry."""
        self._done += 1
        self._failed += row.status == "failed"
        self._bytes += (row.bytes or 0) if row.status == "fetched" else 0
        now = time.monotonic()
        speed = self._bytes / MEBIBYTE / max(now - self._begun, 1e-3)
        told = f"{speed:.1f} MiB/s, {self._failed:,} failed"
        if self._live is not None:
            self._live.update(self._task, completed=self._done, told=told)
        elif not self._quiet and now - self._last_line >= PLAIN_SECONDS:
            self._last_line = now
            self._console.print(f"{self._done:,}/{self._total:,} entries, {told}", highlight=False)


def show_summary(
    console: Console, rows: Sequence[Row], table: str, seconds: float, allow_failures: int
) -> None:
    """The last words; the very last say how many entries failed."""
    count = Counter(row.status for row in rows)
    n_bytes = sum(row.bytes or 0 for row in rows)
    came = sum(row.bytes or 0 for row in rows if row.status == "fetched")
    lines = [
        (
            "entries",
            f"{len(rows):,} wanted = {count['fetched']:,} fetched + {count['there']:,} already "
            f"there + {count['failed']:,} failed",
        ),
        *_failures(rows),
        ("size", f"{n_bytes / MEBIBYTE:,.1f} MiB, {came / MEBIBYTE:,.1f} MiB of them new"),
        ("time", f"{seconds:,.1f} s"),
        ("look at", f"{table} (every entry, with URL, SHA-256 and reason)"),
    ]
    for name, text in lines:
        console.print(Text.assemble((f"{name:<11}", "bold"), "  ", text), highlight=False)
    failed = count["failed"]
    last = f"{failed:,} of {len(rows):,} {'entry' if len(rows) == 1 else 'entries'} failed"
    if failed > allow_failures:
        last += " (the same command tries those again"
        last += f"; --allow-failures {failed} accepts them)"
    console.print(
        last, style="red" if failed > allow_failures else "", highlight=False, markup=False
    )


def _failures(rows: Sequence[Row]) -> list[tuple[str, str]]:
    failed = [row for row in rows if row.status == "failed"]
    lines: list[tuple[str, str]] = []
    reasons = Counter(row.reason for row in failed).most_common()
    for reason, n in reasons[:REASONS_SHOWN]:
        example = next(row for row in failed if row.reason == reason)
        text = f"{n:,} {reason}, such as {example.entry_id}: {example.message}"
        lines.append(("" if lines else "failed", text))
    if len(reasons) > REASONS_SHOWN:
        lines.append(("", f"and {len(reasons) - REASONS_SHOWN} other reasons"))
    return lines


def standard_console() -> Console:
    """Standard output; lines are as long as they are."""
    return Console(file=sys.stdout, soft_wrap=True)
