"""Why a file gives no chains: each error carries a short stable reason and a sentence."""

from __future__ import annotations

from pipeline.sources import printable

_LONGEST = 400


class ParseError(Exception):
    """A file that cannot be read as what it claims to be (it counts as *failed*).

    Attributes
    ----------
    reason : str
        Short, stable, for counting (``inputs.parquet``).
    """

    def __init__(self, reason: str, message: str):
        super().__init__(_for_people(message))
        self.reason = reason


def _for_people(message: str) -> str:
    """What a file says of itself, on one line of bounded length: sentences are printed on
    terminals, which obey escape sequences."""
    if len(message) > _LONGEST:
        message = f"{message[: _LONGEST // 2]} … {message[-_LONGEST // 2 :]}"
    return "".join(c if c.isprintable() else printable(c) for c in message)


class Irregular(ParseError):
    """A fast reader meets something it does not vouch for; a slower reader takes over."""

    def __init__(self, message: str):
        super().__init__("irregular", message)


class NotAStructure(ParseError):
    """A well-formed file without anything for us in it (it counts as *skipped*)."""
