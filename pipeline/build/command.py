"""``python -m pipeline.build``: plan → map → finalise, with what can go wrong said plainly."""

from __future__ import annotations

import csv
import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

from rich.console import Console

from pipeline.build.array_job import check_mode, join, run_task, write_plan
from pipeline.build.conclude import conclude
from pipeline.build.display import Display, show_next_lines, show_plan
from pipeline.build.earlier import EarlierBuild
from pipeline.build.event_log import EventLog
from pipeline.build.obsolete import Obsolete
from pipeline.build.options import BuildOptions
from pipeline.build.resume import finished_parts
from pipeline.build.update import Update, update_plan
from pipeline.built.errors import OutputError
from pipeline.built.latest_plan import keep_plan
from pipeline.built.layout import Layout
from pipeline.built.output_folder import layout_of, output_folder
from pipeline.built.plan import Part, make_plan
from pipeline.built.reading import Reading
from pipeline.built.records import InputRecord, PartRecord, records_beside
from pipeline.built.tables import withdraw
from pipeline.commands.command_line import parse_options, to_yaml
from pipeline.commands.console import standard_console
from pipeline.commands.termination import FAILURE, OK, leave, status_of
from pipeline.commands.words import MEBIBYTE, dashed
from pipeline.crew.cluster_crew import ClusterCrew
from pipeline.crew.crew import Crew, Job, WorkersFail, available_jobs
from pipeline.errors import UsageError
from pipeline.files.storage import BadLocation, Folder, StorageError, open_folder
from pipeline.filters import Manifest
from pipeline.sources import Discovery, SourceError, discover, group_entries, place_kind

MIN_MEMORY = 64
"""MiB that building small files takes, and some room."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status.

    0: all fine, or only skips. 1: some files failed (more than ``--allow-failures``), or the output
    could not be written. 2: wrong usage. 130: interrupted.
    """
    options = parse_options(
        BuildOptions,
        "python -m pipeline.build",
        "Turn a folder of protein structure files into Parquet shards.",
        arguments,
    )
    return status_of(
        lambda: _build_or_advise(options),
        interrupted="the parts in flight are dropped, those that were finished are kept; run the "
        "same command again to go on",
        cannot=None,
    )


def _build_or_advise(options: BuildOptions) -> int:
    """Build; if that fails halfway, say what becomes of the other half."""
    try:
        return build(options)
    except OutputError as error:
        then = "make room (or mend the permissions) and run the same command again."
        if isinstance(error.__cause__, StorageError):
            then = "the same command goes on from there."
        error.remedy = f"The parts that were finished are kept: {then}"
        raise
    except WorkersFail as error:
        error.remedy = "The parts that were finished are kept; the same command goes on from there."
        raise


