"""How commands end: what each says of a failure, and its exit status."""

from __future__ import annotations

import errno
import importlib
import os
import pkgutil
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType

import pytest

import model
import pipeline
from model.checkpoint import own_networks
from pipeline.build import planned
from pipeline.built.errors import OutputError
from pipeline.commands.start import start
from pipeline.commands.termination import ended_at_once, interruptions_wait, terminable
from pipeline.crew.crew import WorkersFail
from pipeline.errors import Failure, UsageError
from pipeline.files.lock import file_lock
from pipeline.files.storage import StorageError
from pipeline.sources import Unreadable
from tests.support import build_runs as runs
from tests.support.places import DATA, ROOT

TRANSCRIPT = DATA / "endings.txt"
"""Command lines; what each says on stderr; its status in brackets."""

COMMANDS = {
    "pipeline.build": ("build", "--pdb-dir in --out-dir out"),
    "pipeline.embed": ("embed", "set --model m"),
    "pipeline.export": ("export", "set --fasta out"),
    "pipeline.fetch": ("fetch", "--manifest entries.csv --out-dir out"),
    "pipeline.report": ("_report", "set"),
    "pipeline.split": ("split", "set"),
    "pipeline.subset": ("subset", "set --out-dir out"),
    "pipeline.upgrade": ("upgrade", "set"),
    "pipeline.verify": ("verify", "set"),
    "model.evaluate": ("evaluate", "--dataset set --out-dir out"),
    "model.sample": ("sample", "--task unconditional --lengths 9 --out-dir out"),
    "model.score": ("score", "--input in --out-dir out"),
    "model.train": ("train", "fit"),
    "model.visualize": ("visualize", "--dataset set --chain x --out-dir out"),
}
"""Of each command, the function that does the work, and a command line that gets so far."""


def module_of(command: str) -> ModuleType:
    return importlib.import_module(f"{command}.command")


def ended(command: str, words: str, capfd: pytest.CaptureFixture) -> tuple[str, int]:
    """What a command says, and its status."""
    try:
        status = module_of(command).main(shlex.split(words))
    except SystemExit as end:
        if isinstance(end.code, str):  # as the interpreter does
            return f"{capfd.readouterr().err}{end.code}\n", 1
        status = end.code
    return capfd.readouterr().err, status


def endings() -> dict[str, tuple[str, int]]:
    """The transcript by its command lines."""
    found = re.findall(
        r"^\$ (.*)\n((?:[^$\[].*\n)*)\[(\d+)\]\n", TRANSCRIPT.read_text(encoding="utf-8"), re.M
    )
    return {line: (said, int(status)) for line, said, status in found}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs, datasets of them, and what is wrong with some."""
    folder = tmp_path_factory.mktemp("endings")
    runs.write_peptides(folder / "in", 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for out in ("set", "planned"):
            runs.build_here(Path("in"), Path(out), quiet=True)
        shutil.rmtree("planned")
        module_of("pipeline.build").main(shlex.split("--pdb-dir in --out-dir planned --plan"))
    (folder / "file").write_bytes(b"\xff\xfe\x00\n")
    (folder / "list.txt").write_text("9zzz\n")
    (folder / "taken.cif").write_text("mine")
    (folder / "entries.csv").write_text("entry_id\n1ubi\n")
    for copy in ("damaged", "split", "held"):
        shutil.copytree(folder / "set", folder / copy)
    for shard in (folder / "damaged" / "shards").iterdir():
        shard.unlink()
    (folder / "split" / "splits.parquet").write_text("")
    (folder / "broken").mkdir()
    (folder / "broken" / "build.json").write_text("{")
    return folder


@pytest.fixture
def here(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, where the command runs."""
    shutil.copytree(folder, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.mark.parametrize("line", endings())
def test_a_failure_ends_with_its_sentence_and_status(
    line: str, here: Path, capfd: pytest.CaptureFixture
) -> None:
    command, _, words = line.partition(" ")
    (here / "held" / ".fetch").mkdir()
    with file_lock(here / "held/.build/lock"), file_lock(here / "held/.fetch/lock"):
        said, status = ended(command, words, capfd)
    said = said.replace(str(here), "HERE")
    said = said.replace(
        f"the package has {' and '.join(own_networks())}", "the package has NETWORKS"
    )
    assert (re.sub(r"\(process .*?\)", "(HOLDER)", said), status) == endings()[line]


INTERRUPTED = {
    "pipeline.build": "the parts in flight are dropped, those that were finished are kept; run the "
    "same command again to go on",
    "pipeline.embed": "the same command goes on behind the last part",
    "pipeline.export": "the files that are there are whole",
    "pipeline.fetch": "files that were finished are kept; run the same command again to go on",
    "pipeline.report": "no page was written",
    "pipeline.split": "nothing was written",
    "pipeline.subset": "out is as it was, or whole",
    "pipeline.upgrade": "no shard is half-written, all can be read, and the same command goes on",
    "pipeline.verify": "no file of the dataset is half-written",
    "model.evaluate": "the files that are there are whole",
    "model.sample": "the files that are there are whole",
    "model.score": "the files that are there are whole",
    "model.train": "what is written is whole",
    "model.visualize": "the files that are there are whole",
}


def ended_by(error: BaseException, command: str, capfd: pytest.CaptureFixture) -> tuple[str, int]:
    """What a command says whose work ends with an exception, and its status."""

    def work(*_: object) -> None:
        raise error

    function, words = COMMANDS[command]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module_of(command), function, work)
        return ended(command, words, capfd)


