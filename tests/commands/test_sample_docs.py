"""The pages on sampling and evaluating are true: their commands run, their options exist."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch

from model.evaluate import command as evaluate
from model.evaluate import compare
from model.sample import command as sample
from model.score import command as score
from model.tasks import TASK_RECORDS
from pipeline.split.command import main as split
from tests.support.places import EXAMPLES, ROOT
from tests.support.sample_network import save_small_network

DOCS = ROOT / "docs"
SAMPLING, EVALUATING = DOCS / "sampling.md", DOCS / "evaluating.md"
DESIGN = DOCS / "design.md"
RUNNABLE = re.compile(r"(?ms)^<!-- runs -->\n```(python|sh)\n(.*?)^```$")
MAINS = {
    "model.sample": sample.main,
    "model.score": score.main,
    "model.evaluate": evaluate.main,
    "model.evaluate.compare": compare.main,
}
FAST = {
    "model.sample": ["--steps", "2", "--number", "1", "--best-of", "2"],
    "model.score": ["--orders", "1", "--steps", "2"],
    "model.evaluate": [
        "--steps",
        "2",
        "--limit",
        "2",
        "--novelty-chains",
        "2",
        "--tasks",
        "design",
    ],
    "model.evaluate.compare": [],
}


@pytest.fixture(scope="module")
def folder(examples_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with a trained network and a built and split dataset."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("pages")
    (folder / "data_manifest").symlink_to(EXAMPLES.parent)
    save_small_network(folder / "runs/tiny/checkpoints/last.ckpt")
    shutil.copytree(
        examples_dataset, folder / "out/examples", ignore=shutil.ignore_patterns("splits.parquet")
    )
    arguments = [
        str(folder / "out/examples"),
        "--method",
        "random",
        "--fractions",
        "0.7",
        "0.1",
        "0.2",
    ]
    assert split(arguments) == 0
    return folder


def blocks() -> list[object]:
    return [
        pytest.param(match[1], match[2], id=f"{page.name}:{number}")
        for page in (SAMPLING, EVALUATING, DESIGN)
        for number, match in enumerate(RUNNABLE.finditer(page.read_text(encoding="utf-8")))
    ]


@pytest.mark.parametrize(("language", "code"), blocks())
def test_what_is_marked_runnable_runs(
    language: str, code: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    if language == "python":
        exec(compile(code, "<documentation>", "exec"), {"__name__": "documentation"})
        return
    commands = [shlex.split(line, comments=True) for line in code.splitlines()]
    for words in filter(None, commands):
        assert words[:2] == ["python", "-m"]
        assert MAINS[words[2]]([*words[3:], *FAST[words[2]]]) == 0, words


@pytest.mark.parametrize(
    ("page", "module"), [(SAMPLING, "model.sample"), (EVALUATING, "model.evaluate")]
)
def test_a_page_names_the_options_of_its_command_and_no_others(
    page: Path, module: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options, named = options_of(module, capsys), named_in(page)
    # The last one is an option of `model.train export`.
    assert named - options <= {"--best-of", "--calibration"}
    assert options - named <= USUAL


def test_the_page_on_design_names_the_options_of_scores_and_some_of_samples(
    capsys: pytest.CaptureFixture[str],
) -> None:
    scores, samples = options_of("model.score", capsys), options_of("model.sample", capsys)
    named = named_in(DESIGN)
    assert named <= scores | samples
    assert scores - named <= USUAL
    of_design = {f"--{name.replace('_', '-')}" for name in TASK_RECORDS["design"].options}
    assert of_design <= named


USUAL = {"--help", "--version", "--print_config", "--quiet", "--config"}


def options_of(module: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    """Those that the help lists."""
    with pytest.raises(SystemExit):
        MAINS[module](["--help"])
    shown = capsys.readouterr().out
    return set(re.findall(r"^  (?:-h, )?(--[a-z][a-z_-]*)", shown, re.MULTILINE))


def named_in(page: Path) -> set[str]:
    return set(re.findall(r"--[a-z][a-z-]*[a-z]", page.read_text(encoding="utf-8")))
