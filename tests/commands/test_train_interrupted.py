"""Ctrl-C in training, and what is said at its end."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from model.train import FlowModule
from model.train.command import main
from model.train.interruption import Interruption
from tests.support.train_runs import NO_VALIDATION, SMALL, last, text_of


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    assert {number: signal.getsignal(number) for number in before} == before


def train(dataset: Path, folder: Path, steps: int, **options: object) -> int:
    words = {
        **SMALL,
        **NO_VALIDATION,
        "data.train_split": None,
        "data.path": dataset,
        "run.dir": folder,
        "trainer.max_steps": steps,
        "trainer.accumulate_grad_batches": 2,
        "watch.vis_interval": 0,
        **{key.replace("__", "."): value for key, value in options.items()},
    }
    return main(["fit", *(f"--{name}={text_of(value)}" for name, value in words.items())])


def send(patch: pytest.MonkeyPatch, batch: int, *signals: signal.Signals) -> None:
    """In this batch of training, somebody presses Ctrl-C."""
    step = FlowModule.training_step

    def training_step(self: FlowModule, *arguments: Any) -> Any:
        if self.batches + 1 == batch:
            for number in signals:
                signal.raise_signal(number)
        return step(self, *arguments)

    patch.setattr(FlowModule, "training_step", training_step)


@pytest.fixture(scope="module")
def whole(examples_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert train(examples_dataset, folder, 4) == 0
    return folder


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_finishes_the_step_and_what_is_resumed_is_the_run_that_was_never_interrupted(
    whole: Path,
    examples_dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
) -> None:
    folder = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        send(patch, 3, number)  # the first of the two batches of step 2
        assert train(examples_dataset, folder, 4) == 130
    said = capsys.readouterr().err.splitlines()
    assert "the step is finished and a checkpoint written; once more ends it at once" in said
    command = f"python -m model.train fit --config {folder}/config.yaml --ckpt_path {last(folder)}"
    assert said[-2:] == [
        f"interrupted: the checkpoint of step 2 is in {last(folder)}; go on with",
        command,
    ]
    assert torch.load(last(folder), weights_only=True)["global_step"] == 2
    assert main(command.split()[3:]) == 0
    one, other = (torch.load(last(run), weights_only=True) for run in (whole, folder))
    assert one["global_step"] == other["global_step"] == 4
    for name, weight in one["state_dict"].items():
        assert torch.equal(weight, other["state_dict"][name]), name
    sessions = json.loads((folder / "run.json").read_text())["sessions"]
    assert [session["step"] for session in sessions] == [0, 2]


def test_a_second_ctrl_c_ends_at_once_with_the_checkpoint_of_before(
    examples_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        send(patch, 1, signal.SIGINT, signal.SIGINT)
        assert train(examples_dataset, tmp_path / "none", 4) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "interrupted: no checkpoint was written yet"
    with pytest.MonkeyPatch.context() as patch:
        send(patch, 4, signal.SIGINT, signal.SIGINT)
        assert train(examples_dataset, tmp_path / "one", 4, last__every_n_steps=1) == 130
    said = capsys.readouterr().err.splitlines()
    assert said[-2].startswith(f"interrupted: a checkpoint is in {last(tmp_path / 'one')}")
    assert torch.load(last(tmp_path / "one"), weights_only=True)["global_step"] == 1


def test_ctrl_c_before_the_first_step_leaves_no_folder(
    examples_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def setup(self: FlowModule, stage: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(FlowModule, "setup", setup)
    assert train(examples_dataset, tmp_path / "runs" / "run", 4) == 130
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine").mkdir()
    assert train(examples_dataset, tmp_path / "mine", 4) == 130
    assert (tmp_path / "mine").is_dir()  # it was there before


def test_several_processes_stop_only_where_they_agree() -> None:
    """They wait for each other at the steps that are logged."""

    class Strategy:
        asked: list[bool]

        def reduce_boolean_decision(self, decision: bool, all: bool) -> bool:
            self.asked.append(decision)
            return True  # another process was asked

    class Trainer:
        world_size, log_every_n_steps, global_step = 2, 5, 4
        strategy = Strategy()

    trainer: Any = Trainer()
    trainer.strategy.asked = []
    callback = Interruption()
    assert not callback._is_agreed(trainer)
    assert trainer.strategy.asked == []
    trainer.global_step = 5
    assert callback._is_agreed(trainer)
    assert trainer.strategy.asked == [False]


def test_the_end_names_the_checkpoint_and_the_next_command(
    whole: Path, examples_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    only = {f"model__tasks__{task}": 0 for task in ("packing", "design", "inpainting")}
    assert train(examples_dataset, folder, 1, **only) == 0
    assert capsys.readouterr().out.splitlines()[-3:] == [
        f"{last(folder)}: the network after 1 step",
        "sample it with",
        f"python -m model.sample --task unconditional --ckpt {last(folder)} --lengths 80 "
        "--out-dir out/unconditional",
    ]
    assert yaml.safe_load((whole / "config.yaml").read_text())["run"]["threads"] == 1
