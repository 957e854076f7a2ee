"""Which chains of an entry are copies of each other."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.batching import collate
from pipeline.dataset import ContiguousCrop, InterfaceCrop, ShardDataset
from pipeline.dataset.draw import Draw, repeat_of
from pipeline.dataset.entities import NO_ENTITY, entities_and_copies

LONG = np.arange(20) % 19


def numbered(
    entities: list[int], *chains: tuple[np.ndarray, np.ndarray]
) -> tuple[list[int], list[int]]:
    return entities_and_copies(entities, [n for n, _ in chains], [t for _, t in chains])


def test_copies_of_an_entity_are_counted_in_the_order_in_which_they_come() -> None:
    chain = np.arange(20), LONG
    assert numbered([7, 3, 7, 7, 3], *[chain] * 5) == ([0, 1, 0, 0, 1], [0, 0, 1, 2, 1])


def test_without_entities_chains_are_copies_if_they_agree_wherever_both_have_a_residue() -> None:
    numbers = np.arange(20)
    whole, no_ends = (numbers, LONG), (numbers[4:-4], LONG[4:-4])
    unknown = LONG.copy()
    unknown[3] = 20
    mutated = LONG.copy()
    mutated[10] += 1
    elsewhere = numbers + 1000, LONG
    found, copies = numbered(
        [NO_ENTITY] * 6,
        whole,
        no_ends,
        (numbers, unknown),
        (numbers, mutated),
        elsewhere,
        (numbers, np.full(20, 20)),
    )
    assert found == [0, 0, 0, 1, 2, 3]
    assert copies == [0, 1, 2, 0, 0, 0]


def test_what_a_file_says_of_entities_is_believed() -> None:
    chain = np.arange(20), LONG
    assert numbered([1, 2, NO_ENTITY, NO_ENTITY], *[chain] * 4)[0] == [0, 1, 2, 2]


def test_items_of_entries_have_the_entities_of_the_index(examples_dataset: Path) -> None:
    index = pq.read_table(examples_dataset / "index.parquet").to_pylist()
    entity_of = {row["chain_uid"]: row["entity_id"] for row in index}
    entries = ShardDataset(examples_dataset, unit="entry")
    n_with_copies = 0
    for k in range(len(entries)):
        item = entries[k]
        names = [entity_of[uid] for uid in item["chain_uids"]]
        first = torch.tensor(
            [int((item["chain_index"] == c).nonzero()[0]) for c in range(len(names))]
        )
        entity, copy = item["entity_index"][first].tolist(), item["symmetry_index"][first].tolist()
        assert len(set(zip(entity, copy, strict=True))) == len(names)
        assert sorted(set(entity)) == list(range(max(entity) + 1))
        if None not in names:
            assert [names.index(name) for name in names] == [
                entity.index(number) for number in entity
            ]
        n_with_copies += max(copy) > 0
    assert n_with_copies > 0


def test_a_crop_keeps_the_indices_of_the_whole_entry(examples_dataset: Path) -> None:
    whole = ShardDataset(examples_dataset, unit="entry")
    crops = ShardDataset(examples_dataset, unit="entry", crop=InterfaceCrop(60))
    names = ("chain_index", "entity_index", "symmetry_index")
    for k in range(len(whole)):
        told = {}
        for row in zip(*(whole[k][name].tolist() for name in names), strict=True):
            told[row[0]] = row
        for row in zip(*(crops[k][name].tolist() for name in names), strict=True):
            assert told[row[0]] == row


def test_batches_have_them_and_chains_alone_only_if_asked(examples_dataset: Path) -> None:
    entries = ShardDataset(examples_dataset, unit="entry", crop=ContiguousCrop(50))
    batch = collate([entries[k] for k in range(4)])
    assert batch["entity_index"].shape == batch["symmetry_index"].shape == batch["aatype"].shape
    assert "entity_index" not in ShardDataset(examples_dataset)[0]
    item = ShardDataset(examples_dataset, columns=["trans", "entity_index"])[0]
    assert not item["entity_index"].any()
    assert set(item) == {"trans", "entity_index", "chain_uid"}


@pytest.mark.parametrize("cache", [None, "memory"])
def test_an_item_that_an_epoch_draws_again_is_cropped_anew(
    examples_dataset: Path, cache: str | None
) -> None:
    crops = ShardDataset(examples_dataset, crop=ContiguousCrop(20), cache=cache)  # type: ignore[arg-type]
    k = int(np.argmax(ShardDataset(examples_dataset).lengths))
    first = [crops[Draw(k, repeat)]["residue_index"].tolist() for repeat in range(6)]
    assert first[0] == crops[k]["residue_index"].tolist()
    assert len(set(map(tuple, first))) > 3
    assert first == [crops[Draw(k, repeat)]["residue_index"].tolist() for repeat in range(6)]


def test_a_draw_is_the_number_to_everything_else_and_travels_to_workers() -> None:
    draw = pickle.loads(pickle.dumps(Draw(5, 3)))
    assert (draw, repeat_of(draw), repeat_of(5)) == (5, 3, 0)
    assert [*"abcdef"][draw] == "f"
