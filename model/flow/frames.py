"""Frames: linear in R³, geodesic on SO(3), and the torsion that places O."""

from __future__ import annotations

import math

import roma
import torch
from torch import Tensor

from model.flow.backbone import ideal_backbone, oxygen_torsion
from model.flow.noise import Noise
from model.flow.state import NoisyProtein, Prediction, ProteinState, Times
from model.flow.target import Target
from model.on_device import Constant
from model.torsions.angles import wrapped

PRIOR_STD = 10.0
"""Å, of translations."""

ROTATION_RATE = 20.0
"""While sampling, rotations go at least this share of the remaining way per unit of time: the
exponential schedule that A. J. Bose et al. and J. Yim et al. (both 2023) found better than a linear
one. Theirs is 10; a young network of ours does better with 20 (docs/results.md)."""

MAX_AMPLIFIED_TIME = 0.9

_NO_TURN = Constant(torch.tensor([0.0, 0.0, 0.0, 1.0]))

FrameValue = tuple[Tensor, Tensor, Tensor]
"""Rotations (B, N, 3, 3), translations (B, N, 3), backbone (B, N, 4, 3)."""


class Frames:
    """The modality of backbone frames; it owns N, CA, C and O.

    Notes
    -----
    Flow matching on SE(3) as in J. Yim et al., "Fast protein backbone generation with SE(3) flow
    matching" (2023), with a uniform prior on SO(3).
    """

    def sample_prior(self, noise: Noise, scale: float = 1.0) -> FrameValue:
        """Rotations uniform, translations normal (10 Å; not centred), torsion uniform."""
        # Padding holds zeros, which are no quaternion.
        empty = (noise.quaternions == 0).all(-1, keepdim=True)
        quaternions = torch.where(empty, _NO_TURN.like(noise.quaternions), noise.quaternions)
        rotations = roma.unitquat_to_rotmat(roma.quat_normalize(quaternions))
        angle = 2 * math.pi * noise.torsions - math.pi
        return (
            rotations,
            noise.translations * (PRIOR_STD * scale),
            ideal_backbone(torch.sin(angle), torch.cos(angle)),
        )

    def interpolate(
        self, prior: FrameValue, clean: FrameValue, time: Tensor, noise: Noise
    ) -> FrameValue:
        """x_t of the three parts; the backbone is measured at time 1 and ideal before."""
        r0, x0, b0 = prior
        r1, x1, b1 = clean
        t = time[..., None]
        rotations = _along_geodesic(r0, r1, time)
        translations = (1 - t) * x0 + t * x1
        start = oxygen_torsion(b0)
        angle = start + time * wrapped(oxygen_torsion(b1) - start)
        backbone = ideal_backbone(torch.sin(angle), torch.cos(angle))
        return (
            _ends(time, r0, rotations, r1),
            _ends(time, x0, translations, x1),
            _ends(time, b0, backbone, b1),
        )

    def to_clean(self, noisy: NoisyProtein, prediction: Prediction) -> FrameValue:
        """Predicted frames, with O by the predicted torsion."""
        held = noisy.times.frames == 1
        sin, cos = _unit(prediction.torsion).unbind(-1)
        backbone = ideal_backbone(sin, cos)
        return (
            _where(held, noisy.state.rotations, prediction.rotations),
            _where(held, noisy.state.translations, prediction.translations),
            _where(held, noisy.state.backbone, backbone),
        )

    def loss(
        self, noisy: NoisyProtein, prediction: Prediction, target: Target
    ) -> dict[str, Tensor]:
        """Squared endpoint errors: ``translation`` ((10 Å)²), ``rotation`` (rad²) and ``torsion``.

        The first two are divided by (1 − min(t, 0.9))², which makes them errors of the vector
        field. The torsion's is |u − u*|² of unit vectors on the circle, plus a small pull of the
        network's own vector towards length 1: at the origin it would have no direction.
        """
        amplification = amplify(noisy.times.frames)
        difference = (prediction.translations - target.translations) / PRIOR_STD
        translation = difference.square().sum(-1) * amplification
        rotation = squared_angle(prediction.rotations, target.rotations) * amplification
        angle = oxygen_torsion(target.backbone)
        wanted = torch.stack([torch.sin(angle), torch.cos(angle)], -1)
        length = torch.sqrt(prediction.torsion.square().sum(-1) + 1e-6)
        torsion = (_unit(prediction.torsion) - wanted).square().sum(-1)
        torsion = torsion + 0.02 * (length - 1).abs()
        return {"translation": translation, "rotation": rotation, "torsion": torsion}

    def step(
        self,
        state: ProteinState,
        clean: FrameValue,
        times: Times,
        next_times: Times,
        draws: Tensor,
        temperature: float,
        fresh: Tensor | None = None,
        *,
        free: Tensor | None = None,
    ) -> FrameValue:
        """Euler along the predicted path; rotations on an exponential schedule.

        With `fresh`, translations take a stochastic step.

        Parameters
        ----------
        state : ProteinState
        clean : FrameValue
            As it is predicted.
        times, next_times : Times
        draws, temperature
            Not for frames.
        fresh : (B, N, 3) float, optional
            Å. Fresh noise for the translations, normal with the standard deviation of the prior σ
            times √γ. Zeros are γ = 0: noise is forgotten, and none comes in its place.
        free : (B,) bool, optional
            Proteins of which nothing is held: their noise is turned onto the prediction.

        Notes
        -----
        x_t = (1 − t) x₀ + t x₁ with x₀ ~ N(0, σ²) has the score

            s(x, t) = (t v − x) / ((1 − t) σ²) = (t x̂₁ − x) / ((1 − t)² σ²),

        as v = (x̂₁ − x) / (1 − t). For any g(t) ≥ 0 the stochastic equation

            dx = (v + g σ² s) dt + √(2 g γ) σ dW

        has the marginals of dx = v dt if γ = 1, and less variance below: the low temperature of T.
        Geffner et al., "Proteina: scaling flow-based protein structure generative models" and
        "La-Proteina" (both 2025). What x holds of noise, z = (x − t x̂₁) / (1 − t), goes by

            dz = −λ z dt + √(2 λ γ) σ dW,    λ = g / (1 − t)²,

        as long as the prediction x̂₁ stays. This is solved exactly over a step from t to u:

            z′ = r z + √(1 − r²) √γ σ ε,    r = exp(−∫ λ),    x′ = u x̂₁ + (1 − u) z′.

        r = 1 is the deterministic step. Here g = (1 − t) / t, one of Proteina's, so that
        r = t (1 − u) / (u (1 − t)): of the noise that x began with, nothing is left after the first
        step. Proteina's other choice, 1 / t, forgets so fast near the end that uniform steps lose
        variance: 15 % against 5 % for normal data as wide as the prior, in 100 steps.

        Where no frame is held, proteins are turned onto their noise in training, so that x₀ has a
        share of x₁ in it. Noise that comes in has none, and the network takes what it is given for
        a protein that is smaller than it is: step by step, samples shrink. So z′ is turned onto x̂₁
        there. If z is normal noise that was turned onto x₁, so is z′: turned is what normal noise
        is under any rotation.
        """
        r1, x1, b1 = clean
        t, dt = times.frames, next_times.frames - times.frames
        moving = dt > 0
        last = next_times.frames == 1
        fraction = torch.where(moving, dt / (1 - t).clamp(min=1e-6), 0.0).clamp(max=1.0)
        turned = torch.maximum(fraction, ROTATION_RATE * dt).clamp(max=1.0)
        rotations = _along_geodesic(state.rotations, r1, turned)
        if fresh is None:
            translations = torch.lerp(state.translations, x1, fraction[..., None])
        else:
            translations = _renoised(state.translations, x1, (t, next_times.frames), fresh, free)
        angle = oxygen_torsion(state.backbone)
        angle = angle + fraction * wrapped(oxygen_torsion(b1) - angle)
        backbone = ideal_backbone(torch.sin(angle), torch.cos(angle))
        arrived, here = last & moving, moving & ~last
        old = (state.rotations, state.translations, state.backbone)
        new = (rotations, translations, backbone)
        r, x, b = (
            _where(arrived, one, _where(here, between, before))
            for one, between, before in zip(clean, new, old, strict=True)
        )
        return r, x, b


