"""The end of a build: finalised, with its options and its page beside it, and said to be so."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

from rich.console import Console

from pipeline.build.display import show_summary
from pipeline.build.event_log import EventLog
from pipeline.build.options import BuildOptions
from pipeline.built.errors import OutputError
from pipeline.built.layout import Layout
from pipeline.built.plan import Part
from pipeline.built.reading import Reading
from pipeline.built.records import InputRecord, PartRecord
from pipeline.built.tables import finalise
from pipeline.report import write_report


def conclude(
    options: BuildOptions,
    text: str,
    layout: Layout,
    parts: Sequence[Part],
    records: Sequence[PartRecord],
    others: Sequence[InputRecord],
    reading: Reading,
    console: Console,
    log: EventLog,
    started: float,
    n_built: int,
) -> bool:
    """Make a dataset of what the parts left; whether no more files failed than are allowed to.

    Parameters
    ----------
    text : str
        The YAML of the options that make it again.
    started : float
        `time.monotonic`.
    n_built : int
        Parts that this run has built.
    """
    try:
        summary = finalise(layout, parts, records, others, reading)
        _save_options(text, layout)
    except OSError as error:
        raise OutputError.of(f"cannot finish {layout.folder}", error) from error
    seconds = time.monotonic() - started
    log.write("summary", {**summary["counts"], "digest": summary["digest"], "seconds": seconds})
    report = _report(options, layout, console)
    allowed = options.allow_failures
    show_summary(console, layout, summary, seconds, n_built, len(parts), allowed, report)
    return summary["counts"]["failed"] <= allowed


def _save_options(text: str, layout: Layout) -> None:
    with contextlib.suppress(FileNotFoundError, IsADirectoryError):
        if layout.folder.read_bytes(layout.options.name) == text.encode():
            return
    with layout.folder.appears_whole(layout.options.name, layout.scratch) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _report(options: BuildOptions, layout: Layout, console: Console) -> str | None:
    """Write the page about the dataset, which is whole whatever becomes of the page."""
    reason = None
    if options.report:
        try:
            return str(write_report(layout.root))
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
    # An older page may speak of other data.
    with contextlib.suppress(OSError):
        layout.folder.delete(layout.name(layout.report))
    if reason is not None:
        console.print(
            f"warning: the dataset is finished, its report is not: {reason}",
            highlight=False,
            markup=False,
        )
    return None
