"""Stochastic steps of translations: the law of what comes out, and of what it is a function."""

from __future__ import annotations

import math

import pytest
import roma
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from model.flow import Clean, NoisyProtein, Prediction, Times, clean_from_batch, draw_noise
from model.flow.backbone import ideal_backbone
from model.flow.frames import PRIOR_STD, Frames, turned_onto
from model.flow.generate import Generated, generate
from model.flow.state import ProteinState
from model.flow.tasks import TASKS, held_for
from tests.support.flow_batches import UIDS, batch_of, certain, three_proteins

MEAN = torch.tensor([3.0, -5.0, 8.0], dtype=torch.float64)
N = 5_000


def stepped(
    x: Tensor,
    x1: Tensor,
    t: float,
    u: float,
    fresh: Tensor | None,
    free: Tensor | None = None,
) -> Tensor:
    """Translations after a step from time t to u."""
    shape = x.shape[:-1]
    identity = torch.eye(3, dtype=x.dtype).expand(*shape, 3, 3)
    backbone = ideal_backbone(torch.zeros(shape, dtype=x.dtype), torch.ones(shape, dtype=x.dtype))
    state = ProteinState(
        identity, x, backbone, torch.zeros(*shape, 10, 3), torch.zeros(shape, dtype=torch.long)
    )
    at = [torch.full(shape, time, dtype=x.dtype) for time in (t, u)]
    times = [Times(a, torch.ones(shape), torch.ones(shape)) for a in at]
    clean = (identity, x1, backbone)
    return Frames().step(state, clean, *times, torch.zeros(()), 1.0, fresh, free=free)[1]


def oracle(x: Tensor, t: float, sd: float) -> Tensor:
    """E[x₁ | x_t] if x₁ is normal about MEAN."""
    share = t * sd**2 / (t**2 * sd**2 + (1 - t) ** 2 * PRIOR_STD**2)
    return MEAN + share * (x - t * MEAN)


def spread(x: Tensor) -> float:
    """Standard deviation of a coordinate."""
    return float((x - x.mean(0)).square().mean().sqrt())


def sampled(sd: float, gamma: float | None, until: float = 1.0, steps: int = 100) -> Tensor:
    g = torch.Generator().manual_seed(1)

    def normal() -> Tensor:
        return torch.randn(1, N, 3, generator=g, dtype=torch.float64) * PRIOR_STD

    x = normal()
    for k in range(round(until * steps)):
        t, u = k / steps, (k + 1) / steps
        fresh = None if gamma is None else math.sqrt(gamma) * normal()
        x = stepped(x, oracle(x, t, sd), t, u, fresh)
    return x[0]


@pytest.mark.parametrize("sd", [4.0, 20.0])
@pytest.mark.parametrize("until", [0.5, 1.0])
def test_full_step_noise_has_the_marginals_of_the_deterministic_steps(
    sd: float, until: float
) -> None:
    expected = math.sqrt((until * sd) ** 2 + ((1 - until) * PRIOR_STD) ** 2)
    for gamma in (None, 1.0):
        x = sampled(sd, gamma, until)
        assert x.mean(0).tolist() == pytest.approx((until * MEAN).tolist(), abs=5 * sd / N**0.5)
        # Steps of finite size lose 2.5 %, and 15,000 numbers tell 0.6 %.
        assert spread(x) == pytest.approx(expected, rel=0.045)


def test_less_step_noise_means_less_variance_about_the_same_mean() -> None:
    full, half, tenth = (sampled(6.0, gamma) for gamma in (1.0, 0.5, 0.1))
    # Of normal data all of the variance is scaled.
    assert spread(half) / spread(full) == pytest.approx(math.sqrt(0.5), rel=0.01)
    assert spread(tenth) / spread(full) == pytest.approx(math.sqrt(0.1), rel=0.01)
    assert tenth.mean(0).tolist() == pytest.approx(MEAN.tolist(), abs=0.2)


def test_no_step_noise_forgets_where_it_began_and_brings_nothing_in() -> None:
    x = sampled(6.0, 0.0)
    assert float(x.std(0).max()) < 1e-9
    assert x[0].tolist() == pytest.approx(MEAN.tolist(), abs=1e-6)


def test_uniform_steps_lose_a_third_of_the_variance_that_the_other_schedule_loses() -> None:
    """For data as wide as the prior, in closed form: x̂₁ is a multiple of x."""

    def kept(t: float, u: float, power: str) -> float:
        if t == 0:
            return 0.0
        ends = [math.log(x / (1 - x)) + (1 / (1 - x) if power == "1/t" else 0) for x in (t, u)]
        return math.exp(ends[0] - ends[1])

    found = {}
    for schedule in ("(1 - t)/t", "1/t"):
        variance = 1.0
        for k in range(99):
            t, u = k / 100, (k + 1) / 100
            x1, r = t / (t**2 + (1 - t) ** 2), kept(t, u, schedule)
            share = u * x1 + (1 - u) * r * (1 - t * x1) / (1 - t)
            variance = share**2 * variance + (1 - u) ** 2 * (1 - r**2)
        found[schedule] = variance * (0.99 / (0.99**2 + 0.01**2)) ** 2
    assert found == pytest.approx({"(1 - t)/t": 0.95, "1/t": 0.85}, abs=0.003)


