"""The made-up archive of `benchmarks/cost.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_every_step_of_a_small_archive_ends_and_is_measured(tmp_path: Path) -> None:
    script = ROOT / "benchmarks" / "synthetic_archive.py"
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), "--entries", "1000"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert list(measured) == ["search", "plan", "index", "report", "resume", "update", "open"]
    assert all(step["seconds"] > 0 for step in measured.values())
