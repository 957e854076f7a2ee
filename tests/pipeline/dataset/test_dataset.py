"""`ShardDataset` gives what was asked for, with the numbers of the build."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.data import DataLoader

from pipeline.dataset import (
    DEFAULT_FIELDS,
    ContiguousCrop,
    ShardDataset,
    SpatialCrop,
    UnreadableDataset,
    around,
)
from pipeline.features import atom14_positions, unpack_mask
from pipeline.geometry.frames import backbone_frames, is_frame
from pipeline.geometry.gaussians import local_mean_and_scale
from pipeline.selection import fields
from pipeline.shards import Rows


def rows_of(dataset: Path) -> dict[str, dict]:
    """All rows as pyarrow reads them, by chain_uid."""
    table = pa.concat_tables([pq.read_table(p) for p in sorted((dataset / "shards").iterdir())])
    return {row["chain_uid"]: row for row in table.to_pylist()}


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(
        torch.equal(a[k], b[k]) if isinstance(a[k], torch.Tensor) else a[k] == b[k] for k in a
    )


def test_every_item_holds_what_the_row_holds_and_what_the_geometry_code_makes_of_it(
    examples_dataset,
):
    rows = rows_of(examples_dataset)
    dataset = ShardDataset(examples_dataset)
    assert sorted(dataset.chain_uids) == sorted(rows)
    for k, uid in enumerate(dataset.chain_uids):
        item, row = dataset[k], rows[uid]
        assert tuple(item) == (*DEFAULT_FIELDS, "chain_uid")
        assert item["chain_uid"] == uid
        n = row["length"]
        assert len(item["aatype"]) == n == dataset.lengths[k]
        assert item["aatype"].tolist() == row["aatype"]
        assert item["residue_index"].tolist() == row["residue_index"]
        assert not item["chain_index"].any()
        mask = unpack_mask(np.array(row["atom14_mask"], np.uint16))
        coords = np.array([row["x"], row["y"], row["z"]], np.int32).T
        positions = atom14_positions(mask, coords)
        assert np.array_equal(item["atom14_mask"], mask)
        assert np.array_equal(item["atom14_positions"], positions.astype(np.float32))
        atoms = positions[:, 0], positions[:, 1], positions[:, 2], mask[:, :3].all(axis=1)
        resolved = is_frame(*atoms)
        rotations, translations = backbone_frames(*atoms)
        assert np.array_equal(item["residue_mask"], resolved)
        assert np.allclose(item["rotmats"], rotations, atol=1e-6)
        assert np.allclose(item["trans"][resolved], translations[resolved], atol=1e-4)
        centroid, covariance = np.array(row["centroid"]), np.array(row["covariance"])
        assert np.array_equal(item["centroid"], centroid.astype(np.float32))
        assert np.array_equal(item["covariance"], covariance.astype(np.float32))
        mean, log_scale = local_mean_and_scale(rotations, translations, centroid, covariance)
        assert np.allclose(item["local_mean"][resolved], mean[resolved], atol=1e-4)
        assert np.allclose(item["log_scale"], log_scale, atol=1e-5)
        for name in ("trans", "local_mean", "log_scale", "centroid", "covariance"):
            assert not item[name][~item["residue_mask"]].any(), name
    assert any(not dataset[k]["residue_mask"].all() for k in range(len(dataset)))


@pytest.mark.parametrize("offset", [0, 200_000])  # 0.001 Å: 20 nm from the origin
def test_any_mask_and_any_number_of_residues_decode_to_what_the_geometry_code_makes(offset):
    random = np.random.default_rng(offset)
    n = 2 * fields._BLOCK + 77
    bits = random.integers(0, 1 << 14, n).astype(np.uint16)  # mostly with gaps
    whole = random.random(n) < 0.5
    bits[whole] = (1 << random.integers(0, 15, int(whole.sum()))) - 1
    bits[-5:] = 0  # nothing behind the last atom
    mask = unpack_mask(bits)
    coords = random.integers(offset - 5000, offset + 5000, (int(mask.sum()), 3)).astype(np.int32)
    centroid = random.normal(offset / 1000, 3, (n, 3)).astype(np.float32)
    # Diagonally dominant, hence positive definite.
    covariance = random.uniform((2, -1, -1, 2, -1, 2), (3, 1, 1, 3, 1, 3), (n, 6)).astype(
        np.float32
    )
    x, y, z = coords.T
    lists = {"atom14_mask": bits, "x": x, "y": y, "z": z}
    lists |= {"centroid": centroid, "covariance": covariance}
    rows = Rows(np.array([0, 1500, n]), None, lists, pa.table({}))
    names = [f for f in DEFAULT_FIELDS if f not in ("aatype", "residue_index", "chain_index")]
    found = fields.decode(rows, names)

    positions = atom14_positions(mask, coords)
    atoms = positions[:, 0], positions[:, 1], positions[:, 2], mask[:, :3].all(axis=1)
    resolved = is_frame(*atoms)
    rotations, translations = backbone_frames(*atoms)
    mean, log_scale = local_mean_and_scale(
        rotations, translations, centroid.astype(float), covariance.astype(float)
    )
    translations[~resolved], mean[~resolved] = 0, 0
    assert 0.3 < resolved.mean() < 0.9
    assert np.array_equal(found["atom14_mask"], mask)
    assert np.array_equal(found["residue_mask"], resolved)
    for name, expected in {
        "atom14_positions": positions,
        "rotmats": rotations,
        "trans": translations,
        "local_mean": mean,
        "log_scale": log_scale,
        "centroid": centroid,
        "covariance": covariance,
    }.items():
        # To the bit: float64 until the last step, whatever is far from the origin.
        assert np.array_equal(found[name], expected.astype(np.float32)), name


def test_chains_without_atoms_decode_to_nothing_resolved():
    empty = np.zeros(0, np.int32)
    lists = {"atom14_mask": np.zeros(3, np.uint16), "x": empty, "y": empty, "z": empty}
    rows = Rows(np.array([0, 3]), None, lists, pa.table({}))
    found = fields.decode(rows, ["atom14_positions", "residue_mask", "rotmats", "trans"])
    assert not found["residue_mask"].any()
    assert not found["atom14_positions"].any()
    assert np.array_equal(found["rotmats"], np.tile(np.eye(3, dtype=np.float32), (3, 1, 1)))


def test_types_are_those_that_networks_take(examples_dataset):
    item = ShardDataset(examples_dataset)[0]
    n = len(item["aatype"])
    shapes = {
        **dict.fromkeys(("aatype", "residue_index", "chain_index"), ((n,), torch.int64)),
        "atom14_positions": ((n, 14, 3), torch.float32),
        "atom14_mask": ((n, 14), torch.bool),
        "rotmats": ((n, 3, 3), torch.float32),
        **dict.fromkeys(("trans", "local_mean", "log_scale", "centroid"), ((n, 3), torch.float32)),
        "covariance": ((n, 6), torch.float32),
        "residue_mask": ((n,), torch.bool),
    }
    assert {k: (tuple(v.shape), v.dtype) for k, v in item.items() if k != "chain_uid"} == shapes


@pytest.mark.parametrize("unit", ["chain", "entry"])
def test_caches_give_the_same_items_as_the_shards(examples_dataset, tmp_path, unit):
    plain = ShardDataset(examples_dataset, unit=unit)
    mapped = ShardDataset(examples_dataset, unit=unit, cache="mmap", cache_dir=str(tmp_path))
    memory = ShardDataset(examples_dataset, unit=unit, cache="memory")
    for k in np.random.default_rng(0).permutation(len(plain)).tolist():
        assert same(plain[k], mapped[k])
        assert same(plain[k], memory[k])


def test_an_item_can_be_changed_without_changing_the_next_reading_of_it(examples_dataset, tmp_path):
    for options in ({}, {"cache": "mmap", "cache_dir": str(tmp_path)}, {"cache": "memory"}):
        dataset = ShardDataset(examples_dataset, **options)
        first = dataset[2]["atom14_positions"].clone()
        dataset[2]["atom14_positions"].zero_()
        assert torch.equal(dataset[2]["atom14_positions"], first)


def test_where_takes_text_and_expressions(examples_dataset):
    index = pq.read_table(examples_dataset / "index.parquet").to_pylist()
    expected = [
        row["chain_uid"]
        for row in index
        if row["resolution"] is not None and row["resolution"] < 2.2 and row["length"] > 60
    ]
    assert 0 < len(expected) < len(index)
    text = ShardDataset(examples_dataset, where="resolution < 2.2 and length > 60")
    expression = ShardDataset(
        examples_dataset, where=(pc.field("resolution") < 2.2) & (pc.field("length") > 60)
    )
    assert text.chain_uids == expression.chain_uids == expected
    assert text.index["chain_uid"].to_pylist() == expected


def test_entry_where_takes_entries_whose_every_chain_fulfils_it(examples_dataset):
    index = pq.read_table(examples_dataset / "index.parquet").to_pylist()
    short = {row["entry_id"] for row in index if row["length"] <= 100}
    expected = [row["chain_uid"] for row in index if row["entry_id"] not in short]
    # Entries with a long and a short chain are what this is about.
    assert any(row["length"] > 100 and row["entry_id"] in short for row in index)
    dataset = ShardDataset(examples_dataset, entry_where="length > 100")
    assert dataset.chain_uids == expected


def test_an_entry_is_all_of_its_chosen_chains_told_apart_by_chain_index(examples_dataset):
    chains = ShardDataset(examples_dataset)
    by_uid = {uid: k for k, uid in enumerate(chains.chain_uids)}
    entries = ShardDataset(examples_dataset, unit="entry")
    assert int(entries.lengths.sum()) == int(chains.lengths.sum())
    seen = []
    for k in range(len(entries)):
        item = entries[k]
        seen += item["chain_uids"]
        parts = [chains[by_uid[uid]] for uid in item["chain_uids"]]
        assert len({p["chain_uid"].rsplit("_", 1)[0] for p in parts}) == 1
        assert torch.equal(item["trans"], torch.cat([p["trans"] for p in parts]))
        lengths = torch.tensor([len(p["trans"]) for p in parts])
        assert torch.equal(item["chain_index"], torch.arange(len(parts)).repeat_interleave(lengths))
    assert sorted(seen) == sorted(by_uid)
    assert max(int(entries[k]["chain_index"].max()) for k in range(len(entries))) > 0


def test_columns_projects_and_columns_of_the_index_become_values_of_the_item(examples_dataset):
    dataset = ShardDataset(
        examples_dataset, columns=["aatype", "sse", "three_di", "b_factor", "resolution", "method"]
    )
    index = {
        r["chain_uid"]: r for r in pq.read_table(examples_dataset / "index.parquet").to_pylist()
    }
    rows = rows_of(examples_dataset)
    for k in range(len(dataset)):
        item = dataset[k]
        row = index[item["chain_uid"]]
        named = {"aatype", "sse", "three_di", "b_factor", "resolution", "method", "chain_uid"}
        assert set(item) == named
        letters = "ACDEFGHIKLMNPQRSTVWYX"
        text = "".join(letters[code] for code in item["three_di"].tolist())
        assert text == rows[item["chain_uid"]]["three_di"]
        assert item["method"] == row["method"]
        assert item["sse"].tolist() == rows[item["chain_uid"]]["sse"]
        resolution = float(item["resolution"])
        unknown = row["resolution"] is None
        assert np.isnan(resolution) if unknown else resolution == row["resolution"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": ["aatyp"]}, "no column 'aatyp'"),
        ({"columns": "aatype"}, "a list of names"),
        ({"columns": ["resolution"]}, "at least one per-residue"),
        ({"where": "resolutoin < 2"}, "resolution"),
        ({"where": "length > 1000000"}, "no chain of 35 fulfils"),
        ({"unit": "residue"}, '"chain" or "entry"'),
        ({"cache": "disk"}, '"mmap" or "memory"'),
    ],
)
def test_wrong_options_are_said_plainly(examples_dataset, options, message):
    with pytest.raises(ValueError, match=message):
        ShardDataset(examples_dataset, **options)


def test_a_folder_that_is_no_dataset_says_how_to_make_one(tmp_path):
    with pytest.raises(UnreadableDataset, match=r"python -m pipeline\.build"):
        ShardDataset(tmp_path)


def test_labels_are_joined_by_chain_uid(examples_dataset, tmp_path):
    uids = ShardDataset(examples_dataset).chain_uids
    values = {uid: float(k) for k, uid in enumerate(uids)}
    dataset = ShardDataset(examples_dataset, labels=values)
    assert [float(dataset[k]["label"]) for k in range(len(dataset))] == list(values.values())
    table = pa.table({"chain_uid": uids[::-1], "fold": [u[:4] for u in uids[::-1]]})
    pq.write_table(table, tmp_path / "labels.parquet")
    dataset = ShardDataset(examples_dataset, labels=tmp_path / "labels.parquet", unit="entry")
    for k in range(len(dataset)):
        assert dataset[k]["fold"] == [uid[:4] for uid in dataset[k]["chain_uids"]]


def test_missing_labels_are_an_error_unless_they_may_be_dropped(examples_dataset):
    uids = ShardDataset(examples_dataset).chain_uids
    some = dict.fromkeys(uids[::2], 1)
    with pytest.raises(ValueError, match=f"{len(uids) - len(some)} of {len(uids)} items have no"):
        ShardDataset(examples_dataset, labels=some)
    dataset = ShardDataset(examples_dataset, labels=some, missing_labels="drop")
    assert dataset.chain_uids == uids[::2]
    assert dataset.n_unlabelled == len(uids) - len(some)
    assert [dataset[k]["chain_uid"] for k in range(len(dataset))] == uids[::2]


def test_a_split_needs_splits_that_were_made_for_these_data(examples_dataset, tmp_path):
    out = tmp_path / "dataset"
    shutil.copytree(examples_dataset, out)
    with pytest.raises(UnreadableDataset, match=r"python -m pipeline\.split"):
        ShardDataset(out, split="train")
    plain = ShardDataset(out)
    entries = plain.index["entry_id"].to_pylist()
    names = ["val" if entry == entries[0] else "train" for entry in entries]
    table = pa.table({"chain_uid": plain.chain_uids, "split": names, "cluster": entries})
    backwards = table.take(pa.array(range(len(names))[::-1]))
    path = out / "splits.parquet"
    pq.write_table(backwards.replace_schema_metadata({"digest": "0" * 64}), path)
    with pytest.raises(UnreadableDataset, match="other data"):
        ShardDataset(out, split="train")
    pq.write_table(backwards.replace_schema_metadata({"digest": plain.digest}), path)
    train, val = ShardDataset(out, split="train"), ShardDataset(out, split="val")
    assert {uid[:4] for uid in val.chain_uids} == {plain.chain_uids[0][:4]}
    assert sorted(train.chain_uids + val.chain_uids) == sorted(plain.chain_uids)
    assert train.index["cluster"].to_pylist() == train.index["entry_id"].to_pylist()
    assert ShardDataset(out, where="split = 'val'").chain_uids == val.chain_uids
    with pytest.raises(ValueError, match="it has: train, val"):
        ShardDataset(out, split="test")


def test_a_contiguous_crop_is_a_window_and_a_pure_function_of_seed_epoch_and_name(examples_dataset):
    whole = ShardDataset(examples_dataset)
    crop = ShardDataset(examples_dataset, crop=ContiguousCrop(40), seed=3)
    again = ShardDataset(examples_dataset, crop=ContiguousCrop(40), seed=3, cache="memory")
    starts = set()
    for k in range(len(whole)):
        full, item = whole[k], crop[k]
        n = min(40, len(full["aatype"]))
        assert crop.lengths[k] == n
        windows = full["trans"].unfold(0, n, 1).transpose(1, 2)
        begin = int((windows == item["trans"]).flatten(1).all(dim=1).nonzero()[0])
        assert torch.equal(item["atom14_positions"], full["atom14_positions"][begin : begin + n])
        starts.add(begin)
        assert same(item, again[k])
    assert len(starts) > 5
    crop.set_epoch(1)
    assert any(not torch.equal(crop[k]["trans"], again[k]["trans"]) for k in range(len(whole)))


def test_a_spatial_crop_keeps_the_nearest_residues_in_their_order(examples_dataset):
    entries = ShardDataset(examples_dataset, unit="entry")
    cropped = ShardDataset(
        examples_dataset, unit="entry", crop=SpatialCrop(50), columns=["aatype", "chain_index"]
    )
    for k in range(len(entries)):
        item = cropped[k]
        assert set(item) == {"aatype", "chain_index", "chain_uid", "chain_uids"}
        assert len(item["aatype"]) == min(50, len(entries[k]["aatype"]))
    item = max((entries[k] for k in range(len(entries))), key=lambda i: len(i["aatype"]))
    kept = around(item["trans"], item["residue_mask"], 30, 50)
    distance = (item["trans"] - item["trans"][30]).norm(dim=-1)
    distance[~item["residue_mask"]] = torch.inf
    others = torch.ones(len(distance), dtype=torch.bool)
    others[kept] = False
    assert 30 in kept
    assert torch.equal(kept, kept.sort().values)
    assert distance[kept].max() <= distance[others].min()


def first_of(batch: list) -> dict:
    return batch[0]


def mirrored(item: dict) -> dict:
    return {**item, "trans": -item["trans"]}


@pytest.mark.parametrize(
    ("cache", "context"),
    [
        *((cache, "fork") for cache in (None, "mmap", "memory")),
        ("mmap", "spawn"),
        pytest.param(None, "spawn", marks=pytest.mark.slow),
        pytest.param("memory", "spawn", marks=pytest.mark.slow),
    ],
)
def test_workers_of_either_kind_give_the_same_items(examples_dataset, tmp_path, cache, context):
    options = {"transform": mirrored, "crop": SpatialCrop(60)}
    if cache == "mmap":
        options["cache_dir"] = str(tmp_path)
    dataset = ShardDataset(examples_dataset, cache=cache, **options)
    dataset[0]  # whatever this process has open, its workers must not share
    plain = ShardDataset(examples_dataset, **options)
    loader = DataLoader(
        dataset, num_workers=2, collate_fn=first_of, multiprocessing_context=context
    )
    items = list(loader)
    assert len(items) == len(plain)
    for k, item in enumerate(items):
        assert same(item, plain[k])


def test_persistent_workers_learn_of_a_new_epoch(examples_dataset):
    dataset = ShardDataset(examples_dataset, crop=ContiguousCrop(20))
    loader = DataLoader(dataset, num_workers=2, collate_fn=first_of, persistent_workers=True)
    for epoch in (0, 1, 0):
        dataset.set_epoch(epoch)
        for k, item in enumerate(loader):
            assert same(item, dataset[k]), (epoch, k)


def test_a_dataset_pickles(examples_dataset, tmp_path):
    for options in ({}, {"cache": "mmap", "cache_dir": str(tmp_path)}, {"cache": "memory"}):
        dataset = ShardDataset(examples_dataset, where="length > 50", **options)
        dataset[1]
        copy = pickle.loads(pickle.dumps(dataset))
        assert copy.chain_uids == dataset.chain_uids
        assert all(same(copy[k], dataset[k]) for k in range(len(dataset)))


def test_numbers_count_from_the_end_too_and_end_where_the_items_end(examples_dataset):
    dataset = ShardDataset(examples_dataset)
    assert same(dataset[-1], dataset[len(dataset) - 1])
    for number in (len(dataset), -len(dataset) - 1):
        with pytest.raises(IndexError):
            dataset[number]


def test_blocks_are_all_items_by_row_group(examples_dataset):
    dataset = ShardDataset(examples_dataset, where="length > 60")
    blocks = dataset.blocks
    assert sorted(np.concatenate(blocks).tolist()) == list(range(len(dataset)))
    places = dataset.index.select(["shard", "row_group"]).to_pylist()
    for block in blocks:
        assert len({tuple(places[k].values()) for k in block.tolist()}) == 1
