"""How many threads a run computes with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import yaml

from model.train import threads
from model.train.command import train
from model.train.threads import CHOSEN, choose_threads, idle
from pipeline.errors import UsageError
from tests.support.train_runs import NO_VALIDATION, fit, last


@pytest.fixture(autouse=True)
def nobody_has_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (CHOSEN, *threads.FIXED):
        monkeypatch.delenv(name, raising=False)


def machine(patch: pytest.MonkeyPatch, cores: int, busy: float) -> None:
    patch.setattr(threads, "cpu_count", lambda: cores)
    patch.setattr(threads, "busy_cores", lambda: busy)
    patch.setattr(torch, "get_num_threads", lambda: 64)


@pytest.mark.parametrize(
    ("cores", "busy", "processes", "most", "number"),
    [
        (2, 0.1, 1, 2, 2),
        (2, 1.0, 1, 2, 1),  # another training
        (2, 0.6, 1, 2, 1),
        (2, 2.0, 1, 2, 1),
        (1, 0.0, 1, 1, 1),
        (16, 3.9, 1, 8, 8),
        (16, 12.0, 1, 8, 4),
        (16, 0.1, 4, 16, 4),
        (2, 0.0, 4, 2, 1),
    ],
)
def test_a_run_takes_the_cores_that_are_idle(
    cores: int, busy: float, processes: int, most: int, number: int
) -> None:
    assert idle(cores, busy, processes, most) == number


def test_the_load_is_that_of_the_whole_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: 25.0)
    monkeypatch.setattr(psutil, "cpu_count", lambda: 8)
    assert threads.busy_cores() == 2.0


def test_the_reason_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 2, 1.04)
    assert str(choose_threads(None)) == (
        "threads: 1 (1.0 of 2 cores are busy); --run.threads gives another number"
    )
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    assert str(choose_threads(None)).startswith("threads: 64 (as OMP_NUM_THREADS says)")
    monkeypatch.setenv(CHOSEN, "3")
    assert choose_threads(None).number == 3


def test_a_number_is_chosen_once_and_a_resumed_run_keeps_it(
    examples_dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, now = tmp_path / "run", torch.get_num_threads()
    options: dict[str, Any] = {**NO_VALIDATION, "data.train_split": None, "run.threads": None}
    options = {key.replace(".", "__"): value for key, value in options.items()}
    with pytest.MonkeyPatch.context() as patch, caplog.at_level("INFO"):
        patch.setattr(threads, "cpu_count", lambda: 8)
        patch.setattr(threads, "busy_cores", lambda: 5.0)
        patch.setattr(threads, "idle", lambda *_: 3)
        fit(examples_dataset, folder, 1, **options)
        assert "threads: 3 (5.0 of 8 cores are busy)" in caplog.text
    assert torch.get_num_threads() == now  # a program that trains has its own number again
    config = folder / "config.yaml"
    assert yaml.safe_load(config.read_text())["run"]["threads"] == 3
    with pytest.MonkeyPatch.context() as patch, caplog.at_level("INFO"):
        patch.setattr(threads, "busy_cores", lambda: pytest.fail("it was chosen already"))
        fit(examples_dataset, folder, 2, **options, ckpt_path=last(folder))
        assert "threads: 3 (as the run had before)" in caplog.text
        resume = ["--trainer.max_steps=3", f"--ckpt_path={last(folder)}"]
        train(["fit", f"--config={config}", *resume])
    sessions = json.loads((folder / "run.json").read_text())["sessions"]
    assert [session["threads"] for session in sessions] == [3, 3, 3]


def test_no_threads_are_wrong_usage(examples_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="threads is at least 1, found 0"):
        fit(examples_dataset, tmp_path / "run", 1, run__threads=0)
