"""The two roots of all errors that end a command: each tells the person who started it."""

from __future__ import annotations


class UsageError(ValueError):
    """What was asked for cannot mean anything sensible; the sentence says what to change.

    It ends a command with status 2.
    """


class Failure(Exception):
    """What was asked for could not be done; the sentence says what was found.

    It ends a command with status 1.

    Attributes
    ----------
    remedy : str or None
        A sentence that says what to do, where the first does not.
    """

    remedy: str | None = None
