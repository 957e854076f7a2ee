"""Foldcomp's databases as inputs: one file of entries, an index of their places, and their names.

They are MMseqs2's: beside ``NAME`` lie ``NAME.index`` (lines of key, offset and length, the latter
with a NUL byte) and ``NAME.lookup`` (lines of key, name and file).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from pipeline.sources.fcz import MAGIC, is_fcz
from pipeline.sources.stored import Stored

INDEX, LOOKUP = ".index", ".lookup"
COMPANIONS = (INDEX, LOOKUP, ".dbtype", ".source", "_h", "_h.index", "_h.dbtype")
"""What the names of the files beside a database end in."""

MAX_ENTRIES = 5_000_000
_MAX_LINE = 1024
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class DatabaseEntry:
    """`size` bytes from `offset` of the database."""

    key: int
    name: str
    offset: int
    size: int


@dataclass(slots=True)
class DatabaseListing:
    """Entries in the order of their places; and what is wrong, as sentences that go on from a name.

    Attributes
    ----------
    beyond : list of DatabaseEntry
        Those that do not lie in the database.
    problem : str or None
        What ended the reading of the index.
    """

    entries: list[DatabaseEntry] = field(default_factory=list)
    beyond: list[DatabaseEntry] = field(default_factory=list)
    problem: str | None = None


def is_database(stored: Stored) -> bool:
    """Whether a file beside which there is an index is one of Foldcomp's."""
    return is_fcz(stored.read_at(len(MAGIC), 0))


def list_database(size: int, index: Stored, lookup: Stored | None) -> DatabaseListing:
    """Entries of a database of `size` bytes.

    Raises
    ------
    OSError
        The index or the names cannot be read.
    """
    listing = DatabaseListing()
    places: dict[int, tuple[int, int]] = {}
    for number, line in enumerate(_lines(index), 1):
        fields = line.split(b"\t")
        if len(fields) < 3 or not all(f.isdigit() and len(f) <= 18 for f in fields[:3]):
            listing.problem = (
                f"has no place of an entry (key, offset, length) in line {number:,} of its index; "
                "what comes after it is not read"
            )
            break
        key, offset, length = map(int, fields[:3])
        if key in places:
            listing.problem = f"has the key {key} twice in its index; what comes after is not read"
            break
        if len(places) == MAX_ENTRIES:
            listing.problem = (
                f"has more than {MAX_ENTRIES:,} entries; those after them are not read: make "
                "smaller ones of it (mmseqs createsubdb)"
            )
            break
        places[key] = offset, length
    names = {} if lookup is None else _names(lookup, places)
    often = Counter(names.values())
    for key, (offset, length) in sorted(places.items(), key=lambda item: (item[1], item[0])):
        name = names.get(key, "")
        if not name or often[name] > 1:
            name = f"{name}~{key}" if name else str(key)
        entry = DatabaseEntry(key, name, offset, length)
        (listing.entries if offset + length <= size else listing.beyond).append(entry)
    return listing


def _names(lookup: Stored, places: dict[int, tuple[int, int]]) -> dict[int, str]:
    names: dict[int, str] = {}
    for line in _lines(lookup):
        fields = line.split(b"\t")
        if len(fields) >= 2 and fields[0].isdigit() and len(fields[0]) <= 18:
            key = int(fields[0])
            if key in places and key not in names:
                names[key] = fields[1].decode("utf-8", "surrogateescape").strip("/")
    return names


def _lines(stored: Stored) -> Iterator[bytes]:
    """Lines without their ends; a line that is too long for an index is cut."""
    rest = b""
    while piece := stored.read(_PIECE):
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
        rest = rest[:_MAX_LINE]
    if rest:
        yield rest
