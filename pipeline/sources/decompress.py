"""gzip and zstd, read to a verified end within a limit. The magic bytes decide, never the name.

ISA-L inflates three times as fast as zlib and compares CRC-32 and length of each gzip member, but
says nothing when a stream stops before its end, and nothing about what follows it. zstd frames are
checked against their checksum if they carry one (the command-line tool writes it).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Literal

import zstandard
from isal import igzip_lib

from pipeline.sources.errors import CorruptStream, SourceError, TooLarge, TruncatedStream
from pipeline.sources.fcz import is_fcz, unpack_fcz

Compression = Literal["gzip", "zstd"]

_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE_MAGIC = b"\x2a\x4d\x18"  # after a byte 0x50–0x5f: a zstd frame without content
_CHUNK = 1 << 20
# A zstd block of 4 bytes can stand for 128 KiB, and the library returns all that a piece of input
# stands for: pieces this small bound one step at 64 MiB.
_ZSTD_PIECE = 2048
_ZSTD_WINDOW = 1 << 27
_MAX_LAYERS = 2
_FCZ_TEXT = 1 << 27  # more than 65,535 residues make
# The stub of ISA-L takes its exception class for an instance.
_GzipError: type[Exception] = igzip_lib.IsalError  # type: ignore[assignment]


def compression_of(head: bytes) -> Compression | None:
    """How data that start with `head` (4 bytes are enough) are compressed."""
    if head[:2] == _GZIP_MAGIC:
        return "gzip"
    if head[:4] == _ZSTD_MAGIC or (head[1:4] == _SKIPPABLE_MAGIC and 0x50 <= head[0] <= 0x5F):
        return "zstd"
    return None


def decompress(data: bytes, max_bytes: int, *, name: str = "") -> bytes:
    """Unpack gzip or zstd `data`, and structures of Foldcomp; others come back as they are.

    All gzip members or zstd frames are read, each to its verified end; zero padding may follow the
    last one and nothing else. What is compressed twice is unpacked twice. Foldcomp's data become
    PDB text.

    Parameters
    ----------
    data : bytes
        A whole file.
    max_bytes : int
        Limit of the result, and about the memory that a bomb costs.
    name : str
        Of the file, for the error's sentence.

    Raises
    ------
    TruncatedStream, CorruptStream, TooLarge, NotInstalled
    """
    if _is_cut_magic(data):
        raise TruncatedStream(_sentence(name, "ends within the first bytes of a compressed stream"))
    for _ in range(_MAX_LAYERS):
        kind = compression_of(data[:4])
        if kind is None:
            break
        unpack = _unpack_gzip if kind == "gzip" else _unpack_zstd
        data = unpack(data, max_bytes, name)
    if is_fcz(data):
        data = unpack_fcz(data, max_bytes, name=name)
    if len(data) > max_bytes:
        raise _too_large(name, max_bytes)
    return data


def peek(data: bytes, n: int, *, name: str = "") -> bytes:
    """The first `n` bytes of what ``decompress`` would return, without unpacking the rest.

    Enough to tell what a file is: neither a large file that is no structure nor a bomb of zeros
    needs to be unpacked. Damage within what is needed raises as in ``decompress``.
    """
    if _is_cut_magic(data):
        raise TruncatedStream(_sentence(name, "ends within the first bytes of a compressed stream"))
    head, error = _first_bytes(data, max(n, 4), name)  # 4 tell whether it is packed again
    if compression_of(data[:4]) is not None and compression_of(head[:4]) is not None:
        enough = n + (n >> 3) + 1024  # an inner stream that does not compress has some overhead
        outer, error = _first_bytes(data, enough, name)
        head, inner_error = _first_bytes(outer, n, name)
        if len(outer) < enough or not head:  # else it is us who cut the inner stream off
            error = error or inner_error
    if error is not None:
        raise error
    if is_fcz(head):  # which has no pieces, and is small
        return decompress(data, _FCZ_TEXT, name=name)[:n]
    return head[:n]


def iter_decompressed(
    read: Callable[[int], bytes], *, name: str = "", chunk: int = _CHUNK
) -> Iterator[bytes]:
    """Unpack one layer of a stream of any length, piece by piece.

    Parameters
    ----------
    read : callable
        ``read(n)`` returns up to n bytes, and none at the end.
    chunk : int
        Largest piece (zstd may exceed it; see ``_ZSTD_PIECE``).

    Yields
    ------
    bytes
        Pieces before the stream's end has been verified: use them for good only after the iterator
        ended without an error.
    """
    feed = _Feed(read)
    kind = compression_of(feed.look(4))
    if kind is None:
        while piece := feed.take(chunk):
            yield piece
        return
    unpack_one = _gzip_member if kind == "gzip" else _zstd_frame
    while True:
        yield from unpack_one(feed, name, chunk)
        head = feed.look(4)
        if not head:
            return
        if compression_of(head) == kind:
            continue
        if _is_cut_magic(head) or (kind == "zstd" and _is_cut_skippable_magic(head)):
            raise TruncatedStream(_sentence(name, f"ends within the header of a {kind} stream"))
        _check_padding(feed, kind, name)
        return


class _Feed:
    """A stream of bytes that can be looked at ahead, and whose last piece can be given back."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._held = b""
        self._position = 0

    def take(self, n: int) -> bytes:
        """Up to `n` bytes, as many as one read gives; none at the end."""
        self._fill(n)
        piece = self._held[self._position : self._position + n]
        self._position += len(piece)
        return piece

    def give_back(self, n: int) -> None:
        """Undo the last `n` bytes of the last ``take``."""
        self._position -= n

    def look(self, n: int) -> bytes:
        self._fill(n)
        return self._held[self._position : self._position + n]

    def _fill(self, n: int) -> None:
        missing = n - (len(self._held) - self._position)
        if missing > 0:
            self._held = self._held[self._position :] + self._read(missing)
            self._position = 0


