"""Inputs → parts: which files one worker turns into one shard.

The plan is a pure function of the sorted inputs and the configuration, so that every run, on any
number of workers, cuts the same parts, and a part's shard has the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.commands.words import MEBIBYTE
from pipeline.sources import Entry, SourceFile, from_printable, printable

FILE_OVERHEAD = 4096
"""Bytes added to a file's size when parts are cut: opening a file costs something too."""

MIN_PART, MAX_PART = 4 * MEBIBYTE, 64 * MEBIBYTE
PARTS_WANTED = 64
ROWS_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Part:
    """What one worker turns into one shard.

    Attributes
    ----------
    number : int
    entries : tuple of Entry
        In the order of their rows in the shard.
    """

    number: int
    entries: tuple[Entry, ...]

    @property
    def name(self) -> str:
        return f"part-{self.number:05d}"

    @property
    def files(self) -> list[SourceFile]:
        """Every candidate of every entry."""
        return [c for e in self.entries for c in e.candidates]

    @property
    def n_bytes(self) -> int:
        return sum(max(0, f.size) for f in self.files)

    def fingerprint(self, config_hash: str) -> str:
        """SHA-256 of the configuration and of the names, sizes and times of the inputs.

        A finished part whose fingerprint is the same need not be built again.
        """
        inputs = [
            [e.entry_id, *([f.path, f.member, f.size, f.mtime_ns] for f in e.candidates)]
            for e in self.entries
        ]
        text = json.dumps([config_hash, inputs], ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()


def make_plan(entries: Iterable[Entry], part_bytes: int = 0) -> list[Part]:
    """Cut entries into parts of about equal bytes.

    Parameters
    ----------
    entries : iterable of Entry
        In their order (`group_entries` sorts them).
    part_bytes : int
        Bytes per part; 0 cuts the whole into about 64 parts of 4 to 64 MiB.

    Returns
    -------
    list of Part
        An entry is never cut, and the members of a compressed tar stay together, because it can
        only be read from its start.
    """
    groups = _inseparable(list(entries))
    if part_bytes <= 0:
        total = sum(size for size, _ in groups)
        part_bytes = min(MAX_PART, max(MIN_PART, total // PARTS_WANTED))
    parts: list[Part] = []
    pending: list[Entry] = []
    n_bytes = 0
    for size, members in groups:
        if pending and n_bytes + size > part_bytes:
            parts.append(Part(len(parts), tuple(pending)))
            pending, n_bytes = [], 0
        pending += members
        n_bytes += size
    if pending:
        parts.append(Part(len(parts), tuple(pending)))
    return parts


def _inseparable(entries: Sequence[Entry]) -> list[tuple[int, list[Entry]]]:
    """(bytes, entries) of what must share a part, in the order of first appearance."""
    groups: dict[object, list[Entry]] = {}
    for k, entry in enumerate(entries):
        archives = {f.path for f in entry.candidates if f.is_sequential}
        groups.setdefault(archives.pop() if archives else k, []).append(entry)
    return [
        (sum(max(0, f.size) + FILE_OVERHEAD for e in members for f in e.candidates), members)
        for members in groups.values()
    ]


PLAN_SCHEMA = pa.schema(
    [
        pa.field("part", pa.int32(), nullable=False),
        pa.field("entry_id", pa.string(), nullable=False),
        pa.field("rank", pa.int16(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("member", pa.string()),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("mtime_ns", pa.int64(), nullable=False),
        pa.field("offset", pa.int64()),
        pa.field("format_by_name", pa.string()),
        pa.field("stem", pa.string(), nullable=False),
        pa.field("index_in_archive", pa.int64()),
    ]
)


def plan_table(parts: Iterable[Part]) -> pa.Table:
    """The plan as a table: one row per file; `rank` 0 is the file that is tried first."""
    rows = [
        (
            part.number,
            entry.entry_id,
            rank,
            printable(f.path),
            None if f.member is None else printable(f.member),
            f.size,
            f.mtime_ns,
            f.offset,
            f.suffix_format,
            f.stem,
            f.index,
        )
        for part in parts
        for entry in part.entries
        for rank, f in enumerate(entry.candidates)
    ]
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(PLAN_SCHEMA)
    return pa.table(
        [pa.array(c, f.type) for c, f in zip(columns, PLAN_SCHEMA, strict=True)],
        schema=PLAN_SCHEMA,
    )


def read_plan(path: Path | pa.NativeFile) -> list[Part]:
    """The parts of a plan that `plan_table` described."""
    parts: dict[int, dict[str, list[SourceFile]]] = {}
    shared: dict[Any, Any] = {}
    table = pq.read_table(path, page_checksum_verification=True)
    # By and by: a row as a dictionary takes several times what is made of it.
    for batch in table.to_batches(max_chunksize=ROWS_AT_ONCE):
        for row in batch.to_pylist():
            member, by_name = row["member"], row["format_by_name"]
            file = SourceFile(
                path=from_printable(row["path"]),
                member=None if member is None else from_printable(member),
                size=row["size"],
                mtime_ns=row["mtime_ns"],
                offset=row["offset"],
                suffix_format=shared.setdefault(by_name, by_name),
                stem=row["stem"],
                index=row["index_in_archive"],
            )
            parts.setdefault(row["part"], {}).setdefault(row["entry_id"], []).append(file)
    return [
        Part(number, tuple(Entry(e, tuple(files)) for e, files in entries.items()))
        for number, entries in sorted(parts.items())
    ]
