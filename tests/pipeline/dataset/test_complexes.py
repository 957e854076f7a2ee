"""Chains and interfaces as items: their weights, their crops, how often they come."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.batching import LengthBatchSampler
from pipeline.batching.collate import collate
from pipeline.dataset import (
    AlphaFold3Weights,
    ComplexDataset,
    ContiguousCrop,
    InterfaceCrop,
    MixedCrop,
    ShardDataset,
    UnreadableDataset,
)
from pipeline.errors import UsageError
from tests.support.complexes import interfaces_of, write_interfaces

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def rows(examples_dataset: Path) -> Rows:
    return interfaces_of(examples_dataset)


@pytest.fixture(scope="module")
def with_interfaces(
    examples_dataset: Path, rows: Rows, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("complexes") / "dataset"
    shutil.copytree(examples_dataset, folder)
    write_interfaces(folder, rows)
    uids = pq.read_table(folder / "index.parquet", columns=["chain_uid"])["chain_uid"].to_pylist()
    digest = json.loads((folder / "build.json").read_text())["digest"]
    table = pa.table({"chain_uid": uids, "cluster": [f"c{k % 7}" for k in range(len(uids))]})
    pq.write_table(table.replace_schema_metadata({"digest": digest}), folder / "splits.parquet")
    return folder


def opened(path: Path, **options: Any) -> ComplexDataset:
    return ComplexDataset(ShardDataset(path, unit="entry", cache="memory", **options))


def test_weights_are_those_of_the_formula_worked_by_hand() -> None:
    """Abramson et al. 2024, supplement 2.5.1: β_r / N_clust (α n + α n + α n)."""
    found = AlphaFold3Weights().of(
        is_interface=[False, True, True, True],
        cluster_size=[10, 4, 1, 2],
        n_protein=[1, 2, 2, 1],
        n_nucleic=[0, 0, 1, 0],
        n_ligand=[0, 0, 0, 1],
    )
    assert found == pytest.approx([0.5 / 10 * 3, 1 / 4 * 6, 9.0, 1 / 2 * 4])
    other = AlphaFold3Weights(beta_chain=2, alpha_protein=1, alpha_ligand=5)
    assert other.of([False], [4], [1], 0, [1]) == pytest.approx([2 / 4 * 6])


def test_every_chain_and_every_touching_pair_is_an_item(with_interfaces: Path, rows: Rows) -> None:
    complexes = opened(with_interfaces)
    expected = {
        f"{row['chain_uid_1']}+{row['chain_uid_2']}" for row in rows if row["n_atom_contacts"] > 0
    }
    chains = ShardDataset(with_interfaces).chain_uids
    n = len(chains)
    assert sorted(complexes.chain_uids[:n]) == sorted(chains)
    assert len(expected) > 5
    assert set(complexes.chain_uids[n:]) == expected
    assert len(complexes) == n + len(expected)
    for k in range(len(complexes)):
        item = complexes[k]
        assert "+".join(item["focus"]) == complexes.chain_uids[k]
        assert item["chain_uid"] == item["focus"][0]
        assert set(item["focus"]) <= set(item["chain_uids"])
        assert len(item["aatype"]) == complexes.lengths[k]


@pytest.mark.parametrize("crop", [InterfaceCrop(24), ContiguousCrop(24)])
def test_a_crop_of_an_interface_holds_both_of_its_chains(with_interfaces: Path, crop: Any) -> None:
    complexes = opened(with_interfaces, crop=crop)
    for epoch in range(2):
        complexes.set_epoch(epoch)
        for k in np.flatnonzero(complexes.is_interface).tolist():
            item = complexes[k]
            there = {item["chain_uids"][c] for c in item["chain_index"].unique().tolist()}
            assert set(item["focus"]) <= there
            assert len(item["aatype"]) == complexes.lengths[k] <= 24


def test_weights_count_the_clusters_of_the_chosen_chains(with_interfaces: Path) -> None:
    where = "length > 20"
    complexes = opened(with_interfaces, where=where)
    chosen = ShardDataset(with_interfaces, where=where)
    cluster = dict(zip(chosen.chain_uids, chosen.index["cluster"].to_pylist(), strict=True))
    groups = [tuple(sorted(cluster[u] for u in name.split("+"))) for name in complexes.chain_uids]
    expected = [
        (0.5, 1.0)[len(group) - 1] / groups.count(group) * 3 * len(group) for group in groups
    ]
    assert complexes.weights() == pytest.approx(expected)
    alone = [(1.5, 6.0)[len(group) - 1] for group in groups]
    assert complexes.weights(clusters=None) == pytest.approx(alone)


def test_what_lies_between_two_chains_weighs_once_for_each_kind(
    with_interfaces: Path, rows: Rows, tmp_path: Path
) -> None:
    shutil.copytree(with_interfaces, tmp_path / "dataset")
    touching = [dict(row) for row in rows if row["n_atom_contacts"]]
    touching[0] |= {"n_ligands": 3, "n_nucleotides": 0}
    touching[1] |= {"n_ligands": 0, "n_nucleotides": 12}
    write_interfaces(tmp_path / "dataset", touching)
    complexes = opened(tmp_path / "dataset")
    of_interfaces = complexes.weights(clusters=None)[complexes.is_interface]
    assert of_interfaces[:3] == pytest.approx([7.0, 9.0, 6.0])


def test_items_are_drawn_as_often_as_their_weights_say(with_interfaces: Path) -> None:
    complexes = opened(with_interfaces)
    weights = complexes.weights()
    sampler = LengthBatchSampler(
        complexes.lengths, weights=weights, samples_per_epoch=400, budget=10**9
    )
    counts = np.zeros(len(complexes))
    for epoch in range(5):
        sampler.set_epoch(epoch)
        for batch in sampler:
            np.add.at(counts, batch, 1)
    expected = 2000 * weights / weights.sum()
    # Systematic sampling: each epoch is off by less than one draw.
    assert np.abs(counts - expected).max() < 5


def test_an_item_that_comes_again_in_an_epoch_is_another_crop(with_interfaces: Path) -> None:
    complexes = opened(with_interfaces, crop=MixedCrop(24))
    weights = np.zeros(len(complexes))
    k = int(
        np.argmax(complexes.is_interface * complexes.entries.selection.item_lengths[complexes.item])
    )
    weights[k] = 1
    sampler = LengthBatchSampler(
        complexes.lengths, weights=weights, samples_per_epoch=8, budget=10**9
    )
    (batch,) = sampler
    assert batch == [k] * 8
    crops = [complexes[draw]["residue_index"].tolist() for draw in batch]
    assert len(set(map(tuple, crops))) > 4
    assert crops == [complexes[draw]["residue_index"].tolist() for draw in batch]
    assert collate([complexes[draw] for draw in batch])["focus"] == [complexes[k]["focus"]] * 8


def test_without_the_table_the_sentence_names_the_command_that_makes_it(
    examples_dataset: Path, tmp_path: Path
) -> None:
    shutil.copytree(examples_dataset, tmp_path / "old")
    (tmp_path / "old" / "interfaces.parquet").unlink()
    with pytest.raises(UnreadableDataset, match=r"no interfaces\.parquet.*pipeline\.upgrade"):
        opened(tmp_path / "old")


@pytest.mark.parametrize("column", ["n_atom_contacts", "chain_uid_2"])
def test_a_table_without_a_column_is_refused_by_name(
    with_interfaces: Path, tmp_path: Path, column: str
) -> None:
    shutil.copytree(with_interfaces, tmp_path / "dataset")
    path = tmp_path / "dataset" / "interfaces.parquet"
    pq.write_table(pq.read_table(path).drop_columns(column), path, write_page_checksum=True)
    with pytest.raises(UnreadableDataset, match=f"has no column {column}"):
        opened(tmp_path / "dataset")


def test_a_table_that_joins_chains_of_two_entries_is_of_other_data(
    with_interfaces: Path, rows: Rows, tmp_path: Path
) -> None:
    shutil.copytree(with_interfaces, tmp_path / "dataset")
    row = rows[0]
    uids = ShardDataset(with_interfaces).chain_uids
    other = next(uid for uid in uids if uid[:4] != row["chain_uid_1"][:4])
    write_interfaces(tmp_path / "dataset", [row | {"chain_uid_2": other, "n_atom_contacts": 1}])
    with pytest.raises(UnreadableDataset, match="are not of one entry"):
        opened(tmp_path / "dataset")


def test_wrong_options_are_said_plainly(with_interfaces: Path, examples_dataset: Path) -> None:
    with pytest.raises(ValueError, match='unit="entry"'):
        ComplexDataset(ShardDataset(with_interfaces))
    with pytest.raises(ValueError, match=r"no column 'fold'.*pipeline\.split"):
        opened(with_interfaces).weights(clusters="fold")
    with pytest.raises(UsageError, match="beta_chain is not negative, but -1"):
        AlphaFold3Weights(beta_chain=-1)
