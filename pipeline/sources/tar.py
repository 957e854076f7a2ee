"""The headers of a tar archive, from a file or from a stream.

The standard library's ``tarfile`` stops without a word at a damaged header, reads extended headers
of any size into memory, and takes twice as long. This reader walks headers only: it knows ustar,
GNU long names, pax records and base-256 sizes, bounds what it keeps, and raises where an archive is
cut or damaged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from pipeline.sources.errors import CorruptStream, TruncatedStream
from pipeline.sources.stored import Stored

BLOCK = 512
_MAX_EXTENDED_HEADER = 1 << 20  # a path is at most 4 KiB; a pax header may hold a few more records
_SHOWN = 60
_MAX_ZERO_BLOCKS = 1 << 13  # archives are padded to 10 KiB, rarely to a few MiB

MAX_NAME = 4096
"""Bytes of a member's name; Linux opens no longer path."""

MemberKind = Literal["file", "link", "sparse", "other", "overlong"]


class NotATar(CorruptStream):
    """The very first header is none."""


@dataclass(frozen=True, slots=True)
class TarMember:
    """One header; data of a ``"file"`` are `size` bytes from `offset` of the archive.

    An ``"overlong"`` name is not kept: `name` is its beginning, its length and where it stands.
    """

    name: str
    offset: int
    size: int
    kind: MemberKind


class TarStream(Protocol):
    """What an archive is read from: forwards only."""

    position: int

    def read(self, n: int) -> bytes:
        """`n` bytes; fewer only at the end."""
        ...

    def skip_to(self, position: int) -> bool:
        """Move forward; False if the archive ends before."""
        ...


class TarFileStream:
    """An archive that can be read at any place; moving costs nothing."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        self.position = 0

    def read(self, n: int) -> bytes:
        data = self._stored.read_at(n, self.position)
        self.position += len(data)
        return data

    def skip_to(self, position: int) -> bool:
        self.position = position
        return position <= self._stored.size


class TarChunkStream:
    """An archive that arrives in pieces, from a decompressor."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = b""
        self._used = 0
        self.position = 0

    def _advance(self) -> bool:
        while self._used == len(self._piece):
            piece = next(self._pieces, None)
            if piece is None:
                return False
            self._piece, self._used = piece, 0
        return True

    def read(self, n: int) -> bytes:
        parts = []
        while n and self._advance():
            part = self._piece[self._used : self._used + n]
            parts.append(part)
            self._used += len(part)
            self.position += len(part)
            n -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def skip_to(self, position: int) -> bool:
        while self.position < position and self._advance():
            step = min(position - self.position, len(self._piece) - self._used)
            self._used += step
            self.position += step
        return self.position >= position


def iter_members(stream: TarStream, *, name: str = "the archive") -> Iterator[TarMember]:
    """Members in the order of the archive; the consumer may read a member's data from the stream.

    Archives that were joined end to end are read through.

    Raises
    ------
    TruncatedStream
        At the end, if the archive stops within a member or has no end marker. The last member was
        yielded, with the size that its header says.
    CorruptStream
        At a header whose checksum does not match (``NotATar`` at the first).
    """
    long_name: bytes | None = None
    pax: dict[bytes, bytes] = {}
    n_extended = 0  # bytes of the headers before a member
    zero_blocks = 0
    while True:
        at = stream.position
        header = stream.read(BLOCK)
        if len(header) < BLOCK or zero_blocks == _MAX_ZERO_BLOCKS:
            if zero_blocks and len(header) in (0, BLOCK):
                return
            if at == 0:
                raise NotATar(f"{name} is no tar archive")
            raise TruncatedStream(f"{name} stops at byte {at:,} without an end; fetch it again")
        if header.count(0) == BLOCK:
            zero_blocks += 1
            continue
        zero_blocks = 0
        size = check_header(header, at, name)
        kind = header[156:157]
        if kind in (b"L", b"K", b"x", b"X", b"g"):
            n_extended += size
            if n_extended > _MAX_EXTENDED_HEADER:
                raise CorruptStream(
                    f"{name} has headers of {n_extended:,} bytes at byte {at:,}; at most "
                    f"{_MAX_EXTENDED_HEADER:,} are read: unpack the archive"
                )
            content = stream.read(size)
            if len(content) < size or not stream.skip_to(_padded(at + BLOCK + size)):
                raise TruncatedStream(f"{name} stops within a header; fetch it again")
            if kind == b"L":
                long_name = content.split(b"\0", 1)[0]
            elif kind in (b"x", b"X"):
                pax.update(_pax_records(content, at, name))
            continue
        sparse = kind == b"S" or any(key.startswith(b"GNU.sparse.") for key in pax)
        if kind == b"S":
            _skip_sparse_map(stream, header, name)
        raw_name = pax.get(b"path") or long_name or _short_name(header)
        if b"size" in pax:
            size = _decimal(pax[b"size"], at, name)
        of_kind = _kind(kind, raw_name, sparse)
        if len(raw_name) > MAX_NAME:
            told = f"…, {len(raw_name):,} bytes, at byte {at:,}"
            raw_name, of_kind = raw_name[:_SHOWN] + told.encode(), "overlong"
        member = TarMember(
            raw_name.rstrip(b"/").decode("utf-8", "surrogateescape"),
            stream.position,
            size,
            of_kind,
        )
        long_name, pax, n_extended = None, {}, 0
        yield member
        # Links, devices and folders have no data, whatever their size field says.
        after = member.offset + (0 if kind in (b"1", b"2", b"3", b"4", b"5", b"6") else size)
        if not stream.skip_to(_padded(after)) and not stream.skip_to(after):
            raise TruncatedStream(
                f"{name} stops within its member {raw_name.decode('utf-8', 'backslashreplace')}; "
                "fetch it again"
            )


