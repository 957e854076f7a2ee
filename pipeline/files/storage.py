"""Folders here or in an object store: ``/data/set``, ``s3://bucket/set``, ``gs://bucket/set``.

What is put in a store appears whole: see `Folder.put`.
"""

from __future__ import annotations

import os
import re
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from typing import Any

import pyarrow as pa
import pyarrow.fs

from pipeline.files.atomic import publish
from pipeline.files.store_errors import BadLocation, StorageError, store_failure
from pipeline.files.stores import connect

_CHUNK = 64 << 20
"""Bytes that are uploaded at a time."""
_PIECE = 8 << 20
"""Bytes that are fetched at a time."""

_CONTENT_TYPES = {".html": "text/html; charset=utf-8", ".json": "application/json"}


def open_folder(location: Location) -> Folder:
    """A folder by its path or URI. It need not exist.

    Parameters
    ----------
    location : str, Path or Place
        A path; or ``file:///path``, ``s3://bucket/prefix`` or ``gs://bucket/prefix``. Options of an
        S3 server follow a question mark: ``endpoint_override=host:port``, ``scheme=http``,
        ``region=name``. Credentials come from the environment, or wherever else the store's own
        tools look for them, never from the URI. A `Folder` stays what it is.

    Raises
    ------
    BadLocation
        It is neither a path nor a URI of these.
    StorageError
        A bucket of Amazon's whose region is not given cannot be found.
    """
    if isinstance(location, Folder):
        return location
    text = os.fspath(location)
    # A Path makes one slash of two: in Python, and in options.yaml of early versions.
    if collapsed := re.match(r"(s3|gs|gcs)(?=:$)|([A-Za-z][A-Za-z0-9+.-]+)(?=:/(?!/))", text):
        slashes = ":///" if collapsed[0].lower() == "file" else "://"
        text = collapsed[0] + slashes + text[collapsed.end() + 2 :]
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", text)
    if found is None:
        return Folder(pyarrow.fs.LocalFileSystem(), os.path.abspath(text), text, "", Path(text))
    scheme = found[1].lower()
    if scheme == "file":
        path = urllib.parse.unquote(urllib.parse.urlsplit(text).path)
        return Folder(pyarrow.fs.LocalFileSystem(), os.path.abspath(path), path, "", Path(path))
    if scheme not in ("s3", "gs", "gcs"):
        raise BadLocation(f"{text}: give a path, or a URI that begins with s3://, gs:// or file://")
    return Folder(*connect(scheme, text), None)


