"""Parts → worker processes, and what to do when one dies or hangs.

Workers are processes that import only what building needs. A part goes to a worker as the path of a
small file; what comes back is the part's record, on the disk.
"""

from __future__ import annotations

import os
import resource
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline.built.errors import OutputError
from pipeline.built.layout import Layout
from pipeline.built.plan import Part, plan_table
from pipeline.built.reading import Reading
from pipeline.built.records import PartRecord, read_record
from pipeline.crew import memory_limit
from pipeline.crew.build_part import build_assigned, try_file
from pipeline.crew.progress import COMPUTING, IDLE, ProgressNote
from pipeline.crew.seat import POLL_SECONDS, Seat, WorkerDied, WorkersFail, stop_all
from pipeline.files.place import Place

GRACE_SECONDS = 20.0
"""What a file may take beyond its time before its worker is killed: the worker's own alarm comes
first wherever Python code is running."""

MAX_BLANKS = 3
"""So often may workers die around one part without a file to blame before the build gives up."""

RETRY_SECONDS = 60.0
"""Failed files are tried again for as long as the build took, and at least so long."""

_FILES_PER_WORKER = 8  # a connection, and some more while it starts; some room


def available_jobs() -> int:
    """Processes worth starting: cores that this process may use, by affinity, cgroup and Slurm."""
    from joblib import cpu_count  # some 25 ms, where the number of processes is given

    jobs = cpu_count()
    value = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if value.isdigit() and int(value):
        jobs = min(jobs, int(value))
    return max(1, jobs)


@dataclass
class Job:
    """What all parts of a run share."""

    root: Place
    reading: Reading
    out_dir: Place
    work: Path | None = None


@dataclass
class _Task:
    """A part on its way.

    Attributes
    ----------
    casualties : dict
        Files that are given up: name → (reason, message).
    careful : bool
        See `build_part`.
    hung : bool
        Its worker was killed for taking too long.
    blanks : int
        Deaths without a file to blame.
    """

    part: Part
    casualties: dict[str, tuple[str, str]] = field(default_factory=dict)
    careful: bool = False
    hung: bool = False
    blanks: int = 0