@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_ends_with_130_and_what_is_left(command: str, capfd: pytest.CaptureFixture) -> None:
    found = ended_by(KeyboardInterrupt(), command, capfd)
    assert found == (f"interrupted: {INTERRUPTED[command]}\n", 130)


FULL_DISK = {
    "pipeline.embed": "cannot write into set: ",
    "pipeline.export": "cannot write: ",
    "pipeline.report": "cannot write the report to set: ",
    "pipeline.subset": "cannot write out: ",
    "pipeline.upgrade": "cannot write to set: ",
    "pipeline.verify": "",
    "model.evaluate": "cannot write: ",
    "model.sample": "cannot write: ",
    "model.score": "cannot write: ",
    "model.train": "cannot write: ",
    "model.visualize": "cannot write: ",
}
"""What stands before the system's words; the others say it where they write."""


@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_ends_with_1_and_the_system_s_words(
    command: str, capfd: pytest.CaptureFixture
) -> None:
    error = OSError(errno.ENOSPC, "No space left on device")
    if command in FULL_DISK:
        found = ended_by(error, command, capfd)
        assert found == (f"error: {FULL_DISK[command]}{error}\n", 1)
    else:
        with pytest.raises(OSError, match="No space"):
            ended_by(error, command, capfd)


@pytest.mark.parametrize("cause", [None, StorageError("no answer"), OSError("no space")])
def test_a_build_that_cannot_write_says_how_it_goes_on(
    cause: OSError | None, capfd: pytest.CaptureFixture
) -> None:
    error = OutputError("cannot write out")
    error.__cause__ = cause
    # A repair that failed has changed nothing: there is nothing to go on with.
    assert ended_by(error, "pipeline.verify", capfd) == ("error: cannot write out\n", 1)
    kept = "The parts that were finished are kept: "
    remedy = "make room (or mend the permissions) and run the same command again."
    if isinstance(cause, StorageError):
        remedy = "the same command goes on from there."
    found = ended_by(error, "pipeline.build", capfd)
    assert found == (f"error: cannot write out\n{kept}{remedy}\n", 1)


def test_a_build_whose_workers_fail_says_how_it_goes_on(capfd: pytest.CaptureFixture) -> None:
    found = ended_by(WorkersFail("workers die"), "pipeline.build", capfd)
    remedy = "The parts that were finished are kept; the same command goes on from there."
    assert found == (f"error: workers die\n{remedy}\n", 1)


