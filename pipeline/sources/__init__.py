"""Find inputs and open them: folders, lists and archives, here or in an object store.

``discover`` finds ``SourceFile`` s, ``group_entries`` makes entries of them, ``SourceReader`` (or
``read_source``) and ``SequentialArchive`` hand out stored bytes, ``decompress`` unpacks them,
``sniff`` says what they are. Nothing writes to the input. Errors are ``SourceError`` s with a
``reason`` that is stable and a sentence for people.
"""

from pipeline.sources.archive import SequentialArchive
from pipeline.sources.decompress import compression_of, decompress, peek
from pipeline.sources.discover import discover, input_root, place_kind, sizes_and_times
from pipeline.sources.entries import Entry, group_entries
from pipeline.sources.errors import (
    CorruptStream,
    Missing,
    NotInstalled,
    OutOfMemory,
    SourceChanged,
    SourceError,
    TooLarge,
    TruncatedStream,
    Unreadable,
)
from pipeline.sources.fcz import is_fcz
from pipeline.sources.found import Discovery, Problem
from pipeline.sources.names import Format, from_printable, is_tar_name, printable, split_name
from pipeline.sources.read import RawFile, read_source
from pipeline.sources.reader import SourceReader
from pipeline.sources.sniff import HEAD_BYTES, describe_content, sniff
from pipeline.sources.source_file import SourceFile

__all__ = [
    "HEAD_BYTES",
    "CorruptStream",
    "Discovery",
    "Entry",
    "Format",
    "Missing",
    "NotInstalled",
    "OutOfMemory",
    "Problem",
    "RawFile",
    "SequentialArchive",
    "SourceChanged",
    "SourceError",
    "SourceFile",
    "SourceReader",
    "TooLarge",
    "TruncatedStream",
    "Unreadable",
    "compression_of",
    "decompress",
    "describe_content",
    "discover",
    "from_printable",
    "group_entries",
    "input_root",
    "is_fcz",
    "is_tar_name",
    "peek",
    "place_kind",
    "printable",
    "read_source",
    "sizes_and_times",
    "sniff",
    "split_name",
]
