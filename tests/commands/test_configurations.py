"""Configurations of training by their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.train.configurations import CONFIGS, names, with_configurations
from pipeline.errors import UsageError


def test_a_name_is_the_file_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert names() == ["base", "design", "finetune", "generation", "large", "packing", "tiny"]
    tiny = str(CONFIGS / "tiny.yaml")
    assert with_configurations(["fit", "--config", "tiny", "--data.path", "base"]) == [
        *("fit", "--config", tiny, "--data.path", "base")
    ]
    assert with_configurations(["fit", "--config=tiny"]) == ["fit", f"--config={tiny}"]
    # A file that is called so is what is meant.
    Path("tiny").write_text("{}")
    assert with_configurations(["--config", "tiny"]) == ["--config", "tiny"]


def test_what_is_neither_a_file_nor_a_name_is_told_which_there_are() -> None:
    with pytest.raises(
        UsageError, match="has base, design, finetune, generation, large, packing, tiny"
    ) as error:
        with_configurations(["fit", "--config", "tiney"])
    assert str(error.value).startswith("--config tiney: there is no such file")
    assert with_configurations(["--config", "nowhere/x.yaml"]) == ["--config", "nowhere/x.yaml"]
