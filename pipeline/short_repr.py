"""Records of arrays in one line: shapes instead of thousands of numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sized
from typing import Any

LONGEST = 40
"""Characters of a text that are shown."""


def short_repr(record: Any) -> str:
    """A dataclass as text, to be its ``__repr__``; what is None is left out."""
    told = (
        f"{field.name}{_told(value)}"
        for field in dataclasses.fields(record)
        if field.repr and (value := getattr(record, field.name)) is not None
    )
    return f"{type(record).__name__}({', '.join(told)})"


def _told(value: Any) -> str:
    if (shape := getattr(value, "shape", None)) is not None:
        return f" {tuple(shape)}"
    if isinstance(value, str):
        return f"={value if len(value) <= LONGEST else value[: LONGEST - 1] + '…'!r}"
    if dataclasses.is_dataclass(value):
        return f" {type(value).__name__}"
    if isinstance(value, Sized):
        return f" of {len(value)}"
    return f"={value}"
