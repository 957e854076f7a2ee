"""Datasets in an object store read like those on this machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
import torch
from torch.utils.data import DataLoader

from pipeline.dataset import DamagedShard, ShardDataset, ShardStream, UnreadableDataset
from pipeline.files.storage import StorageError
from tests.support.s3_server import S3Server, s3_server


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def remote(server: S3Server, examples_dataset) -> Iterator[str]:
    """URI of the examples in a bucket of their own, whole again for each test."""
    server.work()
    server.make_bucket("examples")
    for path in examples_dataset.rglob("*"):
        if path.is_file():
            key = f"set/{path.relative_to(examples_dataset)}"
            server.put("examples", key, path.read_bytes())
    yield server.uri("examples/set")
    server.work()


def first(batch: list) -> dict:
    return batch[0]


def same(a: dict, b: dict) -> bool:
    return all(torch.equal(v, b[k]) if torch.is_tensor(v) else v == b[k] for k, v in a.items())


@pytest.mark.parametrize("cache", [None, "memory", "mmap"])
def test_items_of_a_remote_dataset_are_those_of_the_local_one(
    remote, examples_dataset, tmp_path, cache
):
    options = {"cache_dir": str(tmp_path)} if cache == "mmap" else {}
    where = "length > 60"
    local = ShardDataset(examples_dataset, where=where)
    dataset = ShardDataset(remote, where=where, cache=cache, **options)
    assert dataset.chain_uids == local.chain_uids
    assert all(same(dataset[k], local[k]) for k in range(len(local)))


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_connect_anew(remote, examples_dataset, context):
    stream = ShardStream(remote, seed=2)
    loader = DataLoader(stream, num_workers=2, collate_fn=first, multiprocessing_context=context)
    found = sorted(item["chain_uid"] for item in loader)
    assert found == sorted(ShardDataset(examples_dataset).chain_uids)


def test_a_stream_reads_every_shard_once_an_epoch(remote, server):
    stream = ShardStream(remote)
    server.work()
    n = sum(1 for _ in stream)
    assert n == len(stream)
    sizes = [r for r in server.requests() if "part-00000" in r and r.startswith("HEAD")]
    assert len(sizes) <= 2


def test_what_is_damaged_there_is_named(remote, server):
    key = "set/shards/part-00000.parquet"
    data = bytearray(server.get("examples", key))
    data[len(data) // 2] ^= 1
    server.put("examples", key, bytes(data))
    with pytest.raises(DamagedShard, match="examples/set/shards/part-00000"):
        list(ShardStream(remote))
    with pytest.raises(UnreadableDataset, match=r"no build\.json"):
        ShardDataset(server.uri("examples/other"))


def test_a_store_that_fails_is_no_damage(remote, server):
    stream = ShardStream(remote)
    server.fail("GET", "part-00000", 403)
    with pytest.raises(StorageError, match="part-00000"):
        list(stream)


def test_where_to_cache_a_remote_dataset_is_the_users_folder(remote, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    ShardDataset(remote, cache="mmap")
    assert len(list((tmp_path / "ellipsoid-flow").glob("*/done.json"))) == 1
    shutil.rmtree(tmp_path / "ellipsoid-flow")
