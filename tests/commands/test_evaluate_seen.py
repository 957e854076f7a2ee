"""An evaluation says whether the network was trained on the chains that it is measured on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from model.checkpoint import INFO, CheckpointInfo, load_flow, own_networks
from model.evaluate.command import main
from model.evaluate.seen import seen_in_training
from model.export import export_flow
from model.network import NetworkConfig
from model.trained_on import NOTHING, TrainedOn, hashes_of
from pipeline.dataset import ShardDataset
from pipeline.residues import sequence_string
from tests.support.train_runs import NO_VALIDATION, fit, last


@pytest.fixture(scope="module")
def dataset(examples_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of every two chains below 60 residues one is for training; the others are for neither."""
    folder = tmp_path_factory.mktemp("seen") / "dataset"
    shutil.copytree(examples_dataset, folder)
    index = pq.read_table(folder / "index.parquet", columns=["chain_uid", "length"]).to_pylist()
    short = [row["chain_uid"] for row in index if 20 <= row["length"] < 60]
    assert len(short) >= 4
    splits = [
        ("train", "test")[short.index(uid) % 2] if (uid := row["chain_uid"]) in short else "rest"
        for row in index
    ]
    table = pa.table({"chain_uid": [row["chain_uid"] for row in index], "split": splits})
    digest = json.loads((folder / "build.json").read_text())["digest"]
    pq.write_table(table.replace_schema_metadata({"digest": digest}), folder / "splits.parquet")
    return folder


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    fit(dataset, folder, 1, **{"data__val_split": None, "watch__vis_interval": 0})
    return last(folder)


