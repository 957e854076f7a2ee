"""Damaged shards built again from their inputs, damaged tables written again from shards and
records.

Everything is made in a folder beside, compared with what the dataset was, and only then put in its
place: what cannot be made as it was stays as it is, for a damaged shard is better than none.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from pipeline.build.display import Display
from pipeline.built.build_summary import BuildSummary
from pipeline.built.errors import UnfinishedBuild
from pipeline.built.latest_plan import latest_plan
from pipeline.built.layout import Layout
from pipeline.built.plan import Part, make_plan, read_plan
from pipeline.built.reading import Reading
from pipeline.built.records import DropRecord, InputRecord, PartRecord, records_beside
from pipeline.built.tables import finalise
from pipeline.commands.words import MEBIBYTE
from pipeline.crew.crew import Crew, Job, available_jobs
from pipeline.files.atomic import publish
from pipeline.files.place import Place
from pipeline.shards import dataset_digest
from pipeline.sources import (
    group_entries,
)
from pipeline.verify import check_tables
from pipeline.verify.check_dataset import STAGE
from pipeline.verify.check_tables import BUILD_JSON
from pipeline.verify.findings import Expected, Findings
from pipeline.verify.recorded_build import CannotRepair, Places, RecordedBuild


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
    places: Places | None = None,
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
    places : Places, optional
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
    stage = Layout(layout.root / layout.state / STAGE)
    shutil.rmtree(stage.root, ignore_errors=True)
    try:
        return _Repair(layout, stage, findings, places or Places(), n_jobs, console).run()
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
        self._build_then = RecordedBuild(self.layout, self._places)
        reading = self._build_then.reading(check_tables.trusted_config(self.layout, self._summary))
        self._config_hash = reading.config_hash
        if "plan.parquet" in self._tables:
            parts, others = read_plan(self.layout.root / self.layout.plan), None
        else:
            parts, others = self._plan_anew()
        known = self._known_records(parts) if self._rewrite else {}
        todo = [
            part
            for part in parts
            if self.layout.shard_name(part.number) in self._damaged
            or (self._rewrite and part.number not in known)
        ]
        strange = set(self._damaged) - {self.layout.shard_name(p.number) for p in todo}
        if strange:
            raise CannotRepair(f"the plan knows no inputs of {', '.join(sorted(strange))}")
        built = self._build(todo, reading) if todo else {}
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
            names = self._write_tables(parts, records, others, reading)
        elif rewrite:
            self._done.left += [
                f"{name} was not written anew, because shards are damaged" for name in self._rewrite
            ]
        self._install(accepted, names)
        return self._done

    def _plan_anew(self) -> tuple[list[Part], list[InputRecord]]:
        discovery = self._build_then.discover()
        part_size = self._build_then.options.part_size * MEBIBYTE
        # An updated dataset has parts that no fresh plan makes.
        for parts in (
            latest_plan(self.layout),
            make_plan(group_entries(discovery.files), part_size),
        ):
            if [self.layout.shard_name(p.number) for p in parts] == list(self._expected):
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
            name = self.layout.shard_name(part.number)
            if name not in self._damaged:
                record = self._record_of(part, self.findings.sha256.get(name))
                if record is not None:
                    known[part.number] = record
        return known

    def _record_of(self, part: Part, sha256: str | None) -> PartRecord | None:
        """What vouches for a shard of this hash: ``.build``, or the tables."""
        name = self.layout.shard_name(part.number)
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

    def _build(self, todo: Sequence[Part], reading: Reading) -> dict[int, PartRecord]:
        """Build parts in the folder beside."""
        root = self._build_then.root()
        fresh, changed = self._build_then.as_they_are_now(todo, root)
        self._done.left += changed
        self.stage.make_folders()
        display = Display(self._console or Console(quiet=True), fresh, self._console is None)
        built: dict[int, PartRecord] = {}

        def part_done(record: PartRecord) -> None:
            built[record.number] = record
            display.part_done(record)

        crew = Crew(
            Job(Place(root), reading, self.stage.place),
            self._n_jobs or available_jobs(),
            part_done,
            display.update,
            lambda *_: None,
        )
        with display:
            crew.run(fresh)
        return built

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
            rows += _rows(self._shard(self.stage if name in fresh else self.layout, name))
        return dataset_digest(rows) == self._summary.digest

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

    @staticmethod
    def _shard(layout: Layout, name: str) -> Path:
        return layout.root / layout.shards / name

    # ---- tables ---------------------------------------------------------------------------------

    def _write_tables(
        self,
        parts: Sequence[Part],
        records: Mapping[int, PartRecord],
        others: list[InputRecord] | None,
        reading: Reading,
    ) -> list[str]:
        """Finalise in the folder beside; the names of the files that are to be taken from there."""
        self.stage.make_folders()
        for name in (self.layout.shard_name(part.number) for part in parts):
            link = self._shard(self.stage, name)
            if not link.exists():
                link.symlink_to(self._shard(self.layout, name).resolve())
        if others is None:
            others = self._others(records)
        try:
            summary = finalise(self.stage, parts, list(records.values()), others, reading)
        except UnfinishedBuild as error:
            raise CannotRepair(f"the tables cannot be written anew: {error}") from error
        whole_before = self._summary is not None and BUILD_JSON not in self._rewrite
        if whole_before:
            assert self._summary is not None
            self._check_same(summary, self._summary)
        names = self.stage.results
        return [n for n in names if self._done.other_bytes or n in self._rewrite]

    def _others(self, records: Mapping[int, PartRecord]) -> list[InputRecord]:
        """Inputs that are in no part."""
        if "inputs.parquet" in self._tables:
            rows = self._tables["inputs.parquet"].to_pylist()
            return [InputRecord(**row) for row in rows if row["part"] is None]
        n = sum(len(r.inputs) for r in records.values())
        if self._summary is not None and self._summary.counts.found == n:
            return []
        return self._plan_anew()[1]

    def _check_same(self, now: BuildSummary, before: BuildSummary) -> None:
        for key in ("digest", "config_hash", "counts", "reasons", "drop_reasons"):
            new, said = getattr(now, key), getattr(before, key)
            if key == "counts":
                new, said = (
                    {k: v for k, v in dataclasses.asdict(c).items() if k != "shard_bytes"}
                    for c in (new, said)
                )
            if new != said:
                raise CannotRepair(
                    f"the tables cannot be written as they were: {key} would be {new}, and "
                    f"build.json says {said}"
                )

    # ---- putting in place -----------------------------------------------------------------------

    def _install(self, accepted: Sequence[PartRecord], names: Sequence[str]) -> None:
        for record in accepted:
            path = self.layout.root / self.layout.record(record.number)
            is_kept = self._records.get(record.shard) == record
            if not is_kept:  # as in a build: no record while its shard is being replaced
                path.unlink(missing_ok=True)
            if record.shard in self._damaged or record.shard in self._done.other_bytes:
                place = self._shard(self.layout, record.shard)
                place.parent.mkdir(exist_ok=True)
                publish(self._shard(self.stage, record.shard), place)
                self._done.replaced.append(f"shards/{record.shard}")
            if not is_kept:
                record.write(path, self.stage.scratch)
        for name in names:  # build.json is the last
            publish(self.stage.root / name, self.layout.root / name)
            self._done.replaced.append(name)


def _rows(path: Path) -> list[tuple[str, bytes]]:
    columns = ["chain_uid", "row_sha256"]
    try:
        table = pq.read_table(path, columns=columns, page_checksum_verification=True)
    except (OSError, ValueError, pa.ArrowException):
        return []
    return list(zip(*(table[name].to_pylist() for name in columns), strict=True))
