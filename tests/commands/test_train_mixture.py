"""Training on a mixture of datasets, from options to what a checkpoint says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.checkpoint import INFO
from model.flow import draw_noise
from model.train.check_batch import names, once_each
from model.trained_on import TrainedOn, hashes_of
from pipeline.dataset import ShardDataset
from pipeline.errors import UsageError
from pipeline.subset.command import main as subset
from tests.support.complexes import interfaces_of, write_interfaces
from tests.support.train_runs import NO_VALIDATION, fit, last, with_splits


@pytest.fixture(scope="module")
def dataset(examples_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = with_splits(examples_dataset, tmp_path_factory.mktemp("mixture") / "dataset")
    write_interfaces(folder, interfaces_of(folder))
    return folder


@pytest.fixture(scope="module")
def small(examples_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another dataset, of the short chains alone."""
    out = tmp_path_factory.mktemp("small") / "dataset"
    words = [str(examples_dataset), "--out-dir", str(out), "--where", "length < 60"]
    assert subset(words) == 0
    return out


def options_of(dataset: Path, small: Path, **more: Any) -> dict[str, Any]:
    return {
        **NO_VALIDATION,
        "watch__vis_interval": 0,
        "data__unit": "entry",
        "data__weights": "alphafold3",
        "data__samples_per_epoch": 30,
        "data__mixture": [{"path": str(small), "probability": 0.5, "unit": "chain"}],
        **more,
    }


def test_a_checkpoint_says_of_all_datasets_that_their_chains_were_seen(
    dataset: Path, small: Path, tmp_path: Path
) -> None:
    fit(dataset, tmp_path / "run", 2, **options_of(dataset, small))
    stored = torch.load(last(tmp_path / "run"), weights_only=True)
    seen = TrainedOn.from_plain(stored[INFO]["trained_on"])
    first, second = ShardDataset(dataset, split="train"), ShardDataset(small)
    assert seen.datasets == ((first.digest, "train"), (second.digest, None))
    expected = hashes_of([*first.sequences(), *second.sequences()])
    assert np.array_equal(seen.sequences, np.unique(expected))
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["dataset"]["mixture"] == second.digest


def test_weights_are_those_of_a_run_that_was_never_interrupted(
    dataset: Path, small: Path, tmp_path: Path
) -> None:
    options = options_of(
        dataset,
        small,
        data__crop="mixed",
        model__tasks__inpainting=0,
        model__tasks__unconditional=0,
        data__crop_shares__contiguous=0.5,
    )
    fit(dataset, tmp_path / "whole", 5, **options)
    fit(dataset, tmp_path / "begun", 2, **options)
    shutil.copytree(tmp_path / "begun", tmp_path / "resumed")
    fit(dataset, tmp_path / "resumed", 5, **options, ckpt_path=last(tmp_path / "begun"))
    one, other = (
        torch.load(last(tmp_path / name), weights_only=True)["state_dict"]
        for name in ("whole", "resumed")
    )
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("kind", ["spatial", "interface", "mixed"])
def test_crops_that_tell_of_hidden_frames_are_refused_in_any_dataset(
    dataset: Path, small: Path, tmp_path: Path, kind: str
) -> None:
    options = options_of(dataset, small)
    options["data__mixture"][0] |= {"crop": kind, "name": "short"}
    with pytest.raises(UsageError, match=f"the crop of short in data.mixture is {kind}"):
        fit(dataset, tmp_path / "run", 1, **options)
    assert not (tmp_path / "run").exists()


def test_two_crops_of_one_protein_have_noise_of_their_own() -> None:
    batch = {"chain_uid": ["a", "b", "a", "a"], "focus": [["a", "c"], [], [], ["a", "c"]]}
    assert names(batch) == ["a+c", "b", "a", "a+c"]
    uids = once_each(names(batch))
    assert uids == ["a+c", "b", "a", "a+c 2"]
    noise = draw_noise(uids, [5, 5, 5, 5], 5, 0, 1)
    assert not torch.equal(noise.translations[0], noise.translations[3])
    alone = draw_noise(["a+c"], [5], 5, 0, 1)
    assert torch.equal(noise.translations[0], alone.translations[0])


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        ({"probabilty": 0.4}, "--data.mixture: Option 'probabilty' is not accepted"),
        ({}, "--data.mixture: the following arguments are required: probability"),
    ],
)
def test_a_record_that_is_none_is_named(
    dataset: Path, record: dict[str, Any], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        fit(dataset, Path("unused"), 1, data__mixture=[{"path": str(dataset)} | record])
    assert f"error: {sentence}\n" in capsys.readouterr().err
