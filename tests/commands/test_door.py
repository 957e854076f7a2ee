"""The command ``ellipsoid-flow`` and the package ``ellipsoid_flow``: one door to everything."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import ellipsoid_flow
import model
import pipeline
from ellipsoid_flow.command import COMMANDS, usage
from ellipsoid_flow.examples import main as examples
from pipeline.commands.software import version_line
from pipeline.commands.start import start
from pipeline.commands.words import DESTRUCTIVE, dashed
from pipeline.crew.seat import Seat
from pipeline.extras import EXTRAS, MissingPackage, check_installed, explained
from tests.support import build_runs as runs
from tests.support.places import EXAMPLES, ROOT

SCRIPT = (
    "import sys\nfrom ellipsoid_flow.command import main\nif __name__ == '__main__':\n    main()\n"
)
"""What pip makes of the entry point, but for what the first line says of the interpreter."""

SHADOW = "raise SystemExit('a file of the user ran')\n"


@pytest.fixture
def door(tmp_path: Path) -> Path:
    """The console script, beside a folder that holds files of our packages' names."""
    script = tmp_path / "bin" / "ellipsoid-flow"
    script.parent.mkdir()
    script.write_text(SCRIPT)
    (tmp_path / "mine").mkdir()
    for name in ("pipeline", "model"):
        (tmp_path / "mine" / f"{name}.py").write_text(SHADOW)
    return script


def said(
    *command: object, cwd: Path, path: object = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    """What a Python says that is started in a folder, and its status."""
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(path), **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


# ---- the command ------------------------------------------------------------------------------


def test_every_command_has_one_line_of_help_and_a_module() -> None:
    for name, module in COMMANDS.items():
        assert len(re.findall(rf"(?m)^  {name} +\S.*$", usage())) == 1
        assert importlib.util.find_spec(module) is not None
    assert max(map(len, usage().splitlines())) <= 80
    modules = {p.parent.name for room in (pipeline, model) for p in _commands(room)}
    assert {*COMMANDS} - {"examples"} == modules


def _commands(package: object) -> Iterator[Path]:
    return Path(package.__path__[0]).glob("*/__main__.py")  # type: ignore[attr-defined]


def test_the_door_tells_its_commands_and_its_version(door: Path, tmp_path: Path) -> None:
    told = said(door, "--help", cwd=tmp_path)
    assert (told.returncode, told.stdout, told.stderr) == (0, usage() + "\n", "")
    told = said(door, "--version", cwd=tmp_path)
    assert (told.returncode, told.stdout) == (0, version_line() + "\n")
    told = said(door, cwd=tmp_path)
    assert (told.returncode, told.stdout, told.stderr) == (2, "", usage() + "\n")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["buidl"], "there is no command buidl; did you mean build?"),
        (["xyz"], "there is no command xyz"),
        (["--pdb-dir", "in"], "the command comes before --pdb-dir"),
    ],
)
def test_a_word_that_is_no_command_is_a_sentence_and_a_tip(
    words: list[str], sentence: str, door: Path, tmp_path: Path
) -> None:
    told = said(door, *words, cwd=tmp_path)
    assert told.returncode == 2
    assert told.stderr == f"error: {sentence}\ntip: ellipsoid-flow --help lists all\n"


@pytest.mark.parametrize("module", sorted({*COMMANDS.values()}))
def test_the_version_is_told_without_loading_the_command(
    module: str, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib, "import_module", lambda name: pytest.fail(f"{name} was loaded"))
    with pytest.raises(SystemExit) as end:
        start(module, ["--version"])
    assert end.value.code == 0
    assert capfd.readouterr().out == version_line() + "\n"


def test_help_of_a_command_is_under_the_name_that_was_typed_and_needs_no_torch(
    door: Path, tmp_path: Path
) -> None:
    (tmp_path / "absent").mkdir()
    (tmp_path / "absent" / "torch.py").write_text("raise SystemExit('torch was imported')")
    path = os.pathsep.join((str(tmp_path / "absent"), str(ROOT)))
    for words in (["build", "--help"], ["help", "build"]):
        told = said(door, *words, cwd=tmp_path, path=path)
        first = "usage: ellipsoid-flow build --out-dir PATH [options]"
        assert (told.returncode, told.stdout.splitlines()[0]) == (0, first), told.stderr


