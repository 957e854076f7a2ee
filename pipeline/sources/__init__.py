"""Find inputs and open them: folders, lists and tar archives; never writes to the input.

``discover`` finds ``SourceFile`` s, ``group_entries`` makes entries of them, ``read_source`` and
``SequentialArchive`` hand out stored bytes, ``decompress`` unpacks them, ``sniff`` says what they
are. Errors are ``SourceError`` s with a ``reason`` that is stable and a sentence for people.
"""

from pipeline.sources.archive import SequentialArchive
from pipeline.sources.decompress import compression_of, decompress, peek
from pipeline.sources.discover import Discovery, Problem, discover
from pipeline.sources.entries import Entry, group_entries
from pipeline.sources.errors import (
    CorruptStream,
    Missing,
    SourceChanged,
    SourceError,
    TooLarge,
    TruncatedStream,
    Unreadable,
)
from pipeline.sources.names import Format, from_printable, is_tar_name, printable, split_name
from pipeline.sources.read import RawFile, read_source
from pipeline.sources.sniff import HEAD_BYTES, describe_content, sniff
from pipeline.sources.source_file import SourceFile

__all__ = [
    "HEAD_BYTES",
    "CorruptStream",
    "Discovery",
    "Entry",
    "Format",
    "Missing",
    "Problem",
    "RawFile",
    "SequentialArchive",
    "SourceChanged",
    "SourceError",
    "SourceFile",
    "TooLarge",
    "TruncatedStream",
    "Unreadable",
    "compression_of",
    "decompress",
    "describe_content",
    "discover",
    "from_printable",
    "group_entries",
    "is_tar_name",
    "peek",
    "printable",
    "read_source",
    "sniff",
    "split_name",
]
