"""The place of a worker process: what comes back from it, and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from pathlib import Path

import psutil
import pytest

import pipeline.crew.crew
import pipeline.crew.seat
from pipeline.built.layout import Layout
from pipeline.built.plan import Part
from pipeline.built.reading import Reading
from pipeline.crew.crew import Crew, Job, _Task
from pipeline.crew.progress import ProgressFile
from pipeline.crew.seat import Seat, WorkerDied
from pipeline.files.place import Place
from tests.support.build_runs import wait_until
from tests.support.places import ROOT

SECONDS = 300


@pytest.fixture(scope="module")
def seat() -> Iterator[Seat]:
    seat = Seat()
    yield seat
    seat.stop()


def test_a_seat_runs_calls_in_one_process_that_is_not_this_one(seat: Seat) -> None:
    first, second = (seat.submit(os.getpid).result(SECONDS) for _ in range(2))
    assert first == second != os.getpid()


def test_what_a_call_prints_does_not_disturb_the_replies(seat: Seat) -> None:
    assert seat.submit(os.write, 1, b"a library's greeting\n").result(SECONDS) == 21
    assert seat.submit(print, "hello").result(SECONDS) is None


def test_what_is_printed_while_a_process_starts_does_not_disturb_the_replies(
    seat: Seat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('a greeting of more than eight bytes')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    seat.stop()
    assert seat.submit(divmod, 7, 2).result(SECONDS) == (3, 1)
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "a greeting of more than eight bytes\n")


def test_a_seat_hands_on_what_a_call_raises_with_the_traceback_of_its_process(seat: Seat) -> None:
    with pytest.raises(json.JSONDecodeError, match="Expecting value") as raised:
        seat.submit(json.loads, "[nonsense").result(SECONDS)
    (note,) = raised.value.__notes__
    assert note.startswith("In the worker:\nTraceback (most recent call last)")
    assert "in raw_decode" in note
    assert note.endswith(f"JSONDecodeError: {raised.value}\n")
    assert seat.submit(divmod, 7, 2).result(SECONDS) == (3, 1)


def test_what_cannot_be_sent_is_named(seat: Seat) -> None:
    with pytest.raises(RuntimeError, match="a value of type lock cannot be sent: cannot pickle"):
        seat.submit(threading.Lock).result(SECONDS)
    with pytest.raises(RuntimeError, match=r"NotSent: twice$") as raised:
        seat.submit(exec, "class NotSent(Exception): pass\nraise NotSent('twice')").result(SECONDS)
    assert 'File "<string>", line 2' in raised.value.__notes__[0]


@pytest.mark.parametrize(
    ("function", "argument", "end"),
    [
        (os._exit, 3, "ended with status 3"),
        (sys.exit, 3, "ended with status 3"),
        (exec, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "signal 9, Killed"),
    ],
)
def test_a_process_that_dies_is_told_from_one_that_fails_and_is_replaced(
    seat: Seat, function: Callable[..., object], argument: object, end: str
) -> None:
    with pytest.raises(WorkerDied, match=end):
        seat.submit(function, argument).result(SECONDS)
    assert seat.submit(divmod, 7, 2).result(SECONDS) == (3, 1)


def test_a_process_that_no_signal_ends_is_left_behind_and_that_is_said(
    seat: Seat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(pipeline.crew.seat, "LAST_SECONDS", 0.1)
    pid = seat.submit(os.getpid).result(SECONDS)
    with monkeypatch.context() as patch:  # as one that waits in the kernel
        patch.setattr(subprocess.Popen, "send_signal", lambda *_: None)
        begun = tmp_path / "begun"
        future = seat.submit(
            exec, f"import time; open({str(begun)!r}, 'w').close(); time.sleep(1000)"
        )
        wait_until(begun.exists, SECONDS)
        seat.stop()
    with contextlib.suppress(psutil.NoSuchProcess):  # its thread's end may have ended it
        psutil.Process(pid).kill()
    assert isinstance(future.exception(SECONDS), WorkerDied)
    assert f"worker process {pid} was killed and does not end" in capfd.readouterr().err


def test_late_workers_that_no_signal_ends_are_all_told_to_end_before_any_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline.crew.seat, "LAST_SECONDS", 0.1)
    layout = Layout(Place(tmp_path))
    layout.scratch.mkdir(parents=True)
    done: list[str] = []
    of_keeper = pipeline.crew.seat._Keeper
    end, join = of_keeper.end, of_keeper.join
    monkeypatch.setattr(of_keeper, "end", lambda keeper: (done.append("told"), end(keeper)))
    monkeypatch.setattr(of_keeper, "join", lambda keeper: (join(keeper), done.append("gone")))
    events: list[str] = []
    crew = Crew(
        Job(Place(tmp_path), Reading(timeout=1e-9), Place(tmp_path)),
        2,
        on_done=lambda record: None,
        on_poll=lambda notes: done.append("polled"),
        on_event=lambda name, details: events.append(name),
    )
    crew._layout = layout
    monkeypatch.setattr(pipeline.crew.crew, "GRACE_SECONDS", 0.0)
    seats = [Seat(), Seat()]
    pids = [seat.submit(os.getpid).result(SECONDS) for seat in seats]
    running = []
    with monkeypatch.context() as patch:  # as those that wait in the kernel
        patch.setattr(subprocess.Popen, "send_signal", lambda *_: None)
        for number, seat in enumerate(seats):
            ProgressFile(layout.progress(number), number).begin(0)
            seat.submit(time.sleep, 1000)
            running.append((seat, _Task(Part(number, ()))))
        crew._watch(running)
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(pid).kill()
    assert done == ["told", "told", "gone", "gone", "polled"]
    assert events == ["worker-hangs"] * 2
    assert all(task.hung for _, task in running)


def test_stopping_a_seat_ends_what_it_does(seat: Seat) -> None:
    pid = seat.submit(os.getpid).result(SECONDS)
    future = seat.submit(time.sleep, 1000)
    time.sleep(0.1)
    seat.stop()
    assert wait([future], SECONDS).done
    assert isinstance(future.exception(), WorkerDied)
    assert not psutil.pid_exists(pid)


def test_an_idle_process_goes_and_comes_back() -> None:
    seat = Seat(idle_seconds=0.2)
    first = seat.submit(os.getpid).result(SECONDS)
    wait_until(lambda: not psutil.pid_exists(first), SECONDS)
    assert seat.submit(os.getpid).result(SECONDS) != first
    seat.stop()


WITHOUT_STANDARD_FILES = """
import os, sys
from pipeline.crew.seat import Seat
for number in range(3):
    os.close(number)
seat = Seat()
size = seat.submit(os.write, 2, b"sixteen bytes...").result(60)
seat.stop()
open(sys.argv[1], "w").write(str(size))
"""


def test_without_standard_files_what_is_printed_does_not_disturb_the_replies(
    tmp_path: Path,
) -> None:
    told = tmp_path / "told"
    subprocess.run([sys.executable, "-c", WITHOUT_STANDARD_FILES, told], check=True, cwd=ROOT)
    assert told.read_text() == "16"
