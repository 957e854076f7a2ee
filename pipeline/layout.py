"""Where things are in an output folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths below one output folder. ``.build`` holds what makes a build resumable."""

    root: Path

    @property
    def shards(self) -> Path:
        return self.root / "shards"

    @property
    def state(self) -> Path:
        return self.root / ".build"

    @property
    def scratch(self) -> Path:
        return self.state / "scratch"

    @property
    def config(self) -> Path:
        return self.state / "config.json"

    @property
    def lock(self) -> Path:
        return self.state / "lock"

    @property
    def plan(self) -> Path:
        return self.root / "plan.parquet"

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
        for folder in (self.root, self.shards, self.state, self.scratch):
            folder.mkdir(parents=True, exist_ok=True)
