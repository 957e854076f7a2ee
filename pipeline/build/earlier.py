"""What an earlier build left, as an update needs it: its plan, and the hashes of what it read."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

from pipeline.build.update import Update
from pipeline.built.latest_plan import latest_plan
from pipeline.built.layout import Layout
from pipeline.built.plan import Part
from pipeline.built.reading import Reading
from pipeline.built.records import read_record, write_record
from pipeline.files.place import Place
from pipeline.sources import SourceError, SourceFile, read_source


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

    def holds_the_same(self, root: Place, file: SourceFile) -> bool:
        """Read a file, and see whether its content is what this build read."""
        known = self._hashes.get(file.name)
        if known is None:
            return False
        try:
            return read_source(file, root.folder, self._reading.max_file_size).sha256 == known
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
            write_record(self._layout, replace(record, fingerprint=self._fingerprint(part)))
