"""What can be wrong with an input before it is parsed: a stable code and a sentence for people."""

from __future__ import annotations

from typing import ClassVar


class SourceError(Exception):
    """An input cannot be read; ``str(error)`` says which file, what was found and what to do.

    Attributes
    ----------
    reason : str
        Short code that goes into ``inputs.parquet``; it does not change between versions.
    transient : bool
        Whether trying again may help (a network file system that stumbled, say).
    """

    reason: ClassVar[str] = "unreadable"
    transient: ClassVar[bool] = False


class TruncatedStream(SourceError):
    """A compressed stream or an archive ends before its end."""

    reason = "truncated-stream"


class CorruptStream(SourceError):
    """A check value does not match, or bytes are not what the format allows."""

    reason = "corrupt-stream"


class TooLarge(SourceError):
    """More bytes, packed or unpacked, than the size limit."""

    reason = "too-large"


class TooManyMembers(SourceError):
    """An archive holds more than are listed."""

    reason = "too-many-members"


class OutOfMemory(SourceError):
    """There is no memory for the bytes."""

    reason = "out-of-memory"
    transient = True


class Unreadable(SourceError):
    """The operating system refused to hand out the bytes."""

    reason = "unreadable"
    transient = True


class SourceChanged(SourceError):
    """The file is not the one that was found: its size or time differs, or moved while read."""

    reason = "changed"


class Missing(SourceError):
    """There is no such file."""

    reason = "missing"


class NotInstalled(SourceError):
    """A package that reads this kind of file is missing."""

    reason = "not-installed"
