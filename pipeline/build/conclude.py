"""The end of a build: finalised, with its options and its page beside it, and said to be so."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import asdict

from pipeline.build.display import show_summary
from pipeline.build.run import Run
from pipeline.built.errors import OutputError
from pipeline.built.layout import Layout
from pipeline.built.plan import Part
from pipeline.built.records import InputRecord, PartRecord
from pipeline.built.tables import finalise
from pipeline.report import write_report


def conclude(
    run: Run,
    records: Sequence[PartRecord],
    others: Sequence[InputRecord],
    parts: Sequence[Part],
    text: str,
    n_built: int,
) -> bool:
    """Make a dataset of what the parts left; whether it has chains, and no more files failed than
    are allowed to.

    Parameters
    ----------
    text : str
        The YAML of the options that make it again.
    n_built : int
        Parts that this run has built.
    """
    layout = run.layout
    try:
        summary = finalise(layout, parts, records, others, run.reading)
        _save_options(text, layout)
    except OSError as error:
        raise OutputError.of(f"cannot finish {layout.folder}", error) from error
    seconds = run.seconds
    counts = asdict(summary.counts)
    run.log.write("summary", {**counts, "digest": summary.digest, "seconds": seconds})
    report = _report(run)
    show_summary(run, summary, seconds, n_built, len(parts), report)
    is_as_wanted = summary.counts.chains > 0 or run.options.allow_empty
    return is_as_wanted and run.allows(summary.counts.failed)


def _save_options(text: str, layout: Layout) -> None:
    with contextlib.suppress(FileNotFoundError, IsADirectoryError):
        if layout.folder.read_bytes(layout.options) == text.encode():
            return
    with layout.folder.appears_whole(layout.options, layout.scratch) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _report(run: Run) -> str | None:
    """Write the page about the dataset, which is whole whatever becomes of the page."""
    layout, reason = run.layout, None
    if run.options.report:
        try:
            return str(write_report(layout.folder.uri))
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
    # An older page may speak of other data.
    with contextlib.suppress(OSError):
        layout.delete_pages()
    if reason is not None:
        run.tell(f"warning: the dataset is finished, its report is not: {reason}")
    return None
