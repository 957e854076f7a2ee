"""Why a file gives no chains: each error carries a short stable reason and a sentence."""

from __future__ import annotations


class ParseError(Exception):
    """A file that cannot be read as what it claims to be (it counts as *failed*).

    Attributes
    ----------
    reason : str
        Short, stable, for counting (``inputs.parquet``).
    """

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


class Irregular(ParseError):
    """A fast reader meets something it does not vouch for; a slower reader takes over."""

    def __init__(self, message: str):
        super().__init__("irregular", message)


class NotAStructure(ParseError):
    """A well-formed file without anything for us in it (it counts as *skipped*)."""
