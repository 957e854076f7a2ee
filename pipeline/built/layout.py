"""Where things are in an output folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pipeline.files.storage import Folder, open_folder


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths below one output folder. ``.build`` holds what makes a build resumable.

    Attributes
    ----------
    root : Path
        The folder; of one in a store its URI (pathlib makes one slash of two, and `open_folder`
        knows). Paths below that serve as names, see `name`.
    work : Path or None
        Where files in progress are, if not in the folder itself: on this machine.
    folder : Folder
        The output folder, wherever it is.
    """

    root: Path
    work: Path | None = None
    folder: Folder = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", open_folder(self.root))

    def name(self, path: Path) -> str:
        """Of a path below `root`: what `folder` knows it by."""
        return path.relative_to(self.root).as_posix()

    def describe(self, path: Path) -> str:
        """A path below `root`, as a person knows it."""
        return self.folder.describe(self.name(path))

    @property
    def shards(self) -> Path:
        return self.root / "shards"

    @property
    def state(self) -> Path:
        return self.root / ".build"

    @property
    def scratch(self) -> Path:
        return self.work or self.state / "scratch"

    @property
    def config(self) -> Path:
        return self.state / "config.json"

    @property
    def lock(self) -> Path:
        return self.state / "lock"

    @property
    def lease(self) -> Path:
        """Says which build the machines of a cluster are working for."""
        return self.state / "lease.json"

    @property
    def orders(self) -> Path:
        """What the tasks of an array job must know beside the plan."""
        return self.state / "orders.json"

    def task_lock(self, index: int, of: int) -> Path:
        return self.state / f"task-{index}-of-{of}.lock"

    @property
    def plan(self) -> Path:
        return self.root / "plan.parquet"

    @property
    def latest_plan(self) -> Path:
        """The plan of the build that wrote here last, whether it was finished or not."""
        return self.state / "plan.parquet"

    @property
    def index(self) -> Path:
        return self.root / "index.parquet"

    @property
    def inputs(self) -> Path:
        return self.root / "inputs.parquet"

    @property
    def drops(self) -> Path:
        return self.root / "drops.parquet"

    @property
    def build_json(self) -> Path:
        return self.root / "build.json"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def options(self) -> Path:
        return self.root / "options.yaml"

    @property
    def results(self) -> tuple[Path, ...]:
        """What finalising writes; ``build.json`` last, for it says that the build is whole."""
        return self.plan, self.inputs, self.drops, self.index, self.build_json

    def shard(self, number: int) -> Path:
        return self.shards / f"part-{number:05d}.parquet"

    def record(self, number: int) -> Path:
        return self.state / f"part-{number:05d}.json"

    def progress(self, number: int) -> Path:
        return self.scratch / f"part-{number:05d}.progress"

    def assignment(self, number: int) -> Path:
        return self.scratch / f"part-{number:05d}.plan"

    def make_folders(self) -> None:
        """Make what is not there; a store has no folders."""
        local = (self.root, self.shards, self.state) if self.folder.is_local else ()
        for folder in (*local, self.scratch):
            folder.mkdir(parents=True, exist_ok=True)
