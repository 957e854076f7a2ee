"""Damaged shards built again from their inputs, damaged tables written again from shards and
records.

A folder beside gets the whole shards, and the build goes on there as after an interruption, with
the records of the damaged shards forgotten. What it makes is compared with what the dataset was,
and only then put in its place: what cannot be made as it was stays as it is, for a damaged shard is
better than none.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from pipeline.build.build_parts import Building
from pipeline.build.planned import Planned
from pipeline.built.build_summary import BuildSummary
from pipeline.built.errors import UnfinishedBuild
from pipeline.built.latest_plan import latest_plan
from pipeline.built.layout import Layout
from pipeline.built.plan import Part, read_plan
from pipeline.built.records import DropRecord, InputRecord, PartRecord, write_record
from pipeline.built.tables import finalise
from pipeline.files.atomic import publish
from pipeline.files.place import Place
from pipeline.verify import check_tables
from pipeline.verify.check_interfaces import should_have_interfaces
from pipeline.verify.check_strays import STAGE
from pipeline.verify.check_tables import BUILD_JSON
from pipeline.verify.findings import Findings
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
    if not findings.files_for("rebuild") and not findings.files_for("rewrite"):
        return Repair()
    stage = Layout(layout.root / layout.state / STAGE)
    shutil.rmtree(stage.root, ignore_errors=True)
    try:
        return _Repair(layout, stage, findings, places or Places()).run(n_jobs, console)
    finally:
        shutil.rmtree(stage.root, ignore_errors=True)


class _Repair:
    def __init__(self, layout: Layout, stage: Layout, findings: Findings, places: Places):
        self.layout, self.stage = layout, stage
        self._done = Repair()
        self._damaged = [Path(file).name for file in findings.files_for("rebuild")]
        self._rewrite = findings.files_for("rewrite")
        self._sha256 = findings.sha256
        self._expected = {e.name: e for e in findings.expected}
        self._summary, _ = check_tables.read_summary(layout)
        self._records = check_tables.read_records(layout)
        # What is damaged in any way vouches for nothing.
        self._tables, _ = check_tables.read_tables(layout, without=self._rewrite)
        config = check_tables.trusted_config(layout, self._summary)
        self._build_then = RecordedBuild(layout, places, config)
        self._has_interfaces = should_have_interfaces(layout, self._summary, self._records)

    def run(self, n_jobs: int, console: Console | None) -> Repair:
        parts = self._parts()
        whole = self._whole(parts)
        todo = [
            part
            for part in parts
            if self.layout.shard_name(part.number) in self._damaged
            or (self._rewrite and part.number not in whole)
        ]
        strange = set(self._damaged) - {self.layout.shard_name(p.number) for p in todo}
        if strange:
            raise CannotRepair(f"the plan knows no inputs of {', '.join(sorted(strange))}")
        built = self._build(todo, n_jobs, console) if todo else []
        same, other = self._compare(todo, built)
        records = {**whole, **{record.number: record for record in (*same, *other)}}
        summary = None
        if len(records) == len(parts) and (self._rewrite or other):
            summary = self._finalise(parts, records)
        if other and (summary is None or not self._is_known_digest(summary.digest)):
            self._done.left += [self._why_other(record) for record in other]
            other, summary = [], None
        names: list[str] = []
        if summary is not None:
            self._check_same(summary)
            names = [n for n in self.stage.results if other or n in self._rewrite]
            if summary.interfaces_digest is None:
                names = [n for n in names if n != self.stage.interfaces]
        else:
            self._done.left += [
                f"{name} was not written anew, because shards are damaged" for name in self._rewrite
            ]
        self._done.other_bytes = [record.shard for record in other]
        self._install([*same, *other], names)
        return self._done

    # ---- what is known --------------------------------------------------------------------------

    def _parts(self) -> list[Part]:
        if "plan.parquet" in self._tables:
            return read_plan(self.layout.root / self.layout.plan)
        # An updated dataset has parts that no fresh plan makes.
        parts = latest_plan(self.layout)
        if not self._makes_the_shards(parts):
            parts = self._planned.parts
        if not self._makes_the_shards(parts):
            raise CannotRepair(
                f"plan.parquet is damaged, and the inputs of today make {len(parts):,} shards, not "
                f"{len(self._expected):,}: they have changed since the build, or --pdb-dir is "
                "another folder"
            )
        return parts

    def _makes_the_shards(self, parts: Sequence[Part]) -> bool:
        return [self.layout.shard_name(part.number) for part in parts] == list(self._expected)

    @cached_property
    def _planned(self) -> Planned:
        return self._build_then.plan()

    @cached_property
    def _listed(self) -> dict[int | None, tuple[list[InputRecord], list[DropRecord]]]:
        """Part → what the tables say of its inputs and chains; None → inputs that are in none."""
        listed: dict[int | None, tuple[list[InputRecord], list[DropRecord]]]
        listed = defaultdict(lambda: ([], []))
        part_of = {}
        if "inputs.parquet" in self._tables:
            for row in self._tables["inputs.parquet"].to_pylist():
                listed[row["part"]][0].append(InputRecord(**row))
                part_of[row["input"]] = row["part"]
        if "drops.parquet" in self._tables:
            for row in self._tables["drops.parquet"].to_pylist():
                listed[part_of.get(row["input"])][1].append(DropRecord(**row))
        return listed

    def _record_of(self, part: Part, sha256: str | None) -> PartRecord | None:
        """What vouches for a shard of this hash: ``.build``, or the tables."""
        name = self.layout.shard_name(part.number)
        record, expected = self._records.get(name), self._expected.get(name)
        if record is not None and record.shard_sha256 == sha256:
            return self._with_interfaces(record)
        if expected is None or expected.sha256 != sha256:
            return None
        if not {"inputs.parquet", "drops.parquet"} <= self._tables.keys():
            return None
        inputs, drops = self._listed[part.number]
        record = PartRecord(
            number=part.number,
            fingerprint=part.fingerprint(self._build_then.reading.config_hash),
            shard=expected.name,
            shard_sha256=expected.sha256,
            shard_bytes=expected.n_bytes,
            n_chains=expected.n_chains,
            n_residues=expected.n_residues,
            inputs=inputs,
            drops=drops,
        )
        return self._with_interfaces(record)

    def _with_interfaces(self, record: PartRecord) -> PartRecord | None:
        """The record with the interfaces of its entries; ``None`` if they are not known."""
        if not self._has_interfaces or record.interfaces is not None:
            return record
        table = self._tables.get(self.layout.interfaces)
        if table is None:
            return None
        entries = pa.array({r.entry_id for r in record.inputs if r.entry_id is not None})
        rows = table.filter(pc.is_in(table["entry_id"], entries.cast(pa.string())))
        return dataclasses.replace(record, interfaces=rows.replace_schema_metadata(None))

    def _whole(self, parts: Sequence[Part]) -> dict[int, PartRecord]:
        """Records of the parts whose shards are whole, by number."""
        known = {}
        for part in parts:
            name = self.layout.shard_name(part.number)
            if name not in self._damaged:
                known[part.number] = self._record_of(part, self._sha256.get(name))
        return {number: record for number, record in known.items() if record is not None}

    def _others(self, records: Mapping[int, PartRecord]) -> list[InputRecord]:
        """Inputs that are in no part."""
        if "inputs.parquet" in self._tables:
            return self._listed[None][0]
        n = sum(len(record.inputs) for record in records.values())
        if self._summary is not None and self._summary.counts.found == n:
            return []
        return self._planned.others

    # ---- the folder beside ----------------------------------------------------------------------

    def _build(
        self, todo: Sequence[Part], n_jobs: int, console: Console | None
    ) -> list[PartRecord]:
        root = self._build_then.root()
        fresh = self._build_then.as_they_are_now(todo, root)
        run = self._build_then.run(self.stage, n_jobs, console)
        self.stage.make_folders()
        building = Building(run, Place(root), fresh)
        building.run()
        return sorted(building.records, key=lambda record: record.number)

    def _finalise(self, parts: Sequence[Part], records: Mapping[int, PartRecord]) -> BuildSummary:
        self.stage.make_folders()
        for part in parts:
            name = self.layout.shard(part.number)
            if not (self.stage.root / name).exists():
                (self.stage.root / name).symlink_to((self.layout.root / name).resolve())
        made, others = list(records.values()), self._others(records)
        try:
            return finalise(self.stage, parts, made, others, self._build_then.reading)
        except UnfinishedBuild as error:
            raise CannotRepair(f"the tables cannot be written anew: {error}") from error

    # ---- comparing ------------------------------------------------------------------------------

    def _compare(
        self, todo: Sequence[Part], built: Sequence[PartRecord]
    ) -> tuple[list[PartRecord], list[PartRecord]]:
        """Records of the shards that have the bytes of before, and of those that have others."""
        same, other = [], []
        parts = {part.number: part for part in todo}
        for record in built:
            # The record of then, if there is one: nothing else in the dataset has to change.
            then = self._record_of(parts[record.number], record.shard_sha256)
            expected = self._expected.get(record.shard)
            if then is not None:
                same.append(then)
            elif expected is not None and expected.sha256 == record.shard_sha256:
                same.append(record)
            else:
                other.append(record)
        return same, other

    def _is_known_digest(self, digest: str) -> bool:
        return self._summary is not None and self._summary.digest == digest

    def _why_other(self, record: PartRecord) -> str:
        then = self._records.get(record.shard)
        inputs = self._listed[record.number][0] if then is None else then.inputs
        before = {r.input: r.sha256 for r in inputs}
        changed = [r.input for r in record.inputs if before.get(r.input) not in (None, r.sha256)]
        failed = [r for r in record.inputs if r.transient]
        if changed:
            why = f"its inputs have changed since the build, such as {changed[0]}"
        elif failed:
            why = f"{failed[0].input} could not be read: {failed[0].message}"
        else:
            why = "its inputs are the same, and other versions of software build other rows"
        return f"shards/{record.shard} was left as it is: built again, it has other rows ({why})"

    def _check_same(self, now: BuildSummary) -> None:
        """The summary is that of before, if this is known."""
        before = self._summary
        if before is None or BUILD_JSON in self._rewrite:
            return
        for key in (
            "digest",
            "interfaces_digest",
            "config_hash",
            "counts",
            "reasons",
            "drop_reasons",
        ):
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
                place = self.layout.root / self.layout.shard(record.number)
                place.parent.mkdir(exist_ok=True)
                publish(self.stage.root / self.layout.shard(record.number), place)
                self._done.replaced.append(f"shards/{record.shard}")
            if not is_kept:
                write_record(self.layout, record, self.stage.scratch)
        for name in names:  # build.json is the last
            publish(self.stage.root / name, self.layout.root / name)
            self._done.replaced.append(name)
