"""What became of every input: the records that a part leaves, and their tables."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from pipeline.built.layout import Layout
from pipeline.files.storage import StorageError
from pipeline.interfaces import INTERFACES_SCHEMA
from pipeline.sources.discover import Discovery

Status = Literal["ok", "skipped", "failed"]


@dataclass(slots=True)
class InputRecord:
    """One input file: ``ok`` (it gave chains), ``skipped`` (nothing for us in it, or filtered) or
    ``failed`` (damaged, unreadable, too large, too slow).

    Attributes
    ----------
    stage : str
        How far it came: ``find``, ``read``, ``parse``, ``filter``, ``build``.
    reason : str or None
        Stable code; ``None`` for ``ok``.
    message : str or None
        A sentence for people.
    transient : bool
        Time, memory or I/O: a later run tries again.
    """

    input: str
    entry_id: str | None
    part: int | None
    status: Status = "ok"
    stage: str = "build"
    reason: str | None = None
    message: str | None = None
    transient: bool = False
    seconds: float = 0.0
    size: int = 0
    sha256: str | None = None
    format: str | None = None
    reader: str | None = None
    n_atoms: int = 0
    n_chains: int = 0
    n_residues: int = 0
    n_dropped: int = 0
    flags: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class DropRecord:
    """One chain that a rule or filter dropped; `n_residues` as far as it was known then."""

    entry_id: str
    input: str
    model: int
    label_asym_id: str
    auth_asym_id: str
    n_residues: int
    stage: str
    reason: str
    detail: str


@dataclass(slots=True)
class PartRecord:
    """What one part left. Its file is written after the shard: it is what makes a part done."""

    number: int
    fingerprint: str
    shard: str
    shard_sha256: str
    shard_bytes: int
    n_chains: int
    n_residues: int
    inputs: list[InputRecord]
    drops: list[DropRecord]
    interfaces: pa.Table | None = None
    """Pairs of chains in contact; ``None``: the part was built before there was such a table."""

    @property
    def has_transient_failures(self) -> bool:
        return any(r.transient for r in self.inputs)

    def to_json(self) -> str:
        """As text, for `from_json`."""
        values = _attributes(self)
        values["inputs"] = [_attributes(record) for record in self.inputs]
        values["drops"] = [_attributes(record) for record in self.drops]
        if self.interfaces is None:
            del values["interfaces"]
        else:
            values["interfaces"] = self.interfaces.to_pydict()
        return json.dumps(values)

    @classmethod
    def read(cls, path: Path) -> PartRecord | None:
        """Read what `write` wrote; ``None`` where there is nothing usable."""
        try:
            return cls.from_json(path.read_bytes())
        except OSError:
            return None

    @classmethod
    def from_json(cls, text: bytes) -> PartRecord | None:
        """What `to_json` gave; ``None`` if it is not usable."""
        try:
            values = json.loads(text)
            values["inputs"] = [InputRecord(**_shared(r)) for r in values["inputs"]]
            values["drops"] = [DropRecord(**r) for r in values["drops"]]
            if "interfaces" in values:
                columns = values["interfaces"]
                values["interfaces"] = pa.Table.from_pydict(columns, INTERFACES_SCHEMA)
            return cls(**values)
        except (ValueError, TypeError, KeyError, AttributeError, pa.ArrowException):
            return None


def _attributes(record: PartRecord | InputRecord | DropRecord) -> dict[str, Any]:
    # `asdict` copies what is in them, and takes as long as reading a small file.
    return {name: getattr(record, name) for name in record.__slots__}


def _shared(values: dict[str, Any]) -> dict[str, Any]:
    """The same values, with one string for all inputs that say the same: there may be millions."""
    for name in ("status", "stage", "reason", "format", "reader"):
        if isinstance(text := values.get(name), str):
            values[name] = sys.intern(text)
    return values


def records_beside(inputs: Discovery) -> list[InputRecord]:
    """Records of the files that no part has, so that the tables count every file that was found."""
    problems = [
        InputRecord(p.name, None, None, "failed", "find", p.reason, p.message)
        for p in inputs.problems
    ]
    message = "a link to a file that is found under its own name, or an older copy in an archive"
    aliases = [
        InputRecord(name, None, None, "skipped", "find", "alias", message)
        for name in inputs.aliases
    ]
    message = "a hidden file or folder, or a copy kept beside a file; list it to read it"
    hidden = [
        InputRecord(name, None, None, "skipped", "find", "hidden", message)
        for name in inputs.hidden
    ]
    return problems + aliases + hidden


def read_record(layout: Layout, number: int) -> PartRecord | None:
    """The record of a part from its output folder; ``None`` where there is nothing usable.

    Raises
    ------
    StorageError
        It is not known whether there is one.
    """
    try:
        text = layout.folder.read_bytes(layout.record(number))
    except StorageError:
        raise
    except OSError:
        return None
    return PartRecord.from_json(text)


def write_record(layout: Layout, record: PartRecord, scratch: Path | None = None) -> None:
    """Put the record of a part into the output folder; it appears whole.

    Parameters
    ----------
    layout : Layout
    record : PartRecord
    scratch : Path, optional
        Where it is written first; that of the layout, if it is not given.

    Raises
    ------
    StorageError, OSError
    """
    name = layout.record(record.number)
    with layout.folder.appears_whole(name, scratch or layout.scratch) as path:
        path.write_text(record.to_json(), encoding="utf-8")


_ARROW = {
    "str": pa.string(),
    "str | None": pa.string(),
    "Status": pa.string(),
    "int": pa.int64(),
    "int | None": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "list[str]": pa.list_(pa.string()),
}


def records_table(kind: type, records: Iterable[InputRecord | DropRecord]) -> pa.Table:
    """Records as a table, a column per attribute."""
    rows = list(records)
    return pa.table(
        {
            f.name: pa.array([getattr(r, f.name) for r in rows], _ARROW[str(f.type)])
            for f in fields(kind)
        }
    )
