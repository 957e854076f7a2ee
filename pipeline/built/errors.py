"""What keeps a dataset from being written, or from being whole."""

from __future__ import annotations

from pipeline.errors import Failure
from pipeline.files.storage import StorageError


class OutputError(Failure):
    """The output cannot be written: no space, no permission. Nothing is wrong with the input."""

    @classmethod
    def of(cls, doing: str, error: OSError) -> OutputError:
        """What could not be done, and why."""
        # What a store's error is about is in its sentence.
        return cls(str(error) if isinstance(error, StorageError) else f"{doing}: {error}")


class UnfinishedBuild(Failure):
    """Parts are missing, or do not belong to the plan."""


class SameName(UnfinishedBuild):
    """Chains of different files got one name, so a dataset of them could not tell them apart."""