@pytest.mark.parametrize(
    ("line", "candidates"),
    [
        ("ellipsoid-flow bui", ["build"]),
        ("ellipsoid-flow build --pdb-", ["--pdb-dir", "--pdb-list"]),
        ("ellipsoid-flow nothing --pdb-", []),
    ],
)
def test_a_shell_is_told_how_a_line_may_go_on(
    line: str, candidates: list[str], door: Path, tmp_path: Path
) -> None:
    answer = tmp_path / "answer"
    asked = {"COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_TYPE": "9"}
    where = {"_ARGCOMPLETE_STDOUT_FILENAME": str(answer), "_ARGCOMPLETE_IFS": "\n"}
    said(door, cwd=tmp_path, _ARGCOMPLETE="1", **asked, **where)
    found = answer.read_text().split() if answer.exists() else []
    assert found == candidates


# ---- a folder that holds model.py and pipeline.py ----------------------------------------------


@pytest.mark.parametrize("named", [False, True], ids=["there", "there, and named by PYTHONPATH"])
def test_the_door_and_its_workers_are_not_misled_by_files_where_it_is_started(
    named: bool, door: Path, tmp_path: Path
) -> None:
    runs.write_peptides(tmp_path / "in", 3)
    mine = tmp_path / "mine"
    path = os.pathsep.join((str(mine), str(ROOT))) if named else ROOT
    words = ["build", "--pdb-dir", "../in", "--out-dir", "out", "--n-jobs", "2"]
    told = said(door, *words, cwd=mine, path=path)
    assert (told.returncode, told.stderr) == (0, "")
    assert runs.build_json(mine / "out")["counts"]["chains"] == 3


def test_a_worker_of_a_cluster_is_not_misled_by_files_where_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pipeline.py").write_text(SHADOW)
    monkeypatch.chdir(tmp_path)
    seat = Seat()
    try:
        assert seat.submit(os.getpid).result(60) != os.getpid()
    finally:
        seat.stop()


