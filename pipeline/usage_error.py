"""What every command says of options that make no sense."""


class UsageError(Exception):
    """The command cannot mean anything sensible; the sentence says what to change."""
