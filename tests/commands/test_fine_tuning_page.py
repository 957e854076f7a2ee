"""The page on fine-tuning is true: from a folder of files to a network that does no worse."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml

from model.checkpoint import checkpoint_named, load_flow, own_networks
from model.network import NetworkConfig
from model.train.configurations import CONFIGS
from tests.support.places import EXAMPLES, ROOT

PAGE = (ROOT / "docs" / "fine-tuning.md").read_text(encoding="utf-8")
WALK = re.findall(r"(?ms)^<!-- walk -->\n```sh\n(.*?)^```$", PAGE)
DOOR = "from ellipsoid_flow.command import main; main()"
SHORTER = ["--trainer.max_steps", "12", "--trainer.val_check_interval", "4"]


def test_the_configuration_has_the_sizes_of_the_network_that_it_begins_with() -> None:
    for name in ("finetune", "packing"):
        model = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))["model"]
        begun = load_flow(model.get("init_from", "packing"))[1]
        # What is left out in training is no size: a few steps of fine-tuning leave out nothing.
        mine, its = NetworkConfig(**model["network"]), begun.network
        assert replace(mine, dropout=its.dropout) == its


def test_a_network_of_the_package_goes_by_its_name_and_a_file_of_that_name_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "packing" in own_networks()
    assert checkpoint_named("packing").is_file()
    monkeypatch.chdir(tmp_path)
    shutil.copy(checkpoint_named("packing"), tmp_path / "packing")
    assert checkpoint_named("packing") == Path("packing")
    assert checkpoint_named("other.ckpt") == Path("other.ckpt")


@pytest.mark.slow
def test_the_walk_of_the_page_trains_the_network_further(tmp_path: Path) -> None:
    (tmp_path / "family").mkdir()
    for path in sorted(EXAMPLES.iterdir()):
        # 1lzh has nothing but CA, on which no side chain can be placed.
        if path.suffix != ".csv" and not path.name.startswith("1lzh"):
            shutil.copy(path, tmp_path / "family")
    lines = [line for block in WALK for line in block.splitlines()]
    assert len(lines) == 6
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "ellipsoid-flow"
        more = SHORTER if arguments[0] == "train" else []
        command = [sys.executable, "-c", DOOR, *arguments, *more]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    logged = pd.read_csv(tmp_path / "runs/family/csv/version_0/metrics.csv")
    held_out = logged["val/loss"].dropna().tolist()
    assert len(held_out) == 3
    # The examples are no family, from which others could be learned; nothing is unlearned either.
    assert held_out[-1] < 1.01 * held_out[0]
    assert (tmp_path / "out" / "after" / "summary.md").is_file()
    assert list((tmp_path / "out" / "packed").glob("*.cif"))
