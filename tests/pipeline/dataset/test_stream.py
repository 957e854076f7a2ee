"""`ShardStream` gives every chain once, to one worker of one rank, in an order that can be told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.data import DataLoader

from pipeline.build.command import main
from pipeline.dataset import ContiguousCrop, ShardDataset, ShardStream, store
from pipeline.dataset.stream import _shuffled
from pipeline.seeded import seeded
from tests.support.places import EXAMPLES


@pytest.fixture(scope="module")
def many_shards(tmp_path_factory) -> Path:
    """The examples in several shards of a few chains each."""
    out_dir = tmp_path_factory.mktemp("shards") / "dataset"
    links = tmp_path_factory.mktemp("copies")
    for copy in range(4):
        for path in EXAMPLES.iterdir():
            if path.name.endswith((".gz", ".pdb", ".cif", ".bcif")):
                (links / f"c{copy}_{path.name}").symlink_to(path)
    arguments = ["--pdb-dir", str(links), "--out-dir", str(out_dir), "--part-size", "1", "--quiet"]
    assert main([*arguments, "--n-jobs", "1"]) == 0
    assert len(list((out_dir / "shards").iterdir())) > 4
    return out_dir


def uids(items) -> list[str]:
    return [item["chain_uid"] for item in items]


def only(batch: list) -> dict:
    return batch[0]


def test_items_are_those_of_the_dataset(many_shards):
    dataset = ShardDataset(many_shards, where="length > 60", crop=ContiguousCrop(80))
    expected = {item["chain_uid"]: item for item in dataset}
    stream = ShardStream(many_shards, where="length > 60", crop=ContiguousCrop(80))
    items = list(stream)
    assert len(items) == len(stream) == len(expected)
    for item in items:
        for key, value in expected.pop(item["chain_uid"]).items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(item[key], value)


def in_small_groups(dataset: Path, out: Path, n: int) -> None:
    """A copy of a dataset of one shard, in row groups of n chains."""
    shutil.copytree(dataset, out, ignore=shutil.ignore_patterns(".cache"))
    (shard,) = (out / "shards").iterdir()
    rows = pq.read_table(shard)
    pq.write_table(rows, shard, write_page_checksum=True, row_group_size=n)
    index = pq.read_table(out / "index.parquet")
    assert index["row"].to_pylist() == list(range(len(index)))
    row = index["row"].to_numpy()
    for name, values in (("row_group", row // n), ("row", row % n)):
        k = index.schema.get_field_index(name)
        index = index.set_column(k, index.field(name), pa.array(values, index.field(name).type))
    pq.write_table(index, out / "index.parquet", write_page_checksum=True)


@pytest.mark.parametrize("read_chains", [1, 7, 10_000])
def test_row_groups_that_are_read_together_give_the_same_items(
    examples_dataset, tmp_path, monkeypatch, read_chains
):
    monkeypatch.setattr(store, "READ_CHAINS", read_chains)
    in_small_groups(examples_dataset, tmp_path / "small", 3)
    assert len(ShardDataset(tmp_path / "small").blocks) == 12
    expected = {item["chain_uid"]: item for item in ShardDataset(examples_dataset)}
    reads = []
    read_rows = store.read_rows
    monkeypatch.setattr(store, "read_rows", lambda *a: reads.append(a[2]) or read_rows(*a))
    for options in (
        {},
        {"shuffle": False},
        {"where": "length > 150"},
        {"rank": 1, "world_size": 2},
    ):
        reads.clear()
        stream = ShardStream(tmp_path / "small", even=False, **options)
        items = list(stream)
        assert len(items) == len(stream) == len({item["chain_uid"] for item in items}) > 0
        for item in items:
            for key, value in expected[item["chain_uid"]].items():
                assert key == "chain_uid" or torch.equal(item[key], value)
        groups = sorted(group for read in reads for group in read)
        assert groups == sorted(set(groups))  # each once
        assert max(map(len, reads)) == {1: 1, 7: 2}.get(read_chains, len(groups))


def test_an_epoch_is_shuffled_and_told_by_its_seed(many_shards):
    stream = ShardStream(many_shards, seed=5, buffer=16)
    first = uids(stream)
    assert uids(stream) == first == uids(ShardStream(many_shards, seed=5, buffer=16))
    stream.set_epoch(1)
    second = uids(stream)
    assert second != first
    assert sorted(second) == sorted(first)
    assert uids(ShardStream(many_shards, seed=6, buffer=16)) != first
    in_order = uids(ShardStream(many_shards, shuffle=False))
    assert in_order == ShardDataset(many_shards).chain_uids


@pytest.mark.parametrize("world_size", [1, pytest.param(2, marks=pytest.mark.slow), 3])
@pytest.mark.parametrize("n_workers", [0, pytest.param(2, marks=pytest.mark.slow), 3])
def test_ranks_and_workers_share_the_chains_without_duplicates(many_shards, world_size, n_workers):
    everything = sorted(ShardDataset(many_shards).chain_uids)
    seen: list[str] = []
    counts = []
    for rank in range(world_size):
        stream = ShardStream(many_shards, rank=rank, world_size=world_size, even=False)
        loader = DataLoader(stream, batch_size=1, num_workers=n_workers, collate_fn=only)
        found = uids(loader)
        assert len(found) == len(stream)
        seen += found
        counts.append(len(found))
    assert sorted(seen) == everything
    even: list[str] = []
    for rank in range(world_size):
        stream = ShardStream(many_shards, rank=rank, world_size=world_size)
        loader = DataLoader(stream, batch_size=1, num_workers=n_workers, collate_fn=only)
        found = uids(loader)
        assert len(found) == len(stream) == min(counts)
        even += found
    assert len(set(even)) == len(even) == len(everything) - stream.n_left_out


def test_the_buffer_decides_how_far_items_travel():
    items = [{"k": k} for k in range(2000)]
    for size in (1, 10, 100):
        found = [i["k"] for i in _shuffled(iter(items), size, seeded(0, 0, ""))]
        assert sorted(found) == list(range(2000))
        # An item cannot leave more than `size` places before its turn.
        assert max(k - place for place, k in enumerate(found)) <= size
    assert [i["k"] for i in _shuffled(iter(items), 1, seeded(0, 0, ""))] == list(range(2000))


def test_wrong_places_are_refused(many_shards):
    for rank, world_size in ((2, 2), (-1, 2), (0, None)):
        with pytest.raises(ValueError, match="rank"):
            ShardStream(many_shards, rank=rank, world_size=world_size)
    with pytest.raises(ValueError, match="at least one"):
        ShardStream(many_shards, buffer=0)
