"""``python -m pipeline.build``: plan → map → finalise, with what can go wrong said plainly."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console

from pipeline.build.array_job import check_mode, finalise, part, plan
from pipeline.build.build_parts import Building, finished_parts
from pipeline.build.conclude import announce, conclude
from pipeline.build.display import show_plan
from pipeline.build.event_log import EventLog
from pipeline.build.options import BuildOptions
from pipeline.build.planned import plan_parts
from pipeline.build.run import Finished, Run
from pipeline.built.errors import OutputError
from pipeline.built.latest_plan import keep_plan
from pipeline.built.layout import Layout
from pipeline.built.output_folder import check_configuration, layout_of, output_folder
from pipeline.built.tables import withdraw
from pipeline.commands.command_line import parse_options
from pipeline.commands.console import standard_console
from pipeline.commands.termination import FAILURE, OK, status_of
from pipeline.crew.crew import WorkersFail
from pipeline.errors import UsageError
from pipeline.files.storage import BadLocation, StorageError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status.

    0: all fine, or only skips. 1: some files failed (more than ``--allow-failures``), no chain was
    kept (without ``--allow-empty``), or the output could not be written. 2: wrong usage. 130:
    interrupted.
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
        A shard was damaged by somebody, or chains of different files got one name (`SameName`).
    """
    mode = check_mode(options)
    run = Run(
        options,
        _layout(options),
        console or standard_console(),
        EventLog(options.log_file),
    )
    if mode in DATASETS:
        is_fine = announce(run, DATASETS[mode](run))
    else:
        is_fine = ACTS[mode](run)
    return OK if is_fine else FAILURE


def dry_run(run: Run) -> bool:
    """Show the plan, if the same command without --dry-run would follow it."""
    planned = plan_parts(run)
    if not run.options.overwrite:
        check_configuration(run.layout, run.reading)
    show_plan(run, planned, len(finished_parts(run.layout, planned.parts, run.reading)))
    return True


def build_all(run: Run) -> Finished:
    """Build all parts that are not finished, and make a dataset of them."""
    planned = plan_parts(run)
    layout = run.layout
    with output_folder(layout, run.reading, run.options.overwrite, run.tell) as check_ours:
        planned = planned.renewed(run)
        with run.log:
            if planned.update is not None:
                run.log.write("update", planned.update.counts())
            parts, root = planned.parts, planned.inputs.root
            n_files = len(planned.inputs.files)
            building = Building(run, root, parts, check_ours, files=n_files)
            try:
                # From now on the folder's parts are those of this build, whatever was planned.
                layout.folder.delete(layout.orders)
                keep_plan(layout, parts)
                if building.todo:
                    withdraw(layout)
                    layout.delete_pages()
                building.run()
            except OSError as error:
                raise OutputError.of(f"cannot finish {layout.folder}", error) from error
            text = run.options_text()
            return conclude(run, building.records, planned.others, parts, text, len(building.todo))


DATASETS: dict[str, Callable[[Run], Finished]] = {"": build_all, "finalise": finalise}
ACTS: dict[str, Callable[[Run], bool]] = {"dry_run": dry_run, "plan": plan, "part": part}
"""What a run does, by the option that says so: the former make a dataset."""


def _layout(options: BuildOptions) -> Layout:
    try:
        layout = layout_of(options.out_dir)
    except BadLocation as error:
        raise UsageError(f"--out-dir {error}") from None
    local = layout.folder.local
    if local is not None and local.exists() and not local.is_dir():
        raise UsageError(f"--out-dir {local} is a file; give a folder")
    return layout
