"""What can go wrong with an entry: a stable code, a sentence, and whether trying again may help."""

from __future__ import annotations

from pipeline.errors import Failure


class FetchProblem(Exception):
    """An entry was not fetched; ``str(error)`` says what was found and what to do.

    Attributes
    ----------
    reason : str
        Code that goes into ``fetch.csv``; it does not change between versions.
    transient : bool
        Whether trying again may help.
    pause : float or None
        Seconds that the server asks everybody to stay away.
    """

    def __init__(
        self, reason: str, message: str, *, transient: bool = False, pause: float | None = None
    ) -> None:
        super().__init__(message)
        self.reason, self.transient, self.pause = reason, transient, pause


SERVER_AT_FAULT = frozenset(
    {"no-connection", "bad-certificate", "timeout", "server-error", "busy", "refused", "redirect"}
)
"""Reasons that the next entry is likely to share."""


class CannotWrite(Failure):
    """The output folder does not take what was fetched: a full disk, a permission."""


class Stopped(Exception):
    """The run ends; nothing more is begun."""
