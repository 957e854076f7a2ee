"""Runs of training for tests: tiny networks, in this process."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from model.train.command import TrainCLI, train
from tests.support.devices import DEVICE

SMALL = {
    "model.network.n_blocks": 1,
    "model.network.c_s": 16,
    "model.network.c_z": 4,
    "model.network.n_heads": 2,
    "model.network.c_hidden": 4,
    "model.network.n_gaussians": 2,
    "model.network.n_points": 2,
    "model.optimizer.warmup_steps": 2,
    "model.optimizer.schedule": "constant",
    "data.crop_size": 24,
    "data.max_batch_size": 3,
    "data.num_workers": 0,
    "data.cache": "memory",
    "data.test_split": None,
    # Sums over another number are not the same to the last bit.
    "run.threads": 1,
    "trainer.accelerator": "gpu" if DEVICE.type == "cuda" else "cpu",
    "trainer.devices": 1,
    "trainer.log_every_n_steps": 2,
    "trainer.enable_progress_bar": False,
}
NO_VALIDATION = {"data.val_split": None}


def with_splits(dataset: Path, folder: Path) -> Path:
    """A copy of a dataset in which of every five chains one validates."""
    shutil.copytree(dataset, folder)
    uids = pq.read_table(folder / "index.parquet", columns=["chain_uid"])["chain_uid"].to_pylist()
    digest = json.loads((folder / "build.json").read_text())["digest"]
    splits = ["val" if k % 5 == 0 else "train" for k in range(len(uids))]
    table = pa.table({"chain_uid": uids, "split": splits})
    pq.write_table(table.replace_schema_metadata({"digest": digest}), folder / "splits.parquet")
    return folder


def fit(
    dataset: Path, folder: Path, steps: int, command: str = "fit", **options: object
) -> TrainCLI:
    """Train, or what else the command does; double underscores of names are dots."""
    given = {key.replace("__", "."): value for key, value in options.items()}
    words = {
        **SMALL,
        "data.path": dataset,
        "run.dir": folder,
        "trainer.max_steps": steps,
        **given,
    }
    return train([command, *(f"--{name}={text_of(value)}" for name, value in words.items())])


def text_of(value: object) -> str:
    """An option's value as the command line takes it."""
    return str(value) if isinstance(value, Path | str) else json.dumps(value)


def logged(folder: Path, session: int = 0) -> list[dict[str, str]]:
    """Rows of metrics.csv that training wrote."""
    with (folder / "csv" / f"version_{session}" / "metrics.csv").open() as file:
        return [row for row in csv.DictReader(file) if row.get("train/loss")]


def last(folder: Path) -> Path:
    return folder / "checkpoints" / "last.ckpt"
