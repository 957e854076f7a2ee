"""Caches are made once and whole; what is damaged is named and never read as data."""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.dataset import CacheError, DamagedShard, ShardDataset, ShardStream, UnreadableDataset
from pipeline.dataset import cache as cache_module


@pytest.fixture
def dataset_copy(examples_dataset, tmp_path) -> Path:
    shutil.copytree(examples_dataset, tmp_path / "dataset")
    return tmp_path / "dataset"


def shard_of(dataset: Path) -> Path:
    return dataset / "shards" / "part-00000.parquet"


def readings(dataset: Path, place: Path):
    """Every way of reading everything, as a function that gives the items."""
    yield lambda: list(ShardDataset(dataset))
    yield lambda: list(ShardDataset(dataset, cache="memory"))
    yield lambda: list(ShardDataset(dataset, cache="mmap", cache_dir=str(place)))
    yield lambda: list(ShardStream(dataset, shuffle=False))


def test_place_and_size_are_said_before_the_cache_is_made_and_only_then(
    dataset_copy, caplog, monkeypatch
):
    caplog.set_level(logging.WARNING, "pipeline.dataset")
    ShardDataset(dataset_copy, cache="mmap")
    (message,) = caplog.messages
    (place,) = [p for p in (dataset_copy / ".cache").iterdir() if p.is_dir()]
    assert str(place) in message
    size = sum(p.stat().st_size for p in place.glob("*.bin"))
    assert f"({size / 2**20:.1f} MiB)" in message
    caplog.clear()
    monkeypatch.setattr(cache_module, "fill", None)  # nothing is decoded again
    dataset = ShardDataset(dataset_copy, cache="mmap")
    assert len(list(dataset)) == len(dataset)
    assert caplog.messages == []


def _open(path: str, place: str, results) -> None:
    dataset = ShardDataset(path, cache="mmap", cache_dir=place)
    results.put(float(sum(item["trans"].sum() for item in dataset)))


@pytest.mark.slow
def test_of_several_processes_one_makes_the_cache(examples_dataset, tmp_path):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    arguments = (str(examples_dataset), str(tmp_path), results)
    processes = [context.Process(target=_open, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    found = [results.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert len(set(found)) == 1
    assert len([p for p in tmp_path.iterdir() if p.is_dir()]) == 1


def test_a_cache_that_was_interrupted_is_made_again(examples_dataset, tmp_path, monkeypatch):
    def stop(*arguments) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cache_module, "fill", stop)
    with pytest.raises(KeyboardInterrupt):
        ShardDataset(examples_dataset, cache="mmap", cache_dir=str(tmp_path))
    assert [p for p in tmp_path.iterdir() if p.is_dir()] == []
    monkeypatch.undo()
    assert len(ShardDataset(examples_dataset, cache="mmap", cache_dir=str(tmp_path))[0]) > 10


def test_without_room_the_cache_is_not_begun(examples_dataset, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1))
    with pytest.raises(CacheError, match="give another cache_dir"):
        ShardDataset(examples_dataset, cache="mmap", cache_dir=str(tmp_path))
    assert [p for p in tmp_path.iterdir() if p.is_dir()] == []


def test_a_cache_belongs_to_its_data_and_its_fields(dataset_copy, tmp_path):
    place = tmp_path / "cache"
    ShardDataset(dataset_copy, cache="mmap", cache_dir=str(place))
    ShardDataset(dataset_copy, cache="mmap", cache_dir=str(place), columns=["aatype"])
    text = (dataset_copy / "build.json").read_text()
    digest = ShardDataset(dataset_copy).digest
    (dataset_copy / "build.json").write_text(text.replace(digest, "1" * 64))
    ShardDataset(dataset_copy, cache="mmap", cache_dir=str(place))
    assert len([p for p in place.iterdir() if p.is_dir()]) == 3


def test_a_dataset_that_cannot_be_written_is_cached_in_the_users_folder(
    dataset_copy, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    ShardDataset(dataset_copy, cache="mmap")
    assert len(list((tmp_path / "home" / "ellipsoid-flow").glob("*/done.json"))) == 1


def test_no_flipped_bit_of_a_shard_ever_gives_other_numbers(dataset_copy, tmp_path):
    sound = {item["chain_uid"]: item for item in ShardDataset(dataset_copy)}
    shard = shard_of(dataset_copy)
    data = shard.read_bytes()
    random = np.random.default_rng(7)
    n_named = 0
    for turn in range(40):
        place = int(random.integers(len(data)))
        broken = bytearray(data)
        broken[place] ^= 1 << int(random.integers(8))
        shard.write_bytes(broken)
        for k, read in enumerate(readings(dataset_copy, tmp_path / f"cache{turn}")):
            if k != turn % 4:
                continue
            items, said = [], None
            try:
                items = read()
            except DamagedShard as error:
                said = str(error)
            if said is not None:
                assert str(shard) in said
                assert "python -m pipeline.verify" in said
                n_named += 1
            for item in items:  # a byte that is not read, of another column or padding
                for key, value in sound[item["chain_uid"]].items():
                    same = torch.equal(item[key], value) if key != "chain_uid" else True
                    assert same, (place, key)
    assert n_named > 20


@pytest.mark.parametrize(
    "damage", ["missing", "truncated", "empty", "version", "fewer rows", "rows exchanged"]
)
def test_a_damaged_shard_is_named_with_what_to_do(dataset_copy, tmp_path, damage):
    shard = shard_of(dataset_copy)
    if damage == "missing":
        shard.unlink()
    elif damage == "truncated":
        shard.write_bytes(shard.read_bytes()[:-1000])
    elif damage == "empty":
        shard.write_bytes(b"")
    else:
        table = pq.read_table(shard)
        if damage == "version":
            metadata = {**table.schema.metadata, b"schema_version": b"99"}
            table = table.replace_schema_metadata(metadata)
        elif damage == "fewer rows":
            table = table.slice(1)
        else:
            lengths = table["length"].to_pylist()
            a = next(k for k in range(len(lengths)) if lengths.index(lengths[k]) != k)
            order = list(range(len(lengths)))
            order[a], order[lengths.index(lengths[a])] = lengths.index(lengths[a]), a
            table = table.take(order)
        pq.write_table(table, shard, write_page_checksum=True)
    for read in readings(dataset_copy, tmp_path / "cache"):
        with pytest.raises(DamagedShard) as caught:
            read()
        assert str(shard) in str(caught.value)
        advice = "build the dataset again" if damage == "version" else "pipeline.verify"
        assert advice in str(caught.value)


def test_a_damaged_index_and_another_schema_version_are_named(dataset_copy):
    index = dataset_copy / "index.parquet"
    data = index.read_bytes()
    index.write_bytes(data[: len(data) // 2])
    with pytest.raises(UnreadableDataset, match=r"index\.parquet"):
        ShardDataset(dataset_copy)
    index.unlink()
    with pytest.raises(UnreadableDataset, match=r"index\.parquet"):
        ShardDataset(dataset_copy)
    index.write_bytes(data)
    build = dataset_copy / "build.json"
    text = build.read_text()
    build.write_text(text.replace('"schema_version": 1', '"schema_version": 2'))
    with pytest.raises(UnreadableDataset, match="schema version 2, and this program reads 1"):
        ShardDataset(dataset_copy)
    build.write_text(text[:100])
    with pytest.raises(UnreadableDataset, match=r"build\.json: is damaged"):
        ShardDataset(dataset_copy)
