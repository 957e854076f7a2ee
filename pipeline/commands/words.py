"""Small parts of the sentences that commands say: counts, sizes, values, options."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

MEBIBYTE = 1 << 20

DESTRUCTIVE = {"--overwrite", "--repair"}
"""Options that replace or delete: nobody is led to them by a slip of the pen."""


def several(n: int, thing: str, things: str | None = None) -> str:
    """1 file, 2 files"""
    return f"{n:,} {thing if n == 1 else things or thing + 's'}"


def none_can(n: int, thing: str, what: str) -> str:
    """none of 3 inputs can be used; the input cannot be used"""
    return f"none of {several(n, thing)} can {what}" if n > 1 else f"the {thing} cannot {what}"


def listed(parts: Sequence[str]) -> str:
    """one, two and three"""
    return " and ".join(part for part in (", ".join(parts[:-1]), *parts[-1:]) if part)


def mebibytes(n_bytes: float) -> str:
    """1,234.5 MiB"""
    return f"{n_bytes / MEBIBYTE:,.1f} MiB"


def told(value: object) -> str:
    """A value of an option; None is none."""
    return "none" if value is None else str(value)


def dashed(name: str) -> str:
    """An option as it is typed: max_memory is --max-memory."""
    return "--" + name.replace("_", "-")


def no_such_option(option: str, known: Sequence[str], spelled: str | None = None) -> str:
    """An option is unknown; the one that is most like it may be meant.

    Parameters
    ----------
    option : str
        As it was given.
    known : sequence of str
        All options. One that ends with the name behind a dot comes first: ``--n_blocks`` means
        ``--model.network.n_blocks``.
    spelled : str, optional
        The option in the spelling of `known`.
    """
    spelled = spelled or option
    inner = [name for name in known if name.endswith("." + spelled.lstrip("-"))]
    near = inner[:1] or difflib.get_close_matches(spelled, known, n=1)
    if not near or near[0] in DESTRUCTIVE:
        return f"there is no option {option}"
    return f"there is no option {option}; did you mean {near[0]}?"
