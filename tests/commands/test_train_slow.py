"""Long runs: no step throws the loss, two processes train as one, `tiny` learns in minutes."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from model.flow import clean_from_batch
from model.losses import LossTerm
from model.network import NetworkConfig
from model.train import FlowModule, OptimizerConfig
from model.train.check_batch import check_batch
from model.train.optimizer import build_optimizer
from pipeline.batching import ProteinDataModule
from pipeline.build.command import main as build
from tests.support.flow_batches import batch_of, random_item
from tests.support.places import EXAMPLES, ROOT, STRUCTURES, SUPPORT
from tests.support.train_runs import last, logged

EDGE = STRUCTURES / "edge"
"""Damaged, tiny and strange files, where they are at hand."""

CA_POOR = """\
ATOM      1  N   ALA A   1       0.000   0.000   0.000  1.00 10.00           N
ATOM      2  CA  ALA A   1       1.458   0.000   0.000  1.00 10.00           C
ATOM      3  C   ALA A   1       2.009   1.420   0.000  1.00 10.00           C
ATOM      4  O   ALA A   1       1.251   2.390   0.000  1.00 10.00           O
ATOM      5  CA  LEU A   2       3.800   2.900   0.000  1.00 10.00           C
ATOM      6  CA  LYS A   3       6.900   4.800   0.500  1.00 10.00           C
ATOM      7  N   SER A   4       9.000   5.200   1.000  1.00 10.00           N
ATOM      8  CA  SER A   4      10.400   5.500   1.200  1.00 10.00           C
ATOM      9  C   SER A   4      11.000   6.800   0.700  1.00 10.00           C
ATOM     10  CA  GLU A   5      13.000   8.000   2.000  1.00 10.00           C
ATOM     11  N   TRP A   6     185.000   9.000   2.500  1.00 10.00           N
ATOM     12  CA  TRP A   6      14.500  11.000   3.000  1.00 10.00           C
ATOM     13  C   TRP A   6      15.900  11.400   3.300  1.00 10.00           C
END
"""

STEPS = 2_000
WARM_UP, WINDOW, BOUND = 50, 500, 10.0
"""A step is compared with the median of up to 500 steps before it, once there are 50."""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def mixed_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples, chains of few CA and of broken residues, and the strange files at hand."""
    folder = tmp_path_factory.mktemp("mixed")
    inputs = folder / "inputs"
    inputs.mkdir()
    (inputs / "capoor.pdb").write_text(CA_POOR)
    for name, source in (("examples", EXAMPLES), ("edge", EDGE)):
        if source.is_dir():
            (inputs / name).symlink_to(source)
    arguments = ["--pdb-dir", str(inputs), "--out-dir", str(folder / "out"), "--n-jobs", "1"]
    options = ["--quiet", "--max-length", "600", "--allow-failures", "1000"]
    assert build([*arguments, *options]) == 0
    return folder / "out"


def over_the_bound(values: list[float]) -> list[tuple[int, float]]:
    """(step, ratio to the running median) of the steps that exceed it more than tenfold."""
    found = []
    for k in range(WARM_UP, len(values)):
        median = statistics.median(values[max(0, k - WINDOW) : k])
        if values[k] > BOUND * median:
            found.append((k, values[k] / median))
    return found


