"""What `packing.py` compares: the runs, the settings they share, and the files they leave."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from model.evaluate.compare import read_per_chain


@dataclass(frozen=True)
class Run:
    """A network to train.

    Attributes
    ----------
    arm : str
        What is compared: runs of an arm differ by their seed.
    seed : int
        Of weights, batches and noise; the same seed draws the same for every arm.
    network : dict
        What differs from the network of the configuration.
    ablation : bool
        It is compared with one run of `iga`, not with the other arm.
    """

    arm: str
    seed: int
    network: Mapping[str, Any] = field(default_factory=dict, hash=False)
    ablation: bool = False

    @property
    def name(self) -> str:
        return self.arm if self.ablation else f"{self.arm}-{self.seed}"


GAMMAS = (0.004, 0.05, 0.4, 4.0, 8.0)

MAIN = [Run(arm, seed, {"attention": arm}) for seed in range(3) for arm in ("iga", "ipa")]
"""In pairs, so that what the machine does besides falls on both arms alike."""

ZSCORE = {"geometry_norm": "zscore"}
ABLATIONS = [
    *(Run(f"gamma-{init}", 0, {**ZSCORE, "gamma_init": init}, True) for init in GAMMAS),
    Run("gamma-bounded", 0, {**ZSCORE, "gamma": "bounded"}, True),
]
REFERENCE = Run("affine", 0, {}, True)
"""The main network for as many steps as the ablations, where these are fewer."""


@dataclass(frozen=True)
class Settings:
    """What all runs of a folder have in common; a folder has one of these.

    Attributes
    ----------
    dataset, dataset_digest : str
    config : str
        SHA-256 of the configuration.
    steps, ablation_steps : int
        Of the optimizer.
    points : int
        Of a learning curve.
    validation_chains : int
        On which packing is measured at these points.
    passes : int
        Of a packing.
    accelerator : str
    """

    dataset: str
    dataset_digest: str
    config: str
    steps: int
    ablation_steps: int
    points: int
    validation_chains: int
    passes: int
    accelerator: str

    def steps_of(self, run: Run) -> int:
        return self.ablation_steps if run.ablation else self.steps

    def curve_of(self, run: Run) -> list[int]:
        """Steps at which packing and the loss are measured."""
        every = self.steps_of(run) // self.points
        return [every * k for k in range(1, self.points + 1)]

    def runs(self) -> list[Run]:
        """All that the comparison is made of."""
        shorter = [REFERENCE] if self.ablation_steps != self.steps else []
        return [*MAIN, *shorter, *ABLATIONS]


class Folder:
    """Where a run's files are, and what they say."""

    def __init__(self, work: Path, run: Run):
        self.root = work / "runs" / run.name
        self.train = self.root / "train"
        self.last = self.train / "checkpoints" / "last.ckpt"
        self.snapshots = self.root / "snapshots"
        self.log = self.root / "log"
        self.test = self.root / "test"

    def curve(self, step: int) -> Path:
        return self.root / "curve" / str(step)

    def progress(self) -> tuple[int, float]:
        """Steps of the last checkpoint, and the seconds of training that it took to get there."""
        if not self.last.is_file():
            return 0, 0.0
        stored = torch.load(self.last, map_location="cpu", weights_only=True)
        return stored["global_step"], stored["callbacks"]["Timer"]["time_elapsed"]["train"]

    def logged(self, name: str) -> dict[int, float]:
        """Step → a metric of training; what was done twice, as it was the last time."""
        found: dict[int, float] = {}
        versions = self.train.glob("csv/version_*/metrics.csv")
        for path in sorted(versions, key=lambda p: int(p.parent.name.removeprefix("version_"))):
            with path.open(newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    if row.get(name):
                        found[int(row["step"])] = float(row[name])
        return found

    def chains(self) -> dict[str, dict[str, float]] | None:
        """Metrics of each chain of the test split, if they are there."""
        return read_per_chain(self.test) if self.test.is_dir() else None


def keep_settings(work: Path, settings: Settings) -> None:
    """Write them, or refuse to mix runs that cannot be compared."""
    path = work / "settings.json"
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        now = asdict(settings)
        differing = [f"{k} {before.get(k)}, now {v}" for k, v in now.items() if before.get(k) != v]
        if differing:
            raise SystemExit(
                f"error: {work} has runs with other settings ({'; '.join(differing)}): "
                "use another --work"
            )
    path.write_text(json.dumps(asdict(settings), indent=2) + "\n", encoding="utf-8")
