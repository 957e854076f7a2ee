"""What the last run of a build was told, and where its inputs are now."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.build.event_log import EventLog
from pipeline.build.options import BuildOptions
from pipeline.build.planned import Planned, plan_parts
from pipeline.build.run import Run
from pipeline.built.layout import Layout
from pipeline.built.plan import Part
from pipeline.built.reading import Reading, config_hash
from pipeline.commands.command_line import parse_options
from pipeline.commands.words import dashed
from pipeline.errors import Failure, UsageError
from pipeline.files.place import Place
from pipeline.files.storage import BadLocation, Folder, Location, StorageError, open_folder
from pipeline.sources import Entry, input_root, place_kind, sizes_and_times


class CannotRepair(Failure):
    """Nothing was changed; the sentence says why, and what would help."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where the inputs are now, where they are not where ``options.yaml`` says."""

    pdb_dir: Path | None = None
    pdb_list: Path | None = None
    manifest: Path | None = None


class RecordedBuild:
    """A build by its ``options.yaml``.

    Parameters
    ----------
    layout : Layout
        Of the dataset.
    places : Places
    config : mapping or None
        The configuration of the dataset, if that is known.

    Attributes
    ----------
    reading : Reading
        How files were read.

    Raises
    ------
    CannotRepair
        By every method too: ``options.yaml`` cannot be used, or the inputs are not there.
    """

    def __init__(self, layout: Layout, places: Places, config: Mapping[str, Any] | None):
        self._layout, self._places = layout, places
        self._options = _recorded_options(layout)
        if self._options.manifest is not None:
            self._options = self._with_places("manifest")
        self.reading = self._reading(config)

    def run(self, layout: Layout, n_jobs: int, console: Console | None) -> Run:
        """A run that builds in another folder, on this machine."""
        options = replace(self._options, n_jobs=n_jobs, backend="processes", quiet=console is None)
        console = console or Console(quiet=True)
        return Run(options, layout, console, EventLog(None), self.reading)

    def plan(self) -> Planned:
        """The inputs of today, cut into parts."""
        given = [n for n in ("pdb_dir", "pdb_list") if getattr(self._options, n) is not None]
        options = replace(self._with_places(*given), out_dir=self._layout.place, update=False)
        try:
            return plan_parts(Run(options, self._layout, Console(quiet=True), EventLog(None)))
        except (UsageError, StorageError) as error:
            raise CannotRepair(f"the inputs are not reachable: {error}") from error

    def root(self) -> Folder:
        """What the paths of the plan are relative to."""
        if self._options.pdb_dir is not None or self._places.pdb_dir is not None:
            return input_root(self._place("pdb_dir"), None)
        return input_root(None, self._place("pdb_list"))

    def as_they_are_now(self, todo: Sequence[Part], root: Folder) -> list[Part]:
        """The parts with today's times of their files, which must all be there.

        Their sizes stay: a file of another size has changed, and reading it says so.
        """
        files = [file for part in todo for file in part.files]
        paths = list(dict.fromkeys(file.path for file in files))
        try:
            now = dict(zip(paths, sizes_and_times(paths, root), strict=True))
        except StorageError as error:
            raise CannotRepair(f"the inputs are not reachable: {error}") from error
        # What was listed, and was not there then either, fails as it did.
        missing = [file for file in files if now[file.path] is None and file.size >= 0]
        if missing:
            raise CannotRepair(
                f"the inputs are not reachable: {len(missing):,} of the {len(files):,} files of "
                f"the damaged shards are not below {root}, such as {missing[0].name}; bring them "
                "back, or say with --pdb-dir where they are"
            )

        def today(entry: Entry) -> Entry:
            times = [(file, now[file.path]) for file in entry.candidates]
            return replace(
                entry,
                candidates=tuple(
                    file if status is None else replace(file, mtime_ns=status.mtime_ns)
                    for file, status in times
                ),
            )

        return [Part(part.number, tuple(map(today, part.entries))) for part in todo]

    def _reading(self, config: Mapping[str, Any] | None) -> Reading:
        try:
            reading = self._options.whole_reading()
        except OSError as error:
            raise CannotRepair(f"the manifest cannot be read: {error}") from error
        if config is not None and config_hash(config) != reading.config_hash:
            now = reading.identity()
            differs = [k for k in sorted({*config, *now}) if config.get(k) != now.get(k)]
            raise CannotRepair(
                "options.yaml and this program no longer give the configuration of the dataset "
                f"({', '.join(differs) or 'config_hash'} differ); repair it with the version that "
                "built it, and the same manifest"
            )
        return reading

    def _with_places(self, *names: str) -> BuildOptions:
        """The options, with the places where these inputs are now."""
        now: dict[str, Any] = {name: self._place(name) for name in names}
        return replace(self._options, **now)

    def _place(self, name: str) -> Path | Place:
        """Where an input of the build is now."""
        given: Path | None = getattr(self._places, name)
        said: Path | Place | None = getattr(self._options, name)
        option = dashed(name)
        if given is not None:
            if not _is_there(given):
                raise CannotRepair(f"{option} {given}: there is no such file or folder")
            return given
        assert said is not None
        for path in (said, *_beside_output(said, self._options.out_dir, self._layout.root)):
            if _is_there(path):
                return path
        place = open_folder(said)
        is_clear = os.path.isabs(said) or not place.is_local
        where = "" if is_clear else ", as seen from where the build was started"
        raise CannotRepair(
            f"the inputs are not reachable: the build had them from {option} {place}{where}, and "
            f"there is nothing now; say with {option} where they are"
        )


def _recorded_options(layout: Layout) -> BuildOptions:
    """What the last run of the build was told."""
    file = layout.root / layout.options
    if not file.exists():
        raise CannotRepair(
            "options.yaml is missing, which says how the dataset was built; write it again (it is "
            "the YAML that pipeline.build takes with --config)"
        )
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return parse_options(
                BuildOptions, "python -m pipeline.build", "", ["--config", str(file)]
            )
    except SystemExit:
        sentence = said.getvalue().splitlines()[0].removeprefix("error: ")
        raise CannotRepair(f"options.yaml cannot be used: {sentence}") from None


def _is_there(place: Location) -> bool:
    try:
        return place_kind(place) is not None
    except (BadLocation, StorageError) as error:
        raise CannotRepair(f"the inputs are not reachable: {error}") from error


def _beside_output(said: Path | Place, out: Place, root: Path) -> list[Path]:
    """A relative path from where the build was started, as far as the output folder tells."""
    path, out_dir = Path(said), Path(out)
    if path.is_absolute() or out_dir.is_absolute() or ".." in out_dir.parts:
        return []
    parts, here = out_dir.parts, root.resolve()
    if not parts or here.parts[-len(parts) :] != parts:
        return []
    return [here.parents[len(parts) - 1] / path]
