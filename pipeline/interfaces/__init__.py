"""Pairs of chains in contact: how they are found, and the table of them."""

from pipeline.interfaces.measure import find_interfaces
from pipeline.interfaces.table import (
    FILE_NAME,
    INTERFACES_SCHEMA,
    among,
    interfaces_digest,
    joined,
)

__all__ = [
    "FILE_NAME",
    "INTERFACES_SCHEMA",
    "among",
    "find_interfaces",
    "interfaces_digest",
    "joined",
]
