"""The stored bytes of one source, as long as it is still the file that was found."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.files.storage import Folder, open_folder
from pipeline.sources.errors import (
    CorruptStream,
    SourceChanged,
    TooLarge,
    TruncatedStream,
    Unreadable,
)
from pipeline.sources.fcz import is_fcz
from pipeline.sources.source_file import SourceFile, describe_name
from pipeline.sources.stored import (
    Stored,
    StoredHere,
    StoredRemotely,
    named_errors,
    open_stored,
    place_of,
)
from pipeline.sources.tar import BLOCK, check_header


@dataclass(frozen=True, slots=True)
class RawFile:
    """Bytes as stored (compressed or not), and their SHA-256 in hexadecimal."""

    data: bytes
    sha256: str

    @classmethod
    def from_bytes(cls, data: bytes) -> RawFile:
        return cls(data, hashlib.sha256(data).hexdigest())


def read_source(source: SourceFile, root: Path | Folder, max_bytes: int) -> RawFile:
    """Read a file, a member of an uncompressed tar, or an entry of a database, whole.

    Parameters
    ----------
    source : SourceFile
        Not a member of a compressed tar: ``SequentialArchive`` reads those.
    root : Path or Folder
        What ``source.path`` is relative to; a Path may carry a URI.
    max_bytes : int
        Limit of the stored bytes; nothing is read of what exceeds it.

    Raises
    ------
    Missing, Unreadable, TooLarge, SourceChanged, TruncatedStream, CorruptStream
    """
    if source.is_sequential:
        raise ValueError(f"{source.name} is in a compressed tar: read it with SequentialArchive")
    if source.size > max_bytes:
        raise too_large(source, max_bytes)
    with open_unchanged(source, open_folder(root)) as stored, named_errors(source.path):
        if source.member is None:
            # One byte more than expected tells a file that grew.
            data = stored.read_at(source.size + 1, 0)
            if len(data) != source.size:
                raise changed(source)
        elif source.index is not None:
            data = _read_entry(stored, source)
        else:
            data = _read_member(stored, source)
    return RawFile.from_bytes(data)


@contextmanager
def open_unchanged(source: SourceFile, root: Folder) -> Iterator[Stored]:
    """Open the file (the archive of a member) and compare it with `source`, before and after."""
    with ExitStack() as stack:
        with named_errors(source.path):
            folder, name = place_of(source.path, root)
            stored = stack.enter_context(open_stored(folder, name))
        _check_unchanged(stored, source)
        yield stored
        # An object never changes in place, and asking for it again would be one request more.
        if isinstance(stored, StoredHere):
            _check_unchanged(stored, source)


def _check_unchanged(stored: Stored, source: SourceFile) -> None:
    if isinstance(stored, StoredRemotely):
        _check_same_object(stored, source)
    else:
        assert isinstance(stored, StoredHere)
        _check_same_file(stored, source)


def _check_same_file(stored: StoredHere, source: SourceFile) -> None:
    name = describe_name(source.path)
    with named_errors(source.path):
        status = os.fstat(stored.descriptor)
    if stat.S_ISDIR(status.st_mode):
        raise Unreadable(f"{name} is a folder, not a file; give it as the input folder")
    if not stat.S_ISREG(status.st_mode):
        raise Unreadable(f"{name} is a device or a pipe; only regular files are read")
    same_size = source.member is not None or status.st_size == source.size
    if status.st_mtime_ns != source.mtime_ns or not same_size:
        raise SourceChanged(_changed(name))


def _check_same_object(stored: StoredRemotely, source: SourceFile) -> None:
    with named_errors(source.path):
        modified = stored.modified()
    same_size = source.member is not None or stored.size == source.size
    # Stores list times to a thousandth and say them to the second with the object.
    same_time = modified is None or abs(modified - source.mtime_ns / 1e9) <= 1
    if not (same_size and same_time):
        raise SourceChanged(_changed(describe_name(source.path)))


def _read_member(stored: Stored, source: SourceFile) -> bytes:
    offset = source.offset
    assert offset is not None
    # The header just before the data must still say what it said: times can be set back.
    data = stored.read_at(BLOCK + source.size, offset - BLOCK)
    header = data[:BLOCK]
    try:
        if len(header) < BLOCK or check_header(header, offset - BLOCK, "") != source.size:
            raise changed(source)
    except CorruptStream:
        raise changed(source) from None
    data = data[BLOCK:]
    if len(data) < source.size:
        raise TruncatedStream(f"{source.name}: the archive ends within it; fetch the archive again")
    return data


def _read_entry(stored: Stored, source: SourceFile) -> bytes:
    assert source.offset is not None
    data = stored.read_at(source.size, source.offset)
    if len(data) < source.size:
        raise TruncatedStream(f"{source.name}: its database ends within it; fetch that again")
    if not is_fcz(data):
        raise CorruptStream(
            f"{source.name}: there are no Foldcomp data at byte {source.offset:,} of its database; "
            "does the index belong to it?"
        )
    return data


def changed(source: SourceFile) -> SourceChanged:
    return SourceChanged(_changed(source.name))


def _changed(name: str) -> str:
    return f"{name} changed after it was found; run again when nothing writes to the input"


def too_large(source: SourceFile, max_bytes: int) -> TooLarge:
    return TooLarge(
        f"{source.name} has {source.size:,} bytes, the limit is {max_bytes:,}; raise it to read it"
    )
