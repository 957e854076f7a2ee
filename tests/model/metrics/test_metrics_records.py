"""Structures as metrics read them, records per protein, and their tables."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.metrics import (
    Structure,
    design_metrics,
    fold_metrics,
    generation_metrics,
    packing_metrics,
    row,
    summarise,
    write_csv,
)
from pipeline.dataset import ShardDataset
from tests.support.metric_structures import example, moved, noisy, spread_out, with_garbage


def test_a_structure_of_a_dataset_is_that_of_the_parsed_chain(examples_dataset):
    dataset = ShardDataset(examples_dataset)
    item = next(i for i in dataset if i["chain_uid"].startswith("3enl"))
    found, expected = Structure.from_item(item), example()
    assert torch.is_tensor(item["aatype"])
    np.testing.assert_array_equal(found.mask, expected.mask)
    np.testing.assert_array_equal(found.aatype, expected.aatype)
    np.testing.assert_array_equal(found.residue_index, expected.residue_index)
    np.testing.assert_allclose(
        found.positions[found.mask], expected.positions[found.mask], atol=1e-4
    )


def test_arrays_of_other_lengths_and_atoms_that_are_not_finite_are_refused():
    chain = spread_out([1, 2, 3])
    with pytest.raises(ValueError, match="residue_index of a structure of 3 residues"):
        replace(chain, residue_index=np.arange(4))
    positions = chain.positions.copy()
    positions[2, 1] = np.nan
    with pytest.raises(ValueError, match=r"1 atoms .* row 2, slot 1"):
        chain.with_atoms(positions)


def test_a_protein_packed_as_it_is_has_a_perfect_record():
    chain = example()
    found = packing_metrics("3enl_1_A", chain, chain)
    assert (found.chain_uid, found.length) == ("3enl_1_A", 436)
    assert found.side_chain_rmsd == found.side_chain_rmsd_core == 0
    assert found.chi1_mae == found.chi4_mae == 0
    assert found.chi1_recovery == found.chi4_recovery == found.rotamer_recovery == 1
    assert found.clashes_90 <= found.clashes_100


@pytest.mark.parametrize("name", ["3enl.pdb.gz", "3hsy.pdb.gz", "1as5.cif.gz", "1pfe.cif.gz"])
def test_a_record_does_not_depend_on_place_or_absent_slots(name):
    reference = example(name)
    predicted = noisy(reference, 0.8)
    expected = row(packing_metrics("a", predicted, reference))
    there = moved(predicted, 2), moved(reference, 2)
    garbage = with_garbage(predicted), with_garbage(reference)
    for pair in (there, garbage):
        found = row(packing_metrics("a", *pair))
        for column, value in expected.items():
            if isinstance(value, float):
                assert found[column] == pytest.approx(value, abs=1e-6, nan_ok=True)
            else:
                assert found[column] == value


def test_other_residues_are_no_prediction():
    chain = example()
    with pytest.raises(ValueError, match="2 and 436"):
        packing_metrics("", spread_out([0, 0]), chain)


def test_folds_and_motifs_are_compared_where_both_have_a_ca():
    chain = example()
    motif = np.arange(len(chain)) < 30
    found = fold_metrics("a", moved(chain, 3), chain, motif)
    assert found.tm_score == pytest.approx(1)
    assert found.ca_rmsd == pytest.approx(0, abs=1e-3)
    assert found.motif_rmsd == pytest.approx(0, abs=1e-3)
    assert np.isnan(fold_metrics("a", chain, chain).motif_rmsd)
    mask = chain.mask.copy()
    mask[:100] = False
    assert fold_metrics("a", chain.with_atoms(chain.positions, mask), chain).n_compared == 336


def test_a_designed_sequence_has_a_record_with_or_without_probabilities():
    uniform = np.full((3, 20), -np.log(20))
    found = design_metrics("a", [0, 1, 2], uniform, [0, 1, 20])
    assert (found.recovery, found.n_designed, found.length) == (1, 2, 3)
    assert found.score == pytest.approx(np.log(20))
    assert np.isnan(design_metrics("a", [0, 1], None, [0, 1], [True, False]).score)
    # It is about what was designed: of these, the network is sure.
    sure = np.log(np.where(np.eye(20)[[5, 1, 2]] > 0, 1 - 19e-9, 1e-9))
    assert design_metrics("a", [5, 1, 2], sure, [0, 1, 20]).score == pytest.approx(0, abs=1e-6)


def test_a_generated_protein_has_a_record():
    found = generation_metrics("a", example())
    assert found.step_valid > 0.95
    assert found.clashes_100 >= packing_metrics("a", example(), example()).clashes_100


def test_a_table_reads_back_as_it_was_and_nan_is_empty(tmp_path):
    records = [packing_metrics(f"c{k}", noisy(example(), k), example()) for k in (0.1, 2)]
    records.append(packing_metrics("gly", spread_out([7, 7]), spread_out([7, 7])))
    path = tmp_path / "packing.csv"
    write_csv(path, records)
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(row(records[0]))
    for read, record in zip(rows, records, strict=True):
        for column, value in row(record).items():
            if isinstance(value, float) and np.isnan(value):
                assert read[column] == ""
            else:
                assert type(value)(read[column]) == value


def test_tables_of_nothing_and_of_two_kinds_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no rows"):
        write_csv(tmp_path / "a.csv", [])
    with pytest.raises(ValueError, match="one file per kind"):
        write_csv(tmp_path / "a.csv", [{"a": 1}, {"b": 1}])
    with pytest.raises(ValueError, match="no records"):
        summarise([])
    assert not list(tmp_path.iterdir())


def test_a_summary_weighs_every_chain_the_same():
    records = [packing_metrics(str(k), noisy(example(), k), example()) for k in (1, 2)]
    found = summarise(records)
    assert "chain_uid" not in found
    expected = np.mean([r.side_chain_rmsd for r in records])
    assert found["side_chain_rmsd"].mean == pytest.approx(expected)
    assert found["chi1_recovery"].n == 2
