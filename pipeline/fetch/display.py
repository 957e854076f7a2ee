"""What a download shows while it runs, and when it ends."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from rich.console import Console

from pipeline.commands.console import print_rows
from pipeline.commands.progress_line import ProgressLine
from pipeline.commands.words import MEBIBYTE, mebibytes
from pipeline.fetch.state import Row

REASONS_SHOWN = 8


class Display(ProgressLine):
    """See `ProgressLine`.

    Parameters
    ----------
    total : int
        Entries.
    """

    def __init__(self, console: Console, quiet: bool, total: int) -> None:
        super().__init__(console, quiet, "fetching", total)
        self._total, self._begun = total, time.monotonic()
        self._done = self._failed = self._bytes = 0

    def done(self, row: Row) -> None:
        """Count an entry."""
        self._done += 1
        self._failed += row.status == "failed"
        self._bytes += (row.bytes or 0) if row.status == "fetched" else 0
        speed = self._bytes / MEBIBYTE / max(time.monotonic() - self._begun, 1e-3)
        told = f"{self._done:,}/{self._total:,} entries, {speed:.1f} MiB/s, {self._failed:,} failed"
        self.show(self._done, told)


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
        ("size", f"{mebibytes(n_bytes)}, {mebibytes(came)} of them new"),
        ("time", f"{seconds:,.1f} s"),
        ("look at", f"{table} (every entry, with URL, SHA-256 and reason)"),
    ]
    print_rows(console, lines)
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
