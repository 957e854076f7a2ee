"""``python -m pipeline.fetch``: manifest → entries → files, with what can go wrong said plainly."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console

from pipeline.commands.command_line import parse_options
from pipeline.commands.console import standard_console
from pipeline.commands.termination import FAILURE, OK, status_of
from pipeline.commands.words import MEBIBYTE
from pipeline.errors import UsageError
from pipeline.fetch.connections import Connections
from pipeline.fetch.crew import Crew
from pipeline.fetch.display import Display, show_summary
from pipeline.fetch.download import Downloader
from pipeline.fetch.entry_ids import BadEntryId, Wanted, alphafold_entry, pdb_entry
from pipeline.fetch.fetch_entry import EntryFetcher
from pipeline.fetch.options import FetchOptions
from pipeline.fetch.pace import Pace
from pipeline.fetch.problems import SERVER_AT_FAULT
from pipeline.fetch.servers import url_pattern
from pipeline.fetch.speed_guard import SpeedGuard
from pipeline.fetch.state import Known, Row, State
from pipeline.filters import Manifest
from pipeline.sources import printable

GIVE_UP_AFTER = 20
"""Entries in a row that fail by the server's fault: it is down, and gets no more requests."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status.

    0: every entry is there. 1: some failed (more than ``--allow-failures``), or the folder cannot
    be written. 2: wrong usage. 130: interrupted.
    """
    options = parse_options(
        FetchOptions,
        "python -m pipeline.fetch",
        "Download the entries that a manifest names.",
        arguments,
    )
    return status_of(
        lambda: fetch(options),
        interrupted="files that were finished are kept; run the same command again to go on",
        cannot=None,
    )


def fetch(options: FetchOptions, console: Console | None = None) -> int:
    """Download what the options say; the exit status.

    Raises
    ------
    UsageError
        Before anything is downloaded.
    CannotWrite
        Files that were finished are kept.
    """
    console = console or standard_console()
    begun = time.monotonic()
    options.check()
    pattern = url_pattern(options.source, options.format, options.mirror)
    manifest = Manifest.read(options.manifest, entries_only=True)
    if not manifest.entries:
        raise UsageError(f"{options.manifest} names no entries")
    entries, rows = _entries(manifest.entries, options)
    with State(Path(options.out_dir)).locked() as state:
        rows += _fetch(entries, pattern, options, state, console)
        order = {entry_id: k for k, entry_id in enumerate(manifest.entries)}
        rows.sort(key=lambda row: order.get(row.entry_id, len(order)))
        state.write_table(rows)
    show_summary(console, rows, str(state.table), time.monotonic() - begun, options.allow_failures)
    n_failed = sum(row.status == "failed" for row in rows)
    return FAILURE if n_failed > options.allow_failures else OK


def _entries(entry_ids: Iterable[str], options: FetchOptions) -> tuple[list[Wanted], list[Row]]:
    """What is to be fetched, and rows of ids that cannot be."""
    wanted: dict[str, Wanted] = {}
    bad: list[Row] = []
    for entry_id in entry_ids:
        try:
            if options.source == "alphafold":
                entry = alphafold_entry(entry_id, options.alphafold_version)
            else:
                entry = pdb_entry(entry_id)
        except BadEntryId as error:
            name = printable(entry_id)
            bad.append(Row(name, "failed", reason="bad-entry-id", message=str(error)))
        else:
            wanted[entry.entry_id] = entry
    return list(wanted.values()), bad


def _fetch(
    entries: Sequence[Wanted],
    pattern: str,
    options: FetchOptions,
    state: State,
    console: Console,
) -> list[Row]:
    rows: dict[str, Row] = {}
    at_fault_in_a_row = 0
    pace = Pace(options.per_second)
    connections = Connections(options.at_once, options.timeout)
    with (
        contextlib.closing(connections),
        SpeedGuard(options.timeout) as guard,
        Display(console, options.quiet, len(entries)) as display,
    ):
        downloader = Downloader(connections, pace, guard, options.max_file_size * MEBIBYTE)
        fetcher = EntryFetcher(options, pattern, state, downloader, pace)
        crew = Crew(fetcher.fetch, options.at_once, pace, guard)
        # Closed here, so that no thread is left when something is raised in between.
        with contextlib.closing(crew.results(entries)) as results:
            for result in results:
                if isinstance(result, Known):
                    state.remember(result)
                row = result.row if isinstance(result, Known) else result
                rows[row.entry_id] = row
                display.done(row)
                if row.reason in SERVER_AT_FAULT:
                    at_fault_in_a_row += 1
                elif row.status != "there":  # which says nothing of the server
                    at_fault_in_a_row = 0
                if at_fault_in_a_row == GIVE_UP_AFTER:
                    break
    message = (
        f"{GIVE_UP_AFTER} entries in a row failed by the server's fault, so it was asked no more; "
        "run the same command later"
    )
    for entry in entries:
        if entry.entry_id not in rows:
            rows[entry.entry_id] = Row(
                entry.entry_id, "failed", reason="not-tried", message=message
            )
    return list(rows.values())
