"""``--plan``, ``--part I/N``, ``--finalise``: a build by the tasks of an array job."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.build.build_parts import Building, finished_parts
from pipeline.build.conclude import conclude
from pipeline.build.display import show_next_lines, show_plan, show_task
from pipeline.build.options import BuildOptions
from pipeline.build.orders import Orders, read_orders, write_orders
from pipeline.build.planned import Planned, plan_parts
from pipeline.build.run import Finished, Run
from pipeline.built.errors import OutputError, UnfinishedBuild
from pipeline.built.latest_plan import keep_plan
from pipeline.built.layout import Layout
from pipeline.built.output_folder import difference, output_folder, task_folder
from pipeline.built.plan import Part, read_plan
from pipeline.built.reading import Reading
from pipeline.built.records import PartRecord, read_record
from pipeline.built.tables import versions, withdraw
from pipeline.commands.words import dashed
from pipeline.crew.cluster_task import Unfit, check_input
from pipeline.crew.clusters import ADDRESSES, check_installed
from pipeline.errors import UsageError
from pipeline.files.place import Place
from pipeline.files.storage import StorageError

PARTS_NAMED = 10

MODES = ("dry_run", "plan", "part", "finalise")


def check_mode(options: BuildOptions) -> str:
    """See that the options say one thing to do, and one place to do it.

    Returns
    -------
    str
        The option that says what: one of `MODES`, or empty for a whole build.

    Raises
    ------
    UsageError
    """
    modes = [name for name in MODES if getattr(options, name)]
    if len(modes) > 1:
        raise UsageError(f"{' and '.join(map(dashed, modes))}: give one of them")
    mode = modes[0] if modes else ""
    if options.part is not None:
        index_and_number(options.part)
    if options.overwrite and mode in ("part", "finalise"):
        raise UsageError(f"--overwrite goes with --plan, not with {dashed(mode)}")
    if options.update and options.overwrite:
        raise UsageError("--update keeps what is there, --overwrite deletes it: give one of them")
    for name in ("update", "obsolete"):
        if getattr(options, name) and mode in ("part", "finalise"):
            raise UsageError(f"{dashed(name)} goes with --plan, not with {dashed(mode)}")
    if options.backend == "processes" or options.backend == "loky":
        if options.address is not None:
            raise UsageError(
                "--address is that of a cluster: say which kind, --backend dask or ray"
            )
        return mode
    if mode not in ("", "dry_run"):
        raise UsageError(f"{dashed(mode)} builds without a cluster; leave out --backend")
    if options.address is None:
        raise UsageError(
            f"--backend {options.backend} needs --address: {ADDRESSES[options.backend]}. To use "
            "the cores of this machine, leave out both"
        )
    check_installed(options.backend)
    return mode


def index_and_number(text: str) -> tuple[int, int]:
    """I and N of ``I/N``.

    Raises
    ------
    UsageError
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or int(match[1]) >= int(match[2]):
        raise UsageError(f"--part {text}: give I/N, such as 0/4, 1/4, 2/4 and 3/4 for four tasks")
    return int(match[1]), int(match[2])


def plan(run: Run) -> bool:
    """Write the plan for the tasks, and say how to go on."""
    planned = plan_parts(run)
    with output_folder(run.layout, run.reading, run.options.overwrite, run.tell):
        planned = planned.renewed(run)
        n_done = _write_plan(run, planned)
        show_plan(run, planned, n_done)
        show_next_lines(run, len(planned.parts))
        return True


def _write_plan(run: Run, planned: Planned) -> int:
    """Leave the plan in the output folder, with all that the tasks need beside it; the number of
    parts that are built already."""
    layout, reading, parts = run.layout, run.reading, planned.parts
    text = run.options_text()
    try:
        n_done = len(finished_parts(layout, parts, reading))
        if n_done < len(parts) or not _is_planned(layout, parts):
            withdraw(layout)
            layout.delete_pages()
        if reading.manifest is not None:
            reading = dataclasses.replace(reading, manifest=Path(os.path.abspath(reading.manifest)))
        orders = Orders(
            root=str(planned.inputs.root.absolute),
            reading=reading,
            sources=_sources(run.options),
            options=text,
            others=tuple(planned.others),
            software=versions(),
        )
        write_orders(layout, parts, orders)
        keep_plan(layout, parts)
    except OSError as error:
        raise OutputError.of(f"cannot write to {layout.folder}", error) from error
    return n_done


def _is_planned(layout: Layout, parts: Sequence[Part]) -> bool:
    try:
        with layout.folder.open_input(layout.plan) as file:
            return read_plan(file) == list(parts)
    except StorageError:
        raise
    except (OSError, ValueError):
        return False


def _sources(options: BuildOptions) -> dict[str, str | None]:
    given = {"pdb_dir": options.pdb_dir, "pdb_list": options.pdb_list}
    return {name: None if p is None else str(p.absolute) for name, p in given.items()}


