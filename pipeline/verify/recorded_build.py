"""What the last run of a build was told, and where its inputs are now."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.build.options import BuildOptions
from pipeline.built.layout import Layout
from pipeline.built.plan import Part
from pipeline.built.reading import Reading, config_hash
from pipeline.commands.command_line import parse_options
from pipeline.commands.words import dashed
from pipeline.errors import Failure
from pipeline.files.place import Place
from pipeline.files.storage import BadLocation, Folder, Location, StorageError, open_folder
from pipeline.sources import (
    Discovery,
    SourceError,
    SourceFile,
    discover,
    input_root,
    place_kind,
    sizes_and_times,
)


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

    Raises
    ------
    CannotRepair
        By every method too: ``options.yaml`` cannot be used, or the inputs are not there.
    """

    def __init__(self, layout: Layout, places: Places):
        self.layout, self._places = layout, places
        self.options = _recorded_options(layout)

    def reading(self, config: Mapping[str, Any] | None) -> Reading:
        """How files were read; it must be the configuration of the dataset, if that is known."""
        options = self.options
        if options.manifest is not None:
            manifest = self._place("manifest")
            options = dataclasses.replace(options, manifest=Path(manifest))
        try:
            reading = options.whole_reading()
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

    def _place(self, name: str) -> Path | Place:
        """Where an input of the build is now."""
        given: Path | None = getattr(self._places, name)
        said: Path | Place | None = getattr(self.options, name)
        option = dashed(name)
        if given is not None:
            if not _is_there(given):
                raise CannotRepair(f"{option} {given}: there is no such file or folder")
            return given
        assert said is not None
        for path in (said, *_beside_output(said, self.options.out_dir, self.layout.root)):
            if _is_there(path):
                return path
        place = open_folder(said)
        is_clear = os.path.isabs(said) or not place.is_local
        where = "" if is_clear else ", as seen from where the build was started"
        raise CannotRepair(
            f"the inputs are not reachable: the build had them from {option} {place}{where}, and "
            f"there is nothing now; say with {option} where they are"
        )

    def root(self) -> Folder:
        """What the paths of the plan are relative to."""
        if self.options.pdb_dir is not None or self._places.pdb_dir is not None:
            return input_root(self._place("pdb_dir"), None)
        return input_root(None, self._place("pdb_list"))

    def discover(self) -> Discovery:
        """What the inputs of the build are today."""
        pdb_dir = None if self.options.pdb_dir is None else self._place("pdb_dir")
        pdb_list = None if self.options.pdb_list is None else self._place("pdb_list")
        try:
            return discover(pdb_dir, pdb_list, exclude=[self.layout.place])
        except (SourceError, StorageError) as error:
            raise CannotRepair(f"the inputs are not reachable: {error}") from error

    def as_they_are_now(self, todo: Sequence[Part], root: Folder) -> tuple[list[Part], list[str]]:
        """The parts with today's times of their files, which must all be there; and sentences
        about those parts whose files have changed."""
        paths = list(dict.fromkeys(file.path for part in todo for file in part.files))
        try:
            now = dict(zip(paths, sizes_and_times(paths, root), strict=True))
        except StorageError as error:
            raise CannotRepair(f"the inputs are not reachable: {error}") from error
        missing: list[SourceFile] = []
        n_files = 0
        parts, changed_parts = [], []
        for part in todo:
            entries = []
            changed = None
            for entry in part.entries:
                candidates = []
                for file in entry.candidates:
                    n_files += 1
                    status = now[file.path]
                    if status is None:
                        # What was listed, and was not there then either, fails as it did.
                        if file.size >= 0:
                            missing.append(file)
                        candidates.append(file)
                        continue
                    if file.member is None and status.size != file.size:
                        changed = changed or file
                    candidates.append(dataclasses.replace(file, mtime_ns=status.mtime_ns))
                entries.append(dataclasses.replace(entry, candidates=tuple(candidates)))
            if changed is None:
                parts.append(Part(part.number, tuple(entries)))
            else:
                changed_parts.append(
                    f"{self.layout.shard(part.number)} was not built again: its input "
                    f"{changed.name} has changed since the build"
                )
        if missing:
            raise CannotRepair(
                f"the inputs are not reachable: {len(missing):,} of the {n_files:,} files of the "
                f"damaged shards are not below {root}, such as {missing[0].name}; bring them back, "
                "or say with --pdb-dir where they are"
            )
        return parts, changed_parts


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
