"""What a cluster's worker does with a part: it sees that it may, and supervises its building.

The part is built by a process of its own, as on one machine, so that a file that kills or hangs
its process costs that file, and the cluster's worker lives on.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.built.errors import OutputError
from pipeline.built.layout import Layout
from pipeline.built.output_folder import layout_of, make_private
from pipeline.built.plan import Part
from pipeline.built.tables import versions
from pipeline.crew.crew import Crew, Job, WorkersFail
from pipeline.crew.progress import ProgressNote
from pipeline.crew.seat import Seat
from pipeline.files.place import Place
from pipeline.files.storage import StorageError
from pipeline.sources.discover import sizes_and_times

LEASE_SECONDS = 5.0
"""So often is looked whether the build that handed out a part still wants it."""

POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Order:
    """What goes to the cluster with every part.

    Attributes
    ----------
    job : Job
        With paths that mean the same on every machine.
    config_hash : str
    software : dict
        `versions` of whoever sends it.
    token : str
        In the lease of the build that sends it: see `lease`.
    patience : float
        Seconds until what was just written by another machine must have come into sight.
    """

    job: Job
    config_hash: str
    software: dict[str, str]
    token: str
    patience: float = 45.0


@dataclass
class Reply:
    """What comes back; the result is the part's record in the output folder.

    Attributes
    ----------
    events : list of (str, dict)
        For the log.
    problem : str or None
        Why the part is not built, in a sentence.
    is_output : bool
        The output cannot be written.
    """

    host: str
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    problem: str | None = None
    is_output: bool = False


class Unfit(Exception):
    """This machine cannot build parts for that build; the sentence says what to mend."""


class Revoked(Exception):
    """The build that wanted the part has ended."""


@contextlib.contextmanager
def lease(layout: Layout) -> Iterator[str]:
    """Say in the output folder that a build is running, for as long as it does; yields its token.

    It is how the machines of a cluster know that they see the folder, and when to stop.
    """
    token = uuid.uuid4().hex
    with layout.folder.appears_whole(layout.lease, layout.scratch) as path:
        path.write_text(json.dumps({"token": token, "host": os.uname().nodename}))
    try:
        yield token
    finally:
        with contextlib.suppress(OSError):
            layout.folder.delete(layout.lease)


def build_on_cluster(part: Part, order: Order) -> Reply:
    """Build a part, in a worker of a cluster."""
    reply = Reply(os.uname().nodename)
    try:
        layout = layout_of(order.job.out_dir)
        _check_fit(part, order, layout)
        with _work_folder(layout, order.token) as work:
            _supervise(part, order, layout, work, reply)
    except (Unfit, WorkersFail) as error:
        reply.problem = f"{reply.host}: {error}"
    except OutputError as error:
        reply.problem, reply.is_output = f"{error} (on {reply.host})", True
    except Revoked:
        reply.problem = f"{reply.host}: the build that wanted {part.name} has ended"
    except StorageError as error:
        reply.problem, reply.is_output = f"{error} (seen from {reply.host})", True
    return reply


def _supervise(part: Part, order: Order, layout: Layout, work: Path, reply: Reply) -> None:
    looked = time.monotonic()

    def look(_: list[ProgressNote]) -> None:
        nonlocal looked
        if time.monotonic() - looked > LEASE_SECONDS:
            looked = time.monotonic()
            if _token(layout) != order.token:
                raise Revoked

    with _warm_seat() as seat:
        crew = Crew(
            replace(order.job, work=work),
            1,
            lambda record: None,
            look,
            lambda event, details: reply.events.append((event, details)),
            make_seat=lambda: seat,
            keep_seats=True,
        )
        crew.run([part])


def _token(layout: Layout) -> str | None:
    try:
        return json.loads(layout.folder.read_bytes(layout.lease))["token"]
    except StorageError:
        raise
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _check_fit(part: Part, order: Order, layout: Layout) -> None:
    """See that this machine has the same software, and sees the same folders."""
    here = versions()
    for name, version in order.software.items():
        if here.get(name) != version:
            raise Unfit(
                f"it has {name} {here.get(name)}, the build was begun with {name} {version}; "
                "install the same everywhere"
            )
    if order.job.reading.config_hash != order.config_hash:
        raise Unfit("it has another ellipsoid-flow; install the same everywhere")
    deadline = time.monotonic() + order.patience
    while (token := _token(layout)) != order.token:
        if token is None and layout.folder.is_local and not layout.root.is_dir():
            break
        if time.monotonic() > deadline:
            break
        time.sleep(POLL_SECONDS)
    else:
        check_input(part, order.job.root)
        return
    raise Unfit(
        f"it does not see the output folder {layout.folder} (or another one of that name); every "
        "machine of the cluster must: give a folder of a shared file system, or of an object store"
    )


def check_input(part: Part, root: Place) -> None:
    """See that the part's files are there; else each of them would fail by name.

    Raises
    ------
    Unfit
    """
    there = [f.path for f in part.files if f.size >= 0]
    if there and not any(sizes_and_times(there, root.folder)):
        raise Unfit(
            f"it sees none of the {len(there):,} files of {part.name} in {root}; every machine "
            "must see the input under the same path (and if the files were removed meanwhile, run "
            "the command again)"
        )


@contextlib.contextmanager
def _work_folder(layout: Layout, token: str) -> Iterator[Path]:
    """A folder for files in progress that nobody else has, on the output's own file system."""
    name = f"{token}-{uuid.uuid4().hex[:8]}"
    try:
        if layout.work is not None:
            make_private(layout.work.parent)
        work = (layout.work or layout.scratch) / name
        work.mkdir(parents=True)
    except OSError as error:
        raise OutputError.of(f"cannot write to {layout.folder}", error) from error
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


_idle: list[Seat] = []
_guard = threading.Lock()


@contextlib.contextmanager
def _warm_seat() -> Iterator[Seat]:
    """A seat that an earlier part has used, or a new one."""
    with _guard:
        seat = _idle.pop() if _idle else Seat()
    yield seat
    with _guard:  # after an exception it has been stopped
        _idle.append(seat)
