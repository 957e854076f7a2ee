"""``python -m model.visualize``: any chain, any checkpoint, and what is said when there is none."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from model.visualize.command import main, near_names
from tests.support.places import ROOT
from tests.support.sample_network import save_small_network

PAGE = ROOT / "docs" / "watching-attention.md"
RUNNABLE = re.compile(r"(?ms)^<!-- runs -->\n```sh\n(.*?)^```$")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def ckpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_network(tmp_path_factory.mktemp("network") / "small.ckpt")


def run(dataset: Path, ckpt: Path, out: Path, *more: str, chain: str = "1as5_1_A") -> int:
    given = ["--dataset", str(dataset), "--ckpt", str(ckpt), "--out-dir", str(out)]
    return main([*given, "--chain", chain, *more])


def test_a_chain_gets_its_figures_and_a_line_per_layer(
    examples_dataset: Path, ckpt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--heads", "1", "--task", "unconditional", "--time", "0.2"]
    assert run(examples_dataset, ckpt, tmp_path / "out", *more) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "layer0_attention_overview_b0_h1.png",
        "layer0_attention_profiles_b0_h1.png",
        "layer0_distance_statistics_b0_h1.png",
    ]
    number = r"-?\d+\.\d+"
    line = (
        rf"\[IGA Vis Layer 0\] Step 0: γ={number}, geo_bias={number}, local_attn={number}, "
        rf"global_attn={number}"
    )
    assert re.match(line, capsys.readouterr().out)


@pytest.mark.parametrize(
    ("more", "chain", "status", "said"),
    [
        ([], "1as5_1_B", 2, "no chain 1as5_1_B among the 35 .* did you mean 1as5_1_A"),
        ([], "1AS5_1_A", 2, "did you mean 1as5_1_A"),
        ([], "nothing like it", 2, "no chain nothing like it .* such as "),
        (["--ckpt", "nowhere.ckpt"], "1as5_1_A", 1, "no checkpoint nowhere.ckpt"),
        (["--dataset", "nowhere"], "1as5_1_A", 1, "nowhere"),
        (["--layers", "1"], "1as5_1_A", 2, "no layer 1: the network has 0 to 0"),
        (["--heads", "0", "9"], "1as5_1_A", 2, "no head 9: the network has 0 to 1"),
        (["--time", "1.5"], "1as5_1_A", 2, "--time"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line_and_nothing_is_written(
    more: list[str],
    chain: str,
    status: int,
    said: str,
    examples_dataset: Path,
    ckpt: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(examples_dataset, ckpt, tmp_path / "out", *more, chain=chain) == status
    printed = capsys.readouterr().err
    assert re.search(said, printed), printed
    assert printed.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_with_files_is_left_alone(
    examples_dataset: Path, ckpt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").write_text("")
    assert run(examples_dataset, ckpt, tmp_path) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_names_of_the_same_entry_are_nearer_than_similar_ones() -> None:
    known = ["1abc_1_A", "1abd_1_Z", "9xyz_1_B"]
    assert near_names("1abd_1_A", known) == ["1abd_1_Z"]
    assert near_names("1abx_1_A", known)[0] == "1abc_1_A"
    assert near_names("????", known) == []


def test_the_page_names_the_options_of_the_command_and_no_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    options = set(re.findall(r"^  (?:-h, )?(--[a-z][a-z_-]*)", shown, re.MULTILINE))
    text = PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"(?<![\w.-])--[a-z][a-z-]*[a-z](?![\w.])", text))
    assert named <= options
    assert options - named <= {"--help", "--version", "--print_config", "--quiet", "--config"}


@pytest.mark.slow
def test_the_commands_of_the_page_run(
    examples_dataset: Path, ckpt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "examples").symlink_to(examples_dataset)
    (tmp_path / "runs/tiny/checkpoints").mkdir(parents=True)
    (tmp_path / "runs/tiny/checkpoints/last.ckpt").symlink_to(ckpt)
    commands = [
        shlex.split(line, comments=True)
        for block in RUNNABLE.findall(PAGE.read_text(encoding="utf-8"))
        for line in block.splitlines()
    ]
    ours = [words for words in commands if words[:3] == ["python", "-m", "model.visualize"]]
    assert ours
    for words in ours:
        assert main(words[3:]) == 0
