"""The table of losses against compute: which steps a row has, and what they cost."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from tests.support.places import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
from loss_against_compute import doublings, logged, main, minutes


def session(run: Path, number: int, steps: range, seconds: float) -> None:
    """What a session leaves that logs every 50 steps, in so many seconds each: 1000 / step."""
    from torch.utils.tensorboard import SummaryWriter

    folder = run / "csv" / f"version_{number}"
    folder.mkdir(parents=True)
    lines = [
        "step,train/loss,train/translation,tasks/packing,tasks/inpainting,tasks/unconditional,val/loss"
    ]
    with SummaryWriter(str(run / "tensorboard" / f"version_{number}")) as writer:
        began = time.time()
        for k, step in enumerate(steps):
            lines.append(f"{step},{1000 / step},{2000 / step},10,10,20,")
            at = began + (k + 1) * seconds
            writer.add_scalar("train/loss", 1000 / step, step, walltime=at)
            if step % 200 == 0:
                lines.append(f"{step - 1},,,,,,{1 + 100 / step}")
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")


def test_rows_double_and_the_last_ends_where_the_run_does() -> None:
    assert doublings(400) == [(50, 100), (100, 200), (200, 400)]
    assert doublings(450) == [(50, 100), (100, 200), (200, 400), (225, 450)]
    assert doublings(80) == [(40, 80)]


def test_a_run_in_two_sessions_is_one_curve(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session(tmp_path, 0, range(50, 301, 50), 60)
    # A kill at 300, whose last checkpoint was of step 200.
    session(tmp_path, 1, range(250, 401, 50), 120)
    steps = logged(tmp_path).dropna(subset=["train/loss"])["step"].tolist()
    assert steps == list(range(50, 401, 50))
    spent = minutes(tmp_path)
    assert spent[200] == pytest.approx(4, abs=0.1)
    assert spent[400] == pytest.approx(6 + 8, abs=0.1)

    plot = tmp_path / "curve.png"
    assert main([str(tmp_path), "--terms", "translation", "--plot", str(plot)]) == 0
    assert plot.read_bytes().startswith(b"\x89PNG")
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    row = next(row for row in rows if row[0] == "200–400")
    mean = sum(2000 / step for step in (250, 300, 350, 400)) / 4
    assert row == ["200–400", "320", "240", "14", f"{mean:.3f}"]
    assert ["200", "4", "1.500"] in rows
    assert ["400", "14", "1.250"] in rows


def test_what_is_no_run_or_has_no_such_term_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 2
    assert "give the folder of a run" in capsys.readouterr().err
    session(tmp_path, 0, range(50, 151, 50), 60)
    assert main([str(tmp_path), "--terms", "chi"]) == 2
    assert "--terms chi: the run has loss, translation" in capsys.readouterr().err
    assert main([str(tmp_path), "--plot", str(tmp_path / "none" / "a.png")]) == 2
    assert "there is no such folder" in capsys.readouterr().err
