"""A Dask and a Ray cluster on this machine, as their own commands start them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

SECONDS = 300.0
"""What a cluster may take to start or to end."""


class NoCluster(Exception):
    """It does not start; the message says why."""


@contextmanager
def dask_cluster(folder: Path, n_workers: int) -> Iterator[str]:
    """A scheduler and workers of one thread, each a process of its own; the scheduler file.

    Parameters
    ----------
    folder : Path
        For that file and for what the processes say.
    n_workers : int
    """
    scheduler_file = folder / "scheduler.json"
    common = ["--scheduler-file", str(scheduler_file), "--no-dashboard"]
    commands = [
        ["distributed.cli.dask_scheduler", *common, "--port", "0", "--host", "127.0.0.1"],
        [
            *("distributed.cli.dask_worker", *common, "--nworkers", str(n_workers)),
            *("--nthreads", "1", "--local-directory", str(folder), "--host", "127.0.0.1"),
        ],
    ]
    said = folder / "dask.txt"
    with said.open("w") as output:
        processes = [
            _start([sys.executable, "-m", *words], output, cwd=folder) for words in commands
        ]
    try:
        _wait_for(scheduler_file.exists, processes, said)
        yield str(scheduler_file)
    finally:
        for process in reversed(processes):
            _end(process)


@contextmanager
def ray_cluster(folder: Path, n_workers: int) -> Iterator[str]:
    """A head with so many CPUs; its address. In the block the environment says that it asks for no
    token, and that its workers are as nice as it is itself (by itself Ray adds 15).

    Parameters
    ----------
    folder : Path
        For what its processes say.
    n_workers : int
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        *(str(Path(sys.executable).with_name("ray")), "start", "--head", "--block"),
        *("--node-ip-address", "127.0.0.1", "--port", str(port), "--num-cpus", str(n_workers)),
        *("--include-dashboard", "false", "--disable-usage-stats"),
        *("--object-store-memory", "100000000"),
    ]
    ours = {"RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0"}
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    said = folder / "ray.txt"
    with said.open("w") as output:
        process = _start(command, output)
    try:
        _wait_for(lambda: _answers(port), [process], said)
        time.sleep(5)  # until the head has a node to give work to
        yield f"127.0.0.1:{port}"
    finally:
        _end(process)
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _start(
    command: Sequence[str], output: IO[str], cwd: Path | None = None
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C is for the benchmark, which then ends them
    )


def _wait_for(
    condition: Callable[[], bool], processes: Sequence[subprocess.Popen[bytes]], said: Path
) -> None:
    until = time.monotonic() + SECONDS
    while not condition():
        ended = [p for p in processes if p.poll() is not None]
        if ended or time.monotonic() > until:
            last = said.read_text(errors="replace")[-1000:]
            raise NoCluster(f"the cluster does not start; it said: {last}")
        time.sleep(0.1)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
