"""The command line of training: its own options first, and unknown names refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.train.command import main
from tests.support.places import ROOT

TINY = str(ROOT / "model" / "configs" / "tiny.yaml")


def ended(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Status, output and errors."""
    try:
        status = main(arguments)
    except SystemExit as end:
        status = int(end.code or 0)
    said = capsys.readouterr()
    return status, said.out, said.err


def test_the_help_begins_with_our_own_options_and_another_has_lightning_s(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, short, _ = ended(["fit", "--help"], capsys)
    assert status == 0
    assert short.startswith("usage: python -m model.train fit --config FILE [options]\n")
    places = [
        short.index(f"  --{name} ")
        for name in (
            *("help-all", "config FILE", "run.dir", "data.path", "model.max_passes"),
            *("model.network.n_blocks", "model.loss.chi", "model.tasks.packing"),
            *("model.optimizer.lr", "last.every_n_steps", "best.keep", "ema.decay"),
            *("watch.vis_interval", "trainer.max_steps"),
        )
        if name != "config FILE"
    ]
    assert places == sorted(places)
    assert "(type:" not in short
    assert "(default: 1.0) (default: 1.0)" not in short
    for name in ("trainer.fast_dev_run", "trainer.accelerator.help", "weights_only"):
        assert f"--{name}" not in short
    status, everything, _ = ended(["fit", "--help-all"], capsys)
    assert status == 0
    assert "--trainer.fast_dev_run" in everything
    assert everything.index("--run.dir") < everything.index("--trainer.fast_dev_run")


def test_the_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    status, said, _ = ended(["--help"], capsys)
    assert status == 0
    assert "{fit,validate,test,export}" in said
    assert "export: Write the network" in said


WRONG = {
    "--model.network.n_block 7": "there is no option --model.network.n_block; did you mean "
    "--model.network.n_blocks?",
    "--n_blocks=7": "there is no option --n_blocks; did you mean --model.network.n_blocks?",
    "--trainer.max_step 7": "there is no option --trainer.max_step; did you mean "
    "--trainer.max_steps?",
    "--model.network.n_blocks seven": "--model.network.n_blocks seven: expected a whole number",
    "--model.network.attention ipaa": "--model.network.attention ipaa: expected iga or ipa",
    "stray": "unexpected 'stray': every value follows its option",
}


@pytest.mark.parametrize("words", WRONG)
def test_a_wrong_option_is_refused_with_what_may_be_meant(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, said = ended(["fit", "--config", TINY, "--data.path", "x", *words.split()], capsys)
    assert (status, said.splitlines()[0]) == (2, f"error: {WRONG[words]}")
    assert said.splitlines()[1].startswith("tip: python -m model.train fit --help lists")


def test_a_wrong_name_in_a_file_is_refused_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("model:\n  network:\n    n_block: 3\n")
    status, _, said = ended(["fit", "--config", str(config), "--data.path", "x"], capsys)
    assert status == 2
    assert "there is no option --model.network.n_block; did you mean" in said


def test_a_file_that_holds_no_options_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "mine.yaml"
    for content, reason in (
        (None, "No such file"),
        (b"# title: one: two\na: b: c\n", "is no YAML"),
        (b"\x80", "is no YAML"),
        (b"a list", "expected lines such as"),
    ):
        if content is not None:
            config.write_bytes(content)
        status, _, said = ended(["fit", f"--config={config}", "--data.path", "x"], capsys)
        assert status == 2
        assert said.startswith(f"error: --config {config}")
        assert reason in said


def test_what_is_required_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, said = ended(["fit", "--config", TINY], capsys)
    assert (status, said.splitlines()[0]) == (2, "error: --data.path is required")


def test_a_command_that_does_not_exist_is_told_those_that_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, _, said = ended(["fitt"], capsys)
    sentence = "error: there is no command fitt; give one of fit, validate, test, export"
    assert (status, said.splitlines()[0]) == (2, sentence)


@pytest.mark.parametrize(("command", "name"), [("validate", "val"), ("test", "test")])
def test_a_loss_on_no_chains_is_refused(
    command: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, said = ended([command, "--config", TINY, "--data.path", "x"], capsys)
    sentence = f"error: no chains are chosen: give --data.{name}_split or --data.{name}_where"
    assert (status, said.splitlines()) == (2, [sentence])


@pytest.mark.parametrize("option", ["--ckpt_path", "--model.init_from"])
def test_a_file_that_is_no_checkpoint_is_named(
    option: str,
    examples_dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = ROOT / "README.md"
    given = ["fit", "--config", TINY, "--data.path", str(examples_dataset)]
    more = ["--run.dir", str(tmp_path / "run"), "--run.threads", "1", option, str(page)]
    status, _, said = ended([*given, *more], capsys)
    assert status == 1
    assert said.startswith(f"error: {page} is no checkpoint; give one that model.train has written")
    assert not (tmp_path / "run").exists()


def test_a_run_folder_that_is_a_file_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    status, _, said = ended(
        ["fit", "--config", TINY, "--data.path", "x", "--run.dir", str(file)], capsys
    )
    assert (status, said) == (2, f"error: --run.dir {file} is a file; give a folder\n")
    assert file.read_text() == "mine"
