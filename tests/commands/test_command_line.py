"""Words of a command line, and the options that they are taken for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.commands.command_line import parse_options


@dataclass(frozen=True)
class OneFolder:
    """Look at a folder.

    Parameters
    ----------
    dataset
        Folder.
    quick
        Less.
    sample
        How many.
    chain
        Which.
    """

    dataset: Path
    quick: bool = False
    sample: float | None = None
    chain: list[str] | None = None


@dataclass(frozen=True)
class SomeFolders:
    """Join folders.

    Parameters
    ----------
    sources
        Folders.
    quick
        Less.
    """

    sources: list[str]
    quick: bool = False


def one(line: str, first: str | None = "dataset") -> OneFolder:
    return parse_options(OneFolder, "look", "Look.", line.split(), first=first)


def some(line: str) -> SomeFolders:
    return parse_options(SomeFolders, "join", "Join.", line.split(), first="sources")


@pytest.mark.parametrize(
    "line",
    [
        "out --quick --sample 3",
        "--quick out --sample 3",
        "--sample 3 out --quick",
        "--sample=3 --quick out",
        "--quick true out --sample 3",
        "--quick --sample 3 --dataset out",
        "--dataset=out --quick --sample 3",
    ],
)
def test_the_folder_needs_no_option_wherever_no_other_takes_it(line: str) -> None:
    assert one(line) == OneFolder(Path("out"), quick=True, sample=3)


def test_a_flag_that_is_switched_off_keeps_its_word() -> None:
    assert one("--quick false out") == OneFolder(Path("out"))


def test_a_list_takes_all_words_up_to_the_next_option() -> None:
    assert one("out --chain a b --quick").chain == ["a", "b"]
    assert some("a b c --quick") == SomeFolders(["a", "b", "c"], quick=True)
    assert some("--quick a b") == SomeFolders(["a", "b"], quick=True)


def test_what_a_wrong_command_line_asked_for_is_not_done_by_the_next(
    capfd: pytest.CaptureFixture,
) -> None:
    with pytest.raises(SystemExit):
        parse_options(
            OneFolder, "look", "", ["a", "--print_config", "--sample", "x"], first="dataset"
        )
    assert parse_options(OneFolder, "look", "", ["a"], first="dataset") == OneFolder(Path("a"))
    assert capfd.readouterr().out == ""


def test_a_list_that_is_given_twice_has_the_words_of_both() -> None:
    assert one("out --chain a --quick --chain b c --chain=d").chain == ["a", "b", "c", "d"]


def test_a_list_of_the_command_line_replaces_that_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "options.yaml"
    file.write_text("chain: [x, y]\nsample: 2\n")
    found = one(f"out --chain a --config {file} --chain b")
    assert found == OneFolder(Path("out"), sample=2, chain=["a", "b"])


@pytest.mark.parametrize(
    ("line", "first", "said"),
    [
        ("out other", "dataset", "unexpected 'other': every value follows its option"),
        ("out --sample 3 other", "dataset", "unexpected 'other': every value follows its option"),
        ("out --quick other", "dataset", "--quick other: expected true, false or nothing"),
        ("--dataset out --quick other", "dataset", "--quick other: expected true, false"),
        ("-x out", "dataset", "unexpected '-x'"),
        ("out", None, "unexpected 'out': every value follows its option"),
        ("--quick out --dataset a", None, "--quick out: expected true, false or nothing"),
        ("--quick", "dataset", "--dataset is required"),
    ],
)
def test_a_word_that_is_nobodys_is_one_line_and_a_tip(
    line: str, first: str | None, said: str, capfd: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as end:
        one(line, first)
    assert end.value.code == 2
    error, tip = capfd.readouterr().err.splitlines()
    assert error.startswith(f"error: {said}")
    assert tip == "tip: look --help lists all options"


def test_help_says_which_option_may_be_left_out(capfd: pytest.CaptureFixture) -> None:
    for line, usage in (
        ("--help", "usage: look [--dataset] PATH [options]"),
        ("-h", "usage: look [--dataset] PATH [options]"),
    ):
        with pytest.raises(SystemExit) as end:
            one(line)
        assert end.value.code == 0
        assert capfd.readouterr().out.splitlines()[0] == usage
