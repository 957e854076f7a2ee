"""What an embedding shows while it runs."""

from __future__ import annotations

import time

from rich.console import Console

from pipeline.commands.progress_line import ProgressLine


class Progression(ProgressLine):
    """See `ProgressLine`.

    Parameters
    ----------
    total : int
        Residues to be embedded.
    """

    def __init__(self, console: Console, quiet: bool, total: int):
        super().__init__(console, quiet, "embedding", total)
        self._total, self._done, self._begun = total, 0, time.monotonic()

    def advance(self, n_residues: int) -> None:
        """Say that so many more are done."""
        self._done += n_residues
        speed = round(self._done / max(time.monotonic() - self._begun, 1e-3))
        self.show(self._done, f"{self._done:,}/{self._total:,} residues, {speed:,}/s")
