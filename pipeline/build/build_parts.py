"""Parts → records: what an earlier run has not finished is built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pipeline.build.display import Display
from pipeline.build.run import Run
from pipeline.built.layout import Layout
from pipeline.built.plan import Part
from pipeline.built.reading import Reading
from pipeline.built.records import PartRecord, read_record
from pipeline.built.tables import REQUESTS_AT_ONCE
from pipeline.crew.cluster_crew import ClusterCrew
from pipeline.crew.crew import Crew, Job, available_jobs
from pipeline.files.place import Place


def finished_parts(
    layout: Layout, parts: Sequence[Part], reading: Reading, *, for_good: bool = True
) -> dict[int, PartRecord]:
    """Records of the parts that need not be built again, by number.

    Parameters
    ----------
    for_good : bool
        Without those that another attempt might better: failures of time, memory or I/O.
    """
    config_hash = reading.config_hash
    folder = layout.folder
    sizes = folder.sizes(layout.shards)
    noted = set(folder.list(layout.state))
    there = [part for part in parts if f"{part.name}.json" in noted]
    with ThreadPoolExecutor(1 if folder.is_local else REQUESTS_AT_ONCE) as threads:
        records = list(threads.map(lambda part: read_record(layout, part.number), there))
    return {
        part.number: record
        for part, record in zip(there, records, strict=True)
        if record is not None
        and record.fingerprint == part.fingerprint(config_hash)
        and not (for_good and record.has_transient_failures)
        and sizes.get(layout.shard_name(part.number)) == record.shard_bytes
    }


class Building:
    """Parts on their way to their records.

    Parameters
    ----------
    run : Run
        Its log is entered.
    root : Place
        What the paths of the parts' files are relative to.
    parts : sequence of Part
    check_ours : callable
        Raises if the folder has been taken: see `output_folder`.
    **details
        For the log, beside how much there is to do.

    Attributes
    ----------
    todo : list of Part
        Those that are not finished when the building begins.
    """

    def __init__(
        self,
        run: Run,
        root: Place,
        parts: Sequence[Part],
        check_ours: Callable[[], None] = lambda: None,
        **details: Any,
    ) -> None:
        self._run, self._root, self._check_ours = run, root, check_ours
        self._records = finished_parts(run.layout, parts, run.reading)
        self.todo = [p for p in parts if p.number not in self._records]
        run.log.write("start", {**details, "parts": len(parts), "todo": len(self.todo)})
        self._display = Display(run.console, self.todo, run.options.quiet)
        self._crew = self._make_crew()

    @property
    def records(self) -> list[PartRecord]:
        """Of the parts that are finished."""
        return list(self._records.values())

    def run(self) -> None:
        """Build what there is to do.

        Raises
        ------
        OutputError, WorkersFail, UsageError
            See `Crew.run` and `ClusterCrew.run`.
        """
        with self._display:
            self._crew.run(self.todo)
        self._check_ours()

    def _make_crew(self) -> Crew | ClusterCrew:
        options, layout, log = self._run.options, self._run.layout, self._run.log
        job = Job(self._root, self._run.reading, layout.place, layout.work)
        hear = self._part_done, self._display.update, log.write
        if options.backend == "processes" or options.backend == "loky":
            return Crew(job, options.n_jobs or available_jobs(), *hear)
        return ClusterCrew(job, options.n_jobs, *hear, options.backend, options.address or "")

    def _part_done(self, record: PartRecord) -> None:
        self._check_ours()
        self._records[record.number] = record
        self._display.part_done(record)
        self._run.log.write_part(record)
