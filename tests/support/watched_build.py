"""``python -m pipeline.build`` as a user runs it, with an eye on its time and its memory."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow.parquet as pq

from tests.support.places import ROOT


@dataclass(frozen=True)
class Watched:
    """How a command ended; `peak_bytes` is the largest resident size of one of its processes."""

    status: int
    output: str
    seconds: float
    peak_bytes: int


def run_build(pdb_dir: Path, out_dir: Path, *options: str, limit: float = 900.0) -> Watched:
    """Run the command on two workers.

    Raises
    ------
    subprocess.TimeoutExpired
        It took longer than `limit` seconds.
    """
    command = [sys.executable, "-m", "pipeline.build", "--quiet", "--n-jobs", "2"]
    command += ["--pdb-dir", str(pdb_dir), "--out-dir", str(out_dir), *options]
    root = str(ROOT)
    started = time.monotonic()
    process = subprocess.Popen(
        command,
        cwd=root,
        env={**os.environ, "PYTHONPATH": root},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    peak = _Peak(process.pid)
    try:
        output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.communicate(timeout=60)
        raise
    finally:
        peak.stop()
    return Watched(process.returncode, output, time.monotonic() - started, peak.n_bytes)


def inputs(out_dir: Path) -> list[dict]:
    """Rows of ``inputs.parquet``."""
    return pq.read_table(out_dir / "inputs.parquet").to_pylist()


class _Peak:
    """Samples the resident size of a process and its children, a few times a second."""

    def __init__(self, pid: int):
        self.n_bytes = 0
        self._root = psutil.Process(pid)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        while not self._end.wait(0.1):
            with contextlib.suppress(psutil.Error):
                for process in [self._root, *self._root.children(recursive=True)]:
                    with contextlib.suppress(psutil.Error):
                        self.n_bytes = max(self.n_bytes, process.memory_info().rss)

    def stop(self) -> None:
        self._end.set()
        self._thread.join()
