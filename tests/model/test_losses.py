"""Losses: known values, what counts, and that no protein makes them explode."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, replace
from typing import Any

import pytest
import torch

from model.flow import (
    TASKS,
    Flow,
    NoisyProtein,
    Prediction,
    clean_from_batch,
    draw_noise,
    draw_times,
)
from model.flow.backbone import oxygen_torsion
from model.flow.frames import amplify
from model.flow.residue_error import residue_error
from model.flow.target import Target
from model.flow.tasks import held_for
from model.gaussian_rigid import GaussianRigid
from model.losses import FlowLoss, LossWeights, binned
from model.losses.flow_loss import LossTerm
from model.losses.structure import MAX_D2, gaussian_nll, gaussian_parameters, true_ellipsoids
from tests.support.flow_batches import UIDS, batch_of, three_proteins, unresolved, without_atoms
from tests.support.places import ROOT

NAMES = [
    "translation", "rotation", "torsion", "atoms", "sequence", "pairs", "gaussian", "nll",
    "confidence",
]  # fmt: skip


def problem(task: str, step: int = 0, damaged: bool = True) -> tuple[NoisyProtein, Target]:
    items = three_proteins()
    if damaged:
        items[1] = without_atoms(unresolved(items[1], 3, 4), 8, 4, 5)
    clean = clean_from_batch(batch_of(*items))
    noise = draw_noise(UIDS, clean.mask.sum(1), clean.mask.shape[1], 0, step)
    held = held_for(torch.full((3,), TASKS.index(task)), clean, noise)  # type: ignore[arg-type]
    return Flow().corrupt(clean, draw_times(held, noise), noise)


def perfect(noisy: NoisyProtein, target: Target) -> Prediction:
    angle = oxygen_torsion(target.backbone)
    return Prediction(
        rotations=target.rotations.clone().requires_grad_(),
        translations=target.translations.clone().requires_grad_(),
        torsion=torch.stack([torch.sin(angle), torch.cos(angle)], -1).requires_grad_(),
        atoms=target.atoms.clone().requires_grad_(),
        logits=(torch.nn.functional.one_hot(target.sequence.clamp(0, 19), 20) * 30.0),
        confidence=torch.zeros(noisy.mask.shape),
    )


@pytest.mark.parametrize("task", TASKS)
def test_a_perfect_prediction_costs_nothing(task: str) -> None:
    noisy, target = problem(task, damaged=False)
    total, terms = FlowLoss()(noisy, perfect(noisy, target), target)
    assert list(terms) == NAMES
    for name in ("translation", "rotation", "atoms", "pairs", "gaussian", "sequence"):
        assert terms[name].mean.item() < 1e-3, name
    assert torch.isfinite(total)


@pytest.mark.parametrize("task", TASKS)
def test_only_the_terms_of_a_task_count(task: str) -> None:
    noisy, target = problem(task)
    terms = FlowLoss().terms(noisy, perfect(noisy, target), target)
    frames = task in ("inpainting", "unconditional")
    types = task != "packing"
    for name in ("translation", "rotation", "torsion"):
        assert terms[name].is_empty == (not frames), name
    assert terms["sequence"].is_empty == (not types)
    assert not terms["atoms"].is_empty


def test_endpoint_errors_are_those_of_the_formula() -> None:
    noisy, target = problem("unconditional")
    right = perfect(noisy, target)
    wrong = replace(
        right,
        translations=right.translations + torch.tensor([3.0, 0.0, 4.0]),
        atoms=right.atoms + torch.tensor([0.0, 2.0, 0.0]),
    )
    found = Flow().loss(noisy, wrong, target)
    error, counts, time = found["translation"]
    expected = 25 / 100 / (1 - time.clamp(max=0.9)) ** 2
    assert torch.allclose(error[counts], expected[counts], rtol=1e-4)
    error, counts, time = found["atoms"]
    expected = 4 / (1 - time.clamp(max=0.9)) ** 2
    assert torch.allclose(error[counts], expected[counts], rtol=1e-4)


def test_amplification_stops_at_a_hundred() -> None:
    assert amplify(torch.tensor([0.0, 0.5, 0.9, 0.999])).tolist() == pytest.approx(
        [1, 4, 100, 100], rel=1e-4
    )


def test_the_likelihood_is_that_of_a_normal_distribution() -> None:
    _noisy, target = problem("packing", damaged=False)
    rigid = true_ellipsoids(target)
    found = gaussian_nll(rigid, target)
    b, n = 1, 2
    atoms = torch.cat([target.backbone[b, n], target.atoms[b, n][target.atoms_mask[b, n]]])
    normal = torch.distributions.Normal(rigid.local_mean[b, n], rigid.scale[b, n])
    # Without the constant ½ log 2π of each axis.
    expected = -(normal.log_prob(atoms) + 0.5 * math.log(2 * math.pi)).sum(-1).mean()
    assert float(found[b, n]) == pytest.approx(float(expected), rel=1e-4)


def test_a_distance_beyond_the_clamp_has_no_gradient() -> None:
    noisy, target = problem("packing", damaged=False)
    rigid = true_ellipsoids(target)
    far = rigid.translations + 1000.0
    far.requires_grad_()
    moved = GaussianRigid(
        rigid.rotations, far, rigid.local_mean, rigid.log_scale.clone().requires_grad_()
    )
    value = gaussian_nll(moved, target)
    mask = noisy.mask
    expected = 0.5 * MAX_D2 + rigid.log_scale.sum(-1)
    assert torch.allclose(value[mask], expected[mask], rtol=1e-4)
    value[mask].sum().backward()
    assert (far.grad == 0).all()
    assert moved.log_scale.grad is None or (moved.log_scale.grad == 0).all()


def test_ellipsoids_a_little_off_cost_half_the_square() -> None:
    _noisy, target = problem("packing", damaged=False)
    rigid = true_ellipsoids(target)
    shift = torch.tensor([0.3, 0.0, 0.0])
    moved = replace(rigid, local_mean=rigid.local_mean + shift)
    assert torch.allclose(gaussian_parameters(moved, rigid), torch.tensor(0.045), atol=1e-5)
    wider = replace(rigid, log_scale=rigid.log_scale + 2.0)
    assert torch.allclose(gaussian_parameters(wider, rigid), torch.tensor(4.5), atol=1e-4)


def test_the_error_that_confidence_learns_is_in_angstrom() -> None:
    noisy, target = problem("unconditional", damaged=False)
    right = perfect(noisy, target)
    wrong = replace(right, translations=right.translations + torch.tensor([3.0, 0.0, 4.0]))
    error = residue_error(noisy, wrong, target)
    assert torch.allclose(error[noisy.mask], torch.tensor(5.0), atol=1e-3)


@pytest.mark.parametrize("task", TASKS)
def test_gradients_of_hopeless_predictions_are_finite(task: str) -> None:
    for step in range(3):
        noisy, target = problem(task, step)
        b, n = noisy.mask.shape
        hopeless = Prediction(
            rotations=torch.eye(3).expand(b, n, 3, 3).clone().requires_grad_(),
            translations=torch.zeros(b, n, 3).requires_grad_(),
            torsion=torch.zeros(b, n, 2).requires_grad_(),
            atoms=torch.zeros(b, n, 10, 3).requires_grad_(),
            logits=torch.zeros(b, n, 20).requires_grad_(),
            confidence=torch.zeros(b, n).requires_grad_(),
        )
        total, terms = FlowLoss()(noisy, hopeless, target)
        total.backward()
        for name in ("rotations", "translations", "torsion", "atoms", "logits", "confidence"):
            gradient = getattr(hopeless, name).grad
            assert gradient is None or torch.isfinite(gradient).all(), name
        for name, term in terms.items():
            assert torch.isfinite(term.value).all(), name


def test_a_batch_in_which_nothing_counts_costs_nothing() -> None:
    items = [unresolved(item, *range(len(item["aatype"]))) for item in three_proteins()]
    clean = clean_from_batch(batch_of(*items))
    noise = draw_noise(UIDS, clean.mask.sum(1), clean.mask.shape[1], 0, 0)
    held = held_for(torch.zeros(3, dtype=torch.int64), clean, noise)
    noisy, target = Flow().corrupt(clean, draw_times(held, noise), noise)
    total, terms = FlowLoss()(noisy, perfect(noisy, target), target)
    assert total.item() == 0
    assert all(term.is_empty for term in terms.values())


def test_proteins_in_which_nothing_counts_do_not_dilute_the_mean() -> None:
    term = LossTerm(
        torch.tensor([2.0, 0.0, 4.0]), torch.tensor([3, 0, 1]), torch.tensor([0.1, 0.0, 0.8])
    )
    assert float(term.mean) == 3.0
    assert binned(term) == {0: (2.0, 1), 3: (4.0, 1)}


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_impossible_weights_are_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="atoms"):
        LossWeights(atoms=weight)


def test_a_term_without_a_weight_is_not_dropped_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    noisy, target = problem("unconditional")
    known = Flow.loss

    def with_bonds(self: Flow, *given: Any) -> dict[str, Any]:
        terms = known(self, *given)
        return {**terms, "bonds": terms["atoms"]}

    monkeypatch.setattr(Flow, "loss", with_bonds)
    with pytest.raises(AssertionError, match=r"without a weight.*\['bonds'\]"):
        FlowLoss().terms(noisy, perfect(noisy, target), target)


def test_a_weight_without_a_term_is_named() -> None:
    @dataclass(frozen=True)
    class WithBonds(LossWeights):
        bonds: float = 1.0

    noisy, target = problem("unconditional")
    with pytest.raises(AssertionError, match=r"without a term: \['bonds'\]"):
        FlowLoss(WithBonds())(noisy, perfect(noisy, target), target)


def test_the_documented_weights_are_the_defaults() -> None:
    page = (ROOT / "docs" / "model.md").read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| `(\w+)` \| .* \| (\S+) \|$", page)
    told = {name: float(weight.replace("·10⁻⁴", "e-4")) for name, weight in rows}
    assert told == asdict(LossWeights())
