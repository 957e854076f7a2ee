"""What ends the commands of the model with a sentence."""

from pipeline.errors import Failure, UsageError


class AlreadyThere(UsageError):
    """The folder holds files already."""


class CannotLoad(Failure):
    """There is no usable checkpoint; the sentence says why."""
