"""Parts → the workers of a cluster, and what to do when one is lost."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pipeline.built.errors import OutputError
from pipeline.built.layout import Layout
from pipeline.built.plan import Part
from pipeline.built.records import PartRecord, read_record
from pipeline.built.tables import versions
from pipeline.crew.cluster_task import Order, Reply, build_on_cluster, lease
from pipeline.crew.clusters import Cluster, WorkerLost, connected
from pipeline.crew.crew import Job, WorkersFail
from pipeline.crew.progress import ProgressNote
from pipeline.files.storage import open_folder

POLL_SECONDS = 0.5
SLOTS_SECONDS = 10.0
"""So often is the cluster asked how large it is."""

SIGHT_SECONDS = 60.0
"""What another machine wrote may be so long in coming into sight (NFS)."""

DESERTED_SECONDS = 600.0
"""A cluster without a single worker is waited for; it may be growing again."""

MAX_LOST = 4
"""A part that takes so many of the cluster's workers with it is given up, and so is the build."""


@dataclass
class ClusterCrew:
    """Runs parts on a cluster until each has a record; otherwise like `Crew`.

    A part whose worker is lost is handed out again.

    Parameters
    ----------
    n_jobs : int
        Parts at once; 0 means as many as the cluster takes.
    backend, address : str
        See `connected`.
    """

    job: Job
    n_jobs: int
    on_done: Callable[[PartRecord], None]
    on_poll: Callable[[list[ProgressNote]], None]
    on_event: Callable[[str, dict[str, Any]], None]
    backend: Literal["dask", "ray"]
    address: str

    def run(self, parts: Iterable[Part]) -> None:
        """Build all parts.

        Raises
        ------
        UsageError
            There is no such cluster.
        OutputError
        WorkersFail
        """
        todo = list(parts)
        if not todo:
            return
        self._layout = Layout(self.job.out_dir, self.job.work)
        with connected(self.backend, self.address) as cluster, lease(self._layout) as token:
            order = Order(everywhere(self.job), self.job.reading.config_hash, versions(), token)
            self._map(cluster, todo, order)

    def _map(self, cluster: Cluster, parts: list[Part], order: Order) -> None:
        queue = deque(parts)
        running: dict[Any, Part] = {}
        lost: dict[int, int] = {}
        slots = _Slots(cluster)
        try:
            while queue or running:
                while queue and len(running) < (self.n_jobs or 2 * slots.number()):
                    part = queue.popleft()
                    running[cluster.submit(build_on_cluster, part, order)] = part
                if not running:
                    time.sleep(POLL_SECONDS)
                    continue
                for handle in cluster.finished(running, POLL_SECONDS):
                    part = running.pop(handle)
                    try:
                        reply = _reply(cluster, handle)
                    except WorkerLost as error:
                        if self._record(part) is None:  # else it died after its work was done
                            lost[part.number] = lost.get(part.number, 0) + cluster.tries
                            self._check_losses(part, lost[part.number], error)
                            queue.appendleft(part)
                            continue
                    else:
                        self._listen(reply)
                    self.on_done(self._await_record(part))
                slots.number()
                self.on_poll([])
        finally:
            cluster.cancel(running)

    def _listen(self, reply: Reply) -> None:
        for event, details in reply.events:
            self.on_event(event, {**details, "host": reply.host})
        if reply.problem is not None:
            raise (OutputError if reply.is_output else WorkersFail)(reply.problem)

    def _check_losses(self, part: Part, n: int, error: WorkerLost) -> None:
        self.on_event("cluster-worker-lost", {"part": part.number, "times": n})
        if n >= MAX_LOST:
            names = ", ".join(f.name for f in part.files[:3])
            raise WorkersFail(
                f"{n} workers of the cluster died while they had {part.name} ({names}, …): do they "
                f"have enough memory, and enough time? ({error})"
            ) from error

    def _await_record(self, part: Part) -> PartRecord:
        deadline = time.monotonic() + SIGHT_SECONDS
        while True:
            record = self._record(part)
            if record is not None:
                return record
            if time.monotonic() > deadline:
                where = self._layout.describe(self._layout.record(part.number))
                raise OutputError(
                    f"{where} is not there though a worker wrote it; do all machines see the same "
                    "folder, and does nobody else write to it?"
                )
            time.sleep(POLL_SECONDS)

    def _record(self, part: Part) -> PartRecord | None:
        """What a worker left, if it and the shard that it vouches for have come into sight."""
        record = read_record(self._layout, part.number)
        if record is None or record.fingerprint != part.fingerprint(self.job.reading.config_hash):
            return None
        shard = self._layout.name(self._layout.shard(part.number))
        return record if self._layout.folder.size(shard) == record.shard_bytes else None


def everywhere(job: Job) -> Job:
    """The job with paths that mean the same on every machine, whatever folder it works in."""
    manifest = job.reading.manifest
    return replace(
        job,
        root=absolute(job.root),
        out_dir=absolute(job.out_dir),
        work=None,
        reading=replace(
            job.reading, manifest=None if manifest is None else Path(os.path.abspath(manifest))
        ),
    )


def absolute(path: Path) -> Path:
    """A path that means the same in any folder; a URI stays what it is."""
    folder = open_folder(path)
    return path if folder.local is None else Path(os.path.abspath(folder.local))


def _reply(cluster: Cluster, handle: Any) -> Reply:
    try:
        return cluster.result(handle)
    except (WorkerLost, WorkersFail):
        raise
    except ImportError as error:
        raise WorkersFail(
            f"the cluster's workers cannot import ellipsoid-flow ({error}); install it there, the "
            "same version as here"
        ) from error
    except Exception as error:
        raise WorkersFail(
            f"the cluster's workers cannot build parts: {type(error).__name__}: {error} (is "
            "ellipsoid-flow the same version there as here?)"
        ) from error


class _Slots:
    """How many calls the cluster runs at once, asked now and then."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._number, self._asked, self._seen = 0, float("-inf"), time.monotonic()

    def number(self) -> int:
        now = time.monotonic()
        if now - self._asked > SLOTS_SECONDS:
            self._number, self._asked = self._cluster.n_slots(), now
            if self._number:
                self._seen = now
            elif now - self._seen > DESERTED_SECONDS:
                raise WorkersFail("the cluster has no workers any more")
        return self._number
