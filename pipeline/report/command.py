"""``python -m pipeline.report``: read a dataset, write one page about it."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.commands.command_line import parse_options
from pipeline.commands.termination import say, status_of
from pipeline.commands.words import mebibytes
from pipeline.report.options import ReportOptions


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status.

    0: the page is there. 1: the dataset cannot be read, or the page not be written. 2: wrong usage.
    130: interrupted.
    """
    options = parse_options(
        ReportOptions,
        "python -m pipeline.report",
        "Show a dataset on one page: where it comes from, what is in it, what was left out.",
        arguments,
        first="dataset",
    )
    return status_of(
        lambda: _report(options),
        interrupted="no page was written",
        cannot=f"cannot write the report to {options.output or options.dataset}",
    )


def _report(options: ReportOptions) -> None:
    options.check()
    # Who only wants to know the options needs no template engine.
    from pipeline.report.write import write

    page, *others = write(options.dataset, options.output, options.chains)
    print(page.place)
    for other in others:
        print(f"{other.place} ({mebibytes(other.n_bytes)})")
    if options.chains and not others:
        say("note: the report names no chain, so there is no page of chains")