@given(st.floats(0.05, 0.95), st.floats(0.1, 20.0), st.floats(-20, 20))
def test_a_small_step_without_noise_is_the_drift_of_the_stochastic_equation(
    t: float, x1: float, x: float
) -> None:
    dt = 1e-6
    point, clean = (torch.full((1, 1, 3), v, dtype=torch.float64) for v in (x, x1))
    moved = stepped(point, clean, t, t + dt, torch.zeros_like(point))
    velocity = (clean - point) / (1 - t)
    score = (t * velocity - point) / ((1 - t) * PRIOR_STD**2)
    drift = velocity + (1 - t) / t * PRIOR_STD**2 * score
    assert torch.allclose((moved - point) / dt, drift, rtol=1e-3, atol=1e-2)


@given(st.lists(st.floats(0.01, 0.99), min_size=3, max_size=3, unique=True))
def test_two_steps_towards_one_prediction_are_one_step(times: list[float]) -> None:
    """The mean, and by the numbers that noise is multiplied with the variance."""
    t, u, w = sorted(times)
    zero = torch.zeros(1, 1, 3, dtype=torch.float64)
    one = torch.ones_like(zero)
    x1 = 2.5 * one
    both = stepped(stepped(7 * one, x1, t, u, zero), x1, u, w, zero)
    assert torch.allclose(both, stepped(7 * one, x1, t, w, zero), atol=1e-9)
    first = stepped(stepped(zero, zero, t, u, one), zero, u, w, zero)
    second = stepped(zero, zero, u, w, one)
    at_once = stepped(zero, zero, t, w, one)
    assert torch.allclose(first**2 + second**2, at_once**2, atol=1e-9)


def noise_of_training(x1: Tensor, n: int) -> Tensor:
    """(n, N, 3) normal noise as a protein meets it that was turned onto it."""
    g = torch.Generator().manual_seed(2)
    noise = torch.randn(n, *x1.shape, generator=g, dtype=x1.dtype) * PRIOR_STD
    return turned_onto(x1.expand_as(noise), noise)


def share_of(x1: Tensor, noise: Tensor) -> float:
    """How much of a protein there is in noise, on average."""
    return float(((noise * x1).sum((1, 2)) / x1.square().sum()).mean())


def test_new_noise_has_the_share_of_the_protein_that_noise_has_in_training() -> None:
    n, g = 300, torch.Generator().manual_seed(3)
    x1 = torch.randn(20, 3, generator=g, dtype=torch.float64) * 7
    x1 = x1 - x1.mean(0)
    wanted = noise_of_training(x1, n)
    found = {}
    for free in (None, torch.ones(n, dtype=torch.bool), torch.zeros(n, dtype=torch.bool)):
        z, clean = wanted, x1.expand(n, -1, -1)
        for t, u in ((0.1, 0.2), (0.2, 0.4), (0.4, 0.5)):
            fresh = torch.randn(n, 20, 3, generator=g, dtype=torch.float64) * PRIOR_STD
            z = (stepped(t * clean + (1 - t) * z, clean, t, u, fresh, free) - u * clean) / (1 - u)
        found[None if free is None else bool(free.all())] = z
    assert share_of(x1, wanted) > 0.3
    assert share_of(x1, found[True]) == pytest.approx(share_of(x1, wanted), rel=0.1)
    # Of the noise that there was, a ninth is left.
    for without in (None, False):
        assert abs(share_of(x1, found[without])) < 0.2 * share_of(x1, wanted)
    for z in found.values():
        assert spread(z.reshape(-1, 3)) == pytest.approx(PRIOR_STD, rel=0.02)


