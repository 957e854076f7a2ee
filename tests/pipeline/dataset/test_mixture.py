"""Mixtures of datasets: how often each comes, what items hold, exact resuming."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.batching import (
    LengthBatchSampler,
    Mixture,
    MixturePart,
    OtherInputs,
    ProteinDataModule,
    ResumableLoader,
)
from pipeline.batching.epoch_plan import Parts
from pipeline.batching.training_items import MixedDataset
from pipeline.dataset import (
    DEFAULT_FIELDS,
    ComplexDataset,
    ContiguousCrop,
    MixedCrop,
    ShardDataset,
    UnreadableDataset,
)
from pipeline.selection.fields import OF_CHAINS
from tests.pipeline.dataset.test_data_module import (  # noqa: F401 - a fixture
    SMALL,
    Model,
    SaveOften,
    _quiet,
    trainer_of,
)
from tests.support.complexes import interfaces_of, write_interfaces

COLUMNS = [*dict.fromkeys((*DEFAULT_FIELDS, *OF_CHAINS))]


@pytest.fixture(scope="module")
def dataset(examples_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples with splits and interfaces."""
    folder = tmp_path_factory.mktemp("mixture") / "dataset"
    shutil.copytree(examples_dataset, folder)
    write_interfaces(folder, interfaces_of(folder))
    uids = pq.read_table(folder / "index.parquet", columns=["chain_uid"])["chain_uid"].to_pylist()
    digest = json.loads((folder / "build.json").read_text())["digest"]
    columns = {
        "chain_uid": uids,
        "split": [("train", "val", "train", "train")[k % 4] for k in range(len(uids))],
        "cluster": [f"cluster {k // 2}" for k in range(len(uids))],
    }
    table = pa.table(columns).replace_schema_metadata({"digest": digest})
    pq.write_table(table, folder / "splits.parquet")
    return folder


def mixture_of(path: Path) -> Mixture:
    """Interfaces by their weights, and chains one of each cluster."""
    options: dict[str, Any] = {"columns": COLUMNS, "cache": "memory"}
    complexes = ComplexDataset(
        ShardDataset(path, unit="entry", crop=MixedCrop(40), split="train", **options)
    )
    chains = ShardDataset(path, crop=ContiguousCrop(30), where="length > 50", **options)
    return Mixture(
        [
            MixturePart("complexes", complexes, 3.0, weights=complexes.weights()),
            MixturePart("chains", chains, 1.0, clusters=chains.index["cluster"]),
        ]
    )


def sampler_of(parts: list[MixturePart]) -> LengthBatchSampler:
    mixture = Mixture(parts)
    return LengthBatchSampler(mixture.lengths, budget=10**6, **mixture.sampling)


# ---- how often what comes


parts = st.lists(
    st.tuples(st.integers(1, 40), st.floats(0.05, 1.0), st.booleans()), min_size=1, max_size=4
)


