"""`collate`: padding with masks, and nothing else."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader

from pipeline.batching import PER_RESIDUE, collate
from pipeline.dataset import DEFAULT_FIELDS, FIELDS, ShardDataset

TORCH = {"i8": torch.int64, "f4": torch.float32, "?": torch.bool}


def item_of(length: int, seed: int = 0, fields: Any = (*FIELDS, "chain_index")) -> dict[str, Any]:
    """An item of random numbers, no element of which is 0, with the dataset's shapes and types."""
    random = torch.Generator().manual_seed(seed)
    item: dict[str, Any] = {}
    for name in fields:
        shape, kind = (FIELDS[name].shape, FIELDS[name].item) if name in FIELDS else ((), "i8")
        item[name] = torch.randint(1, 9, (length, *shape), generator=random).to(TORCH[kind])
    item["chain_uid"] = f"chain_{seed}"
    return item


def unpad(batch: dict[str, Any], per_residue: frozenset[str] = PER_RESIDUE) -> list[dict[str, Any]]:
    return [
        {
            key: value[k][:length] if key in per_residue else value[k]
            for key, value in batch.items()
            if key != "lengths"
        }
        for k, length in enumerate(batch["lengths"].tolist())
    ]


def alike(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return bool(one == other)


def assert_alike(items: list[dict[str, Any]], others: list[dict[str, Any]]) -> None:
    assert len(items) == len(others)
    for item, other in zip(items, others, strict=True):
        assert list(item) == list(other)
        assert all(alike(item[key], other[key]) for key in item)


@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=5),
    st.sets(st.sampled_from([*FIELDS, "chain_index"]), min_size=1),
)
def test_what_was_padded_is_had_back_without_the_padding(lengths, fields):
    items = [item_of(length, k, sorted(fields)) for k, length in enumerate(lengths)]
    for k, item in enumerate(items):
        item["label"] = torch.tensor([k, k + 1])
    batch = collate(items)
    assert batch["lengths"].tolist() == lengths
    assert all(batch[key].shape[:2] == (len(items), max(lengths)) for key in fields)
    assert_alike(unpad(batch), items)


def test_padding_is_zero_and_false_and_the_identity_in_rotations():
    items = [item_of(3, 0), item_of(5, 1)]
    batch = collate(items)
    for key in PER_RESIDUE & items[0].keys():
        padding = batch[key][0, 3:]
        if key == "rotmats":
            assert torch.equal(padding, torch.eye(3).expand(2, 3, 3))
        else:
            assert not padding.any()
    assert batch["residue_mask"].tolist() == [[True] * 3 + [False] * 2, [True] * 5]
    assert torch.linalg.det(batch["rotmats"][0, 3:]).tolist() == [1.0, 1.0]


def test_an_unresolved_residue_is_told_from_padding_by_the_lengths():
    item = item_of(4)
    item["residue_mask"][3] = False
    batch = collate([item, item_of(6, 1)])
    assert batch["residue_mask"][0].tolist() == [True] * 3 + [False] * 3
    assert batch["lengths"].tolist() == [4, 6]


def test_items_are_not_changed_and_not_shared():
    item = item_of(4)
    before = {key: value.clone() for key, value in item.items() if isinstance(value, Tensor)}
    batch = collate([item])
    for key in before:
        batch[key] += batch[key]
        assert torch.equal(item[key], before[key])


def test_labels_are_stacked_by_kind_and_anything_else_is_listed():
    labels: list[dict[str, Any]] = [
        {"n": 1, "x": 0.5, "flag": True, "name": "a", "none": None, "list": [1], "mixed": 1},
        {"n": 2, "x": 2, "flag": False, "name": "b", "none": None, "list": [], "mixed": 2.5},
    ]
    arrays = {"t": torch.tensor(3), "m": torch.ones(2, 3), "a": np.arange(4), "s": np.float32(1)}
    batch = collate([item_of(2, k) | values | arrays for k, values in enumerate(labels)])
    assert alike(batch["n"], torch.tensor([1, 2]))
    assert alike(batch["x"], torch.tensor([0.5, 2.0]))
    assert alike(batch["mixed"], torch.tensor([1.0, 2.5]))
    assert alike(batch["flag"], torch.tensor([True, False]))
    assert alike(batch["t"], torch.tensor([3, 3]))
    assert alike(batch["s"], torch.tensor([1.0, 1.0]))
    assert batch["m"].shape == (2, 2, 3)
    assert alike(batch["a"], torch.arange(4).expand(2, 4))
    assert batch["name"] == ["a", "b"]
    assert batch["none"] == [None, None]
    assert batch["list"] == [[1], []]
    assert batch["chain_uid"] == ["chain_0", "chain_1"]


