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
from model.flow.backbone import ideal_backbone, oxygen_torsion
from model.flow.frames import amplify
from model.flow.residue_error import frame_error
from model.flow.target import Target
from model.flow.tasks import held_for
from model.losses import FlowLoss, LossWeights, binned
from model.losses.flow_loss import LossTerm
from model.losses.structure import chain_links, pair_distances
from model.torsions import N_BINS, periodic_chi, smoothed
from model.torsions.bins import SMOOTHING
from tests.support.flow_batches import (
    UIDS,
    batch_of,
    certain,
    three_proteins,
    unresolved,
    without_atoms,
)
from tests.support.places import ROOT

NAMES = [
    "translation", "rotation", "torsion", "chi", "chi_offset", "chi_of_blocks", "sequence", "pairs",
    "links",
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
        chi=certain(target.chi, noisy.state.sequence, 1 / (2 * SMOOTHING**2)),
        chi_of_blocks=torch.zeros(*noisy.mask.shape, 2, 4, N_BINS),
        logits=(torch.nn.functional.one_hot(target.sequence.clamp(0, 19), 20) * 30.0),
        confidence=torch.zeros(noisy.mask.shape),
    )


@pytest.mark.parametrize("task", TASKS)
def test_a_perfect_prediction_costs_nothing(task: str) -> None:
    noisy, target = problem(task, damaged=False)
    total, terms = FlowLoss()(noisy, perfect(noisy, target), target)
    assert list(terms) == NAMES
    for name in ("translation", "rotation", "chi_offset", "pairs", "links", "sequence"):
        assert terms[name].mean.item() < 1e-3, name
    # The cross-entropy of a smoothed target with itself is its entropy, and no other is less.
    wanted, _ = smoothed(target.chi, periodic_chi(noisy.state.sequence))
    entropy = -torch.xlogy(wanted, wanted).sum(-1)
    least = torch.where(target.chi_count, entropy, 0.0).sum(-1)
    found, counts, _ = Flow().loss(noisy, perfect(noisy, target), target)["chi"]
    assert torch.allclose(found[counts], least[counts], atol=1e-4)
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
    assert terms["pairs"].is_empty == (not frames)
    # Of a residue whose type is hidden no torsion counts, and some are shown in every task.
    assert not terms["chi"].is_empty
    assert terms["chi"].count.tolist() == target.chi_count.any(-1).sum(1).tolist()


def test_endpoint_errors_are_those_of_the_formula() -> None:
    noisy, target = problem("unconditional")
    right = perfect(noisy, target)
    wrong = replace(
        right,
        translations=right.translations + torch.tensor([3.0, 0.0, 4.0]),
    )
    found = Flow().loss(noisy, wrong, target)
    error, counts, time = found["translation"]
    expected = 25 / 100 / (1 - time.clamp(max=0.9)) ** 2
    assert torch.allclose(error[counts], expected[counts], rtol=1e-4)
    # Blocks that know nothing pay the logarithm of the number of bins for each torsion.
    error, counts, _ = found["chi_of_blocks"]
    half = target.chi_count & periodic_chi(noisy.state.sequence)
    expected = math.log(N_BINS) * target.chi_count.sum(-1) - math.log(2) * half.sum(-1)
    assert torch.allclose(error[counts], expected[counts], rtol=1e-4)


def test_amplification_stops_at_a_hundred() -> None:
    assert amplify(torch.tensor([0.0, 0.5, 0.9, 0.999])).tolist() == pytest.approx(
        [1, 4, 100, 100], rel=1e-4
    )


def test_distances_a_little_off_cost_half_the_square() -> None:
    noisy, target = problem("unconditional", damaged=False)
    frames = (target.rotations, target.translations, target.backbone)
    assert pair_distances(frames, target, target.frames_count)[noisy.mask].max() < 1e-4
    # All residues but the first move away from it, as one.
    b = 0
    away = torch.tensor([0.3, 0.0, 0.0])
    first = torch.arange(noisy.mask.shape[1]) == 0
    moved = torch.where(first[None, :, None], target.translations, target.translations + away)
    found = pair_distances((target.rotations, moved, target.backbone), target, target.frames_count)
    assert 0 < found[b, 0] <= 0.3**2 / 2 + 1e-4
    assert found[b, 1] < found[b, 0]