def _gzip_member(feed: _Feed, name: str, chunk: int) -> Iterator[bytes]:
    member = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
    # What follows a member is copied out of the piece that held its end: small pieces first keep a
    # file of a million empty members linear. Not too small: ISA-L takes a header check value for
    # wrong when the header comes in two pieces.
    piece_size = 1 << 12
    while not member.eof:
        piece = b""
        if member.needs_input:
            piece = feed.take(piece_size)
            piece_size = min(2 * piece_size, 1 << 18)
            if not piece:
                raise TruncatedStream(_sentence(name, "ends before its gzip stream does"))
        try:
            out = member.decompress(piece, chunk)
        except _GzipError as error:
            raise CorruptStream(_damaged(name, "gzip", error)) from None
        if out:
            yield out
    feed.give_back(len(member.unused_data))


def _zstd_frame(feed: _Feed, name: str, chunk: int) -> Iterator[bytes]:
    frame = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
    while not frame.eof:
        piece = feed.take(_ZSTD_PIECE)
        if not piece:
            raise TruncatedStream(_sentence(name, "ends before its zstd frame does"))
        try:
            out = frame.decompress(piece)
        except zstandard.ZstdError as error:
            raise CorruptStream(_damaged(name, "zstd", error)) from None
        if out:
            yield out
    feed.give_back(len(frame.unused_data))


def _check_padding(feed: _Feed, kind: Compression, name: str) -> None:
    # Tapes and block devices pad with zeros. Anything else may be data whose header was damaged.
    while piece := feed.take(_CHUNK):
        if piece.count(0) != len(piece):
            what = f"holds bytes after its {kind} stream that are neither another one nor padding"
            raise CorruptStream(_sentence(name, what))


def _unpack_gzip(data: bytes, max_bytes: int, name: str) -> bytes:
    # The last four bytes are the length of the last member, that is of the file unless it has
    # several: one step into a buffer of the right size. It is a hint; the limit holds anyway.
    expected = int.from_bytes(data[-4:], "little")
    member = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
    try:
        out = member.decompress(data, min(expected, max_bytes) + 1)
    except _GzipError as error:
        raise CorruptStream(_damaged(name, "gzip", error)) from None
    if len(out) > max_bytes:
        raise _too_large(name, max_bytes)
    if member.eof and not member.unused_data:
        return out
    del out, member
    return _unpack_in_pieces(data, max_bytes, name)


def _unpack_zstd(data: bytes, max_bytes: int, name: str) -> bytes:
    try:
        expected = zstandard.get_frame_parameters(data).content_size
        # 0 is also what skippable frames say, and the library then looks at nothing further.
        if max_bytes < expected < zstandard.CONTENTSIZE_ERROR:
            raise _too_large(name, max_bytes)
        if 0 < expected <= max_bytes:
            return zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)
    except zstandard.ZstdError:
        pass  # several frames, or damaged: the slow way tells which
    return _unpack_in_pieces(data, max_bytes, name)


def _unpack_in_pieces(data: bytes, max_bytes: int, name: str) -> bytes:
    out = io.BytesIO()  # grows in place and hands its buffer over: no second copy, unlike join
    for piece in iter_decompressed(io.BytesIO(data).read, name=name):
        if out.tell() + len(piece) > max_bytes:
            raise _too_large(name, max_bytes)
        out.write(piece)
    return out.getvalue()


def _first_bytes(data: bytes, n: int, name: str) -> tuple[bytes, SourceError | None]:
    """Up to `n` bytes of one layer, and what kept them from being `n` or the whole."""
    out = b""
    try:
        for piece in iter_decompressed(io.BytesIO(data).read, name=name, chunk=n):
            out += piece[: n - len(out)]
            if len(out) == n:
                break
    except SourceError as error:
        return out, error
    return out, None


def _is_cut_magic(data: bytes) -> bool:
    return 0 < len(data) < 4 and (data == _GZIP_MAGIC[:1] or _ZSTD_MAGIC.startswith(data))


def _is_cut_skippable_magic(data: bytes) -> bool:
    return len(data) < 4 and 0x50 <= data[0] <= 0x5F and _SKIPPABLE_MAGIC.startswith(data[1:])


def _sentence(name: str, what: str) -> str:
    return f"{name or 'the data'} {what}; fetch it again"


def _damaged(name: str, kind: Compression, error: Exception) -> str:
    return _sentence(name, f"is a damaged {kind} stream ({error})")


def _too_large(name: str, max_bytes: int) -> TooLarge:
    what = f"unpacks to more than the limit of {max_bytes:,} bytes; raise the limit to read it"
    return TooLarge(f"{name or 'the data'} {what}")