@pytest.fixture(scope="module")
def silent(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of before, which says nothing of its chains."""
    path = tmp_path_factory.mktemp("silent") / "exported.ckpt"
    export_flow(trained, path)
    stored = torch.load(path, weights_only=True)
    stored[INFO] |= {"trained_on": {}, "dataset_digest": ""}
    torch.save(stored, path)
    return path


def test_a_dataset_gives_the_sequences_of_its_chains(dataset: Path) -> None:
    chains = ShardDataset(dataset, split="test")
    expected = [sequence_string(chains[k]["aatype"].numpy()) for k in range(len(chains))]
    assert chains.sequences() == expected
    assert chains.n_chains == len(expected)


def evaluated(
    dataset: Path, ckpt: Path, out: Path, split: str, capsys: pytest.CaptureFixture[str]
) -> tuple[str, str]:
    """What is said on stderr, and what the page says."""
    given = ["--dataset", str(dataset), "--ckpt", str(ckpt), "--out-dir", str(out)]
    small = ["--limit", "2", "--steps", "1", "--device", "cpu", "--tasks", "packing"]
    assert main([*given, *small, "--split", split]) == 0
    return capsys.readouterr().err, json.loads((out / "summary.json").read_text())["trained_on"]


def test_chains_that_were_trained_on_are_counted_whatever_their_dataset_is_called(
    dataset: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = tmp_path / "exported.ckpt"
    export_flow(trained, small)
    sequences = {
        split: [
            ShardDataset(dataset, split=split).sequences()[k]
            for k in (0, len(ShardDataset(dataset, split=split)) - 1)
        ]
        for split in ("train", "test")
    }
    both = set(ShardDataset(dataset, split="train").sequences())
    said, page = evaluated(dataset, small, tmp_path / "train", "train", capsys)
    assert page == "2 of 2 chains (by their sequences)"
    assert "warning: the network was trained on 2 of these 2 chains" in said
    said, page = evaluated(dataset, small, tmp_path / "test", "test", capsys)
    n = sum(sequence in both for sequence in sequences["test"])  # homomers are in both
    assert page == f"{n} of 2 chains (by their sequences)"
    assert ("warning: the network was trained on" in said) == (n > 0)
    assert "unknown" not in said


def test_what_is_unknown_is_said(
    dataset: Path, silent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said, page = evaluated(dataset, silent, tmp_path / "out", "test", capsys)
    reason = "its checkpoint does not say which sequences it was trained on"
    assert f"note: whether the network was trained on these chains is unknown: {reason}" in said
    assert page == f"unknown: {reason}"


def info(trained: TrainedOn | None = None, digest: str | None = None) -> CheckpointInfo:
    return CheckpointInfo(
        NetworkConfig(),
        dataset_digest=digest,
        trained_on={} if trained is None else trained.to_plain(),
    )


def test_without_sequences_the_dataset_and_its_split_tell() -> None:
    chains = ["ACD", "EFG"]

    def told(*datasets: tuple[str, str | None]) -> str:
        return seen_in_training(info(TrainedOn(datasets, None)), "d1", "test", chains).told

    assert told(("d1", "test")) == "2 of 2 chains (by the dataset's digest and the split test)"
    assert told(("d1", None)).startswith("2 of 2 chains")
    assert told(("d1", "train")) == "0 of 2 chains (it was trained on the split train alone)"
    assert told(("d1", "train"), ("d2", "train")).startswith("unknown")
    assert told(("d2", "test")).startswith("unknown")
    of_this = seen_in_training(info(digest="d1"), "d1", "test", chains)
    assert of_this.told == (
        "unknown: it was trained on this dataset, and does not say on which split"
    )
    assert seen_in_training(info(digest="d2"), "d1", "test", chains).seen is None


def test_sequences_are_kept_as_they_are() -> None:
    one = TrainedOn((("d1", "train"),), np.unique(hashes_of(["ACD", "EFG", "ACD"])))
    assert one.sequences is not None
    assert len(one.sequences) == 2
    again = TrainedOn.from_plain(json.loads(json.dumps(one.to_plain())))
    assert again.datasets == one.datasets
    assert again.sequences is not None
    assert np.array_equal(again.sequences, one.sequences)
    other = TrainedOn((("d2", None),), np.unique(hashes_of(["EFG", "HIK"])))
    both = one | other
    assert both.datasets == (("d1", "train"), ("d2", None))
    assert seen_in_training(info(both), "d3", "test", ["HIK", "LMN", "ACD"]).seen == 2
    assert (both | TrainedOn((), None)).sequences is None
    assert seen_in_training(info(NOTHING), "d3", "test", ["HIK"]).seen == 0


@pytest.mark.parametrize("name", own_networks())
def test_a_network_of_the_package_says_what_it_was_trained_on(name: str) -> None:
    assert load_flow(name)[1].settings["tasks"][name] > 0
    known = TrainedOn.from_plain(load_flow(name)[1].trained_on)
    assert {split for _, split in known.datasets} == {"train"}
    assert known.sequences is not None
    assert len(known.sequences) > 8000


def test_a_network_that_is_fine_tuned_or_resumed_has_seen_what_it_had_seen_before(
    dataset: Path, trained: Path, silent: Path, tmp_path: Path
) -> None:
    before = TrainedOn.from_plain(load_flow(trained)[1].trained_on)
    options = {**{k.replace(".", "__"): v for k, v in NO_VALIDATION.items()}}
    tuned = tmp_path / "tuned"
    fit(dataset, tuned, 1, **options, data__train_split="rest", model__init_from=trained)
    fit(dataset, tuned, 2, **options, data__train_split="rest", ckpt_path=last(tuned))
    after = TrainedOn.from_plain(load_flow(last(tuned))[1].trained_on)
    assert [split for _, split in after.datasets] == ["train", "rest"]
    assert after.sequences is not None
    assert before.sequences is not None
    assert np.isin(before.sequences, after.sequences).all()
    rest = hashes_of(ShardDataset(dataset, split="rest").sequences())
    assert np.isin(rest, after.sequences).all()
    unknown = tmp_path / "unknown"
    fit(dataset, unknown, 1, **options, model__init_from=silent)
    assert TrainedOn.from_plain(load_flow(last(unknown))[1].trained_on).sequences is None