def _renoised(
    x: Tensor, x1: Tensor, times: tuple[Tensor, Tensor], fresh: Tensor, free: Tensor | None
) -> Tensor:
    """x at the second of two times, with part of its noise replaced; see `Frames.step`."""
    t, u = (time[..., None] for time in times)
    rest = (1 - t).clamp(min=1e-6)
    kept = (t * (1 - u) / (u * rest).clamp(min=1e-6)).clamp(max=1.0)
    noise = kept * (x - t * x1) / rest + torch.sqrt(1 - kept.square()) * fresh
    if free is not None:
        noise = torch.where(free[:, None, None], turned_onto(x1, noise), noise)
    return u * x1 + (1 - u) * noise


def turned_onto(still: Tensor, moved: Tensor) -> Tensor:
    """Points (B, N, 3), turned about the origin to lie best on others (W. Kabsch 1976).

    Where several turns are best (points on a line, or all in one place), it is one of them.
    """
    turn = roma.special_procrustes(still.transpose(1, 2) @ moved)
    return moved @ turn.transpose(1, 2)


def amplify(time: Tensor) -> Tensor:
    """1/(1 − min(t, 0.9))²."""
    return (1 - time.clamp(max=MAX_AMPLIFIED_TIME)).square().reciprocal()


def squared_angle(a: Tensor, b: Tensor) -> Tensor:
    """Square of the angle between rotations (..., 3, 3), rad², with a gradient everywhere.

    The chordal distance c = |A − B|²/8 is sin²(θ/2). θ² = 4 asin²(√c) grows without bound in slope
    as θ nears π, so beyond 3 rad it goes on as a straight line in c.
    """
    c = (a - b).square().sum((-1, -2)) / 8
    edge = math.sin(1.5) ** 2
    inner = c.clamp(min=1e-12, max=edge)
    near = 4 * torch.asin(torch.sqrt(inner)).square()
    # d(θ²)/dc at the edge: 2θ / sin(θ/2)cos(θ/2) · … = 4·asin(√c)/√(c(1−c))
    slope = 4 * 1.5 / math.sqrt(edge * (1 - edge))
    return near + slope * (c - edge).clamp(min=0.0)


def _along_geodesic(start: Tensor, end: Tensor, fraction: Tensor) -> Tensor:
    """start · exp(fraction · log(startᵀ end))."""
    vector = roma.rotmat_to_rotvec(start.transpose(-1, -2) @ end)
    return start @ roma.rotvec_to_rotmat(vector * fraction[..., None])


def _unit(vector: Tensor) -> Tensor:
    return vector / torch.sqrt(vector.square().sum(-1, keepdim=True) + 1e-6)


def _where(condition: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(condition[(...,) + (None,) * (yes.ndim - condition.ndim)], yes, no)


def _ends(time: Tensor, start: Tensor, between: Tensor, end: Tensor) -> Tensor:
    """Exactly the ends at times 0 and 1."""
    return _where(time == 1, end, _where(time == 0, start, between))
