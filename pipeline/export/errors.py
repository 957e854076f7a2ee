"""What can go wrong with an export."""

from pipeline.errors import Failure


class ExportError(Failure):
    """What was asked for cannot be written; one sentence that says what can."""