@settings(max_examples=25)
@given(parts, st.integers(1, 300), st.integers(0, 99))
def test_each_dataset_comes_as_often_as_its_probability_says(
    parts: list[tuple[int, float, bool]], n_samples: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    sizes = np.array([size for size, _, _ in parts])
    probabilities = np.array([p for _, p, _ in parts])
    probabilities /= probabilities.sum()
    clustered = np.array([c for _, _, c in parts])
    n, begins = int(sizes.sum()), np.cumsum(sizes) - sizes
    of_item = np.repeat(np.arange(len(parts)), sizes)
    own = np.arange(n)
    clusters = np.where(clustered[of_item], begins[of_item] + (own - begins[of_item]) // 3, own)
    weights = random.uniform(0.1, 2, n)
    sampler = LengthBatchSampler(
        random.integers(1, 50, n),
        budget=10_000,
        clusters=clusters,
        weights=weights,
        samples_per_epoch=n_samples,
        parts=Parts(sizes, probabilities, clustered),
        seed=seed,
    )
    n_epochs = 12
    counts = np.zeros(n)
    for epoch in range(n_epochs):
        sampler.set_epoch(epoch)
        drawn = [item for batch in sampler for item in batch]
        assert len(drawn) == n_samples
        np.add.at(counts, drawn, 1)
    # What each item is expected to come, as the parts say it.
    expected = np.zeros(n)
    for k in range(len(parts)):
        of_part = of_item == k
        groups = clusters[of_part] if clustered[k] else own[of_part]
        share = np.ones(len(groups)) if clustered[k] else weights[of_part]
        names, group = np.unique(groups, return_inverse=True)
        of_group = np.ones(len(names)) if clustered[k] else share
        of_group = of_group / of_group.sum() * probabilities[k]
        within = weights[of_part] / np.bincount(group, weights[of_part])[group]
        expected[of_part] = n_epochs * n_samples * of_group[group] * within
    deviation = 5 * np.sqrt(expected) + 1.5
    assert (np.abs(counts - expected) <= deviation).all()
    for k in range(len(parts)):
        total, wanted = counts[of_item == k].sum(), expected[of_item == k].sum()
        assert abs(total - wanted) <= 5 * np.sqrt(wanted * (1 - probabilities[k])) + 1e-6 + n_epochs


def test_items_say_which_dataset_they_are_of_and_hold_the_same_keys(dataset: Path) -> None:
    mixture = mixture_of(dataset)
    first, second = (part.dataset for part in mixture.parts)
    assert len(mixture) == len(first) + len(second) == len(mixture.lengths)
    keys = set()
    for k in (0, len(first) - 1, len(first), len(mixture) - 1, -1):
        item = mixture[k]
        number = k % len(mixture)
        name = "complexes" if number < len(first) else "chains"
        own = first[number] if name == "complexes" else second[number - len(first)]
        assert item["dataset"] == name
        assert all(
            torch.equal(item[key], value) if torch.is_tensor(value) else item[key] == value
            for key, value in own.items()
        )
        assert len(item["aatype"]) == mixture.lengths[number]
        keys.add(frozenset(item))
    assert len(keys) == 1
    assert mixture[-1]["focus"] == []
    assert mixture[-1]["chain_uids"] == [mixture[-1]["chain_uid"]]


def test_a_mixture_of_unlike_or_nameless_datasets_is_refused(dataset: Path) -> None:
    one = ShardDataset(dataset)
    for parts, sentence in (
        ([], "no datasets"),
        ([MixturePart("a", one, 1), MixturePart("a", one, 1)], "one name: a, a"),
        ([MixturePart("a", one, 0)], "probability of a is above 0, not 0"),
        (
            [
                MixturePart("a", one, 1),
                MixturePart("b", ShardDataset(dataset, columns=["trans"]), 1),
            ],
            "a has the column aatype, which b has not",
        ),
        (
            [
                MixturePart("a", one, 1),
                MixturePart("b", ShardDataset(dataset, labels=dict.fromkeys(one.chain_uids, 1)), 1),
            ],
            "b has the label label, which a has not",
        ),
        (
            [MixturePart("a", one, 1, weights=np.zeros(len(one))), MixturePart("b", one, 1)],
            "nothing of dataset 1",
        ),
        ([MixturePart("a", one, 1, weights=np.zeros(3))], "3 weights for 35 items of a"),
    ):
        with pytest.raises(ValueError, match=sentence):
            sampler_of(parts)


# ---- resuming


def batches(
    path: Path,
    rank: int,
    world_size: int,
    state: Any = None,
    stop: int | None = None,
    **options: Any,
) -> tuple[list[dict[str, Any]], Any]:
    """Batches of two epochs from a state on, and the state after `stop` of them."""
    mixture = mixture_of(path)
    sampler = LengthBatchSampler(
        mixture.lengths,
        budget=8_000,
        samples_per_epoch=60,
        rank=rank,
        world_size=world_size,
        **mixture.sampling,
    )
    loader = ResumableLoader(mixture, sampler, **options)
    if state is not None:
        loader.load_state_dict(state)
    found: list[dict[str, Any]] = []
    while loader.epoch < 2:
        for batch in loader:
            found.append(batch)
            if len(found) == stop:
                return found, loader.state_dict()
    return found, loader.state_dict()


def same(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> bool:
    return len(one) == len(other) and all(
        a.keys() == b.keys()
        and all(torch.equal(a[k], b[k]) if torch.is_tensor(a[k]) else a[k] == b[k] for k in a)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("world_size", [1, 2])
def test_resumed_on_every_rank_and_any_workers_each_bit_is_what_it_would_have_been(
    dataset: Path, world_size: int
) -> None:
    for rank in range(world_size):
        whole, _ = batches(dataset, rank, world_size)
        stop = len(whole) // 2 - 2
        begun, state = batches(dataset, rank, world_size, stop=stop, num_workers=1)
        state = json.loads(json.dumps(state))
        rest, _ = batches(dataset, rank, world_size, state, num_workers=2)
        assert same(begun + rest, whole)
        repeated = Counter(uid for batch in whole for uid in batch["chain_uid"])
        assert max(repeated.values()) > 2


def test_ranks_share_the_samples_of_one_plan(dataset: Path) -> None:
    mixture = mixture_of(dataset)
    options = dict(budget=8_000, samples_per_epoch=60, **mixture.sampling)
    alone = LengthBatchSampler(mixture.lengths, **options)
    of_ranks = [
        item
        for rank in range(3)
        for batch in LengthBatchSampler(mixture.lengths, rank=rank, world_size=3, **options)
        for item in batch
    ]
    assert Counter(of_ranks) == Counter(item for batch in alone for item in batch)


# ---- Lightning


def options_of(dataset: Path, **more: Any) -> dict[str, Any]:
    other = MixedDataset(
        str(dataset), 0.25, name="chains", where="length > 50", unit="chain", clusters="cluster"
    )
    return SMALL | {
        "path": str(dataset),
        "unit": "entry",
        "crop": "mixed",
        "crop_size": 40,
        "weights": "alphafold3",
        "clusters": "cluster",
        "samples_per_epoch": 40,
        "test_split": None,
        "mixture": [other],
        **more,
    }


def test_training_on_a_mixture_resumes_from_any_checkpoint(dataset: Path, tmp_path: Path) -> None:
    model, often = Model(), SaveOften(tmp_path)
    options = options_of(dataset)
    trainer_of(tmp_path, often, max_epochs=2).fit(model, datamodule=ProteinDataModule(**options))
    n = len(model.seen)
    assert {"batch-end", "epoch-end"} <= {path.stem.split("-", 1)[1] for _, path in often.saved}
    for n_seen, path in often.saved[2::9]:
        torch.load(path, weights_only=True)
        resumed = Model()
        workers = {"num_workers": n_seen % 2}
        trainer_of(tmp_path, max_epochs=2).fit(
            resumed, datamodule=ProteinDataModule(**options | workers), ckpt_path=path
        )
        assert resumed.seen == model.seen[n_seen:], f"{path.stem}, {n_seen} of {n} batches"


def test_a_checkpoint_of_another_mixture_is_refused(dataset: Path, tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, max_steps=2)
    options = options_of(dataset)
    trainer.fit(Model(), datamodule=ProteinDataModule(**options))
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    (other,) = options["mixture"]
    likelier = MixedDataset(**{**vars(other), "probability": 0.5})
    for change, sentence in (
        ({"mixture": [likelier]}, "another mixture of datasets, or with other probabilities"),
        ({"mixture": None}, "another mixture of datasets: give"),
        ({"mixture": [other, likelier.__class__(**{**vars(other), "name": "x"})]}, "another mixt"),
    ):
        with pytest.raises(OtherInputs, match=sentence):
            trainer_of(tmp_path).fit(
                Model(),
                datamodule=ProteinDataModule(**options | change),
                ckpt_path=tmp_path / "two.ckpt",
            )


def test_the_module_draws_from_all_datasets_and_validates_on_the_first(dataset: Path) -> None:
    data = ProteinDataModule(**options_of(dataset, samples_per_epoch=400))
    data.setup("fit")
    named = Counter(name for batch in data.train_dataloader() for name in batch["dataset"])
    assert named["chains"] == pytest.approx(100, abs=10)
    assert named["chains"] + named[str(dataset)] == 400
    assert [d.split for d in data.train_datasets] == ["train", None]
    uids = {uid for batch in data.val_dataloader() for uids in batch["chain_uids"] for uid in uids}
    assert uids == set(ShardDataset(dataset, split="val").chain_uids)


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"unit": "chain"}, ValueError, 'give unit "entry"'),
        ({"crop_size": 1}, ValueError, "two residues at least"),
        ({"crop": "nearby"}, ValueError, '"interface" or "mixed"'),
        ({"mixture": [MixedDataset("a", 0.5), MixedDataset("b", 0.5)]}, ValueError, "have 1 of"),
        ({"mixture": [MixedDataset("a", 1.5)]}, ValueError, "of a is between 0 and 1, not 1.5"),
        ({"mixture": [MixedDataset("nowhere", 0.5)]}, UnreadableDataset, "nowhere"),
        ({"clusters": "fold"}, ValueError, "no column 'fold'"),
    ],
)
def test_wrong_options_are_refused_by_name(
    dataset: Path, change: dict[str, Any], error: Any, sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        ProteinDataModule(**options_of(dataset, **change)).setup("fit")


def test_the_crops_of_all_datasets_are_told(dataset: Path) -> None:
    first, second = ProteinDataModule(**options_of(dataset, crop="contiguous")).crops.items()
    assert first == ("data.crop is contiguous", ContiguousCrop(40))
    assert second == ("the crop of chains in data.mixture is contiguous", ContiguousCrop(40))