def build(options: BuildOptions, console: Console | None = None) -> int:
    """Build a dataset as the options say; the exit status.

    Raises
    ------
    UsageError
        Before anything is written.
    StorageError
        A store of the input or output does not answer, has no such bucket, or refuses.
    OutputError
        The output cannot be written; nothing half-written is left.
    WorkersFail
        Workers die, and no input is to blame.
    UnfinishedBuild
        A shard was damaged by somebody.
    """
    console = console or standard_console()
    started = time.monotonic()
    check_mode(options)
    layout = _layout(options)

    def tell(sentence: str) -> None:
        console.print(sentence, highlight=False, markup=False)

    if options.part is not None:
        with EventLog(options.log_file) as log:
            return _status(run_task(options, layout, console, log, tell))
    if options.finalise:
        with EventLog(options.log_file) as log:
            return _status(join(options, layout, console, log, tell, started))
    _check(options)
    reading = options.reading()
    inputs = _search(options, layout)
    entries, others = group_entries(inputs.files), records_beside(inputs)
    if options.obsolete is not None:
        entries, left_out = Obsolete.read(options.obsolete).part(entries)
        others += left_out
    earlier = EarlierBuild(layout, reading) if options.update else None
    update = None
    if earlier is not None and earlier.parts:
        update = update_plan(
            earlier.parts,
            entries,
            partial(earlier.holds_the_same, inputs.root),
            options.part_size * MEBIBYTE,
        )
        tell(f"update: {update.sentence()}")
    parts = update.parts if update else make_plan(entries, options.part_size * MEBIBYTE)
    if not parts and not others:
        raise UsageError(f"{options.pdb_dir or options.pdb_list} holds no files")
    if options.dry_run:
        n_done = len(finished_parts(layout, parts, reading))
        show_plan(console, layout, parts, n_done, len(inputs.problems))
        return OK
    with output_folder(layout, reading, options.overwrite, tell) as check_ours:
        if earlier is not None and update is not None:
            _renew(earlier, update, layout)
            earlier = None  # a plan and hashes of every file, which take memory
        if options.plan:
            text = _options_text(options)
            n_done = write_plan(options, reading, layout, inputs.root, parts, others, text)
            show_plan(console, layout, parts, n_done, len(inputs.problems))
            show_next_lines(console, layout, len(parts))
            return OK
        with EventLog(options.log_file) as log:
            if update is not None:
                log.write("update", update.counts())
            return _build(
                options, reading, layout, inputs, others, parts, console, started, log, check_ours
            )


def _status(is_fine: bool) -> int:
    return OK if is_fine else FAILURE


def _build(
    options: BuildOptions,
    reading: Reading,
    layout: Layout,
    inputs: Discovery,
    others: list[InputRecord],
    parts: list[Part],
    console: Console,
    started: float,
    log: EventLog,
    check_ours: Callable[[], None],
) -> int:
    records = finished_parts(layout, parts, reading)
    todo = [p for p in parts if p.number not in records]
    log.write("start", {"files": len(inputs.files), "parts": len(parts), "todo": len(todo)})
    display = Display(console, todo, options.quiet)

    def part_done(record: PartRecord) -> None:
        check_ours()
        records[record.number] = record
        display.part_done(record)
        log.write_part(record)

    job = Job(inputs.root, reading, layout.root, layout.work)
    crew: Crew | ClusterCrew
    if options.backend == "loky":
        n_jobs = options.n_jobs or available_jobs()
        crew = Crew(job, n_jobs, part_done, display.update, log.write)
    else:
        where = options.backend, options.address or ""
        crew = ClusterCrew(job, options.n_jobs, part_done, display.update, log.write, *where)
    try:
        # From now on the folder's parts are those of this build, whatever was planned.
        layout.folder.delete(layout.name(layout.orders))
        keep_plan(layout, parts)
        if todo:
            withdraw(layout)
            layout.folder.delete(layout.name(layout.report))
        with display:
            crew.run(todo)
        check_ours()
    except OSError as error:
        raise OutputError.of(f"cannot finish {layout.folder}", error) from error
    text = _options_text(options)
    args = parts, list(records.values()), others, reading, console, log, started, len(todo)
    return _status(conclude(options, text, layout, *args))


def _renew(earlier: EarlierBuild, update: Update, layout: Layout) -> None:
    try:
        earlier.renew(update)
    except OSError as error:
        raise OutputError.of(f"cannot write to {layout.folder}", error) from error


def _search(options: BuildOptions, layout: Layout) -> Discovery:
    try:
        return discover(options.pdb_dir, options.pdb_list, exclude=[layout.root])
    except SourceError as error:
        raise UsageError(str(error)) from error


def _options_text(options: BuildOptions) -> str:
    """The YAML that makes this dataset again, beside it."""
    text = to_yaml(dataclasses.replace(options, overwrite=False, plan=False, update=False))
    for place in (options.out_dir, options.pdb_dir, options.pdb_list):
        if place is not None and not (folder := open_folder(place)).is_local:
            # As a URI is written: a Path has lost a slash.
            text = text.replace(str(place), folder.uri, 1)
    return text


