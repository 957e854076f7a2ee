"""Damaged shards built again from their inputs, damaged tables written again from shards and
records.

Everything is made in a folder beside, compared with what the dataset was, and only then put in its
place: what cannot be made as it was stays as it is, for a damaged shard is better than none.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from pipeline.build.display import Display
from pipeline.build.options import BuildOptions
from pipeline.built.errors import UnfinishedBuild
from pipeline.built.latest_plan import latest_plan
from pipeline.built.layout import Layout
from pipeline.built.plan import Part, make_plan, read_plan
from pipeline.built.reading import Reading, config_hash
from pipeline.built.records import DropRecord, InputRecord, PartRecord, records_beside
from pipeline.built.tables import finalise
from pipeline.commands.command_line import parse_options
from pipeline.commands.words import MEBIBYTE, dashed
from pipeline.crew.crew import Crew, Job, available_jobs
from pipeline.errors import Failure
from pipeline.files.atomic import publish
from pipeline.files.storage import BadLocation, Folder, StorageError, open_folder
from pipeline.shards import dataset_digest
from pipeline.sources import (
    SourceError,
    SourceFile,
    discover,
    group_entries,
    input_root,
    place_kind,
    sizes_and_times,
)
from pipeline.verify import check_tables
from pipeline.verify.check_dataset import STAGE
from pipeline.verify.check_tables import BUILD_JSON
from pipeline.verify.findings import Expected, Findings


class CannotRepair(Failure):
    """Nothing was changed; the sentence says why, and what would help."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where the inputs are now, where they are not where ``options.yaml`` says."""

    pdb_dir: Path | None = None
    pdb_list: Path | None = None
    manifest: Path | None = None


@dataclass(slots=True)
class Repair:
    """What a repair did.

    Attributes
    ----------
    replaced : list of str
        Files that were replaced.
    other_bytes : list of str
        Those among the shards that have the same rows as before in other bytes, because other
        versions of software wrote them.
    left : list of str
        What was not repaired: a sentence each, which names the file.
    """

    replaced: list[str] = field(default_factory=list)
    other_bytes: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def and_then(self, other: Repair) -> Repair:
        """Both, one after the other."""
        return Repair(
            list(dict.fromkeys([*self.replaced, *other.replaced])),
            list(dict.fromkeys([*self.other_bytes, *other.other_bytes])),
            [*self.left, *other.left],
        )


def repair_dataset(
    layout: Layout,
    findings: Findings,
    places: Places = Places(),
    n_jobs: int = 0,
    console: Console | None = None,
) -> Repair:
    """Repair what was found, as far as it becomes what it was.

    Parameters
    ----------
    layout : Layout
        `locked`.
    findings : Findings
        Of this dataset, as it is now.
    places : Places
    n_jobs : int
        Processes; 0 means as many as this process may use.
    console : Console, optional
        Shows how the building goes on.

    Raises
    ------
    CannotRepair
        Nothing was changed.
    WorkersFail, OutputError
        As for a build; the dataset is unchanged.
    """
    stage = Layout(layout.state / STAGE)
    shutil.rmtree(stage.root, ignore_errors=True)
    try:
        return _Repair(layout, stage, findings, places, n_jobs, console).run()
    finally:
        shutil.rmtree(stage.root, ignore_errors=True)


