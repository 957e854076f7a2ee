"""What the bytes of a source are read from: a file here, or an object in a store."""

from __future__ import annotations

import errno
import functools
import os
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol

import pyarrow as pa

from pipeline.files.storage import Folder, StorageError, open_folder
from pipeline.sources.errors import Missing, Unreadable
from pipeline.sources.names import printable

_AHEAD = 4 << 20
"""Bytes of one request where an object is read from its start to its end: what a store sends in
the time that it needs to begin to answer, so more would save little."""
_FIRST_WINDOW = 64 << 10


class Stored(Protocol):
    """Bytes that are read at any place, or from the start on.

    Attributes
    ----------
    size : int
        Of the whole.
    """

    size: int

    def read_at(self, n: int, offset: int) -> bytes:
        """`n` bytes from a place; fewer only at the end."""
        ...

    def read(self, n: int) -> bytes:
        """Up to `n` bytes from where the last ``read`` stopped; none at the end."""
        ...


class StoredHere:
    """An open file of this machine."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def read_at(self, n: int, offset: int) -> bytes:
        data = os.pread(self.descriptor, n, offset)
        if len(data) == n or not data:
            return data
        parts = [data]  # a call returns at most 2 GiB, and less where a signal comes
        while data and (missing := n - sum(map(len, parts))):
            data = os.pread(self.descriptor, missing, offset + n - missing)
            parts.append(data)
        return b"".join(parts)

    def read(self, n: int) -> bytes:
        return os.read(self.descriptor, n)


class StoredRemotely:
    """An object in a store. Whatever is read at a place is one request.

    Read from the start on, it comes in pieces of ``_AHEAD`` bytes, the next of which is on its way
    while one is used.
    """

    def __init__(self, file: pa.NativeFile, folder: Folder, name: str) -> None:
        self._file, self._folder, self._name = file, folder, name
        with folder.errors_named(name):
            self.size: int = file.size()
        self._threads: ThreadPoolExecutor | None = None
        self._next: Future[bytes] | None = None
        self._piece = b""
        self._used = 0
        self._asked = 0  # bytes from the start that were asked for

    def read_at(self, n: int, offset: int) -> bytes:
        n = min(n, self.size - offset)
        if n <= 0:
            return b""
        with self._folder.errors_named(self._name):
            return self._file.read_at(n, offset)

    def read(self, n: int) -> bytes:
        if self._used == len(self._piece):
            piece = self._ask() if self._next is None else self._next
            if piece is None:
                return b""
            self._piece, self._used, self._next = piece.result(), 0, None
            if not self._piece:
                return b""
            self._next = self._ask()
        data = self._piece[self._used : self._used + n]
        self._used += len(data)
        return data

    def _ask(self) -> Future[bytes] | None:
        if self._asked >= self.size:
            return None
        if self._threads is None:
            self._threads = ThreadPoolExecutor(1)
        start, self._asked = self._asked, self._asked + _AHEAD
        return self._threads.submit(self.read_at, _AHEAD, start)

    def modified(self) -> float | None:
        """Seconds since the epoch, to whole seconds, as the store said when it was opened."""
        with self._folder.errors_named(self._name):
            said = self._file.metadata() or {}
        text = next((v for k, v in said.items() if _plain(k).lower() == "last-modified"), None)
        if text is None:
            return None
        value = pa.scalar(_plain(text)).cast(pa.timestamp("s", "UTC"))
        return float(value.cast(pa.int64()).as_py())

    def close(self) -> None:
        """Let go of it; what is still on its way is not waited for."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
        else:
            self._file.close()


class Windowed:
    """The same bytes, where small pieces are read on the way from the start to the end.

    A piece brings what follows it, up to ``_AHEAD`` bytes as long as the pieces lie close together:
    the headers of an archive of small files are few requests, and those of large files are not
    paid for with the files.
    """

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        self.size = stored.size
        self._window = b""
        self._start = 0
        self._length = _FIRST_WINDOW
        self.read = stored.read

    def read_at(self, n: int, offset: int) -> bytes:
        end = self._start + len(self._window)
        if not (self._start <= offset and offset + n <= end):
            is_close = self._start <= offset <= end + self._length
            self._length = min(2 * self._length, _AHEAD) if is_close else _FIRST_WINDOW
            self._window = self._stored.read_at(max(n, self._length), offset)
            self._start = offset
        at = offset - self._start
        return self._window[at : at + n]


def _plain(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def is_uri(path: str) -> bool:
    """Whether a path names an object of a store by itself."""
    return re.match(r"(s3|gs|gcs)://", path, re.IGNORECASE) is not None


def is_here(path: str, root: Folder) -> bool:
    """Whether a ``SourceFile.path`` is on this machine."""
    return not is_uri(path) and (root.is_local or path.startswith("/"))


def place_of(path: str, root: Folder) -> tuple[Folder, str]:
    """The folder that a ``SourceFile.path`` lies in, and its name there.

    A path is relative to `root`, or absolute on this machine, or a URI; the last has the options of
    `root`, unless it has its own.
    """
    if is_uri(path):
        whole = uri_in(path, root)
        return whole.parent, whole.name
    if path.startswith("/") and not root.is_local:
        return open_folder("/"), path[1:]
    return root, path


def uri_in(path: str, beside: Folder) -> Folder:
    """What a URI names; options that it does not give are those of a folder of the same kind.

    Raises
    ------
    BadLocation
    """
    location, question, query = path.partition("?")
    other, _, its_query = beside.uri.partition("?")
    scheme = location.partition(":")[0]
    if not question and its_query and other.lower().startswith(f"{scheme.lower()}:"):
        query = its_query
    bucket, _, key = location.partition("://")[2].partition("/")
    found = _bucket(f"{scheme.lower()}://{bucket}" + (f"?{query}" if query else ""))
    return found.below(key)


@functools.lru_cache(maxsize=16)
def _bucket(uri: str) -> Folder:
    # A connection costs milliseconds, and Amazon is asked for the region.
    return open_folder(uri)


@contextmanager
def open_stored(folder: Folder, name: str) -> Iterator[Stored]:
    """Open a file of a folder to read from.

    Raises
    ------
    OSError
    """
    if folder.local is not None:
        # Not blocking: a pipe put in the file's place must not hang the worker.
        path = os.path.join(folder.local, name)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            yield StoredHere(descriptor)
        finally:
            os.close(descriptor)
        return
    stored = StoredRemotely(folder.open_input(name), folder, name)
    try:
        yield stored
    finally:
        stored.close()


@contextmanager
def named_errors(path: str) -> Iterator[None]:
    """What the system or a store says in the block becomes a ``SourceError`` about a file."""
    name = printable(path)
    try:
        yield
    except StorageError as error:
        said = str(error)  # which names the file, unless it is about the bucket
        file_name = path.partition("?")[0].rpartition("/")[2]
        raise Unreadable(said if file_name in said else f"{name}: {said}") from error
    except OSError as error:
        if isinstance(error, FileNotFoundError) or error.errno == errno.ENOTDIR:
            raise Missing(f"{name} does not exist (any more)") from error
        raise Unreadable(f"{name} cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # a null character in a listed path
        raise Missing(f"{name} is no possible file name") from error