def test_an_input_folder_that_cannot_be_searched_is_wrong_usage(
    here: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def discover(*_: object, **__: object) -> None:
        raise Unreadable("the folder in cannot be read: Permission denied")

    monkeypatch.setattr(planned, "discover", discover)
    found = ended("pipeline.build", COMMANDS["pipeline.build"][1], capfd)
    assert found == ("error: the folder in cannot be read: Permission denied\n", 2)


# --- all errors --------------------------------------------------------------------------------

ANSWERED = {
    "pipeline.parsing.errors.ParseError": "costs a file, which is counted",
    "pipeline.parsing.read_chains._RejectedError": "costs a chain, which is counted",
    "pipeline.sources.errors.SourceError": "costs a file; a search that fails is a UsageError",
    "pipeline.built.build_summary.NotASummary": "a reader says of which folder; verify counts it",
    "pipeline.built.build_summary.OtherSchema": "a reader says of which folder; verify counts it",
    "pipeline.crew.time_limit.FileTimeout": "costs a file, which is counted",
    "pipeline.crew.memory_limit.LacksMemory": "costs a file, which is counted",
    "pipeline.crew.seat.WorkerDied": "another worker gets the part, without the file that kills",
    "pipeline.crew.clusters.WorkerLost": "another worker gets the part",
    "pipeline.crew.cluster_task.Revoked": "a worker's reply to a build that has ended",
    "pipeline.crew.cluster_task.Unfit": "a worker's reply; of an array job's task a UsageError",
    "pipeline.fetch.entry_ids.BadEntryId": "costs an entry, which is counted",
    "pipeline.fetch.problems.FetchProblem": "costs an entry, which is counted",
    "pipeline.fetch.problems.Stopped": "ends a thread",
    "pipeline.files.lock.Held": "each command says in words of its own what is in use",
    "pipeline.subset.splits.SplitsLeftOut": "a note beside a subset that is finished",
    "model.tasks.inputs.InputError": "costs an input, which is told",
}
"""Errors that somebody answers before they reach a command's `main`, and their kinds: how."""


def our_errors() -> list[type[BaseException]]:
    """Every exception class of the packages."""
    for package in (pipeline, model):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    found, left = [], [BaseException]
    while left:
        for kind in left.pop().__subclasses__():
            left.append(kind)
            if kind.__module__.partition(".")[0] in ("pipeline", "model") and kind not in found:
                found.append(kind)
    return found


def name_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def test_an_error_that_nobody_answers_is_wrong_usage_or_a_failure() -> None:
    kinds = our_errors()
    assert {name_of(kind) for kind in kinds} >= {*ANSWERED}
    for kind in kinds:
        is_answered = any(name_of(parent) in ANSWERED for parent in kind.__mro__)
        roots = [root for root in (UsageError, Failure) if issubclass(kind, root)]
        assert len(roots) == (not is_answered), name_of(kind)


def test_no_two_errors_have_one_name() -> None:
    names = [kind.__name__ for kind in our_errors()]
    assert len(names) == len({*names})


@pytest.mark.parametrize("command", COMMANDS)
def test_every_error_ends_every_command_alike(command: str, capfd: pytest.CaptureFixture) -> None:
    for kind in our_errors():
        if issubclass(kind, UsageError | Failure):
            said, status = ended_by(kind("a sentence"), command, capfd)
            assert said.partition("\n")[0] == "error: a sentence", name_of(kind)
            assert status == (2 if issubclass(kind, UsageError) else 1), name_of(kind)


@pytest.mark.parametrize("error", [RuntimeError("a defect"), ValueError("a defect")])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_defect_is_shown_where_it_happened(
    command: str, error: Exception, capfd: pytest.CaptureFixture
) -> None:
    with pytest.raises(type(error), match="a defect"):
        ended_by(error, command, capfd)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_ctrl_c_while_the_process_ends_is_not_answered_any_more(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module_of(command), "main", lambda arguments: 7)
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit) as end:
            start(f"{command}.command", [])
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGINT, before)
    assert end.value.code == 7


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_ends_though_a_module_that_it_loads_swallows_the_interruption(
    number: signal.Signals, tmp_path: Path
) -> None:
    (tmp_path / "swallows.py").write_text(
        "import os, time\n"
        "try:\n"
        f"    os.kill(os.getpid(), {int(number)})\n"
        "    time.sleep(5)\n"
        "except BaseException:\n"
        "    pass\n"
        "def main(arguments):\n"
        "    print('went on')\n"
    )
    begin = "from pipeline.commands.start import start; start('swallows', [])"
    ended = subprocess.run(
        [sys.executable, "-c", begin],
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 130
    assert ended.stdout == ""
    assert ended.stderr == "interrupted before anything was begun\n"


@pytest.mark.parametrize("block", [terminable, ended_at_once, interruptions_wait])
def test_a_signal_that_another_than_python_answers_goes_on_being_answered_by_it(
    block: Callable[[], AbstractContextManager[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced: list[int] = []
    monkeypatch.setattr(signal, "getsignal", lambda _: None)
    monkeypatch.setattr(signal, "signal", lambda number, _: replaced.append(number))
    with block():
        pass
    assert replaced == []
