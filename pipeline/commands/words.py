"""Small parts of the sentences that commands say: counts, sizes, values, options."""

from __future__ import annotations

MEBIBYTE = 1 << 20


def several(n: int, thing: str, things: str | None = None) -> str:
    """1 file, 2 files"""
    return f"{n:,} {thing if n == 1 else things or thing + 's'}"


def mebibytes(n_bytes: float) -> str:
    """1,234.5 MiB"""
    return f"{n_bytes / MEBIBYTE:,.1f} MiB"


def told(value: object) -> str:
    """A value of an option; None is none."""
    return "none" if value is None else str(value)


def dashed(name: str) -> str:
    """An option as it is typed: max_memory is --max-memory."""
    return "--" + name.replace("_", "-")
