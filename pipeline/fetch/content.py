"""Is a file whole, of the format that was asked for, and of the right entry? Read as a stream.

No file is held in memory, of a BinaryCIF file one column at most, so a few bytes that stand for
gigabytes cost time up to the limit, and no more. What can be told of the end of a file depends on
how it is packed: gzip and zstd say it, and so does BinaryCIF; of a plain text only the server can
say how long it is.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgpack

from pipeline.commands.words import MEBIBYTE
from pipeline.fetch.entry_ids import Wanted, normal_id
from pipeline.fetch.problems import FetchProblem
from pipeline.parsing import ParseError
from pipeline.parsing.bcif import BinaryCif
from pipeline.parsing.pdb_header import read_header
from pipeline.sources import (
    HEAD_BYTES,
    Format,
    SourceError,
    compression_of,
    decompress,
    describe_content,
    sniff,
)
from pipeline.sources.decompress import iter_decompressed

SUFFIXES = {"gzip": ".gz", "zstd": ".zst", None: ""}
"""Of a file's name, by its compression."""
LARGEST_COLUMN = 128 * MEBIBYTE
"""Bytes; the largest entries have under ten million atoms, and a number has eight bytes."""
_LAYERS = 2
_PIECE = 1 << 18
_BLOCK = re.compile(rb"(?im)^[ \t]*data_(\S+)")
_ENTRY = re.compile(rb"(?im)^[ \t]*_entry\.id[ \t]+(\S+)")
_ACCESSION = "uniprot "
_DBREF_WIDTH = 8


@dataclass(frozen=True, slots=True)
class Content:
    """What a good file is.

    Attributes
    ----------
    suffix : str
        Of its name, by its compression: ``.gz``, ``.zst`` or none.
    n_bytes : int
        As it is stored.
    sha256 : str
        Of what is stored.
    """

    suffix: str
    n_bytes: int
    sha256: str


