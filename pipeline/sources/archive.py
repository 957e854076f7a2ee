"""Tar archives as inputs: what is in them, and members of compressed ones in stream order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.files.storage import Folder, open_folder
from pipeline.sources.decompress import compression_of, iter_decompressed
from pipeline.sources.errors import (
    OutOfMemory,
    SourceError,
    TooLarge,
    TooManyMembers,
    TruncatedStream,
)
from pipeline.sources.read import RawFile, changed, open_unchanged, too_large
from pipeline.sources.source_file import SourceFile, describe_name
from pipeline.sources.stored import Stored, named_errors
from pipeline.sources.tar import (
    NotATar,
    TarChunkStream,
    TarFileStream,
    TarMember,
    TarStream,
    iter_members,
)

_READ_SIZE = 1 << 18
# Text of coordinates packs 3- to 20-fold; deflate's limit, and so a bomb's, is 1,030.
_BOMB_RATIO = 200
_BOMB_BYTES = 1 << 26

MAX_MEMBERS = 10_000_000
"""Of an archive. Each costs about a kilobyte while the build is planned."""


@dataclass(slots=True)
class ArchiveListing:
    """What a tar holds: members in order, their index, and the error that ended the walk."""

    is_tar: bool
    compressed: bool
    members: list[tuple[int, TarMember]] = field(default_factory=list)
    error: SourceError | None = None


def list_archive(stored: Stored, *, name: str) -> ArchiveListing:
    """Walk the headers of a tar archive; a compressed one is unpacked once, and checked, for it.

    A compressed archive that does not end as it should lists no members: none of its bytes are
    verified. Of a plain one the members before the damage are good.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    compressed = compression_of(stored.read_at(4, 0)) is not None
    listing = ArchiveListing(True, compressed)
    if not compressed:
        _walk(TarFileStream(stored), listing, name)
        return listing
    pieces = _Remembering(_unpack(stored, name))
    _walk(TarChunkStream(pieces), listing, name)
    try:
        for _ in pieces:  # what follows the end marker is part of what the check value covers
            pass
    except SourceError:
        pass  # remembered
    if pieces.error is not None:
        listing.is_tar = True
        listing.error = pieces.error
        listing.members.clear()
    return listing


def _walk(stream: TarStream, listing: ArchiveListing, name: str) -> None:
    try:
        for index, member in enumerate(iter_members(stream, name=name)):
            if index == MAX_MEMBERS:
                raise TooManyMembers(
                    f"{name} has over {MAX_MEMBERS:,} members; the others are not read: unpack it, "
                    "or make several of it"
                )
            listing.members.append((index, member))
    except SourceError as error:
        listing.error = error
        listing.is_tar = not isinstance(error, NotATar)


class _Remembering:
    """An iterator that keeps the error it ended with: it may have ended inside another reader."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self.error: SourceError | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._pieces)
        except SourceError as error:
            self.error = error
            raise


def _unpack(stored: Stored, name: str) -> Iterator[bytes]:
    """Unpacked pieces; a bomb is left before it costs more than a few seconds."""
    packed = unpacked = 0

    def read(n: int) -> bytes:
        nonlocal packed
        data = stored.read(min(n, _READ_SIZE))
        packed += len(data)
        return data

    for piece in iter_decompressed(read, name=name):
        unpacked += len(piece)
        if unpacked > max(_BOMB_BYTES, _BOMB_RATIO * packed):
            raise TooLarge(
                f"{name} unpacks to more than {_BOMB_RATIO} times its size, as no structures do; "
                "unpack it yourself if you trust it"
            )
        yield piece


class SequentialArchive:
    """Members of compressed tars, in stream order, each bounded; one archive after the other.

    Parameters
    ----------
    sources : sequence of SourceFile
        In any order; each archive is unpacked once.
    root : Path or Folder
        What their paths are relative to; a Path may carry a URI.
    max_bytes : int
        Limit of one member.

    Yields
    ------
    (SourceFile, RawFile or SourceError)
        Each source once. What is wrong with one member is its result and the rest is read; what is
        wrong with an archive is the result of each of its members that was still to come.
    """

    def __init__(self, sources: Sequence[SourceFile], root: Path | Folder, max_bytes: int) -> None:
        if not all(source.is_sequential for source in sources):
            raise ValueError("only members of compressed archives are read in sequence")
        self._archives: dict[str, list[SourceFile]] = {}
        for source in sources:
            self._archives.setdefault(source.path, []).append(source)
        self._root = open_folder(root)
        self._max_bytes = max_bytes

    def __iter__(self) -> Iterator[tuple[SourceFile, RawFile | SourceError]]:
        for sources in self._archives.values():
            yield from self._read_archive(sources)

    def _read_archive(
        self, sources: Sequence[SourceFile]
    ) -> Iterator[tuple[SourceFile, RawFile | SourceError]]:
        wanted = {source.index: source for source in sources}
        archive = sources[0]
        try:
            with open_unchanged(archive, self._root) as stored, named_errors(archive.path):
                stream = TarChunkStream(_unpack(stored, describe_name(archive.path)))
                for index, member in enumerate(iter_members(stream)):
                    source = wanted.get(index)
                    if source is None:
                        continue
                    result = self._read_member(stream, source, member)
                    del wanted[index]
                    yield source, result
                    if not wanted:
                        break
            for source in wanted.values():
                yield source, changed(source)
        except SourceError as error:
            for source in wanted.values():
                yield source, type(error)(f"{source.name}: {error}")

    def _read_member(
        self, stream: TarChunkStream, source: SourceFile, member: TarMember
    ) -> RawFile | SourceError:
        if (member.name, member.size) != (source.member, source.size):
            return changed(source)
        if member.size > self._max_bytes:
            return too_large(source, self._max_bytes)
        try:
            data = stream.read(member.size)
        except MemoryError:
            return OutOfMemory(f"{source.name} needs more memory than there is")
        if len(data) < member.size:
            raise TruncatedStream("the archive ends within this member")
        return RawFile.from_bytes(data)