class _Repair:
    def __init__(
        self,
        layout: Layout,
        stage: Layout,
        findings: Findings,
        places: Places,
        n_jobs: int,
        console: Console | None,
    ):
        self.layout, self.stage, self.findings = layout, stage, findings
        self._places, self._n_jobs, self._console = places, n_jobs, console
        self._done = Repair()
        self._expected = {e.name: e for e in findings.expected}
        self._damaged = [Path(file).name for file in findings.files_for("rebuild")]
        self._rewrite = findings.files_for("rewrite")
        self._summary, _ = check_tables.read_summary(layout)
        self._records = check_tables.read_records(layout)
        # What is damaged in any way vouches for nothing.
        self._tables, _ = check_tables.read_tables(layout, without=self._rewrite)

    def run(self) -> Repair:
        if not self._damaged and not self._rewrite:
            return self._done
        options = _recorded_options(self.layout)
        reading = self._reading(options)
        self._config_hash = reading.config_hash
        if "plan.parquet" in self._tables:
            parts, others = read_plan(self.layout.plan), None
        else:
            parts, others = self._plan_anew(options)
        known = self._known_records(parts) if self._rewrite else {}
        todo = [
            part
            for part in parts
            if self.layout.shard(part.number).name in self._damaged
            or (self._rewrite and part.number not in known)
        ]
        strange = set(self._damaged) - {self.layout.shard(p.number).name for p in todo}
        if strange:
            raise CannotRepair(f"the plan knows no inputs of {', '.join(sorted(strange))}")
        built = self._build(todo, options, reading) if todo else {}
        accepted = self._accepted(todo, built)
        whole = len(accepted) == len(todo)
        if self._done.other_bytes and not whole:
            # build.json would have to change, and cannot be written while shards are damaged.
            self._done.left += [
                f"shards/{name} was not replaced: it can be built with the same rows, but in other "
                "bytes, which build.json can only take in when all shards are whole"
                for name in self._done.other_bytes
            ]
            accepted = [r for r in accepted if r.shard not in self._done.other_bytes]
            self._done.other_bytes = []
        rewrite = self._rewrite or bool(self._done.other_bytes)
        names: list[str] = []
        if rewrite and whole:
            if not self._rewrite:
                known = self._known_records(parts)
            records = {**known, **{r.number: r for r in accepted}}
            names = self._write_tables(parts, records, others, options, reading)
        elif rewrite:
            self._done.left += [
                f"{name} was not written anew, because shards are damaged" for name in self._rewrite
            ]
        self._install(accepted, names)
        return self._done

    # ---- what the build was told ----------------------------------------------------------------

    def _reading(self, options: BuildOptions) -> Reading:
        if options.manifest is not None:
            manifest = self._place("manifest", options)
            options = dataclasses.replace(options, manifest=manifest)
        try:
            reading = options.reading()
        except OSError as error:
            raise CannotRepair(f"the manifest cannot be read: {error}") from error
        config = check_tables.trusted_config(self.layout, self._summary)
        if config is not None and config_hash(config) != reading.config_hash:
            now = reading.identity()
            differs = [k for k in sorted({*config, *now}) if config.get(k) != now.get(k)]
            raise CannotRepair(
                "options.yaml and this program no longer give the configuration of the dataset "
                f"({', '.join(differs) or 'config_hash'} differ); repair it with the version that "
                "built it, and the same manifest"
            )
        return reading

    def _place(self, name: str, options: BuildOptions) -> Path:
        """Where an input of the build is now."""
        given: Path | None = getattr(self._places, name)
        said: Path | None = getattr(options, name)
        option = dashed(name)
        if given is not None:
            if not _is_there(given):
                raise CannotRepair(f"{option} {given}: there is no such file or folder")
            return given
        assert said is not None
        for path in (said, *_beside_output(said, options.out_dir, self.layout.root)):
            if _is_there(path):
                return path
        place = open_folder(said)
        is_clear = said.is_absolute() or not place.is_local
        where = "" if is_clear else ", as seen from where the build was started"
        raise CannotRepair(
            f"the inputs are not reachable: the build had them from {option} {place}{where}, and "
            f"there is nothing now; say with {option} where they are"
        )

    def _root(self, options: BuildOptions) -> Folder:
        """What the paths of the plan are relative to."""
        if options.pdb_dir is not None or self._places.pdb_dir is not None:
            return input_root(self._place("pdb_dir", options), None)
        return input_root(None, self._place("pdb_list", options))

    def _plan_anew(self, options: BuildOptions) -> tuple[list[Part], list[InputRecord]]:
        pdb_dir = None if options.pdb_dir is None else self._place("pdb_dir", options)
        pdb_list = None if options.pdb_list is None else self._place("pdb_list", options)
        try:
            discovery = discover(pdb_dir, pdb_list, exclude=[self.layout.root])
        except (SourceError, StorageError) as error:
            raise CannotRepair(f"the inputs are not reachable: {error}") from error
        # An updated dataset has parts that no fresh plan makes.
        for parts in (
            latest_plan(self.layout),
            make_plan(group_entries(discovery.files), options.part_size * MEBIBYTE),
        ):
            if [self.layout.shard(p.number).name for p in parts] == list(self._expected):
                break
        else:
            raise CannotRepair(
                f"plan.parquet is damaged, and the inputs of today make {len(parts):,} shards, not "
                f"{len(self._expected):,}: they have changed since the build, or --pdb-dir is "
                "another folder"
            )
        return parts, records_beside(discovery)

    # ---- records --------------------------------------------------------------------------------

    def _known_records(self, parts: Sequence[Part]) -> dict[int, PartRecord]:
        """Records of the parts whose shards are whole."""
        known = {}
        for part in parts:
            name = self.layout.shard(part.number).name
            if name not in self._damaged:
                record = self._record_of(part, self.findings.sha256.get(name))
                if record is not None:
                    known[part.number] = record
        return known

    def _record_of(self, part: Part, sha256: str | None) -> PartRecord | None:
        """What vouches for a shard of this hash: ``.build``, or the tables."""
        name = self.layout.shard(part.number).name
        record = self._records.get(name)
        if record is not None and record.shard_sha256 == sha256:
            return record
        record = self._record_by_tables(part, self._expected.get(name))
        return record if record is not None and record.shard_sha256 == sha256 else None

    def _record_by_tables(self, part: Part, expected: Expected | None) -> PartRecord | None:
        if expected is None or not {"inputs.parquet", "drops.parquet"} <= self._tables.keys():
            return None
        rows = self._tables["inputs.parquet"].to_pylist()
        inputs = [InputRecord(**row) for row in rows if row["part"] == part.number]
        names = {r.input for r in inputs}
        drops = self._tables["drops.parquet"].to_pylist()
        return PartRecord(
            number=part.number,
            fingerprint=part.fingerprint(self._config_hash),
            shard=expected.name,
            shard_sha256=expected.sha256,
            shard_bytes=expected.n_bytes,
            n_chains=expected.n_chains,
            n_residues=expected.n_residues,
            inputs=inputs,
            drops=[DropRecord(**row) for row in drops if row["input"] in names],
        )

    # ---- building -------------------------------------------------------------------------------

    def _build(
        self, todo: Sequence[Part], options: BuildOptions, reading: Reading
    ) -> dict[int, PartRecord]:
        """Build parts in the folder beside."""
        root = self._root(options)
        fresh = self._as_they_are_now(todo, root)
        self.stage.make_folders()
        display = Display(self._console or Console(quiet=True), fresh, self._console is None)
        built: dict[int, PartRecord] = {}

        def part_done(record: PartRecord) -> None:
            built[record.number] = record
            display.part_done(record)

        crew = Crew(
            Job(root.path, reading, self.stage.root),
            self._n_jobs or available_jobs(),
            part_done,
            display.update,
            lambda *_: None,
        )
        with display:
            crew.run(fresh)
        return built

    def _as_they_are_now(self, todo: Sequence[Part], root: Folder) -> list[Part]:
        """The parts with today's times of their files, which must all be there."""
        paths = list(dict.fromkeys(file.path for part in todo for file in part.files))
        try:
            now = dict(zip(paths, sizes_and_times(paths, root), strict=True))
        except StorageError as error:
            raise CannotRepair(f"the inputs are not reachable: {error}") from error
        missing: list[SourceFile] = []
        n_files = 0
        parts = []
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
                self._done.left.append(
                    f"shards/{self.layout.shard(part.number).name} was not built again: its input "
                    f"{changed.name} has changed since the build"
                )
        if missing:
            raise CannotRepair(
                f"the inputs are not reachable: {len(missing):,} of the {n_files:,} files of the "
                f"damaged shards are not below {root}, such as {missing[0].name}; bring them back, "
                "or say with --pdb-dir where they are"
            )
        return parts

    # ---- comparing ------------------------------------------------------------------------------

    def _accepted(self, todo: Sequence[Part], built: Mapping[int, PartRecord]) -> list[PartRecord]:
        """Those that are what they were: by their bytes, or all together by the digest."""
        same: list[PartRecord] = []
        others: list[PartRecord] = []
        for part in todo:
            record = built.get(part.number)
            if record is None:
                continue  # not built, and said why
            name = record.shard
            wanted = {self._expected[name].sha256} if name in self._expected else set()
            if name in self._records:
                wanted.add(self._records[name].shard_sha256)
            if record.shard_sha256 in wanted:
                # The record of then, if there is one: nothing else in the dataset has to change.
                same.append(self._record_of(part, record.shard_sha256) or record)
            else:
                others.append(record)
        if (
            others
            and len(same) + len(others) == len(todo)
            and self._gives_the_digest(same + others)
        ):
            self._done.other_bytes = [r.shard for r in others]
            return same + others
        self._done.left += [self._why_other(record) for record in others]
        return same

    def _gives_the_digest(self, built: Iterable[PartRecord]) -> bool:
        """Whether the rows of these and of the whole shards give the dataset's digest."""
        if self._summary is None:
            return False
        fresh = {record.shard for record in built}
        rows: list[tuple[str, bytes]] = []
        for name in self._expected:
            folder = self.stage.shards if name in fresh else self.layout.shards
            rows += _rows(folder / name)
        return dataset_digest(rows) == self._summary["digest"]

    def _why_other(self, record: PartRecord) -> str:
        before = self._inputs_before(record)
        changed = [
            r.input
            for r in record.inputs
            if r.input in before and before[r.input] not in (None, r.sha256)
        ]
        failed = [r for r in record.inputs if r.transient]
        if changed:
            why = f"its inputs have changed since the build, such as {changed[0]}"
        elif failed:
            why = f"{failed[0].input} could not be read: {failed[0].message}"
        else:
            why = "its inputs are the same, and other versions of software build other rows"
        return f"shards/{record.shard} was left as it is: built again, it has other rows ({why})"

    def _inputs_before(self, record: PartRecord) -> dict[str, str | None]:
        if record.shard in self._records:
            return {r.input: r.sha256 for r in self._records[record.shard].inputs}
        if "inputs.parquet" in self._tables:
            table = self._tables["inputs.parquet"].select(["input", "sha256"])
            return {r["input"]: r["sha256"] for r in table.to_pylist()}
        return {}

    # ---- tables ---------------------------------------------------------------------------------

    def _write_tables(
        self,
        parts: Sequence[Part],
        records: Mapping[int, PartRecord],
        others: list[InputRecord] | None,
        options: BuildOptions,
        reading: Reading,
    ) -> list[str]:
        """Finalise in the folder beside; the names of the files that are to be taken from there."""
        self.stage.make_folders()
        for name in (self.layout.shard(part.number).name for part in parts):
            if not (self.stage.shards / name).exists():
                (self.stage.shards / name).symlink_to((self.layout.shards / name).resolve())
        if others is None:
            others = self._others(records, options)
        try:
            summary = finalise(self.stage, parts, list(records.values()), others, reading)
        except UnfinishedBuild as error:
            raise CannotRepair(f"the tables cannot be written anew: {error}") from error
        whole_before = self._summary is not None and BUILD_JSON not in self._rewrite
        if whole_before:
            assert self._summary is not None
            self._check_same(summary, self._summary)
        names = [path.name for path in self.stage.results]
        return names if self._done.other_bytes else [n for n in names if n in self._rewrite]

    def _others(
        self, records: Mapping[int, PartRecord], options: BuildOptions
    ) -> list[InputRecord]:
        """Inputs that are in no part."""
        if "inputs.parquet" in self._tables:
            rows = self._tables["inputs.parquet"].to_pylist()
            return [InputRecord(**row) for row in rows if row["part"] is None]
        n = sum(len(r.inputs) for r in records.values())
        if self._summary is not None and self._summary["counts"]["found"] == n:
            return []
        return self._plan_anew(options)[1]

    def _check_same(self, now: Mapping[str, Any], before: Mapping[str, Any]) -> None:
        for key in ("digest", "config_hash", "counts", "reasons", "drop_reasons"):
            new, said = now[key], before[key]
            if key == "counts":
                new = {k: v for k, v in new.items() if k != "shard_bytes"}
                said = {k: v for k, v in said.items() if k != "shard_bytes"}
            if new != said:
                raise CannotRepair(
                    f"the tables cannot be written as they were: {key} would be {new}, and "
                    f"build.json says {said}"
                )

    # ---- putting in place -----------------------------------------------------------------------

    def _install(self, accepted: Sequence[PartRecord], names: Sequence[str]) -> None:
        for record in accepted:
            path = self.layout.record(record.number)
            is_kept = self._records.get(record.shard) == record
            if not is_kept:  # as in a build: no record while its shard is being replaced
                path.unlink(missing_ok=True)
            if record.shard in self._damaged or record.shard in self._done.other_bytes:
                self.layout.shards.mkdir(exist_ok=True)
                publish(self.stage.shards / record.shard, self.layout.shards / record.shard)
                self._done.replaced.append(f"shards/{record.shard}")
            if not is_kept:
                record.write(path, self.stage.scratch)
        for name in names:  # build.json is the last
            publish(self.stage.root / name, self.layout.root / name)
            self._done.replaced.append(name)