def test_points_are_turned_onto_others_as_well_as_any_rotation_can() -> None:
    g = torch.Generator().manual_seed(4)
    still = torch.randn(3, 12, 3, generator=g, dtype=torch.float64)
    angles = torch.randn(3, 3, generator=g, dtype=torch.float64)
    moved = still @ roma.rotvec_to_rotmat(angles).transpose(1, 2)
    assert torch.allclose(turned_onto(still, moved), still, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("degenerate", ["still", "moved", "both"])
@pytest.mark.parametrize("kind", ["one", "in one place", "on a line", "at the origin"])
def test_points_that_leave_a_turn_open_are_turned_all_the_same(
    kind: str, degenerate: str, dtype: torch.dtype
) -> None:
    g = torch.Generator().manual_seed(5)
    n = 1 if kind == "one" else 6
    line = torch.randn(n, 1, generator=g, dtype=dtype)
    along = {"on a line": line, "at the origin": torch.zeros_like(line)}
    pair = []
    for which in ("still", "moved"):
        points = torch.randn(n, 3, generator=g, dtype=dtype)
        if degenerate in (which, "both"):
            points = along.get(kind, torch.ones_like(line)) * points[:1]
        pair.append(points[None])
    still, moved = pair
    found = turned_onto(still, moved)
    # A turn, and one that no other is better than: of a line, its direction is what counts.
    close = {"atol": 1e-5 if dtype == torch.float32 else 1e-12, "rtol": 0.0}
    assert torch.allclose(found @ found.transpose(1, 2), moved @ moved.transpose(1, 2), **close)
    best = torch.linalg.svdvals(still.transpose(1, 2) @ moved).sum()
    assert torch.allclose((found * still).sum(), best, **close)


# ---- the sampler --------------------------------------------------------------------------------


def contracting(noisy: NoisyProtein) -> Prediction:
    """A network that takes each protein for a smaller one of itself."""
    state = noisy.state
    ones = torch.ones(noisy.mask.shape)
    return Prediction(
        rotations=state.rotations,
        translations=0.3 * state.translations,
        torsion=torch.stack([ones, ones], -1),
        chi=certain(torch.zeros(*noisy.mask.shape, 4), state.sequence),
        chi_of_blocks=torch.zeros(*noisy.mask.shape, 0, 4, 36),
        logits=torch.zeros(*noisy.mask.shape, 20),
        confidence=torch.zeros(noisy.mask.shape),
    )


def made(task: str, clean: Clean, uids: list[str] = UIDS, **options: object) -> Generated:
    noise = draw_noise(uids, clean.mask.sum(1), clean.mask.shape[1], 0, 0)
    held = held_for(torch.full((len(clean.mask),), TASKS.index(task)), clean, noise)  # type: ignore[arg-type]
    return generate(contracting, clean, held, uids, steps=6, **options)  # type: ignore[arg-type]


def test_a_sample_with_step_noise_is_a_function_of_name_and_seed_alone() -> None:
    items = three_proteins()
    clean = clean_from_batch(batch_of(*items))
    first = made("unconditional", clean, step_noise=0.5)
    again = made("unconditional", clean, step_noise=0.5)
    assert torch.equal(first.state.translations, again.state.translations)
    other = made("unconditional", clean, step_noise=0.5, seed=1)
    without = made("unconditional", clean)
    for different in (other, without):
        assert not torch.allclose(first.state.translations, different.state.translations, atol=0.1)
    # What is drawn for types is what is drawn without it.
    assert torch.equal(first.state.sequence, without.state.sequence)
    alone = made("unconditional", clean_from_batch(batch_of(items[1])), UIDS[1:2], step_noise=0.5)
    n = int(clean.mask[1].sum())
    assert torch.allclose(
        alone.state.translations[0, :n], first.state.translations[1, :n], atol=1e-5
    )


def test_a_new_protein_stays_centred_and_a_motif_where_it_is() -> None:
    clean = clean_from_batch(batch_of(*three_proteins()))
    new = made("unconditional", clean, step_noise=1.0)
    total = (new.state.translations * new.mask[..., None]).sum(1)
    assert float((total / new.mask.sum(1, keepdim=True)).abs().max()) < 1e-4
    around = made("inpainting", clean, step_noise=1.0)
    still = made("inpainting", clean)
    kept = (around.state.translations == clean.translations).all(-1) & clean.mask
    assert torch.equal(kept, (still.state.translations == clean.translations).all(-1) & clean.mask)
    assert kept.any(1).all()
    assert not kept[clean.mask].all()


@pytest.mark.parametrize(("task", "all_free"), [("unconditional", True), ("inpainting", False)])
def test_noise_is_turned_onto_proteins_of_which_nothing_is_held(
    task: str, all_free: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, step = [], Frames.step

    def watched(self: Frames, *args: object, free: Tensor | None) -> object:
        seen.append(free)
        return step(self, *args, free=free)  # type: ignore[arg-type]

    monkeypatch.setattr(Frames, "step", watched)
    made(task, clean_from_batch(batch_of(*three_proteins())), step_noise=1.0, relax=False)
    assert len(seen) == 6
    for free in seen:
        assert free is not None
        assert free.tolist() == [all_free] * 3


def test_a_backbone_that_is_given_feels_no_step_noise() -> None:
    clean = clean_from_batch(batch_of(*three_proteins()))
    noised, usual = made("design", clean, step_noise=1.0), made("design", clean)
    assert torch.equal(noised.state.translations, usual.state.translations)
    assert torch.equal(noised.state.atoms, usual.state.atoms)


def test_step_noise_below_0_is_refused() -> None:
    clean = clean_from_batch(batch_of(*three_proteins()))
    with pytest.raises(ValueError, match="step_noise"):
        made("unconditional", clean, step_noise=-0.1)
