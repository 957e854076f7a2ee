"""``python -m pipeline.report``: read a dataset, write one page about it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from rich.console import Console

from pipeline.built_dataset import UnreadableDataset
from pipeline.command_line import parse_options
from pipeline.report import write_report
from pipeline.report.options import ReportOptions
from pipeline.shards import DamagedShard
from pipeline.storage import BadLocation, StorageError
from pipeline.termination import leave

OK, FAILURE, USAGE, INTERRUPTED = 0, 1, 2, 130


class UsageError(Exception):
    """The options cannot mean anything sensible; the sentence says what to change."""


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
    try:
        _check(options)
        print(write_report(options.dataset, options.output))
        return OK
    except (BadLocation, UsageError) as error:
        return _end_with(f"error: {error}", USAGE)
    except (DamagedShard, StorageError, UnreadableDataset) as error:
        return _end_with(f"error: {error}", FAILURE)
    except OSError as error:
        where = options.output or options.dataset
        return _end_with(f"error: cannot write the report to {where}: {error}", FAILURE)
    except KeyboardInterrupt:
        return _end_with("interrupted: no page was written", INTERRUPTED)


def run() -> None:
    """Entry point of ``python -m pipeline.report``."""
    leave(main())


def _check(options: ReportOptions) -> None:
    output = options.output
    if output is None:
        return
    if output.is_dir():
        raise UsageError(f"--output {output} is a folder; give a file")
    if not output.absolute().parent.is_dir():
        raise UsageError(f"--output {output}: there is no folder {output.parent}")


def _end_with(sentence: str, status: int) -> int:
    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    with contextlib.suppress(OSError):
        errors.print(sentence, markup=False)
    return status
