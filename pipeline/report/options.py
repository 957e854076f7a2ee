"""What a report can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.commands.checks import check_has_folder, check_no_folder


@dataclass(frozen=True)
class ReportOptions:
    """Make a page that shows a dataset at a glance.

    Parameters
    ----------
    dataset
        Folder that pipeline.build made; "--dataset" may be left out before it.
    output
        File to write, if not report.html in the dataset's folder.
    chains
        Write report-chains.html beside it: the chains that the page names as outliers, with their
        ellipsoids, to be looked at in a browser, without a network.
    """

    dataset: Path
    output: Path | None = None
    chains: bool = False

    def check(self) -> None:
        """See that the page can be where it shall.

        Raises
        ------
        UsageError
        """
        if self.output is not None:
            check_no_folder("output", self.output)
            check_has_folder("output", self.output)
