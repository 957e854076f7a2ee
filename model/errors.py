"""What ends the commands of the model with a sentence."""


class RequestError(ValueError):
    """What was asked for cannot mean anything sensible; the sentence says what to change."""


class AlreadyThere(Exception):
    """The folder holds files already."""


class CannotLoad(Exception):
    """There is no usable checkpoint; the sentence says why."""
