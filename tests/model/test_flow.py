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
    Held,
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
from model.flow.backbone import ideal_backbone, oxygen_torsion
from model.flow.frames import squared_angle
from model.flow.generate import generate, global_atoms, hidden_removed
from model.flow.slots import existing_slots
from model.flow.target import Target
from model.flow.tasks import held_for
from model.torsions import build, chi_angles, free_chi, periodic_chi
from model.torsions.angles import wrapped
from pipeline.residues import AATYPE_OF_LETTER, MASK
from tests.support.flow_batches import (
    UIDS,
    batch_of,
    certain,
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
        assert not torch.equal(whole.translations, other.translations)


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
    assert not (held.atoms & ~clean.complete).any()
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
    # Residue 7 lacks CB, CG and what is beside it: no torsion of it is known, and it is not held.
    assert free_chi(clean.sequence[1, 7]).any()
    assert not target.chi_count[1, 7].any()
    assert noisy.times.atoms[1, 7] == 0
    assert (noisy.state.atoms[1, 7] == 0).all()
    # X has no type to learn.
    assert not target.sequence_count[0, 2]
    assert not (target.sequence_count & held.sequence).any()


def test_half_way_is_half_way(clean: Clean) -> None:
    noise = noise_for(clean)
    half = torch.where(clean.mask, 0.5, 1.0)
    noisy, target = Flow().corrupt(clean, Times(half, half * 0, half), noise)
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


def test_a_hidden_side_chain_is_hidden_whole_at_every_time(clean: Clean) -> None:
    """Nothing of it is mixed with noise: x_t = t x₁ would tell it, where there is no noise."""
    noise = noise_for(clean)
    held = Held(clean.mask, torch.zeros_like(clean.mask), clean.mask)
    other = replace(clean, atoms=clean.atoms + 1.0)
    for time in (0.0, 0.1, 0.999):
        for scale in (0.0, 1.0):
            times = replace(held.times(1.0, 1.0), atoms=torch.full(clean.mask.shape, time))
            noisy, _ = Flow().corrupt(clean, times, noise, scale)
            assert (noisy.state.atoms == 0).all()
            again, _ = Flow().corrupt(other, times, noise, scale)
            for a, b in zip(tensors(noisy), tensors(again), strict=True):
                assert torch.equal(a, b)


def test_no_noise_at_a_time_above_0_is_refused(clean: Clean) -> None:
    noise, nothing = noise_for(clean), torch.zeros_like(clean.mask)
    held = Held(nothing, nothing, nothing)
    Flow().corrupt(clean, held.times(0.0, 0.0), noise, noise_scale=0.0)
    with pytest.raises(ValueError, match="the answer itself"):
        Flow().corrupt(clean, held.times(0.3, 0.3), noise, noise_scale=0.0)
    with pytest.raises(ValueError, match="the answer itself"):
        generate(lambda noisy: None, clean, held, UIDS, start=0.3, noise_scale=0.0)  # type: ignore


def test_torsions_count_where_a_type_is_shown_and_the_place_is_known(clean: Clean) -> None:
    _, target, held, _ = problem("packing", clean)
    _, known = chi_angles(clean.backbone, clean.atoms, clean.atoms_mask, clean.sequence)
    known = known & (clean.frame_mask & ~held.atoms)[..., None]
    assert torch.equal(target.chi_count, known)
    noise = noise_for(clean)
    first = tuple(known.any(-1).nonzero()[0])
    hazy = replace(clean, placed=clean.placed.clone())
    hazy.placed[first] = False
    _, target = Flow().corrupt(hazy, draw_times(held, noise), noise)
    assert torch.equal(target.chi_count, known & hazy.placed[..., None])
    assert not target.chi_count[first].any()
    for task in ("design", "unconditional"):
        noisy, target, _, _ = problem(task, clean)
        assert not target.chi_count[noisy.state.sequence == MASK].any()
    assert target.chi_count.any(), "types are shown while frames are hidden"


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
            chi=certain(target.chi, noisy.state.sequence),
            chi_of_blocks=torch.zeros(*noisy.mask.shape, 0, 4, 36),
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
    assert torch.equal(made.state.atoms[held.atoms], clean.atoms[held.atoms])
    exists = existing_slots(clean.sequence)
    found, known = chi_angles(made.state.backbone, made.state.atoms, exists, clean.sequence)
    known &= target.chi_count
    turn = torch.where(periodic_chi(clean.sequence), math.pi, 2 * math.pi)
    # The ring of proline does not close at any χ1.
    known[clean.sequence == AATYPE_OF_LETTER["P"]] = False
    assert wrapped(found - target.chi, turn)[known].abs().max() < 1e-3
    if task in ("packing", "design"):
        positions, present = global_atoms(made.state, made.atoms_mask, made.mask)
        batch = batch_of(*items)
        assert torch.equal(present, batch["atom14_mask"])
        assert torch.allclose(positions[:, :, :4], batch["atom14_positions"][:, :, :4], atol=1e-3)


def test_design_packs_all_side_chains_that_are_not_held_once_all_types_are_there() -> None:
    clean = clean_from_batch(batch_of(*three_proteins()))
    first = clean.mask & (torch.arange(clean.mask.shape[1]) < 3)
    held = Held(clean.mask, first, first)
    _, target = Flow().corrupt(clean, held.times(0.0, 0.0), noise_for(clean))
    seen: list[NoisyProtein] = []

    def watched(noisy: NoisyProtein) -> Prediction:
        seen.append(noisy)
        return knowing(target)(noisy)  # type: ignore[operator]

    made = generate(watched, clean, held, UIDS, steps=5, passes=3)
    assert len(seen) == 5 + 3
    open_ = clean.mask & ~held.sequence
    for noisy in seen:
        # A side chain is given from the beginning or never, whatever becomes of the types.
        assert torch.equal(noisy.times.atoms[clean.mask] == 1, held.atoms[clean.mask])
        assert (noisy.state.atoms[open_] == 0).all()
    assert (seen[0].state.sequence[open_] == MASK).all()
    shown = [(noisy.state.sequence[open_] < MASK).sum() for noisy in seen]
    assert 0 < shown[2] < shown[5] == open_.sum()
    # Of a residue whose type was not known in the step before, nothing is known.
    earlier = seen[3].self_conditioning
    assert earlier is not None
    assert (earlier.rotamers.weight[seen[2].state.sequence == MASK] == 0).all()
    packing = seen[5:]
    assert all((noisy.times.sequence[clean.mask] == 1).all() for noisy in packing)
    assert packing[0].self_conditioning is None
    assert (made.state.atoms[open_].abs().sum((-1, -2)) > 0).sum() > 0.8 * open_.sum()
    assert torch.equal(made.state.atoms[first], clean.atoms[first])


def test_a_residue_of_hidden_type_has_a_virtual_cb_and_no_more() -> None:
    masked = torch.full((1, 3), MASK)
    assert existing_slots(masked).sum(-1).tolist() == [[1, 1, 1]]
    zero = torch.zeros(1, 3, 4)
    backbone = ideal_backbone(torch.zeros(1, 3), torch.ones(1, 3))
    atoms = build(zero, masked, backbone, torch.ones(1, 3, dtype=torch.bool))
    alanine = torch.full((1, 3), AATYPE_OF_LETTER["A"])
    expected = build(zero, alanine, backbone, torch.ones(1, 3, dtype=torch.bool))
    assert torch.allclose(atoms, expected, atol=1e-5)


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
    ("option", "value"),
    [
        ("steps", 0),
        ("passes", 0),
        ("start", 1.0),
        ("temperature", -1.0),
        ("chi_temperature", -1.0),
        ("noise_scale", -1),
    ],
)
def test_options_of_the_sampler_outside_their_range_are_refused(
    option: str, value: float, clean: Clean
) -> None:
    held = held_for(all_of("packing", clean), clean, noise_for(clean))
    with pytest.raises(ValueError, match=option.partition("_")[0]):
        generate(lambda noisy: None, clean, held, UIDS, **{option: value})  # type: ignore