class Folder:
    """A folder, here or in a store; from `open_folder`.

    Names of files are relative to it, with ``/`` (or a relative Path). Folders are equal if they
    are the same place, and travel to other processes, which connect anew.

    Attributes
    ----------
    filesystem : pyarrow.fs.FileSystem
    root : str
        The folder on `filesystem`: an absolute path, or ``bucket/prefix``.
    local : Path or None
        The path, as it was given; None in a store.
    """

    def __init__(
        self,
        filesystem: pyarrow.fs.FileSystem,
        root: str,
        location: str,
        query: str,
        local: Path | None,
    ):
        self.filesystem, self.root, self.local = filesystem, root, local
        self._location, self._query = location, query

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine's file system."""
        return self.local is not None

    @property
    def uri(self) -> str:
        """What `open_folder` makes the same folder of, in this directory."""
        return self._location + (f"?{self._query}" if self._query else "")

    @property
    def name(self) -> str:
        """The last part of its path; empty for a bucket and for ``/``."""
        return self.root.rpartition("/")[2] if "/" in self.root else ""

    @property
    def parent(self) -> Folder:
        """The folder that it is in; a bucket is in itself."""
        if self.local is not None:
            return open_folder(self.local.parent)
        if not self.name:
            return self
        location = self._location.rpartition("/")[0]
        return Folder(
            self.filesystem, self.root.rpartition("/")[0], location, self._query, self.local
        )

    def below(self, key: str) -> Folder:
        """A folder further down in a store, by the rest of its URI (escaped, as a URI is)."""
        key = "/".join(part for part in urllib.parse.unquote(key).split("/") if part)
        if not key:
            return self
        location = f"{self._location}/{urllib.parse.quote(key)}"
        return Folder(self.filesystem, self.join(key), location, self._query, None)

    def is_within(self, other: Folder) -> bool:
        """Whether it is a folder of a store, and `other` the same one or one that it is in."""
        if self.is_local or other.is_local or self._query != other._query:
            return False
        return self.root == other.root or self.root.startswith(f"{other.root}/")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Folder) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[bool, str, str]:
        return self.is_local, self.root, self._query if not self.is_local else ""

    def __repr__(self) -> str:
        return f"open_folder({self.uri!r})"

    def __str__(self) -> str:
        return self.describe()

    def __reduce__(self) -> tuple[Any, ...]:
        # An absolute path: the other process may be elsewhere.
        return open_folder, (self.root if self.is_local else self.uri,)

    def join(self, *parts: str | PurePath) -> str:
        """A path on `filesystem`, for functions of Arrow that take both."""
        return "/".join([self.root.rstrip("/"), *map(_posix, parts)])

    def describe(self, name: str | PurePath = "") -> str:
        """The folder, or a file in it, as a person knows it."""
        name = _posix(name)
        if self.local is not None:
            return str(self.local / name)
        return "/".join([self._location, name]) if name else self._location

    def exists(self, name: str | PurePath) -> bool:
        """Whether there is a file of this name."""
        return self.size(name) is not None

    def size(self, name: str | PurePath) -> int | None:
        """Bytes of a file; None where there is none."""
        with self.errors_named(name):
            info = self.filesystem.get_file_info(self.join(name))
        return info.size if info.type == pyarrow.fs.FileType.File else None

    def sizes(self, name: str | PurePath = "") -> dict[str, int]:
        """Files in a folder of this one (not deeper), by name, with their bytes; none if there is
        no such folder."""
        selector = pyarrow.fs.FileSelector(self.join(name).rstrip("/"), allow_not_found=True)
        with self.errors_named(name):
            infos = self.filesystem.get_file_info(selector)
        files = (i for i in infos if i.type == pyarrow.fs.FileType.File)
        return {i.base_name: i.size for i in sorted(files, key=lambda i: i.base_name)}

    def everything(self) -> Sequence[pyarrow.fs.FileInfo]:
        """Files and folders below this one, at any depth; none if there is no such folder.

        Keys are listed a thousand at a time, whatever slashes they hold.
        """
        selector = pyarrow.fs.FileSelector(self.root, allow_not_found=True, recursive=True)
        with self.errors_named():
            return self.filesystem.get_file_info(selector)

    def info(self, name: str | PurePath = "") -> pyarrow.fs.FileInfo:
        """What there is of this name: a file with size and time, a folder, or nothing."""
        with self.errors_named(name):
            return self.filesystem.get_file_info(self.join(name).rstrip("/"))

    def list(self, name: str | PurePath = "") -> tuple[str, ...]:
        """Names of the files in a folder of this one (not deeper), sorted."""
        return tuple(self.sizes(name))

    def read_bytes(self, name: str | PurePath) -> bytes:
        """A file's content.

        Raises
        ------
        FileNotFoundError
        StorageError
        """
        if self.local is not None:
            return (self.local / name).read_bytes()
        with self.errors_named(name), self.filesystem.open_input_file(self.join(name)) as file:
            return file.read()

    def fetch(self, name: str | PurePath, file: Path) -> None:
        """Copy a file to a local one, a piece at a time.

        Raises
        ------
        FileNotFoundError
        StorageError
        """
        source = self.open_input(name)
        with source, file.open("wb") as copy, self.errors_named(name):
            while piece := source.read(_PIECE):
                copy.write(piece)

    def open_input(self, name: str | PurePath) -> pa.NativeFile:
        """A file to read from, at any place.

        Raises
        ------
        FileNotFoundError
        StorageError
        """
        with self.errors_named(name):
            return self.filesystem.open_input_file(self.join(name))

    def put(self, name: str | PurePath, file: Path) -> None:
        """Give a finished local file its place in the folder; `file` itself is gone afterwards.

        It appears at once, whole, or does not: here it is flushed to the disk and renamed (and so
        must be on the same file system), to a store it goes in one upload, which the store
        publishes when it is complete.
        """
        if self.local is not None:
            path = self.local / name
            path.parent.mkdir(parents=True, exist_ok=True)
            publish(file, path)
            return
        _uninterrupted(lambda: self._upload(_posix(name), file))
        file.unlink()

    def _upload(self, name: str, file: Path) -> None:
        kind = _CONTENT_TYPES.get(PurePath(name).suffix, "application/octet-stream")
        with pa.memory_map(str(file)) as source:
            content = source.read_buffer()
            with self.errors_named(name):
                stream = self.filesystem.open_output_stream(
                    self.join(name), compression=None, metadata={"Content-Type": kind}
                )
                try:
                    for start in range(0, len(content), _CHUNK):
                        stream.write(content.slice(start, min(_CHUNK, len(content) - start)))
                        stream.flush()  # waits for the chunk, so that memory stays flat
                except BaseException:
                    self._discard(stream, name)
                    raise
                stream.close()

    def _discard(self, stream: pa.NativeFile, name: str) -> None:
        """End an upload that failed, now: a stream that is let go of does so at any time later.

        Arrow cannot abort. Closing a stream publishes what it has got, unless a part of it failed.
        """
        with suppress(OSError):
            stream.close()
            self.filesystem.delete_file(self.join(name))

    @contextmanager
    def appears_whole(self, name: str | PurePath, scratch: Path) -> Iterator[Path]:
        """Yield a path in `scratch`; what was written there is put under `name`, or vanishes."""
        temporary = scratch / f"{PurePath(name).name}.{os.getpid()}.tmp"
        try:
            yield temporary
            self.put(name, temporary)
        finally:
            temporary.unlink(missing_ok=True)

    def delete(self, name: str | PurePath) -> None:
        """Remove a file, if it is there."""
        if self.local is not None:
            (self.local / name).unlink(missing_ok=True)
            return
        with self.errors_named(name), suppress(FileNotFoundError):
            self.filesystem.delete_file(self.join(name))

    def check(self) -> None:
        """See that the store answers and has the bucket; nothing is said of the folder in it.

        Raises
        ------
        StorageError
        """
        if self.is_local:
            return
        bucket = self.root.split("/")[0]
        try:
            info = self.filesystem.get_file_info(bucket)
        except OSError as error:
            raise store_failure(error, self.describe()) or error from error
        if info.type == pyarrow.fs.FileType.NotFound:
            raise StorageError(f"{self.describe()}: there is no bucket {bucket}{self._where()}")

    def _where(self) -> str:
        endpoint = urllib.parse.parse_qs(self._query).get("endpoint_override")
        return f" at {endpoint[0]}" if endpoint else ""

    @contextmanager
    def errors_named(self, name: str | PurePath = "") -> Iterator[None]:
        """What Arrow says of a store in the block becomes one sentence about a file.

        Raises
        ------
        FileNotFoundError
            There is no such file, but there is the bucket.
        StorageError
        """
        try:
            yield
        except FileNotFoundError:
            self.check()
            raise FileNotFoundError(f"{self.describe(name)}: there is no such file") from None
        except OSError as error:
            failure = store_failure(error, self.describe(name) + self._where())
            if failure is None:
                raise
            raise failure from error


Location = str | os.PathLike[str] | Folder
"""What `open_folder` takes."""


def _uninterrupted(work: Callable[[], None]) -> None:
    """Do something that no signal's exception comes between: either to its end, or not at all.

    Those are raised in the main thread, so the work is done in another.
    """
    begin, over = threading.Event(), threading.Event()
    wanted: list[bool] = []
    errors: list[BaseException] = []

    def run() -> None:
        begin.wait()
        try:
            if wanted:
                work()
        except BaseException as error:
            errors.append(error)
        finally:
            over.set()

    thread = threading.Thread(target=run, daemon=True)
    try:
        thread.start()
        wanted.append(True)
        begin.set()
        over.wait()
    except BaseException:
        begin.set()
        if wanted:
            over.wait()
        raise
    if errors:
        raise errors[0]


def _posix(name: str | PurePath) -> str:
    text = name.as_posix() if isinstance(name, PurePath) else name
    return "" if text == "." else text
