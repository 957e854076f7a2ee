"""The comparison of IGA and IPA on packing: its plan, its table, and that a kill costs nothing."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.split.command import main as split
from tests.support.places import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import packing
from packing_runs import ABLATIONS, MAIN, Folder, Run, Settings, keep_settings
from packing_table import METRICS, Results, draw_curves, markdown

MINUTE = """\
model:
  network: {n_blocks: 1, c_s: 16, c_z: 4, n_heads: 2, c_hidden: 4, n_gaussians: 2, n_points: 2}
  tasks: {packing: 1.0, design: 0.0, inpainting: 0.0, unconditional: 0.0}
  optimizer: {warmup_steps: 2}
data: {where: length >= 20, crop_size: 24, max_batch_size: 3, cache: memory, num_workers: 0}
trainer: {log_every_n_steps: 2}
last: {every_n_steps: 4}
best: {keep: 1}
"""
SETTINGS = Settings("data", "0" * 64, "1" * 64, 100, 100, 2, 4, 3, "cpu")


def finished(work: Path, run: Run, shift: float, settings: Settings) -> None:
    """What a finished run leaves, with a recovery that is `shift` above that of others."""
    folder = Folder(work, run)
    rng = np.random.default_rng(0)
    chains = {f"c{k}": rng.uniform(0.3, 0.6) for k in range(30)}
    for place in (
        folder.test,
        *(folder.curve(step) for step in settings.curve_of(run)),
    ):
        place.mkdir(parents=True)
        with (place / "per_chain.csv").open("w", newline="") as file:
            names = [f"{kind}.{m}" for kind in ("packing", "baseline") for m in METRICS]
            writer = csv.DictWriter(file, ["chain_uid", "length", *names])
            writer.writeheader()
            for uid, value in chains.items():
                row = {name: value + shift * name.startswith("packing") for name in names}
                writer.writerow({"chain_uid": uid, "length": 50, **row})
    log = folder.train / "csv" / "version_0" / "metrics.csv"
    log.parent.mkdir(parents=True)
    log.write_text("step,val/loss,gamma/mean\n49,2.5,\n50,,3.9\n99,1.25,\n100,,4.2\n")


def test_runs_differ_in_what_their_names_say_and_have_as_many_parameters() -> None:
    names = [run.name for run in SETTINGS.runs()]
    assert names[:6] == ["iga-0", "ipa-0", "iga-1", "ipa-1", "iga-2", "ipa-2"]
    assert set(names[6:]) == {
        *("gamma-0.004", "gamma-0.05", "gamma-0.4", "gamma-4.0", "gamma-8.0", "gamma-bounded")
    }
    counts = packing.count_parameters(packing.CONFIG, SETTINGS.runs())
    assert counts.keys() == set(names)
    assert max(counts.values()) <= 1.02 * min(counts.values())


def test_networks_of_different_size_are_refused() -> None:
    wider = Run("wider", 0, {"c_s": 160})
    with pytest.raises(SystemExit, match="differ in size"):
        packing.count_parameters(packing.CONFIG, [MAIN[0], wider])


def test_shorter_ablations_have_a_reference_of_their_length() -> None:
    shorter = Settings("data", "0", "1", 100, 40, 2, 4, 3, "cpu")
    reference = next(run for run in shorter.runs() if run.name == "affine")
    assert shorter.steps_of(reference) == 40
    assert shorter.curve_of(reference) == [20, 40]


def test_a_folder_keeps_to_its_settings(tmp_path: Path) -> None:
    keep_settings(tmp_path, SETTINGS)
    keep_settings(tmp_path, SETTINGS)
    longer = Settings("data", "0" * 64, "1" * 64, 200, 200, 2, 4, 3, "cpu")
    with pytest.raises(SystemExit, match="steps 100, now 200"):
        keep_settings(tmp_path, longer)


def test_the_table_has_differences_paired_by_chain(tmp_path: Path) -> None:
    keep_settings(tmp_path, SETTINGS)
    for run in MAIN[:4]:
        # Chains differ by far more than arms do: only pairs tell.
        finished(tmp_path, run, 0.02 if run.arm == "iga" else 0.01, SETTINGS)
    finished(tmp_path, ABLATIONS[0], 0.0, SETTINGS)
    page = markdown(Results.read(tmp_path), "curves.png")
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in page.splitlines()}
    assert "0.010 [0.010, 0.010] | 30 | differs" in rows["iga − ipa: χ1 within 20°"]
    assert "0.020 [0.020, 0.020]" in rows["iga − modal rotamers: χ1 within 20°"]
    assert "-0.020 [-0.020, -0.020] differs" in rows["gamma-0.004"]
    assert "4.2" in rows["gamma-0.004"]
    assert rows["100"].startswith("| 100 | ")
    assert "| 100 | 1.250 | 1.250 | 1.250 |" in page
    assert "Not finished: iga-2, ipa-2," in page
    assert "![Learning curves](curves.png)" in page
    assert "| **ipa, 2 seeds** | " in page


def test_learning_curves_are_drawn(tmp_path: Path) -> None:
    keep_settings(tmp_path, SETTINGS)
    finished(tmp_path, MAIN[0], 0.0, SETTINGS)
    draw_curves(Results.read(tmp_path), tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def dataset(examples_dataset: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "dataset"
    shutil.copytree(examples_dataset, folder)
    assert split([str(folder), "--method", "cluster", "--clusters", "identical"]) == 0
    assert pq.read_metadata(folder / "splits.parquet").num_rows
    return folder


@pytest.mark.slow
def test_a_killed_comparison_goes_on_where_it_was(dataset: Path, tmp_path: Path) -> None:
    work, config = tmp_path / "work", tmp_path / "minute.yaml"
    config.write_text(MINUTE)
    command = [
        *(sys.executable, str(ROOT / "benchmarks" / "packing.py"), "run"),
        *("--dataset", str(dataset), "--work", str(work), "--config", str(config)),
        *("--runs", "iga-0", "ipa-0", "--steps", "200", "--points", "2"),
        *("--validation-chains", "2", "--passes", "2"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    folders = [Folder(work, run) for run in MAIN[:2]]

    killed = subprocess.Popen(command, env=environment)
    until = time.monotonic() + 240
    while not all(folder.last.is_file() for folder in folders):
        assert killed.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    time.sleep(1)
    steps = [folder.progress()[0] for folder in folders]
    assert all(0 < step < 200 for step in steps)

    assert subprocess.run(command, env=environment, timeout=400).returncode == 0
    for folder, step in zip(folders, steps, strict=True):
        sessions = json.loads((folder.train / "run.json").read_text())["sessions"]
        assert [session["step"] for session in sessions] == [0, step]
        assert folder.progress()[0] == 200
        assert sorted(folder.logged("val/loss")) == [99, 199]
        assert not list(folder.snapshots.glob("*"))
    before = [folder.test.stat().st_mtime_ns for folder in folders]

    again = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert again.returncode == 0
    assert "all is finished" in again.stdout
    assert before == [folder.test.stat().st_mtime_ns for folder in folders]
    page = markdown(Results.read(work))
    assert "| iga-0 |" in page
    assert "iga − ipa: χ1 within 20°" in page