@dataclass
class Crew:
    """Runs parts, on as many processes as asked for, until each has a record.

    A worker that dies, hangs or lacks memory costs the file in progress; the part is built again
    without it, by another process.
    Where several files were being computed together, the part is built again carefully instead.
    So each death takes a file out, or makes a part careful, or counts towards `MAX_BLANKS`.

    Parameters
    ----------
    job : Job
    n_jobs : int
    on_done : callable
        Called with each finished part's record, in the order of finishing; again if failures of
        time, memory or I/O were cured by a second attempt.
    on_poll : callable
        Called a few times a second with the notes of the parts in flight.
    on_event : callable
        Called with (event name, details) for the log: deaths, hangs, retries.
    make_seat : callable
        Makes the place of a worker.
    keep_seats : bool
        Whoever made the seats goes on with them, unless an exception ends the run.
    """

    job: Job
    n_jobs: int
    on_done: Callable[[PartRecord], None]
    on_poll: Callable[[list[ProgressNote]], None]
    on_event: Callable[[str, dict[str, Any]], None]
    make_seat: Callable[[], Seat] = Seat
    keep_seats: bool = False

    def run(self, parts: Iterable[Part]) -> None:
        """Build all parts.

        Raises
        ------
        OutputError
            The output cannot be written; the parts in flight are abandoned.
        WorkersFail
        """
        tasks = [_Task(p) for p in parts]
        if not tasks:
            return
        n_seats = max(1, min(self.n_jobs, len(tasks)))
        _allow_open_files(n_seats * _FILES_PER_WORKER)
        self._layout = Layout(self.job.out_dir, self.job.work)
        self._transient: list[tuple[_Task, dict[str, str | None]]] = []
        seats = [self.make_seat() for _ in range(n_seats)]
        started = time.monotonic()
        kept = False
        try:
            self._map(tasks, seats)
            again, self._transient = self._transient, []
            if again:
                stop_all(seats[1:])
                self._retry(again, seats[0], max(RETRY_SECONDS, time.monotonic() - started))
            kept = self.keep_seats
        finally:
            if not kept:
                stop_all(seats)

    def _map(self, tasks: Iterable[_Task], seats: list[Seat]) -> None:
        queue, idle = deque(tasks), list(seats)
        running: dict[Future[Any], tuple[Seat, _Task]] = {}
        while queue or running:
            while queue and idle:
                seat, task = idle.pop(), queue.popleft()
                running[self._begin(seat, task)] = seat, task
            finished, _ = wait(running, POLL_SECONDS, FIRST_COMPLETED)
            for future in finished:
                seat, task = running.pop(future)
                idle.append(seat)
                if not self._settled(future, task):
                    seat.stop()
                    queue.appendleft(task)
            self._watch(running.values())

    def _begin(self, seat: Seat, task: _Task) -> Future[Any]:
        part, job = task.part, self.job
        task.hung = False
        try:
            # What an earlier worker left there is not about this one.
            self._layout.progress(part.number).unlink(missing_ok=True)
            self._assign(part)
        except OSError as error:
            raise self._cannot_write(error) from error
        return seat.submit(
            build_assigned,
            self._layout.assignment(part.number),
            job.root,
            job.reading,
            job.out_dir,
            task.casualties,
            task.careful,
            job.work,
        )

    def _cannot_write(self, error: OSError) -> OutputError:
        below = self._layout.describe(self._layout.state)
        return OutputError(f"cannot write below {below}: {error}")

    def _assign(self, part: Part) -> None:
        pq.write_table(plan_table([part]), self._layout.assignment(part.number))

    def _settled(self, future: Future[Any], task: _Task) -> bool:
        """Whether a part is finished; if not, the task says how to go on."""
        number = task.part.number
        try:
            future.result()
        except (OutputError, WorkersFail):
            raise
        except WorkerDied as error:
            record = self._record(task)
            if record is None:
                self._blame(task, error)
                return False
            # It died after its work was done.
        except memory_limit.LacksMemory as error:
            message = memory_limit.exceeded(self.job.reading.max_memory)
            task.casualties[error.name] = memory_limit.OUT_OF_MEMORY, message
            self.on_event("out-of-memory", {"part": number, "input": error.name})
            return False
        except MemoryError as error:
            raise WorkersFail(
                f"the shard of {task.part.name} "
                f"{memory_limit.exceeded(self.job.reading.max_memory)}, and no file is to blame"
            ) from error
        except Exception as error:
            story = "\n".join(getattr(error, "__notes__", ()))
            raise WorkersFail(
                f"{task.part.name} cannot be built, and this is our fault: please report it "
                f"({type(error).__name__}: {error})\n{story}".rstrip()
            ) from error
        else:
            record = self._record(task)
            if record is None:
                where = self._layout.describe(self._layout.record(number))
                raise OutputError(
                    f"{where} is not there though its worker wrote it; does somebody else write to "
                    "this folder?"
                )
        self._layout.assignment(number).unlink(missing_ok=True)
        if failed := {r.input: r.reason for r in record.inputs if r.transient}:
            self._transient.append((task, failed))
        self.on_done(record)
        return True

    def _record(self, task: _Task) -> PartRecord | None:
        record = read_record(self._layout, task.part.number)
        expected = task.part.fingerprint(self.job.reading.config_hash)
        return record if record is not None and record.fingerprint == expected else None

    def _blame(self, task: _Task, error: Exception) -> None:
        """Whose fault the death of a part's worker is."""
        note = ProgressNote.read(self._layout.progress(task.part.number))
        files = task.part.files
        name = files[note.current].name if note is not None and note.current >= 0 else None
        if name in task.casualties:
            name = None
        how = {"part": task.part.number, "input": name, "how": str(error)}
        self.on_event("worker-died", how)
        if name is not None:
            task.casualties[name] = self._verdict(task.hung)
            return
        if note is not None and note.current == COMPUTING and not task.careful:
            task.careful = True
            return
        task.careful = True
        task.blanks += 1
        if task.blanks >= MAX_BLANKS:
            when = "while it wrote its shard" if note is not None else "before it read a file"
            raise WorkersFail(
                f"the worker process that was to build {task.part.name} died {task.blanks} times, "
                f"the last time {when}: is there enough memory? ({error})"
            ) from error

    def _verdict(self, hung: bool) -> tuple[str, str]:
        if hung:
            limit = self.job.reading.timeout
            return "timeout", f"took longer than {limit:g} s (--timeout), and had to be killed"
        return (
            "worker-died",
            "the worker process died while reading this file (out of memory, or a crash in native "
            "code)",
        )

    def _watch(self, running: Iterable[tuple[Seat, _Task]]) -> None:
        """Pass on how far the parts in flight are, and end what takes much too long."""
        limit = self.job.reading.timeout + GRACE_SECONDS
        notes, late = [], []
        for seat, task in running:
            note = ProgressNote.read(self._layout.progress(task.part.number))
            if note is None:
                continue
            notes.append(note)
            is_late = note.current != IDLE and time.monotonic() - note.since > limit
            if is_late and not task.hung:
                late.append((seat, task, note))
        if late:  # together: one that no signal ends takes seconds to be left behind
            stop_all([seat for seat, _, _ in late])
        for _, task, note in late:
            task.hung = True
            self.on_event("worker-hangs", {"part": note.part, "pid": note.pid})
        self.on_poll(notes)

    def _retry(
        self, again: list[tuple[_Task, dict[str, str | None]]], seat: Seat, seconds: float
    ) -> None:
        """Failures of time, memory or I/O once more, with nothing else running.

        The files are tried alone first: most will fail as before, and their parts stay as they are.
        """
        deadline = time.monotonic() + seconds
        cured = []
        for task, failed in sorted(again, key=lambda a: a[0].part.number):
            index_of = {f.name: k for k, f in enumerate(task.part.files)}
            found = set()
            for name, reason in failed.items():
                if time.monotonic() > deadline:
                    self.on_event("retries-end", {"seconds": seconds})
                    break
                settled = self._trial(seat, task.part, index_of[name])
                self.on_event("retry", {"input": name, "cured": settled})
                if settled:
                    found.add(name)
                elif reason == memory_limit.OUT_OF_MEMORY:
                    seat.stop()  # it may go on holding what the file took
            if found:
                task.casualties = {k: v for k, v in task.casualties.items() if k not in found}
                task.careful = True
                cured.append(task)
        self._map(cured, [seat])

    def _trial(self, seat: Seat, part: Part, index: int) -> bool:
        """Whether one file can be read, alone."""
        try:
            self._assign(part)
        except OSError as error:
            raise self._cannot_write(error) from error
        assignment = self._layout.assignment(part.number)
        future = seat.submit(try_file, assignment, index, self.job.root, self.job.reading)
        deadline = time.monotonic() + self.job.reading.timeout + GRACE_SECONDS
        while not wait([future], POLL_SECONDS).done:
            self.on_poll([])
            if time.monotonic() > deadline:
                seat.stop()
                break
        assignment.unlink(missing_ok=True)
        return future.done() and future.exception() is None and bool(future.result())


def _allow_open_files(n: int) -> None:
    """Raise the soft limit of open files where very many workers need it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = n + 256
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