def test_a_file_that_hides_a_package_is_named_by_the_modules_and_by_the_package(
    door: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    told = said("-c", "from ellipsoid_flow import build", cwd=mine)
    assert f"ImportError: {mine / 'pipeline.py'} hides the package `pipeline`" in told.stderr
    (mine / "pipeline.py").unlink()
    told = said("-c", "from ellipsoid_flow import build, Sampler", cwd=mine)
    assert f"ImportError: {mine / 'model.py'} hides the package `model`" in told.stderr
    (mine / "model.py").rename(mine / "pipeline.py")
    told = said("-m", "model.sample", "--help", cwd=mine)
    assert told.returncode == 1
    assert f"{mine / 'pipeline.py'} hides the package `pipeline`" in told.stderr
    assert "Traceback" not in told.stderr


# ---- the package -------------------------------------------------------------------------------


def test_the_package_leads_where_its_imports_for_tools_lead() -> None:
    tree = ast.parse(Path(ellipsoid_flow.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    told = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert told == ellipsoid_flow._HOME_OF
    assert sorted(told) == sorted(ellipsoid_flow.__all__)
    assert {*told} <= {*dir(ellipsoid_flow)}


@pytest.mark.parametrize("name", ellipsoid_flow.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(ellipsoid_flow, name)
    assert value is getattr(importlib.import_module(ellipsoid_flow._HOME_OF[name]), name)
    assert value.__doc__


def test_the_package_imports_nothing_before_it_is_asked() -> None:
    code = (
        "import sys, ellipsoid_flow; assert not {'torch', 'numpy', 'pipeline', 'model'} & "
        "{*sys.modules}; ellipsoid_flow.build; assert 'torch' not in sys.modules"
    )
    assert said("-c", code, cwd=ROOT).stderr == ""
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        ellipsoid_flow.nothing  # noqa: B018


# ---- extras ------------------------------------------------------------------------------------


def test_each_module_of_an_extra_is_brought_by_it() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    brought = settings["project"]["optional-dependencies"]
    for module, extra in EXTRAS.items():
        names = [re.split(r"[<>=\[]", need)[0].replace("-", "_") for need in brought[extra]]
        assert module in names, module


def test_what_is_missing_is_said_with_the_line_that_installs_it() -> None:
    with pytest.raises(MissingPackage) as error:
        check_installed("this", "train", "sys", "no_such_module")
    line = 'no_such_module, which is not installed: pip install "ellipsoid-flow[train]"'
    assert str(error.value) == f"this needs {line}"
    assert isinstance(error.value, ImportError)
    assert explained(ModuleNotFoundError("No module named 'x'", name="x")) is None
    told = explained(ModuleNotFoundError("Requirement 'wandb>=0.12.10' not met"), "it")
    assert (
        str(told) == 'it needs wandb, which is not installed: pip install "ellipsoid-flow[wandb]"'
    )


@pytest.mark.parametrize(
    ("module", "absent", "extra"),
    [
        ("pipeline.dataset", "torch", "train"),
        ("pipeline.batching", "torch", "train"),
        ("model.attention", "torch", "train"),
        ("model.sample", "roma", "train"),
        ("model.metrics", "tmtools", "train"),
    ],
)
def test_a_module_that_lacks_a_package_says_how_to_install_it(
    module: str, absent: str, extra: str
) -> None:
    told = said("-c", f"import sys; sys.modules[{absent!r}] = None; import {module}", cwd=ROOT)
    assert told.stderr.splitlines()[-1].endswith(
        f'needs {absent}, which is not installed: pip install "ellipsoid-flow[{extra}]"'
    )


def test_a_command_that_lacks_a_package_ends_with_1_and_the_line(
    capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(name: str) -> None:
        raise ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn")

    monkeypatch.setattr(importlib, "import_module", load)
    with pytest.raises(SystemExit) as end:
        start("model.sample.command", [])
    assert end.value.code == 1
    line = 'this command needs torch, which is not installed: pip install "ellipsoid-flow[train]"'
    assert capfd.readouterr().err == f"error: {line}\n"


# ---- options -----------------------------------------------------------------------------------


def test_options_that_replace_or_delete_are_never_suggested() -> None:
    """Every option whose help begins so is among them."""
    for package in (pipeline, model):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.endswith(".options"):
                importlib.import_module(module.name)
    kinds = [kind for name in [*sys.modules] if name.endswith(".options") for kind in _kinds(name)]
    assert len(kinds) > 8
    for kind in kinds:
        doc = kind.__doc__ or ""
        for name in re.findall(r"(?m)^    (\w+)\n        (?:Delete|Replace) ", doc):
            assert dashed(name) in DESTRUCTIVE, f"{kind.__name__}.{name}"
    assert any("overwrite" in {f.name for f in dataclasses.fields(kind)} for kind in kinds)


def _kinds(module: str) -> list[type]:
    found = vars(sys.modules[module]).values()
    return [v for v in found if dataclasses.is_dataclass(v) and v.__module__ == module]


# ---- the examples ------------------------------------------------------------------------------


def test_the_examples_are_written_whole_and_nothing_of_others_is_replaced(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "here"
    for _ in range(2):
        assert examples([str(folder)]) == 0
        assert {p.name: p.read_bytes() for p in folder.iterdir()} == {
            p.name: p.read_bytes() for p in EXAMPLES.iterdir()
        }
    assert f"ellipsoid-flow build --pdb-dir {folder}" in capfd.readouterr().out
    (folder / "1ubi.pdb.zst").write_text("mine")
    assert examples([str(folder)]) == 2
    assert "1ubi.pdb.zst is there already" in capfd.readouterr().err
    assert (folder / "1ubi.pdb.zst").read_text() == "mine"
    assert examples([str(folder), "--overwrite"]) == 0
    assert (folder / "1ubi.pdb.zst").read_bytes() == (EXAMPLES / "1ubi.pdb.zst").read_bytes()
