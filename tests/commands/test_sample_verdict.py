"""Sampling: what is said while it runs, and of samples that are no proteins."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from model.metrics import Structure
from model.sample.command import main
from model.sample.progress import SamplingProgress
from model.sample.run import Drawing
from model.sample.sampler import Sampler, read_problems
from model.sample.verdict import verdict
from model.tasks import TASK_RECORDS, Output, Problem, Request, numbers_alone
from pipeline.commands.progress_line import ProgressLine
from pipeline.dataset import ShardDataset
from tests.support.places import ROOT
from tests.support.sample_network import UBIQUITIN, save_small_network, small_network


@pytest.fixture(scope="module")
def ckpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return save_small_network(tmp_path_factory.mktemp("ckpt") / "small.ckpt")


def judged(problem: Problem, structure: Structure) -> str:
    """The verdict on what came out for a problem."""
    n = len(structure)
    output = Output(structure, np.zeros(n), np.zeros(n), None, np.zeros(n, bool), [])
    return verdict(problem, numbers_alone(problem, output))


@pytest.fixture(scope="module")
def items(examples_dataset: Path) -> list[dict[str, Any]]:
    """The chains of the examples."""
    dataset = ShardDataset(examples_dataset, where="length >= 20")
    return [dataset[k] for k in range(len(dataset))]


def as_new(item: dict[str, Any]) -> Problem:
    """As if all of it had been made."""
    return TASK_RECORDS["unconditional"].held_out(item, 0)


def longest(items: list[dict[str, Any]]) -> dict[str, Any]:
    return max(items, key=lambda item: len(item["aatype"]))


def test_no_experimental_chain_is_taken_for_none(items: list[dict[str, Any]]) -> None:
    assert len(items) > 20
    found = {item["chain_uid"]: judged(as_new(item), Structure.from_item(item)) for item in items}
    assert found == dict.fromkeys(found, "")


def moved(structure: Structure, positions: np.ndarray) -> Structure:
    return structure.with_atoms(np.where(structure.mask[..., None], positions, 0.0))


def test_what_is_wrong_is_said_in_plain_words(items: list[dict[str, Any]]) -> None:
    problem, known = as_new(longest(items)), Structure.from_item(longest(items))
    n = len(known)
    small = judged(problem, moved(known, known.positions * 0.5))
    assert small.startswith("no protein: neighbouring CA are 1.9 Å off the 3.8 Å of proteins")
    assert "pairs of other CA are nearer than 3.6 Å" in small
    assert f"of a globular chain of {n} residues" in small
    assert "pairs of atoms clash" in small
    large = judged(problem, moved(known, known.positions * 1.5))
    assert large.startswith("no protein: neighbouring CA are 1.9 Å off")
    assert "clash" not in large


def test_a_backbone_that_was_given_is_not_judged(items: list[dict[str, Any]]) -> None:
    packing = TASK_RECORDS["packing"].held_out(longest(items), 0)
    known = Structure.from_item(longest(items))
    assert judged(packing, known) == ""
    assert judged(packing, moved(known, known.positions * 1.5)) == ""
    at_one_place = known.positions.copy()
    at_one_place[:, 5:] = at_one_place[:, 5:].mean((0, 1))
    assert judged(packing, moved(known, at_one_place)).startswith("side chains that clash: ")


def test_samples_of_an_untrained_network_are_told_apart_from_proteins(
    ckpt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--ckpt", str(ckpt), "--steps", "2", "--device", "cpu", "--number", "2"]
    task = ["--task", "unconditional", "--lengths", "50", "--out-dir", str(tmp_path / "out")]
    assert main([*arguments, *task]) == 0
    said = capsys.readouterr()
    lines = [line for line in said.out.splitlines() if ".cif: 50 residues" in line]
    assert len(lines) == 2
    assert all("; no protein: neighbouring CA are " in line for line in lines)
    assert "note: 2 of 2 samples cannot be right, as is said above" in said.err
    with (tmp_path / "out" / "metrics.csv").open() as file:
        assert all(row["verdict"].startswith("no protein: ") for row in csv.DictReader(file))


def test_a_network_of_another_kind_of_file_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = ROOT / "README.md"
    task = ["--task", "packing", "--input", str(UBIQUITIN), "--out-dir", str(tmp_path / "out")]
    assert main([*task, "--ckpt", str(page)]) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[-1:] == [
        f"error: {page} is no checkpoint; give one that model.train has written, such as "
        "RUN/checkpoints/last.ckpt"
    ]
    assert not (tmp_path / "out").exists()


class Shown(ProgressLine):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(Console(file=io.StringIO()), True, "sampling")
        self.lines: list[tuple[float, str]] = []

    def show(self, done: float, told: object, **options: object) -> None:
        self.lines.append((done, str(told)))


def test_progress_counts_proteins_and_the_steps_of_those_in_progress() -> None:
    line = Shown()
    progress = SamplingProgress(line, [30, 10, 20], 4)
    nothing: Any = None
    same: Any = lambda noisy: noisy  # noqa: E731
    network = progress.watched(same)
    progress.begin([0, 2])
    for _ in range(2):
        network(nothing)
    progress.begin([1])
    for _ in range(5):  # one more than was foreseen
        network(nothing)
    assert line.lines[0] == (0, "0 of 3 proteins, 2 proteins at step 0 of 4")
    assert line.lines[2] == (25, "0 of 3 proteins, 2 proteins at step 2 of 4")
    assert line.lines[3] == (50, "2 of 3 proteins, 1 protein at step 0 of 4")
    assert line.lines[-1] == (60, "2 of 3 proteins, 1 protein at step 4 of 4")


REQUESTS = {
    "packing": Request("packing", steps=3, input=UBIQUITIN),
    "unconditional": Request("unconditional", steps=3, lengths=["9"]),
}


@pytest.mark.parametrize("asked", REQUESTS.values(), ids=REQUESTS)
def test_the_steps_that_are_foreseen_are_those_that_are_made(asked: Request) -> None:
    flow = Sampler(small_network(), device="cpu")
    line, flows = Shown(), TASK_RECORDS[asked.task].flows
    problems, _ = read_problems(asked)
    assert len(list(flow.run(asked, problems, line=line))) == 1
    steps = Drawing.of(asked).evaluations(flows)
    assert [told.partition("at step ")[2] for _, told in line.lines] == [
        f"{step} of {steps}" for step in range(steps + 1)
    ]
