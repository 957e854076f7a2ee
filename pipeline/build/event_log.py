"""``--log-file``: every event of a build as a JSON line."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from pipeline.built.errors import OutputError
from pipeline.built.records import PartRecord
from pipeline.errors import UsageError


class EventLog:
    """JSON lines, flushed one by one."""

    def __init__(self, path: Path | None):
        self._path = path
        self._file: IO[str] | None = None

    def __enter__(self) -> EventLog:
        if self._path is not None:
            try:
                self._file = open(self._path, "a", encoding="utf-8")
            except OSError as error:
                raise UsageError(f"--log-file {self._path}: {error.strerror}") from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # each line was flushed, or its failure was said
                self._file.close()

    def write(self, event: str, details: dict[str, Any]) -> None:
        """Append an event."""
        if self._file is not None:
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            line = json.dumps({"time": now, "event": event, **details}, default=str)
            try:
                self._file.write(line + "\n")
                self._file.flush()
            except OSError as error:
                raise OutputError(f"cannot write to --log-file {self._path}: {error}") from error

    def write_part(self, record: PartRecord) -> None:
        """Append a finished part, and its failures one by one."""
        counts = {"chains": record.n_chains, "residues": record.n_residues}
        self.write("part", {"part": record.number, **counts, "bytes": record.shard_bytes})
        for failed in (r for r in record.inputs if r.status == "failed"):
            what = {"input": failed.input, "reason": failed.reason, "message": failed.message}
            self.write("failed", what)
