"""Noise on backbones that are given: all that the network sees is of the noised backbone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.flow import TASKS, Clean, Flow, TaskWeights, clean_from_batch, draw_noise, draw_times
from model.flow.backbone_noise import BackboneNoise, noised_backbones
from model.flow.noise import generator
from model.flow.tasks import held_for
from model.network import NetworkConfig
from model.train.flow_module import FlowModule
from pipeline.errors import UsageError
from pipeline.geometry.frames import backbone_frames, to_global
from tests.model.test_leaks import assert_same_bits, bits
from tests.support.flow_batches import (
    UIDS,
    batch_of,
    three_proteins,
    unresolved,
    with_garbage,
    without_atoms,
)

SD = torch.tensor([0.2, 0.1, 0.02])
SMALL = NetworkConfig(
    n_blocks=1, c_s=16, c_z=8, n_heads=2, c_hidden=4, n_points=2, n_gaussians=2
)  # fmt: skip


def batch() -> dict[str, Any]:
    items = three_proteins()
    items[1] = unresolved(items[1], 3)
    items[0] = without_atoms(items[0], 5, 3, 4)
    return batch_of(*items)


def held_and_noise(task: str, clean: Clean, step: int = 0):
    noise = draw_noise(UIDS, clean.mask.sum(1), clean.mask.shape[1], 0, step)
    return held_for(torch.full((3,), TASKS.index(task)), clean, noise), noise  # type: ignore[arg-type]


def as_a_file(given: dict[str, Any], noise: Tensor) -> Clean:
    """What is read of files whose backbones were elsewhere."""
    positions = given["atom14_positions"].clone()
    moved = positions[:, :, :4] + SD[:, None, None, None] * noise
    positions[:, :, :4] = torch.where(given["atom14_mask"][:, :, :4, None], moved, 0.0)
    rotations, translations = backbone_frames(*positions[:, :, :3].unbind(2), given["residue_mask"])
    return clean_from_batch(
        {**given, "atom14_positions": positions, "rotmats": rotations, "trans": translations}
    )


@pytest.mark.parametrize("task", ["design", "packing"])
@pytest.mark.parametrize("step", range(4))
def test_the_network_is_given_what_a_file_of_the_noised_backbone_would_give(
    task: str, step: int
) -> None:
    clean = clean_from_batch(batch())
    held, noise = held_and_noise(task, clean, step)
    times = draw_times(held, noise)
    noisy, target = Flow().corrupt(clean, times, noise, backbone_sd=SD)
    other, expected = Flow().corrupt(as_a_file(batch(), noise.backbone), times, noise)
    unnoised, measured = Flow().corrupt(clean, times, noise)
    seen, of_file = bits(noisy), bits(other)
    assert seen.keys() == of_file.keys()
    for name in seen:
        torch.testing.assert_close(seen[name], of_file[name], atol=2e-4, rtol=0, msg=name)
    # What is to be learned of frames and types is of what was given; torsions are those measured.
    for name, value in bits(target).items():
        wanted = measured if name in ("chi", "chi_count") else expected
        torch.testing.assert_close(value, getattr(wanted, name), atol=2e-4, rtol=0, msg=name)
    assert torch.equal(target.chi, measured.chi)
    there = noisy.mask
    for name in ("rotations", "translations", "backbone"):
        apart = (seen[f"state.{name}"] - bits(unnoised)[f"state.{name}"]).abs()
        assert (apart.flatten(2).amax(-1)[there] > 1e-4).all(), name


def test_torsions_of_the_noised_backbone_are_others_than_those_to_be_learned() -> None:
    clean = clean_from_batch(batch())
    held, noise = held_and_noise("packing", clean)
    times = held.times(0.0, 0.0)
    _, target = Flow().corrupt(clean, times, noise, backbone_sd=SD)
    _, noised = Flow().corrupt(noised_backbones(clean, noise.backbone, SD), times, noise)
    known = (target.chi_count & noised.chi_count)[..., 0]
    assert known.any()
    assert ((target.chi - noised.chi)[..., 0].abs()[known] > 1e-4).all()


@pytest.mark.parametrize("task", ["design", "packing"])
def test_what_is_hidden_can_be_garbage_under_noise_as_well(task: str) -> None:
    clean = clean_from_batch(batch())
    held, noise = held_and_noise(task, clean)
    times = held.times(0.0, 0.0)
    honest, _ = Flow().corrupt(clean, times, noise, backbone_sd=SD)
    fooled, _ = Flow().corrupt(with_garbage(clean, held), times, noise, backbone_sd=SD)
    assert_same_bits(honest, fooled)


def test_a_protein_without_noise_keeps_its_bits_beside_one_with_noise() -> None:
    clean = clean_from_batch(batch())
    held, noise = held_and_noise("design", clean)
    times = draw_times(held, noise)
    plain = Flow().corrupt(clean, times, noise)
    none = Flow().corrupt(clean, times, noise, backbone_sd=torch.zeros(3))
    one = Flow().corrupt(clean, times, noise, backbone_sd=torch.tensor([0.0, 0.2, 0.0]))
    for a, b, c in zip(plain, none, one, strict=True):
        assert_same_bits(a, b)
        assert_same_bits(a[[0, 2]], c[[0, 2]])


def test_the_other_numbers_of_a_step_are_drawn_as_they_were_before_there_was_noise() -> None:
    drawn = draw_noise(["a"], [6], 6, 3, 4)
    g = generator(3, 4, "a")
    assert torch.equal(drawn.choices[0], torch.rand(16, generator=g))
    assert torch.equal(drawn.translations[0], torch.randn(6, 3, generator=g))
    assert torch.equal(drawn.quaternions[0], torch.randn(6, 4, generator=g))
    for name in ("torsions", "sequence", "residues"):
        assert torch.equal(getattr(drawn, name)[0], torch.rand(6, generator=g)), name
    assert torch.equal(drawn.backbone[0], torch.randn(6, 4, 3, generator=g))


@settings(max_examples=25)
@given(sd=st.floats(0.01, 0.5), seed=st.integers(0, 50))
def test_each_atom_moves_by_its_own_noise_and_side_chains_stay(sd: float, seed: int) -> None:
    clean = clean_from_batch(batch())
    noise = draw_noise(UIDS, clean.mask.sum(1), clean.mask.shape[1], seed, 1).backbone
    noised = noised_backbones(clean, noise, torch.full((3,), sd))
    there = noised.frame_mask
    before, after = (
        to_global(c.rotations, c.translations, torch.cat([c.backbone, c.atoms], 2))
        for c in (clean, noised)
    )
    moved = (after - before)[there]
    torch.testing.assert_close(moved[:, :3], sd * noise[there][:, :3], atol=1e-4, rtol=0)
    oxygen = noised.oxygen_mask[there]
    torch.testing.assert_close(moved[oxygen, 3], sd * noise[there][oxygen, 3], atol=1e-4, rtol=0)
    present = noised.atoms_mask[there]
    assert (moved[:, 4:][present].abs() < 1e-4).all()
    # The frame is that of the noised atoms: N in the xy plane, C on the x axis.
    backbone = noised.backbone[there]
    assert (backbone[:, 1].abs() < 1e-4).all()
    assert (backbone[:, 2, 1:].abs() < 1e-4).all()
    assert (backbone[:, 0, 2].abs() < 1e-4).all()


def noised_items(module: FlowModule, step: int) -> tuple[list[str], list[bool]]:
    """Tasks of the batch, and whether each protein was moved."""
    noisy, _, tasks = module.corrupted(batch(), step)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "backbone_noise", BackboneNoise())
        plain, _, _ = module.corrupted(batch(), step)
    moved = (noisy.state.backbone != plain.state.backbone).flatten(1).any(1)
    return [TASKS[k] for k in tasks.tolist()], moved.tolist()


def test_training_noises_samples_of_design_alone_and_validation_none() -> None:
    module = FlowModule(SMALL, backbone_noise=BackboneNoise(design=0.1))
    seen = set()
    for step in range(1, 8):
        for task, moved in zip(*noised_items(module, step), strict=True):
            assert moved == (task == "design"), task
            seen.add(task)
    assert seen == set(TASKS)
    assert not any(noised_items(FlowModule(SMALL, tasks=TaskWeights(0, 1, 0, 0)), 1)[1])
    designs = FlowModule(
        SMALL, tasks=TaskWeights(0, 1, 0, 0), backbone_noise=BackboneNoise(0.1, 0.01)
    )
    assert not any(noised_items(designs, 0)[1])
    packings = FlowModule(
        SMALL, tasks=TaskWeights(1, 0, 0, 0), backbone_noise=BackboneNoise(0.1, 0.01)
    )
    assert all(noised_items(packings, 1)[1])


def test_noise_is_a_function_of_seed_step_and_name() -> None:
    module = FlowModule(
        SMALL, tasks=TaskWeights(0, 1, 0, 0), backbone_noise=BackboneNoise(0.1), seed=3
    )
    same = FlowModule(
        SMALL, tasks=TaskWeights(0, 1, 0, 0), backbone_noise=BackboneNoise(0.1), seed=3
    )
    whole, _, _ = module.corrupted(batch(), 7)
    again, _, _ = same.corrupted(batch(), 7)
    assert_same_bits(whole, again)
    # Alone, and after a longer run, a protein is noised as in the batch.
    alone, _, _ = same.corrupted(batch_of(three_proteins()[2]), 7)
    n = alone.mask.shape[1]
    assert torch.equal(alone.state.backbone[0], whole.state.backbone[2, :n])
    later, _, _ = module.corrupted(batch(), 8)
    assert not torch.equal(later.state.backbone, whole.state.backbone)


@pytest.mark.parametrize(
    ("noise", "sentence"),
    [
        ({"design": -0.1}, "backbone_noise.design is from 0 to 0.5 Å, found -0.1"),
        ({"packing": 0.1}, "backbone_noise.packing is from 0 to 0.02 Å, found 0.1"),
        ({"design": float("nan")}, "backbone_noise.design"),
    ],
)
def test_more_noise_than_a_task_bears_is_refused(noise: dict[str, float], sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        BackboneNoise(**noise)
    assert sentence in str(error.value)


def test_a_checkpoint_says_what_noise_it_was_trained_with() -> None:
    module = FlowModule(SMALL, backbone_noise=replace(BackboneNoise(), design=0.15))
    assert module.settings()["backbone_noise"] == {"design": 0.15, "packing": 0.0}
