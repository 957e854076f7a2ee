"""What an earlier build left, as an update needs it: its plan, and the hashes of what it read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from pipeline.build.finalise import write_table
from pipeline.build.options import Reading
from pipeline.build.plan import Part, plan_table, read_plan
from pipeline.build.records import read_record
from pipeline.build.update import Update
from pipeline.layout import Layout
from pipeline.sources import SourceError, SourceFile, read_source
from pipeline.storage import StorageError


class EarlierBuild:
    """The build that wrote to a folder last.

    Attributes
    ----------
    parts : list of Part
        Its plan; empty where nothing was built.
    """

    def __init__(self, layout: Layout, reading: Reading):
        self._layout, self._reading = layout, reading
        self.parts = latest_plan(layout)

    def holds_the_same(self, root: Path, file: SourceFile) -> bool:
        """Whether a file holds what it held when this build read it. It is read for that."""
        known = self._hashes.get(file.name)
        if known is None:
            return False
        try:
            return read_source(file, root, self._reading.max_file_size).sha256 == known
        except SourceError:
            return False

    @cached_property
    def _hashes(self) -> dict[str, str]:
        """Input → SHA-256, of the parts that are finished as they were planned."""
        hashes = {}
        for part in self.parts:
            record = read_record(self._layout, part.number)
            if record is None or record.fingerprint != self._fingerprint(part):
                continue
            hashes.update({r.input: r.sha256 for r in record.inputs if r.sha256 is not None})
        return hashes

    def _fingerprint(self, part: Part) -> str:
        return part.fingerprint(self._reading.config_hash)

    def renew(self, update: Update) -> None:
        """Let the records of touched parts vouch for the files as they are now."""
        before = {part.number: part for part in self.parts}
        for part in update.touched:
            record = read_record(self._layout, part.number)
            if record is None or record.fingerprint != self._fingerprint(before[part.number]):
                continue
            renewed = replace(record, fingerprint=self._fingerprint(part))
            name = self._layout.name(self._layout.record(part.number))
            with self._layout.folder.appears_whole(name, self._layout.scratch) as path:
                path.write_text(renewed.to_json(), encoding="utf-8")


def keep_plan(layout: Layout, parts: Sequence[Part]) -> None:
    """Write down what is going to be built, before it is: an update may follow an interruption.

    What is written down already stays as it is.
    """
    if _read_plan(layout, layout.latest_plan) == list(parts):
        return
    with layout.folder.appears_whole(layout.name(layout.latest_plan), layout.scratch) as path:
        write_table(plan_table(parts), path)


def latest_plan(layout: Layout) -> list[Part]:
    """The plan of the build that wrote to a folder last; empty where there is none to be read."""
    return _read_plan(layout, layout.latest_plan) or _read_plan(layout, layout.plan) or []


def _read_plan(layout: Layout, path: Path) -> list[Part] | None:
    """A plan; none where there is no such file that can be read."""
    try:
        with layout.folder.open_input(layout.name(path)) as file:
            return read_plan(file)
    except StorageError:
        raise
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return None
