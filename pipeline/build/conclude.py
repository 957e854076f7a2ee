"""The end of a build: first the dataset with its options, then its page and the last words."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import asdict

from pipeline.build.display import show_summary
from pipeline.build.run import Finished, Run
from pipeline.built.errors import OutputError
from pipeline.built.layout import Layout
from pipeline.built.plan import Part
from pipeline.built.records import InputRecord, PartRecord
from pipeline.built.shard_interfaces import with_interfaces
from pipeline.built.tables import finalise
from pipeline.commands.progress_line import ProgressLine
from pipeline.commands.words import several
from pipeline.report import write_report


def conclude(
    run: Run,
    records: Sequence[PartRecord],
    others: Sequence[InputRecord],
    parts: Sequence[Part],
    text: str,
    n_built: int,
) -> Finished:
    """Make a dataset of what the parts left.

    Parameters
    ----------
    text : str
        The YAML of the options that make it again.
    n_built : int
        Parts that this run has built.
    """
    layout = run.layout
    try:
        records = _with_interfaces(run, records)
        summary = finalise(layout, parts, records, others, run.reading)
        _save_options(text, layout)
    except OSError as error:
        raise OutputError.of(f"cannot finish {layout.folder}", error) from error
    finished = Finished(summary, n_built, len(parts), run.seconds)
    told = {"digest": summary.digest, "seconds": finished.seconds}
    run.log.write("summary", {**asdict(summary.counts), **told})
    return finished


def _with_interfaces(run: Run, records: Sequence[PartRecord]) -> list[PartRecord]:
    """The records, with what those lack that an older version of the program left."""
    n = sum(record.interfaces is None for record in records)
    if not n:
        return list(records)
    run.tell(
        f"interfaces: found from the shards of {several(n, 'part')} that were built before there "
        "was such a table; what ligands and nucleic acids their chains touch stays unknown (null)"
    )
    whole, done = [], 0
    with ProgressLine(run.console, run.options.quiet, "interfaces", n) as line:
        for record in records:
            if record.interfaces is None:
                line.show(done, f"{done:,}/{n:,} parts")
                record = with_interfaces(run.layout, record)
                done += 1
            whole.append(record)
    return whole


def announce(run: Run, finished: Finished) -> bool:
    """Write the page about a dataset, and say what there is; whether it has chains, and no more
    files failed than are allowed to."""
    show_summary(run, finished, _report(run))
    counts = finished.summary.counts
    has_chains = counts.chains > 0 or run.options.allow_empty
    return has_chains and run.allows(counts.failed)


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
