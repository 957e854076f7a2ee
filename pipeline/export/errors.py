"""What can go wrong with an export."""


class ExportError(Exception):
    """What was asked for cannot be written; one sentence that says what can."""
