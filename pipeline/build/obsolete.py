"""Entries that have left the archive, by its own list: they are not built, and counted."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.built.records import InputRecord
from pipeline.entry_ids import entry_key
from pipeline.errors import UsageError
from pipeline.sources import Entry

_OBSLTE = re.compile(r"OBSLTE\s+(\d\d-[A-Z]{3}-\d\d)\s+(\w{4,12})((?:\s+\w{4,12})*)\s*$")
_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}$")
_HEADING = re.compile(r"#|LIST OF OBSOLETE|entry_id(\s*,\s*superseded_by)?$", re.IGNORECASE)
_FORMS = (
    "Give the PDB's obsolete.dat, or a list with an entry a line, and after a comma what "
    "supersedes it"
)


@dataclass(frozen=True, slots=True)
class Obsolete:
    """A list of obsolete entries.

    Attributes
    ----------
    successors : dict
        Entry → entries that supersede it, perhaps none; spelled as by `entry_key`.
    """

    successors: dict[str, tuple[str, ...]]

    @classmethod
    def read(cls, path: Path) -> Obsolete:
        """Read a list in one of three forms, which may be mixed.

        ``OBSLTE    31-JUL-94 116L     216L`` as in the PDB's ``status/obsolete.dat``;
        ``116l,216l 316l``: an entry and those that supersede it, as CSV, with or without a first
        line ``entry_id,superseded_by``; or an entry alone.

        Raises
        ------
        UsageError
            The file cannot be read, lists nothing, or a line is none of these.
        """
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise UsageError(
                f"--obsolete {path}: is no text in UTF-8; give the list unpacked. {_FORMS}"
            ) from None
        except OSError as error:
            raise UsageError(f"--obsolete {path}: {error.strerror}. {_FORMS}") from error
        found: dict[str, tuple[str, ...]] = {}
        for number, line in enumerate(lines, 1):
            stripped = line.strip()
            if not stripped or _HEADING.match(stripped):
                continue
            told = _OBSLTE.match(stripped)
            if told is not None:
                entry, after = told[2], told[3].split()
            else:
                entry, after = _listed(stripped)
                if not all(map(_ID.match, (entry, *after))):
                    raise UsageError(f"--obsolete {path}, line {number}: is no entry. {_FORMS}")
            found[entry_key(entry)] = tuple(map(entry_key, after))
        if not found:
            raise UsageError(
                f"--obsolete {path}: lists no entry. {_FORMS}; or leave the option out"
            )
        return cls(found)

    def part(self, entries: Sequence[Entry]) -> tuple[list[Entry], list[InputRecord]]:
        """Entries that are left, and a record of each file of the others."""
        left, records = [], []
        for entry in entries:
            key = next((k for k in _keys(entry.entry_id) if k in self.successors), None)
            if key is None:
                left.append(entry)
                continue
            after = self.successors[key]
            message = "the list of obsolete entries has it" + (
                f"; superseded by {', '.join(after)}" if after else ""
            )
            records += [
                InputRecord(
                    input=file.name,
                    entry_id=entry.entry_id,
                    part=None,
                    status="skipped",
                    stage="find",
                    reason="obsolete",
                    message=message,
                    size=max(0, file.size),
                )
                for file in entry.candidates
            ]
        return left, records


def _keys(entry_id: str) -> tuple[str, str]:
    """An id as it is, and without the folders that qualify it."""
    return entry_key(entry_id), entry_key(entry_id.rpartition("/")[2])


def _listed(line: str) -> tuple[str, list[str]]:
    """The entry of a line of CSV, and what supersedes it; ``""`` if it is no CSV.

    The heading of another table, such as a manifest's ``entry_id,chain``, is no entry either.
    """
    try:
        entry, *rest = next(csv.reader([line]))
    except csv.Error:
        return "", []
    return "" if entry.strip().lower() == "entry_id" else entry.strip(), " ".join(rest).split()