def part(run: Run) -> bool:
    """Build one task's share of the plan; whether no more files failed than are allowed to."""
    with run.log:
        layout = run.layout
        index, of = index_and_number(run.options.part or "")
        read_orders(layout)  # so that a folder without a plan stays as it is
        with task_folder(layout, index, of, run.tell) as own:
            parts, orders = read_orders(own)
            run = run.by_plan(_reading(run.options, orders, layout))
            if orders.software != (here := versions()):
                told = difference(orders.software, here)
                raise UsageError(
                    f"the plan in {layout.folder} was made with other software ({told}); install "
                    "the same here, or make the plan again"
                )
            share, root = parts[index::of], Place(orders.root)
            _check_input(share, root)
            task = dataclasses.replace(run, layout=own)
            building = Building(task, root, share, task=run.options.part)
            building.run()
        show_task(run, building.records, len(building.todo))
        n_failed = sum(i.status == "failed" for r in building.records for i in r.inputs)
        return run.allows(n_failed)


def _check_input(parts: Sequence[Part], root: Place) -> None:
    for part in parts[:1]:
        try:
            check_input(part, root)
        except Unfit as error:
            raise UsageError(f"{os.uname().nodename}: {error}") from None


def finalise(run: Run) -> Finished:
    """Make a dataset of the plan's parts.

    Raises
    ------
    UnfinishedBuild
        Parts are missing, or were built for another plan, or chains got one name.
    """
    with run.log:
        layout = run.layout
        _, orders = read_orders(layout)
        run = run.by_plan(_reading(run.options, orders, layout))
        with output_folder(layout, run.reading, False, run.tell) as check_ours:
            parts, orders = read_orders(layout)
            records = finished_parts(layout, parts, run.reading, for_good=False)
            _check_all_built(layout, parts, records)
            check_ours()
            done, others = list(records.values()), orders.others
            return conclude(run, done, others, parts, orders.options, len(parts))


def _check_all_built(layout: Layout, parts: Sequence[Part], records: dict[int, PartRecord]) -> None:
    unbuilt = [(k, p) for k, p in enumerate(parts) if p.number not in records]
    if not unbuilt:
        return
    named = []
    for _, part in unbuilt[:PARTS_NAMED]:
        there = read_record(layout, part.number)
        named.append(part.name + (" (built for another plan)" if there is not None else ""))
    n_more = len(unbuilt) - len(named)
    lines = " or ".join(f"--part {k}/{len(parts)}" for k, _ in unbuilt[:2])
    raise UnfinishedBuild(
        f"{len(unbuilt):,} of the {len(parts):,} parts of the plan in {layout.folder} are not "
        f"built: {', '.join(named)}{f' and {n_more:,} more' if n_more else ''}. Run the tasks "
        "again whose parts they are (what is finished is kept); a task for each single part would "
        f"be {lines}{' …' if len(unbuilt) > 2 else ''}"
    )


def _reading(options: BuildOptions, orders: Orders, layout: Layout) -> Reading:
    """The plan's configuration, which the options must not contradict."""
    planned = orders.reading.identity()
    told_to, default = options.reading, Reading()
    try:
        given = options.whole_reading().identity()
    except OSError as error:
        raise UsageError(f"--manifest {options.manifest}: {error.strerror}") from error
    wanted = _overlaid(planned, default.identity(), given)
    sources = {k: v for k, v in _sources(options).items() if v is not None}
    told = [
        difference(planned, wanted),
        difference({k: orders.sources[k] for k in sources}, sources),
    ]
    if any(told):
        raise UsageError(
            f"the plan in {layout.folder} was made with other options "
            f"({', '.join(filter(None, told))}); leave them out here, or make the plan again"
        )
    reading = orders.reading
    if reading.manifest is not None:
        try:
            content = reading.manifest.read_bytes()
        except OSError as error:
            raise UsageError(
                f"the plan's --manifest {reading.manifest} cannot be read: {error.strerror}"
            ) from error
        if hashlib.sha256(content).hexdigest() != reading.manifest_sha256:
            raise UsageError(
                f"the plan's --manifest {reading.manifest} has changed since; make the plan again"
            )
    for name in ("timeout", "max_memory"):
        if (value := getattr(told_to, name)) != getattr(default, name):
            reading = dataclasses.replace(reading, **{name: value})
    return reading


def _overlaid(
    planned: dict[str, Any], default: dict[str, Any], given: dict[str, Any]
) -> dict[str, Any]:
    """The planned values, with those in their place that were given, and so are not the default.

    A key may be missing from any of the three: some options are recorded only where they are set.
    """
    wanted: dict[str, Any] = {}
    for key in {*planned, *given}:
        before, usual, value = planned.get(key), default.get(key), given.get(key)
        if isinstance(value, dict):
            wanted[key] = _overlaid(planned[key], default[key], value)
        else:
            wanted[key] = value if value != usual else before
    return wanted