def _recorded_options(layout: Layout) -> BuildOptions:
    """What the last run of the build was told."""
    if not layout.options.exists():
        raise CannotRepair(
            "options.yaml is missing, which says how the dataset was built; write it again (it is "
            "the YAML that pipeline.build takes with --config)"
        )
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return parse_options(
                BuildOptions, "python -m pipeline.build", "", ["--config", str(layout.options)]
            )
    except SystemExit:
        sentence = said.getvalue().splitlines()[0].removeprefix("error: ")
        raise CannotRepair(f"options.yaml cannot be used: {sentence}") from None


def _is_there(place: Path) -> bool:
    try:
        return place_kind(place) is not None
    except (BadLocation, StorageError) as error:
        raise CannotRepair(f"the inputs are not reachable: {error}") from error


def _beside_output(path: Path, out_dir: Path, root: Path) -> list[Path]:
    """A relative path from where the build was started, as far as the output folder tells."""
    if path.is_absolute() or out_dir.is_absolute() or ".." in out_dir.parts:
        return []
    parts, here = out_dir.parts, root.resolve()
    if not parts or here.parts[-len(parts) :] != parts:
        return []
    return [here.parents[len(parts) - 1] / path]


def _rows(path: Path) -> list[tuple[str, bytes]]:
    columns = ["chain_uid", "row_sha256"]
    try:
        table = pq.read_table(path, columns=columns, page_checksum_verification=True)
    except (OSError, ValueError, pa.ArrowException):
        return []
    return list(zip(*(table[name].to_pylist() for name in columns), strict=True))