def check_header(header: bytes, at: int, name: str) -> int:
    """The size field of a header whose checksum is right."""
    try:
        expected = int(header[148:156].split(b"\0", 1)[0].strip() or b"-1", 8)
    except ValueError:
        expected = -1
    total = sum(header) - sum(header[148:156]) + 8 * 32
    if total != expected and _signed_sum(header) != expected:
        kind = CorruptStream if at else NotATar
        raise kind(f"{name} has no valid tar header at byte {at:,}; fetch it again")
    field = header[124:136]
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    try:
        size = int(field.split(b"\0", 1)[0].strip() or b"0", 8)
    except ValueError:
        size = -1
    if size < 0:
        raise CorruptStream(f"{name} has a member without a size at byte {at:,}; fetch it again")
    return size


def _signed_sum(header: bytes) -> int:
    """The checksum as some old programs computed it."""
    rest = header[:148] + header[156:]
    return sum(rest) - 256 * sum(byte > 127 for byte in rest) + 8 * 32


def _padded(position: int) -> int:
    return -(-position // BLOCK) * BLOCK


def _short_name(header: bytes) -> bytes:
    name = header[:100].split(b"\0", 1)[0]
    if header[257:263] == b"ustar\0":  # GNU's own headers keep times where ustar has the prefix
        prefix = header[345:500].split(b"\0", 1)[0]
        if prefix:
            return prefix + b"/" + name
    return name


def _kind(flag: bytes, raw_name: bytes, sparse: bool) -> MemberKind:
    if sparse:
        return "sparse"
    if flag in (b"0", b"\0", b"7"):
        return "other" if raw_name.endswith(b"/") else "file"  # folders of pre-POSIX archives
    return "link" if flag in (b"1", b"2") else "other"


def _pax_records(content: bytes, at: int, name: str) -> dict[bytes, bytes]:
    """``length key=value newline`` records, `length` counting all of it."""
    records = {}
    position = 0
    while position < len(content) and content[position]:
        length_text, _, _ = content[position : position + 20].partition(b" ")
        length = _decimal(length_text, at, name)
        record = content[position : position + length][len(length_text) + 1 :]
        key, equals, value = record[:-1].partition(b"=")
        # An empty record fails too: a length of 0 would never get further.
        if not equals or record[-1:] != b"\n" or position + length > len(content):
            raise CorruptStream(f"{name} has a damaged pax header at byte {at:,}; fetch it again")
        records[key] = value
        position += length
    return records


def _decimal(text: bytes, at: int, name: str) -> int:
    if not text.isdigit() or len(text) > 19:
        raise CorruptStream(f"{name} has a damaged pax header at byte {at:,}; fetch it again")
    return int(text)


def _skip_sparse_map(stream: TarStream, header: bytes, name: str) -> None:
    more = header[482]
    while more:
        block = stream.read(BLOCK)
        if len(block) < BLOCK:
            raise TruncatedStream(f"{name} stops within a header; fetch it again")
        more = block[504]