def check_content(
    path: Path, format: Format, wanted: Wanted, max_bytes: int, *, has_end: bool
) -> Content:
    """See that a file is what it should be.

    Parameters
    ----------
    max_bytes : int
        Largest file, unpacked.
    has_end : bool
        Whether it is known from elsewhere that nothing is missing at the end.

    Raises
    ------
    FetchProblem
    OSError
    """
    try:
        with open(path, "rb", buffering=0) as file:
            stream, compression = _unpacked(file.read, max_bytes)
            head = stream.look(HEAD_BYTES)
            _check_format(head, format)
            if compression is None and format != "bcif" and not has_end:
                raise FetchProblem(
                    "end-unknown",
                    "nothing says how long this text is, so it may be cut off; use a source or a "
                    "mirror whose files are packed",
                )
            names = _bcif_names(stream) if format == "bcif" else _names(head, format)
            while stream.read(_PIECE):  # to the end, which says whether all is whole
                pass
        if wanted.stated not in names and format == "bcif":
            names |= _bcif_entry_names(path, max_bytes)
    except SourceError as error:
        raise FetchProblem(error.reason, str(error), transient=True) from None
    if not _is_named(wanted, names):
        said = ", ".join(sorted(names)) or "none"
        raise FetchProblem(
            "wrong-entry",
            f"the file that came is of another entry (it says {said}); was the entry superseded?",
        )
    with open(path, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Content(SUFFIXES[compression], path.stat().st_size, sha256)


class _Stream:
    """Pieces as a file to read, which can be looked at ahead."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = b""

    def look(self, n: int) -> bytes:
        while len(self._held) < n and (piece := next(self._pieces, b"")):
            self._held += piece
        return self._held[:n]

    def read(self, n: int) -> bytes:
        out = self.look(n)
        self._held = self._held[len(out) :]
        return out


def _unpacked(read: Callable[[int], bytes], max_bytes: int) -> tuple[_Stream, str | None]:
    """What is under the compression, and which one is outermost."""
    stream = _Stream(iter(lambda: read(_PIECE), b""))
    outermost = compression_of(stream.look(4))
    for _ in range(_LAYERS):  # a server that packs on the way may pack what is packed
        if compression_of(stream.look(4)) is None:
            break
        pieces = iter_decompressed(stream.read, name="the file that came", chunk=_PIECE)
        stream = _Stream(_limited(pieces, max_bytes))
    return stream, outermost


def _limited(pieces: Iterator[bytes], max_bytes: int) -> Iterator[bytes]:
    n = 0
    for piece in pieces:
        n += len(piece)
        if n > max_bytes:
            raise FetchProblem(
                "too-large",
                f"unpacks to more than the limit of {max_bytes // MEBIBYTE:,} MiB; "
                "raise --max-file-size",
            )
        yield piece


def _check_format(head: bytes, format: Format) -> None:
    came = sniff(head)
    if came is None:
        # Such as a page that excuses the server.
        raise FetchProblem("not-a-structure", describe_content(head), transient=True)
    if came != format:
        raise FetchProblem("wrong-format", f"{format} was asked for, and {came} came")


def _bcif_names(stream: _Stream) -> set[str]:
    """Headers of the data blocks; all of the MessagePack is walked through, so it is whole."""
    unpacker = msgpack.Unpacker(
        stream, raw=False, strict_map_key=False, max_buffer_size=LARGEST_COLUMN
    )
    names = set()
    try:
        for _ in range(unpacker.read_map_header()):
            if unpacker.unpack() != "dataBlocks":
                unpacker.skip()
                continue
            for _ in range(unpacker.read_array_header()):
                for _ in range(unpacker.read_map_header()):
                    if unpacker.unpack() == "header":
                        names.add(normal_id(str(unpacker.unpack())))
                    else:
                        unpacker.skip()
    except msgpack.OutOfData:
        raise FetchProblem(
            "truncated", "the file ends before its BinaryCIF does", transient=True
        ) from None
    except msgpack.BufferFull:
        raise FetchProblem(
            "too-large", f"a single column has more than {LARGEST_COLUMN // MEBIBYTE} MiB"
        ) from None
    except (ValueError, msgpack.UnpackException) as error:
        raise FetchProblem(
            "malformed-bcif", f"the MessagePack data are broken: {error}", transient=True
        ) from None
    return names


def _bcif_entry_names(path: Path, max_bytes: int) -> set[str]:
    """``_entry.id``, for files whose blocks bear another name."""
    try:
        data = decompress(path.read_bytes(), max_bytes)
        ids = BinaryCif(data, {"entry": ("id",)}, "entry").category("entry").get("id", [])
    except ParseError:
        return set()
    return {normal_id(i) for i in ids if i is not None}


def _names(head: bytes, format: Format) -> set[str]:
    """What the beginning of a text says the entry is."""
    if format == "cif":
        found = (*_BLOCK.findall(head), *_ENTRY.findall(head))
        return {normal_id(name.decode("latin-1")) for name in found}
    info = read_header(head.decode("latin-1").splitlines())
    names = {normal_id(info.metadata.file_entry_id or "")}
    if info.metadata.source == "AlphaFold DB":
        # It leaves the header without an id. DBREF has room for eight characters of an accession.
        title = "".join((info.metadata.title or "").split())
        accessions = re.findall(r"\(([A-Z0-9-]+)\)$", title)
        accessions += [p.uniprot for p in info.polymers.values() if p.uniprot]
        names |= {f"{_ACCESSION}{a.lower()}" for a in accessions}
    return names - {""}


def _is_named(wanted: Wanted, names: set[str]) -> bool:
    if wanted.stated in names:
        return True
    accession = wanted.stated.removeprefix("af-").rpartition("-f")[0]
    if not accession:
        return False
    whole, cut = f"{_ACCESSION}{accession}", f"{_ACCESSION}{accession[:_DBREF_WIDTH]}"
    longer = any(n.startswith(cut) and n not in (whole, cut) for n in names)
    return whole in names or (cut in names and not longer)