@pytest.mark.slow
def test_no_step_of_any_term_exceeds_ten_times_its_running_median(mixed_dataset: Path) -> None:
    data = ProteinDataModule(
        str(mixed_dataset),
        train_split=None,
        val_split=None,
        test_split=None,
        crop_size=48,
        max_batch_size=4,
        num_workers=0,
        cache="memory",
    )
    data.setup("fit")
    network = NetworkConfig(
        n_blocks=1, c_s=16, c_z=4, n_heads=2, c_hidden=4, n_gaussians=2, n_points=2
    )
    torch.manual_seed(0)
    module = FlowModule(network=network, dump_bad_batches=False)
    config = OptimizerConfig(lr=2e-3, schedule="constant")
    optimizer, schedule = build_optimizer(module.network, config, STEPS)
    values: dict[str, list[float]] = {}
    lengths: set[int] = set()
    while module.batches < STEPS:
        for batch in data.train_dataloader():
            check_batch(batch)
            lengths.update(batch["lengths"].tolist())
            out = module.training_step(batch, 0)
            optimizer.zero_grad()
            out["loss"].backward()
            torch.nn.utils.clip_grad_norm_(module.network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            terms: dict[str, LossTerm] = out["terms"]
            for name, term in terms.items():
                if not term.is_empty:
                    values.setdefault(name, []).append(term.mean.item())
            if module.batches == STEPS:
                break
    assert min(lengths) < 10
    assert all(len(found) > STEPS / 2 for found in values.values())
    assert {name: over_the_bound(found) for name, found in values.items()} == {
        name: [] for name in values
    }


def test_a_step_far_above_the_others_is_over_the_bound() -> None:
    values = [1.0 + 0.1 * (k % 3) for k in range(300)]
    assert over_the_bound(values) == []
    values[200] = 12.0
    assert [k for k, _ in over_the_bound(values)] == [200]


def test_a_residue_whose_atoms_are_torn_apart_was_not_measured() -> None:
    batch = batch_of(random_item("a", 8, 0))
    batch["atom14_positions"][0, 3, 0] += 170.0  # N
    batch["atom14_positions"][0, 5, 4] += 40.0  # CB
    batch["atom14_positions"][0, 6, 3] += 40.0  # O
    clean = clean_from_batch(batch)
    assert clean.frame_mask[0].tolist() == [True] * 3 + [False] + [True] * 4
    assert not clean.atoms_mask[0, 3].any()
    assert not clean.atoms_mask[0, 5, 0]
    assert clean.oxygen_mask[0].tolist() == [True] * 3 + [False] * 1 + [True] * 2 + [False, True]
    assert clean.backbone.abs().max() < 10
    assert clean.atoms.abs().max() < 20


def command(*words: object, seconds: float = 240) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "model.train", *map(str, words)],
        cwd=ROOT,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(SUPPORT),  # of rank_record
        },
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_two_processes_train_together_and_resume(examples_dataset: Path, tmp_path: Path) -> None:
    """Over gloo, on the CPU."""
    words = [
        *("fit", "--config", "model/configs/tiny.yaml", "--data.path", examples_dataset),
        *("--model.network.n_blocks", 1, "--model.optimizer.decay_steps", 10),
        *("--trainer.strategy", "ddp", "--trainer.devices", 2),
        *("--trainer.log_every_n_steps", 4, "--trainer.callbacks", "rank_record.RankRecord"),
    ]
    whole, run = tmp_path / "whole", tmp_path / "run"
    for folder, steps, more in (
        (whole, 8, []),
        (run, 6, []),
        (run, 8, ["--ckpt_path", last(run)]),
    ):
        record = ("--trainer.callbacks.folder", folder)
        command(*words, *record, "--run.dir", folder, "--trainer.max_steps", steps, *more)
    assert torch.load(last(whole), weights_only=True)["batches"] == 8  # of each process
    # Gradients are exchanged: other batches, and one network.
    first, second = (json.loads((whole / f"rank{k}.json").read_text()) for k in (0, 1))
    assert first["weights"] == second["weights"]
    for one, other in zip(first["batches"], second["batches"], strict=True):
        assert one
        assert not set(one) & set(other)
    # Interrupted between two lines of the log, a run goes on exactly, in what it logs as well.
    assert json.loads((run / "rank1.json").read_text())["weights"] == first["weights"]
    rows = [*logged(run), *logged(run, 1)]
    assert [int(row["step"]) for row in rows] == [4, 8]
    for row, expected in zip(rows, logged(whole), strict=True):
        for name, value in expected.items():
            if name.startswith(("train/", "train_by_time/", "tasks/")) and value:
                assert float(row[name]) == pytest.approx(float(value), rel=1e-6), name


@pytest.mark.slow
def test_weights_and_biases_keeps_all_that_is_logged_without_a_network(
    examples_dataset: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command(
        *("fit", "--config", "model/configs/tiny.yaml", "--data.path", examples_dataset),
        *("--run.dir", run, "--model.network.n_blocks", 1, "--trainer.max_steps", 4),
        *("--trainer.log_every_n_steps", 2, "--watch.vis_interval", 4),
        *("--trainer.logger", "WandbLogger", "--trainer.logger.project", "ellipsoids"),
        *("--trainer.logger.offline", "true"),
    )
    (stored,) = run.glob("wandb/offline-run-*/run-*.wandb")
    content = stored.read_bytes()
    for name in ("train/loss", "gamma/mean", "residues_per_second", "attention/layer0/geo_bias"):
        assert name.encode() in content, name
    assert last(run).is_file()


@pytest.mark.slow
def test_tiny_learns_from_the_examples_in_less_than_three_minutes(
    examples_dataset: Path, tmp_path: Path
) -> None:
    began = time.monotonic()
    printed = command(
        *("fit", "--config", "model/configs/tiny.yaml", "--data.path", examples_dataset),
        *("--run.dir", tmp_path / "run"),
        seconds=600,
    )
    # Twice the time, for a machine that others use as well.
    assert time.monotonic() - began < 360
    losses = [float(row["train/loss"]) for row in logged(tmp_path / "run")]
    assert "residues/s" in printed
    assert statistics.mean(losses[-3:]) < 0.75 * losses[0]
    small = tmp_path / "tiny.ckpt"
    command("export", last(tmp_path / "run"), small)
    assert small.stat().st_size <= 5_000_000


@pytest.mark.slow
def test_the_page_about_training_is_true(examples_dataset: Path, tmp_path: Path) -> None:
    """Its snippets run, one after the other, where the examples have been built."""
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    blocks = re.findall(r"(?ms)^<!-- runs -->\n```(python|sh)\n(.*?)^```$", page)
    assert [language for language, _ in blocks] == ["sh", "python"]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "examples").symlink_to(examples_dataset)
    (tmp_path / "model").symlink_to(ROOT / "model")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    for language, text in blocks:
        words = ["bash", "-euc", text] if language == "sh" else [sys.executable, "-c", text]
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
