"""Many builds in one process: memory and open files stay what they were."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from pipeline.commands.words import MEBIBYTE
from tests.support.places import ROOT

PATH = ROOT / "benchmarks" / "soak.py"
SPEC = importlib.util.spec_from_file_location("soak", PATH)
assert SPEC is not None
assert SPEC.loader is not None
soak = importlib.util.module_from_spec(SPEC)
sys.modules["soak"] = soak
SPEC.loader.exec_module(soak)


def samples(rise: int, more_files: int = 0) -> list:
    """Sixty rounds with noise, a start that grows, and what is to be found."""
    return [
        soak.Sample(
            float(k),
            300 * MEBIBYTE + rise * k // 60 + (k * 7919 % 13) * MEBIBYTE + min(k, 15) * MEBIBYTE,
            20 + more_files * k // 60,
            4,
        )
        for k in range(60)
    ]


def test_noise_and_caches_that_fill_are_no_growth() -> None:
    assert soak.judge(samples(0)).is_flat


def test_a_leak_is_seen() -> None:
    assert not soak.judge(samples(120 * MEBIBYTE)).is_flat
    assert not soak.judge(samples(0, more_files=6)).is_flat


@pytest.mark.slow
def test_three_minutes_of_builds_leave_memory_and_open_files_flat(
    examples_dataset: Path, capsys: pytest.CaptureFixture
) -> None:
    found = soak.soak(PATH.parents[1] / "data_manifest" / "examples", 180, examples_dataset)
    verdict = soak.judge(found)
    with capsys.disabled():
        print(f"\n{len(found)} rounds: {verdict}")
    assert verdict.is_flat, soak.table(found)
