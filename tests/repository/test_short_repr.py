"""What is printed of a public object is a line that says what it is."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.gaussian_rigid import GaussianRigid
from model.sample import Request, Sampler
from pipeline.batching import LengthBatchSampler, ProteinDataModule, ResumableLoader
from pipeline.dataset import ContiguousCrop, Labels, ShardDataset, ShardStream
from pipeline.geometry.gaussians import from_all_atoms
from tests.support.random_chains import random_chain
from tests.support.sample_network import small_network


def test_a_dataset_says_where_it_is_how_large_and_how_it_is_read(examples_dataset: Path) -> None:
    dataset = ShardDataset(examples_dataset, cache="memory")
    n = f"{int(dataset.lengths.sum()):,}"
    told = f"ShardDataset({examples_dataset}: 35 chains, {n} residues, cache memory)"
    assert repr(dataset) == told
    assert "entries, " in repr(ShardDataset(examples_dataset, unit="entry"))
    stream = repr(ShardStream(examples_dataset))
    assert stream == (
        f"ShardStream({examples_dataset}: 35 chains, {n} residues, buffer 1,024, rank 0 of 1)"
    )


def test_batches_say_of_what_and_where_they_are(examples_dataset: Path) -> None:
    dataset = ShardDataset(examples_dataset)
    sampler = LengthBatchSampler(dataset.lengths, budget=500_000)
    assert repr(sampler) == "LengthBatchSampler(35 items, budget 500,000, epoch 0, batch 0)"
    assert repr(ResumableLoader(dataset, sampler)) == f"ResumableLoader({dataset!r}, {sampler!r})"
    module = ProteinDataModule("out", where="length > 9", val_split=None, test_where="x = 1")
    assert repr(module) == str(module)
    assert repr(module) == "ProteinDataModule(out: train train, test test and x = 1)"


def test_records_have_shapes_instead_of_numbers() -> None:
    rigid = GaussianRigid(torch.zeros(2, 5, 3, 3), *torch.zeros(3, 2, 5, 3))
    assert repr(rigid) == (
        "GaussianRigid(rotations (2, 5, 3, 3), translations (2, 5, 3), local_mean (2, 5, 3), "
        "log_scale (2, 5, 3))"
    )
    atoms = np.random.default_rng(0).normal(size=(4, 14, 3))
    gaussians = from_all_atoms(*atoms[:, :4].swapaxes(0, 1), atoms[:, 4:], np.ones((4, 10), bool))
    assert repr(gaussians).startswith("Gaussians(rotations (4, 3, 3), translations (4, 3)")
    assert repr(Labels({"a": 1, "b": 2})) == "Labels(label of 2 chains)"


def objects() -> list[Any]:
    flow = Sampler(small_network())
    samples = flow.sample("unconditional", lengths="20", steps=1)
    assert repr(samples) == "Samples(1 sample: unconditional)"
    assert repr(samples[0]).startswith("Sample(new_20_1: unconditional, 20 residues, predicted")
    made = [flow, samples, *samples, samples[0].problem, samples[0].output, samples[0].structure]
    return [*made, *samples[0].chains, ContiguousCrop(9), random_chain(0)]


def test_no_public_object_prints_more_than_a_line() -> None:
    for value in objects():
        assert "\n" not in repr(value)
        assert len(repr(value)) < 250, type(value)


def test_the_options_of_sample_are_those_of_a_request() -> None:
    options = inspect.signature(Sampler.sample).parameters
    asked = inspect.signature(Request).parameters
    assert {*options} - {"self", "trajectory"} == {*asked}
    assert {k: options[k].default for k in asked} == {k: p.default for k, p in asked.items()}
    doc = inspect.getdoc(Sampler.sample) or ""
    for name in asked:
        assert f"\n{name} : " in doc
    with pytest.raises(TypeError, match="unexpected keyword argument 'numbr'"):
        Sampler(small_network()).sample("unconditional", lengths=["20"], numbr=2)  # type: ignore[call-arg]