def test_a_label_as_long_as_the_chain_is_not_padded():
    """The shape is never what tells: both items have labels of 4, and only one has 4 residues."""
    batch = collate([item_of(n, n) | {"profile": torch.ones(4)} for n in (4, 6)])
    assert batch["profile"].shape == (2, 4)


def test_further_keys_are_padded_if_they_are_declared():
    items = [item_of(n, n) | {"profile": torch.ones(n, 7)} for n in (4, 6)]
    batch = collate(items, per_residue=["profile"])
    assert batch["profile"].shape == (2, 6, 7)
    assert batch["profile"][0, 4:].abs().sum() == 0
    assert_alike(unpad(batch, PER_RESIDUE | {"profile"}), items)
    with pytest.raises(ValueError, match=r"profile is .* shape \(4, 7\) in chain_4 and .*") as e:
        collate(items)
    assert "collate(…, per_residue=['profile'])" in str(e.value)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"sse": torch.ones(3)}, "chain_1: sse has 3 rows and aatype 5"),
        ({"extra": 1}, "chain_1 has extra, chain_0 in the same batch has not"),
        ({"aatype": None}, "chain_1: aatype is per residue, but no tensor"),
        ({"sse": torch.tensor(1)}, "chain_1: sse is per residue, but no tensor"),
        ({"trans": torch.ones(5, 2)}, r"trans is .* in chain_0 and .*shape \(2,\) in chain_1"),
        ({"sse": torch.ones(5)}, r"sse is torch.int64 .* and torch.float32 .* in chain_1"),
        ({"label": torch.tensor(1.0)}, r"label is torch.int64 .* and torch.float32 .* in chain_1"),
        ({"label": None}, "label is Tensor in chain_0 and NoneType in chain_1"),
    ],
)
def test_items_that_do_not_fit_together_are_refused_by_name(change, sentence):
    one = item_of(4, 0) | {"label": torch.tensor(1)}
    other = item_of(5, 1) | {"label": torch.tensor(2)} | change
    with pytest.raises(ValueError, match=sentence):
        collate([one, other])


def test_a_missing_key_is_named():
    one, other = item_of(4, 0), item_of(5, 1)
    del other["trans"]
    with pytest.raises(ValueError, match="chain_0 has trans, chain_1 in the same batch has not"):
        collate([one, other])


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no items"):
        collate([])
    with pytest.raises(ValueError, match="no key of the items is per residue: x"):
        collate([{"x": 1}])
    with pytest.raises(ValueError, match="lengths is a key of batches"):
        collate([item_of(3) | {"lengths": 3}])


def test_real_chains_come_back_from_a_batch(examples_dataset: Path):
    dataset = ShardDataset(examples_dataset)
    items = [dataset[k] for k in range(len(dataset))]
    batch = collate(items)
    assert batch["lengths"].tolist() == dataset.lengths.tolist()
    assert_alike(unpad(batch), items)
    assert set(DEFAULT_FIELDS) <= set(batch)
    resolved = batch["residue_mask"]
    assert torch.linalg.det(batch["rotmats"]).sub(1).abs().max() < 1e-5
    assert (batch["covariance"][..., 0] > 0).equal(resolved)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_give_the_same_batches_in_one_piece(examples_dataset: Path, method: str):
    """One storage for all tensors: each would cost a file descriptor of its own."""
    columns = ["aatype", "rotmats", "residue_mask", "n_breaks", "sse", "method"]
    options: dict[str, Any] = {
        "dataset": ShardDataset(examples_dataset, columns=columns, cache="memory"),
        "batch_size": 9,
        "collate_fn": partial(collate, per_residue=("other",)),
    }
    expected = list(DataLoader(**options))
    found = list(DataLoader(**options, num_workers=1, multiprocessing_context=method))
    assert_alike(found, expected)
    for batch in found:
        tensors = [value for value in batch.values() if isinstance(value, Tensor)]
        assert len(tensors) == 6
        assert len({tensor.untyped_storage().data_ptr() for tensor in tensors}) == 1
        assert all(tensor.data_ptr() % 64 == 0 for tensor in tensors)
