"""Where things are in an output folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipeline.files.place import Place
from pipeline.files.storage import Folder, Location


@dataclass(frozen=True, init=False)
class Layout:
    """Names of files in one output folder. ``.build`` holds what makes a build resumable.

    Parameters
    ----------
    place : Place, Path or str
        The folder.
    work : Path, optional
        Where files in progress are, if not in the folder itself: on this machine.
    """

    place: Place
    work: Path | None

    shards: ClassVar[str] = "shards"
    plan: ClassVar[str] = "plan.parquet"
    index: ClassVar[str] = "index.parquet"
    inputs: ClassVar[str] = "inputs.parquet"
    drops: ClassVar[str] = "drops.parquet"
    interfaces: ClassVar[str] = "interfaces.parquet"
    """Pairs of chains in contact; datasets of older versions have none."""
    build_json: ClassVar[str] = "build.json"
    report: ClassVar[str] = "report.html"
    report_chains: ClassVar[str] = "report-chains.html"
    pages: ClassVar[tuple[str, ...]] = (report, report_chains)
    """What `pipeline.report` writes; it speaks of one state of the dataset."""
    options: ClassVar[str] = "options.yaml"
    results: ClassVar[tuple[str, ...]] = (plan, inputs, drops, interfaces, index, build_json)
    """What finalising writes; ``build.json`` last, for it says that the build is whole."""

    state: ClassVar[str] = ".build"
    config: ClassVar[str] = f"{state}/config.json"
    lock: ClassVar[str] = f"{state}/lock"
    lease: ClassVar[str] = f"{state}/lease.json"
    """Says which build the machines of a cluster are working for."""
    orders: ClassVar[str] = f"{state}/orders.json"
    """What the tasks of an array job must know beside the plan."""
    upgrade: ClassVar[str] = f"{state}/upgrade"
    """There while `pipeline.upgrade` replaces shards."""
    latest_plan: ClassVar[str] = f"{state}/plan.parquet"
    """The plan of the build that wrote here last, whether it was finished or not."""

    def __init__(self, place: Location, work: Path | None = None) -> None:
        object.__setattr__(self, "place", place if isinstance(place, Place) else Place(place))
        object.__setattr__(self, "work", work)

    @property
    def folder(self) -> Folder:
        """The output folder, wherever it is."""
        return self.place.folder

    def describe(self, name: str) -> str:
        """A file or folder in it, as a person knows it."""
        return self.folder.describe(name)

    @property
    def root(self) -> Path:
        """The output folder, which is on this machine."""
        assert self.folder.local is not None, f"{self.folder} is in a store"
        return self.folder.local

    @property
    def scratch(self) -> Path:
        return self.work or self.root / self.state / "scratch"

    @staticmethod
    def shard_name(number: int) -> str:
        """Of a shard, in the folder of shards."""
        return f"part-{number:05d}.parquet"

    def shard(self, number: int) -> str:
        return f"{self.shards}/{self.shard_name(number)}"

    def record(self, number: int) -> str:
        return f"{self.state}/part-{number:05d}.json"

    def task_lock(self, index: int, of: int) -> str:
        return f"{self.state}/task-{index}-of-{of}.lock"

    def progress(self, number: int) -> Path:
        return self.scratch / f"part-{number:05d}.progress"

    def assignment(self, number: int) -> Path:
        return self.scratch / f"part-{number:05d}.plan"

    def delete_pages(self) -> None:
        """Remove what a report left: it speaks of data that are no more."""
        for page in self.pages:
            self.folder.delete(page)

    def make_folders(self) -> None:
        """Make what is not there; a store has no folders."""
        here = ("", self.shards, self.state) if self.folder.is_local else ()
        for folder in (*(self.root / name for name in here), self.scratch):
            folder.mkdir(parents=True, exist_ok=True)
