"""The flow: paths from noise to proteins, what they keep, and the sampler."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import biotite.structure as struc
import numpy as np
import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.flow import (
    TASKS,
    Clean,
    Flow,
    Noise,
    NoisyProtein,
    Prediction,
    TaskWeights,
    Times,
    clean_from_batch,
    draw_noise,
    draw_tasks,
    draw_times,
)
from model.flow.atoms import nearer_labels, precondition
from model.flow.backbone import ideal_backbone, oxygen_torsion, wrapped
from model.flow.frames import squared_angle
from model.flow.generate import generate, global_atoms, hidden_removed
from model.flow.slots import existing_slots
from model.flow.target import Target
from model.flow.tasks import Held, held_for
from pipeline.residues import AATYPE_OF_LETTER, MASK
from tests.support.flow_batches import (
    UIDS,
    batch_of,
    random_item,
    three_proteins,
    unresolved,
    with_garbage,
    without_atoms,
)


@pytest.fixture(scope="module")
def clean() -> Clean:
    items = three_proteins()
    items[1] = unresolved(items[1], 3, 4)
    items[1] = without_atoms(items[1], 7, 4, 5, 6)
    items[0]["aatype"][2] = 20
    items[0]["atom14_mask"][2, 5:] = False
    return clean_from_batch(batch_of(*items))


def noise_for(clean: Clean, step: int = 0, seed: int = 0) -> Noise:
    return draw_noise(UIDS, clean.mask.sum(1), clean.mask.shape[1], seed, step)


def all_of(task: str, clean: Clean) -> Tensor:
    return torch.full((len(clean.mask),), TASKS.index(task))  # type: ignore[arg-type]


def problem(task: str, clean: Clean, step: int = 0) -> tuple[NoisyProtein, Target, Held, Noise]:
    noise = noise_for(clean, step)
    held = held_for(all_of(task, clean), clean, noise)
    noisy, target = Flow().corrupt(clean, draw_times(held, noise), noise)
    return noisy, target, held, noise


def tensors(record: object) -> list[Tensor]:
    found: list[Tensor] = []
    for field in fields(record):  # type: ignore[arg-type]
        value = getattr(record, field.name)
        if isinstance(value, Tensor):
            found.append(value)
        elif value is not None:
            found += tensors(value)
    return found


# ---- the backbone -------------------------------------------------------------------------------


@given(angle=st.floats(-math.pi, math.pi))
def test_o_is_placed_at_its_torsion(angle: float) -> None:
    a = torch.tensor(angle, dtype=torch.float64)
    atoms = ideal_backbone(torch.sin(a), torch.cos(a))
    measured = struc.dihedral(*atoms.numpy())
    assert abs(wrapped(torch.tensor(measured - angle))) < 1e-6
    assert abs(wrapped(oxygen_torsion(atoms) - a)) < 1e-6


def test_the_ideal_backbone_has_the_lengths_and_angles_it_cites() -> None:
    n, ca, c, o = ideal_backbone(torch.tensor(0.6), torch.tensor(0.8)).double().numpy()
    assert np.linalg.norm(n - ca) == pytest.approx(1.458, abs=1e-5)
    assert np.linalg.norm(c - ca) == pytest.approx(1.525, abs=1e-5)
    assert np.linalg.norm(o - c) == pytest.approx(1.231, abs=1e-5)
    assert np.degrees(struc.angle(n, ca, c)) == pytest.approx(111.2, abs=1e-3)
    assert np.degrees(struc.angle(ca, c, o)) == pytest.approx(120.8, abs=1e-3)


# ---- noise --------------------------------------------------------------------------------------


def test_noise_depends_on_seed_step_and_name_and_on_nothing_else() -> None:
    whole = draw_noise(UIDS, [9, 14, 5], 14, seed=3, step=7)
    alone = draw_noise(UIDS[1:2], [14], 20, seed=3, step=7)
    for a, b in zip(tensors(whole), tensors(alone), strict=True):
        rows = slice(None) if a.ndim == 2 and a.shape[1] == 16 else slice(14)
        assert torch.equal(a[1][rows], b[0][rows])
    for other in (
        draw_noise(UIDS, [9, 14, 5], 14, seed=4, step=7),
        draw_noise(UIDS, [9, 14, 5], 14, seed=3, step=8),
        draw_noise([u + "x" for u in UIDS], [9, 14, 5], 14, seed=3, step=7),
    ):
        assert not torch.equal(whole.atoms, other.atoms)


def test_tasks_are_drawn_as_often_as_their_weights_say() -> None:
    uids = [f"c{k}" for k in range(2000)]
    noise = draw_noise(uids, [1] * 2000, 1, 0, 0)
    tasks = draw_tasks(TaskWeights(packing=3, design=1, inpainting=0, unconditional=1), noise)
    share = torch.bincount(tasks, minlength=4) / 2000
    assert torch.allclose(share, torch.tensor([0.6, 0.2, 0.0, 0.2]), atol=0.04)


@pytest.mark.parametrize("weights", [{"packing": -1.0}, dict.fromkeys(TASKS, 0.0)])
def test_impossible_weights_of_tasks_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="task weights"):
        TaskWeights(**weights)


# ---- tasks --------------------------------------------------------------------------------------


def test_each_task_holds_what_it_is_named_for(clean: Clean) -> None:
    noise = noise_for(clean)
    held = held_for(all_of("packing", clean), clean, noise)
    assert torch.equal(held.frames, clean.mask)
    assert torch.equal(held.sequence, clean.mask)
    assert not held.atoms.any()
    held = held_for(all_of("unconditional", clean), clean, noise)
    assert not (held.frames | held.atoms | held.sequence).any()
    held = held_for(all_of("design", clean), clean, noise)
    assert torch.equal(held.frames, clean.mask)
    assert torch.equal(held.atoms, held.sequence & clean.complete & (clean.sequence < 20))


@given(seed=st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_a_motif_is_at_most_about_half_of_a_protein_and_never_unresolved(seed: int) -> None:
    item = unresolved(random_item("m", 40, 1), 10, 11)
    clean = clean_from_batch(batch_of(item))
    noise = draw_noise(["m"], [40], 40, seed, 0)
    held = held_for(torch.tensor([TASKS.index("inpainting")]), clean, noise)
    assert int(held.frames.sum()) <= 21, "a half, in up to three segments that are rounded up"
    assert not held.frames[0, 10:12].any()
    assert torch.equal(held.frames, held.sequence)
    assert not (held.atoms & ~held.frames).any()


# ---- corruption ---------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_held_values_keep_every_bit_and_nothing_is_nan(task: str, clean: Clean) -> None:
    for step in range(4):
        noisy, target, held, _ = problem(task, clean, step)
        for tensor in (*tensors(noisy), *tensors(target)):
            assert torch.isfinite(tensor.float()).all()
        frames = held.frames & clean.frame_mask
        assert torch.equal(noisy.state.rotations[frames], clean.rotations[frames])
        assert torch.equal(noisy.state.backbone[frames][:, :3], clean.backbone[frames][:, :3])
        assert torch.equal(noisy.state.atoms[held.atoms], clean.atoms[held.atoms])
        assert torch.equal(noisy.state.sequence[held.sequence], clean.sequence[held.sequence])


@pytest.mark.parametrize("task", TASKS)
def test_what_the_file_lacks_is_noise_and_carries_no_loss(task: str, clean: Clean) -> None:
    noisy, target, held, noise = problem(task, clean)
    flow = Flow()
    # Residues 3 and 4 of the second chain have no frame.
    if task in ("packing", "design"):
        assert not noisy.mask[1, 3:5].any()
    else:
        assert noisy.mask[1, 3:5].all()
        r0, _, _ = flow.frames.sample_prior(noise)
        assert torch.equal(noisy.state.rotations[1, 3:5], r0[1, 3:5])
    assert not target.frames_count[1, 3:5].any()
    # Residue 7 lacks atoms, unless it is a glycine.
    assert clean.sequence[1, 7] != AATYPE_OF_LETTER["G"]
    assert not target.atoms_count[1, 7]
    exists = existing_slots(noisy.state.sequence[1, 7])
    prior = flow.atoms.sample_prior(noise)[1, 7]
    assert torch.equal(noisy.state.atoms[1, 7][exists], prior[exists])
    # X has no type to learn.
    assert not target.sequence_count[0, 2]
    assert not (target.sequence_count & held.sequence).any()


def test_half_way_is_half_way(clean: Clean) -> None:
    noise = noise_for(clean)
    half = torch.where(clean.mask, 0.5, 1.0)
    noisy, target = Flow().corrupt(clean, Times(half, half, half), noise)
    r0, x0, _ = Flow().frames.sample_prior(noise)
    known = target.frame_mask
    angle = roma.rotmat_geodesic_distance(noisy.state.rotations, target.rotations)[known]
    whole = roma.rotmat_geodesic_distance(r0, target.rotations)[known]
    assert torch.allclose(angle, whole / 2, atol=1e-3)
    x0 = x0 - (x0 * clean.mask[..., None]).sum(1, keepdim=True) / clean.mask.sum(1)[:, None, None]
    step = noisy.state.translations - (x0 + target.translations) / 2
    # Up to the shift that moves x_t to its own origin.
    for b in (0, 2):
        rows = step[b][known[b]]
        assert torch.allclose(rows, rows[:1].expand_as(rows), atol=1e-4)
        assert noisy.state.translations[b][clean.mask[b]].mean(0).abs().max() < 1e-4


@given(seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_an_unheld_protein_is_turned_onto_its_prior(seed: int) -> None:
    clean = clean_from_batch(batch_of(random_item("k", 12, seed)))
    noise = draw_noise(["k"], [12], 12, seed, 0)
    zero = torch.zeros(1, 12)
    noisy, target = Flow().corrupt(clean, Times(zero, zero, zero), noise)
    x0, x1 = noisy.state.translations[0], target.translations[0]
    best = (x1 - x0).square().sum()
    turn = roma.random_rotmat(20)
    others = (torch.einsum("kij,nj->kni", turn, x1) - x0).square().sum((1, 2))
    assert (others >= best - 1e-2).all()
    # A rotation, not a reflection: the residues' handedness is kept.
    a = (
        clean.rotations[0].transpose(-1, -2)
        @ (clean.translations[0] - clean.translations[0, 0])[..., None]
    )
    b = target.rotations[0].transpose(-1, -2) @ (x1 - x1[0])[..., None]
    assert torch.allclose(a, b, atol=1e-3)


@pytest.mark.parametrize("task", TASKS)
def test_a_protein_is_noised_alike_alone_and_in_a_batch(task: str, clean: Clean) -> None:
    together, _, _, _ = problem(task, clean)
    for b, uid in enumerate(UIDS):
        n = int(clean.mask[b].sum())
        one = clean[b : b + 1].map(lambda x, n=n: x[:, :n])
        noise = draw_noise([uid], [n], n, 0, 0)
        held = held_for(all_of(task, one), one, noise)
        alone, _ = Flow().corrupt(one, draw_times(held, noise), noise)
        for name in ("rotations", "translations", "backbone", "atoms", "sequence"):
            a, b_ = getattr(alone.state, name)[0], getattr(together.state, name)[b][:n]
            assert torch.allclose(a.float(), b_.float(), atol=1e-4), name


def test_equivalent_atoms_take_the_shorter_way_and_rings_trade_together() -> None:
    phe = torch.tensor([AATYPE_OF_LETTER["F"]])
    atoms = torch.arange(30.0).reshape(1, 10, 3)
    swapped_prior = atoms.clone()
    # CD1, CD2, CE1, CE2 are slots 6–9 of atom14: 2–5 here.
    swapped_prior[0, [2, 3]] = atoms[0, [3, 2]]
    swapped_prior[0, [4, 5]] = atoms[0, [5, 4]]
    assert torch.equal(nearer_labels(swapped_prior, atoms, phe), swapped_prior)
    assert torch.equal(nearer_labels(atoms, atoms, phe), atoms)
    half = atoms.clone()
    half[0, [2, 3]] = atoms[0, [3, 2]]
    found = nearer_labels(half, atoms, phe)
    assert torch.equal(found, atoms) or torch.equal(found, swapped_prior)
    arg = torch.tensor([AATYPE_OF_LETTER["R"]])
    assert torch.equal(nearer_labels(swapped_prior, atoms, arg), atoms)


@given(t=st.floats(0, 1))
def test_preconditioning_leaves_an_output_of_unit_size(t: float) -> None:
    skip, scale = precondition(torch.tensor(t, dtype=torch.float64))
    # Variance of (x1 − skip·x_t) for x1 ~ N(0, 2²), x0 ~ N(0, 1).
    left = (1 - skip * t) ** 2 * 4 + (skip * (1 - t)) ** 2
    assert float(left) == pytest.approx(float(scale) ** 2, abs=1e-9)


@given(angle=st.floats(0, math.pi))
def test_the_squared_angle_is_the_square_of_the_angle(angle: float) -> None:
    vector = torch.tensor([0.0, 0.6, 0.8], dtype=torch.float64) * angle
    a = roma.rotvec_to_rotmat(vector)
    found = float(squared_angle(a, torch.eye(3, dtype=torch.float64)))
    if angle < 3.0:
        assert found == pytest.approx(angle**2, abs=1e-4)
    else:
        assert 8.99 < found < 10.5


def test_the_squared_angle_has_a_gradient_at_no_turn_and_at_half_a_turn() -> None:
    for angle in (0.0, math.pi):
        vector = torch.tensor([0.0, 0.0, angle], requires_grad=True)
        squared_angle(roma.rotvec_to_rotmat(vector), torch.eye(3)).backward()
        assert vector.grad is not None
        assert torch.isfinite(vector.grad).all()


# ---- the sampler --------------------------------------------------------------------------------


def knowing(target: Target) -> object:
    """A network that knows the answer."""

    def network(noisy: NoisyProtein) -> Prediction:
        angle = oxygen_torsion(target.backbone)
        logits = torch.nn.functional.one_hot(target.sequence.clamp(0, 19), 20) * 50.0
        return Prediction(
            rotations=target.rotations,
            translations=target.translations,
            torsion=torch.stack([torch.sin(angle), torch.cos(angle)], -1),
            atoms=target.atoms,
            logits=logits,
            confidence=torch.zeros(noisy.mask.shape),
        )

    return network


@pytest.mark.parametrize("task", TASKS)
def test_with_a_network_that_knows_the_sampler_arrives(task: str) -> None:
    items = three_proteins()
    clean = clean_from_batch(batch_of(*items))
    _, target, held, _ = problem(task, clean)
    made = generate(knowing(target), clean, held, UIDS, steps=7)  # type: ignore[arg-type]
    mask = clean.mask
    assert torch.equal(made.state.sequence[mask], clean.sequence[mask])
    assert torch.allclose(made.state.rotations[mask], target.rotations[mask], atol=1e-4)
    hidden = mask & ~held.atoms
    exists = existing_slots(clean.sequence) & hidden[..., None]
    assert torch.allclose(made.state.atoms[exists], target.atoms[exists], atol=1e-4)
    if task in ("packing", "design"):
        positions, present = global_atoms(made.state, made.atoms_mask, made.mask)
        batch = batch_of(*items)
        assert torch.equal(present, batch["atom14_mask"])
        assert torch.allclose(positions[:, :, :4], batch["atom14_positions"][:, :, :4], atol=1e-3)


@pytest.mark.parametrize("task", TASKS)
def test_the_sampler_never_receives_hidden_values(task: str, clean: Clean) -> None:
    noise = noise_for(clean)
    held = held_for(all_of(task, clean), clean, noise)
    garbage = with_garbage(clean, held)
    a, b = hidden_removed(clean, held), hidden_removed(garbage, held)
    for x, y in zip(tensors(a), tensors(b), strict=True):
        assert torch.equal(x, y)


def test_generating_is_a_pure_function_of_name_and_seed() -> None:
    items = three_proteins()
    clean = clean_from_batch(batch_of(*items))
    _, target, held, _ = problem("unconditional", clean)

    def vague(noisy: NoisyProtein) -> Prediction:
        told = knowing(target)(noisy)  # type: ignore[operator]
        return replace(told, logits=told.logits * 0.0)

    first = generate(vague, clean, held, UIDS, steps=5, seed=1)
    again = generate(vague, clean, held, UIDS, steps=5, seed=1)
    other = generate(vague, clean, held, UIDS, steps=5, seed=2)
    assert torch.equal(first.state.sequence, again.state.sequence)
    assert not torch.equal(first.state.sequence, other.state.sequence)
    assert not (first.state.sequence == MASK).any()


@pytest.mark.parametrize(
    ("option", "value"), [("steps", 0), ("start", 1.0), ("temperature", -1.0), ("noise_scale", -1)]
)
def test_options_of_the_sampler_outside_their_range_are_refused(
    option: str, value: float, clean: Clean
) -> None:
    held = held_for(all_of("packing", clean), clean, noise_for(clean))
    with pytest.raises(ValueError, match=option.partition("_")[0]):
        generate(lambda noisy: None, clean, held, UIDS, **{option: value})  # type: ignore