def bonded(n: int) -> torch.Tensor:
    """(1, n, 3) translations of residues in identity frames, C of each 1.33 Å from the next N."""
    step = ideal_backbone(torch.tensor(0.0), torch.tensor(1.0))
    offset = step[2] - step[0] + torch.tensor([1.33, 0.0, 0.0])
    return torch.arange(n)[None, :, None] * offset


def test_a_link_that_is_torn_costs_its_error_and_later_more() -> None:
    noisy, target = problem("unconditional", damaged=False)
    b, n = noisy.mask.shape
    eye = torch.eye(3).expand(b, n, 3, 3)
    target = replace(target, rotations=eye, translations=bonded(n).expand(b, n, 3))
    k = 3
    torn = target.translations + (torch.arange(n) > k)[None, :, None] * torch.tensor([0.5, 0, 0])
    first = float("nan")
    for time, factor in ((0.0, 1.0), (0.5, 2.0), (0.95, 10.0)):
        at = torch.full((b, n), time)
        error, counts, _ = chain_links((eye, torn, target.backbone), noisy, target, at)
        assert int(counts[0].sum()) == int(noisy.mask[0].sum()) - 1
        assert error[0, torch.arange(n) != k].max() < 1e-3
        # At most 0.5 Å: not all of the atoms are one behind the other.
        assert 0.3 * factor < error[0, k] < 0.5 * factor
        first = float(error[0, k]) if time == 0 else first
        assert float(error[0, k]) == pytest.approx(factor * first, rel=1e-4)


def test_what_is_not_bonded_is_no_link() -> None:
    noisy, target = problem("unconditional", damaged=False)
    b, n = noisy.mask.shape
    x = bonded(n).expand(b, n, 3).clone()
    x[:, 5:] += 9.0
    target = replace(target, rotations=torch.eye(3).expand(b, n, 3, 3), translations=x)
    index = noisy.residue_index + (torch.arange(n) > 2)
    noisy = replace(noisy, residue_index=index)
    frames = (target.rotations, torch.zeros_like(x), target.backbone)
    counts = chain_links(frames, noisy, target, torch.zeros(b, n))[1]
    assert counts[0, :7].tolist() == [True, True, False, True, False, True, True]
    given = replace(target, frames_count=torch.zeros_like(target.frames_count))
    assert not chain_links(frames, noisy, given, torch.zeros(b, n))[1].any()


def test_the_error_that_confidence_learns_is_in_angstrom() -> None:
    noisy, target = problem("unconditional", damaged=False)
    right = perfect(noisy, target)
    wrong = replace(right, translations=right.translations + torch.tensor([3.0, 0.0, 4.0]))
    error = frame_error(noisy, wrong, target)
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
            chi=certain(target.chi + math.pi / 2, noisy.state.sequence, 500.0),
            chi_of_blocks=torch.zeros(b, n, 1, 4, N_BINS).requires_grad_(),
            logits=torch.zeros(b, n, 20).requires_grad_(),
            confidence=torch.zeros(b, n).requires_grad_(),
        )
        total, terms = FlowLoss()(noisy, hopeless, target)
        total.backward()
        names = ("rotations", "translations", "torsion", "chi_of_blocks", "logits", "confidence")
        for name in names:
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
    with pytest.raises(ValueError, match="chi_offset"):
        LossWeights(chi_offset=weight)


def test_a_term_without_a_weight_is_not_dropped_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    noisy, target = problem("unconditional")
    known = Flow.loss

    def with_bonds(self: Flow, *given: Any) -> dict[str, Any]:
        terms = known(self, *given)
        return {**terms, "bonds": terms["chi"]}

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
    told = {name: float(weight) for name, weight in rows}
    assert told == asdict(LossWeights())
