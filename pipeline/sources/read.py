"""The stored bytes of one source, as long as it is still the file that was found."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.sources.errors import (
    CorruptStream,
    Missing,
    SourceChanged,
    TooLarge,
    TruncatedStream,
    Unreadable,
)
from pipeline.sources.source_file import SourceFile, describe_name
from pipeline.sources.tar import BLOCK, check_header


@dataclass(frozen=True, slots=True)
class RawFile:
    """Bytes as stored (compressed or not), and their SHA-256 in hexadecimal."""

    data: bytes
    sha256: str

    @classmethod
    def from_bytes(cls, data: bytes) -> RawFile:
        return cls(data, hashlib.sha256(data).hexdigest())


def read_source(source: SourceFile, root: Path, max_bytes: int) -> RawFile:
    """Read a file, or a member of an uncompressed tar, whole.

    Parameters
    ----------
    source : SourceFile
        Not a member of a compressed tar: ``SequentialArchive`` reads those.
    root : Path
        What ``source.path`` is relative to.
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
    with open_unchanged(source, root) as descriptor, _os_errors(source):
        if source.member is None:
            # One byte more than expected tells a file that grew.
            data = _read_fully(descriptor, source.size + 1)
            if len(data) != source.size:
                raise changed(source)
        else:
            data = _read_member(descriptor, source)
    return RawFile.from_bytes(data)


@contextmanager
def open_unchanged(source: SourceFile, root: Path) -> Iterator[int]:
    """Open the file (the archive of a member) and compare it with `source`, before and after."""
    path = os.path.join(root, source.path)
    with _os_errors(source):
        # Not blocking: a pipe put in the file's place must not hang the worker.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        _expect_unchanged(descriptor, source)
        yield descriptor
        _expect_unchanged(descriptor, source)
    finally:
        os.close(descriptor)


def _expect_unchanged(descriptor: int, source: SourceFile) -> None:
    name = describe_name(source.path)
    with _os_errors(source):
        status = os.fstat(descriptor)
    if stat.S_ISDIR(status.st_mode):
        raise Unreadable(f"{name} is a folder, not a file; give it as the input folder")
    if not stat.S_ISREG(status.st_mode):
        raise Unreadable(f"{name} is a device or a pipe; only regular files are read")
    same_size = source.member is not None or status.st_size == source.size
    if status.st_mtime_ns != source.mtime_ns or not same_size:
        raise SourceChanged(_changed(name))


def _read_fully(descriptor: int, n: int) -> bytes:
    data = os.read(descriptor, n)
    if len(data) == n:
        return data
    parts = [data]
    while data and (missing := n - sum(map(len, parts))):
        data = os.read(descriptor, missing)
        parts.append(data)
    return b"".join(parts)


def _read_member(descriptor: int, source: SourceFile) -> bytes:
    offset = source.offset
    assert offset is not None
    # The header just before the data must still say what it said: times can be set back.
    header = os.pread(descriptor, BLOCK, offset - BLOCK)
    try:
        if len(header) < BLOCK or check_header(header, offset - BLOCK, "") != source.size:
            raise changed(source)
    except CorruptStream:
        raise changed(source) from None
    os.lseek(descriptor, offset, os.SEEK_SET)
    data = _read_fully(descriptor, source.size)
    if len(data) < source.size:
        raise TruncatedStream(f"{source.name}: the archive ends within it; fetch the archive again")
    return data


def changed(source: SourceFile) -> SourceChanged:
    return SourceChanged(_changed(source.name))


def _changed(name: str) -> str:
    return f"{name} changed after it was found; run again when nothing writes to the input"


def too_large(source: SourceFile, max_bytes: int) -> TooLarge:
    return TooLarge(
        f"{source.name} has {source.size:,} bytes, the limit is {max_bytes:,}; raise it to read it"
    )


@contextmanager
def _os_errors(source: SourceFile) -> Iterator[None]:
    name = describe_name(source.path)
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise Missing(f"{name} does not exist (any more)") from error
        raise Unreadable(f"{name} cannot be read: {error.strerror}") from error
    except ValueError as error:  # a null character in a listed path
        raise Missing(f"{name} is no possible file name") from error