def _layout(options: BuildOptions) -> Layout:
    try:
        layout = layout_of(options.out_dir)
    except BadLocation as error:
        raise UsageError(f"--out-dir {error}") from None
    local = layout.folder.local
    if local is not None and local.exists() and not local.is_dir():
        raise UsageError(f"--out-dir {local} is a file; give a folder")
    return layout


def _check(options: BuildOptions) -> None:
    if options.pdb_dir is None and options.pdb_list is None:
        raise UsageError("give --pdb-dir, --pdb-list or both")
    for name in ("pdb_dir", "pdb_list"):
        place: Path | None = getattr(options, name)
        try:
            if place is not None and place_kind(place) is None:
                there_is_no = f"{open_folder(place)}: there is no such file or folder"
                raise UsageError(f"{dashed(name)} {there_is_no}")
        except BadLocation as error:
            raise UsageError(f"{dashed(name)} {error}") from None
    for name in ("manifest", "obsolete"):
        place = getattr(options, name)
        if place is not None and not place.exists():
            raise UsageError(f"{dashed(name)} {place}: there is no such file or folder")
    folder = open_folder(options.out_dir)
    if options.pdb_dir is not None:
        _check_apart(open_folder(options.pdb_dir), folder)
    at_least = {
        "n_jobs": 0,
        "part_size": 0,
        "max_file_size": 1,
        "max_memory": 0,
        "allow_failures": 0,
    }
    for name, least in at_least.items():
        if getattr(options, name) < least:
            raise UsageError(f"{dashed(name)} must be at least {least}")
    if options.max_memory and options.max_memory < MIN_MEMORY:
        raise UsageError(
            f"--max-memory must be at least {MIN_MEMORY} MiB, without which nothing is built; or 0 "
            "for no limit"
        )
    if not 0 < options.timeout < math.inf:
        raise UsageError("--timeout must be a positive number of seconds")
    if not 0 <= options.base_thickness < math.inf:
        raise UsageError("--base-thickness must be 0 or a positive number of Å")
    for rule in dataclasses.fields(options.filters):
        value = getattr(options.filters, rule.name)
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{dashed(rule.name)} must be a number")
        if "fraction" in rule.name and value is not None and not 0 <= value <= 1:
            raise UsageError(f"{dashed(rule.name)} is a share, from 0 to 1")
    if options.manifest is not None:
        try:
            Manifest.read(options.manifest)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UsageError(f"--manifest {options.manifest} cannot be read: {error}") from error
    for name in ("deposited_after", "deposited_before", "released_after", "released_before"):
        value = getattr(options.filters, name)
        if value is not None:
            try:
                datetime.strptime(value, "%Y-%m-%d")
            except ValueError:
                raise UsageError(f"{dashed(name)} {value}: give a day as YYYY-MM-DD") from None
    for lower, upper in (
        ("min_length", "max_length"),
        ("min_resolved", "max_length"),
        ("min_oligomer", "max_oligomer"),
        ("deposited_after", "deposited_before"),
        ("released_after", "released_before"),
    ):
        low, high = getattr(options.filters, lower), getattr(options.filters, upper)
        if low is None or high is None:
            continue
        if low > high or (low == high and "before" in upper):
            raise UsageError(f"{dashed(lower)} {low} and {dashed(upper)} {high} leave nothing")
    folder.check()


def _check_apart(source: Folder, output: Folder) -> None:
    """The output is not the input, nor around it."""
    if source.local is not None and output.local is not None:
        out, folder = output.local.resolve(), source.local.resolve()
        same, inside = out == folder, out in folder.parents
    else:
        same, inside = source == output, source.is_within(output)
    if same:
        raise UsageError("--out-dir is the input folder, which is never written to; give another")
    if inside:
        raise UsageError(
            f"--pdb-dir {source} lies in the output folder, which is not searched; give another "
            "--out-dir"
        )


def run() -> None:
    """Entry point of ``python -m pipeline.build``."""
    leave(main())
