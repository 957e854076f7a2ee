"""Attention by overlap of Gaussians: what its numbers are, and what may and may not change them."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.attention import ATTENTIONS, Kind, build_attention, oracle
from model.attention.gaussian_attention import AFFINE_SPREAD, BOUNDED_MAX
from model.attention.gaussians import (
    MAX_LOG_SCALE_CHANGE,
    MAX_OFFSET,
    HeadGaussians,
    LearnedGaussians,
    centred,
    in_typical_scale,
)
from model.gaussian_rigid import GaussianRigid
from tests.support.attention_inputs import (
    SIZES,
    Inputs,
    from_atoms,
    largest,
    layer,
    moved,
    random_inputs,
    random_rotations,
)

SEEDS = st.integers(0, 2**32 - 1)
KINDS = pytest.mark.parametrize("kind", ATTENTIONS)
FAR = 200.0
"""20 nm from the origin, in Å."""


def _gaussians(mean: Tensor, scale: Tensor, rotations: Tensor) -> HeadGaussians:
    """Of (B, N, H, P, ...) arrays."""
    covariance = rotations @ torch.diag_embed(scale**2) @ rotations.mT
    upper = torch.stack([covariance[..., i, j] for i in range(3) for j in range(i, 3)], dim=-1)
    return HeadGaussians(*(x.permute(4, 0, 2, 3, 1).contiguous() for x in (mean, upper)))


# ---- known values -----------------------------------------------------------------------------


@pytest.mark.parametrize("implementation", ["oracle", "tiled"])
def test_two_unit_spheres_two_apart_attend_as_worked_out_by_hand(implementation: str) -> None:
    # Three equal Gaussians each, S = 2 I: g_ii = −3/2 log 8 and g_ij = −3 (½ · 2²/2) − 3/2 log 8,
    # three less. Both are 3/2 from the mean of a row, so z = ±3/2 / √(9/4 + 1e-5). With γ = ½ and
    # no other logits the weight of oneself is 1/(1 + exp(−2 · ½ · z)).
    attention = layer(c_z=0, implementation=implementation)
    for name in ("to_query", "query_gaussians.projection", "key_gaussians.projection"):
        for parameter in attention.get_submodule(name).parameters():
            parameter.data.zero_()
    attention.gamma_weight.data.fill_(math.log(math.expm1(math.sqrt(3) / 2)))
    zero = torch.zeros(1, 2, 3, dtype=torch.float64)
    apart = torch.tensor([[[0.0, 0, 0], [2, 0, 0]]], dtype=torch.float64)
    rigid = GaussianRigid(torch.eye(3).double().expand(1, 2, 3, 3), apart, zero, zero)
    s = torch.randn(1, 2, SIZES["c_s"], dtype=torch.float64)
    maps = attention.inspect(s, None, rigid, torch.ones(1, 2, dtype=torch.bool))
    z = 1.5 / math.sqrt(2.25 + 1e-5)
    own = 1 / (1 + math.exp(-z))
    expected = torch.tensor([[own, 1 - own], [1 - own, own]], dtype=torch.float64)
    assert abs(own - 0.7310581) < 1e-6
    assert largest(maps.attention - expected) < 1e-12
    bias = torch.tensor([[z, -z], [-z, z]], dtype=torch.float64) / 2
    assert largest(maps.geometric_bias - bias) < 1e-12
    assert largest(maps.logits_before) == 0
    assert largest(maps.distances - torch.tensor([[0.0, 2], [2, 0]])) < 1e-12


@given(SEEDS)
@settings(max_examples=15, deadline=None)
def test_overlap_is_the_log_density_of_the_difference_under_the_summed_covariance(
    seed: int,
) -> None:
    g = torch.Generator().manual_seed(seed)
    shape = (2, 3, 2, 4)  # B, N, H, P
    parts = [
        (
            3 * torch.randn(*shape, 3, generator=g, dtype=torch.float64),
            torch.randn(*shape, 3, generator=g, dtype=torch.float64).exp(),
            random_rotations(*shape, generator=g),
        )
        for _ in range(2)
    ]
    (mi, si, ri), (mj, sj, rj) = parts
    found = oracle.overlap(_gaussians(*parts[0]), _gaussians(*parts[1]))
    d = mi[:, :, None] - mj[:, None]
    covariance = [r @ torch.diag_embed(s**2) @ r.mT for r, s in ((ri, si), (rj, sj))]
    normal = torch.distributions.MultivariateNormal(
        torch.zeros(3).double(), covariance[0][:, :, None] + covariance[1][:, None]
    )
    log_density = normal.log_prob(d) + 1.5 * math.log(2 * math.pi)
    expected = log_density.sum(dim=-1).permute(0, 3, 1, 2)
    assert largest((found - expected) / expected.abs().clamp(min=1)) < 1e-10


def test_the_z_score_is_that_of_the_valid_keys_with_population_variance() -> None:
    g = torch.randn(2, 3, 5, 5, dtype=torch.float64)
    mask = torch.tensor([[True, False, True, True, False], [True] * 5])
    z = oracle.row_zscore(g, mask)
    for item in range(2):
        valid = g[item, :, :, mask[item]]
        mean = valid.mean(-1, keepdim=True)
        variance = valid.var(-1, correction=0, keepdim=True)
        expected = (valid - mean) / (variance + 1e-5).sqrt()
        assert largest(z[item, :, :, mask[item]] - expected) < 1e-12
    assert largest(z[0, :, :, ~mask[0]]) == 0


def test_a_single_key_has_the_bias_zero() -> None:
    inputs = random_inputs(n_items=1, n=4)
    inputs.mask = torch.tensor([[False, True, False, False]])
    maps = layer().inspect(*inputs)
    assert maps.geometric_bias[:, 1, 1].abs().max() == 0
    assert maps.attention[:, 1, 1].eq(1).all()


def test_gaussians_sit_at_offsets_in_their_own_scale_with_bounded_anisotropy() -> None:
    inputs = random_inputs(n_items=1, n=6, masked=False)
    rigid = replace(inputs.rigid, log_scale=inputs.rigid.log_scale * 9)
    module = LearnedGaussians(SIZES["c_s"], 2, 3).double()
    module.projection.weight.data.normal_()
    found = module(inputs.s, rigid)
    raw = module.projection(inputs.s).unflatten(-1, (2, 3, 6)).tanh()
    scale = rigid.scale[:, :, None, None] * (MAX_LOG_SCALE_CHANGE * raw[..., 3:]).exp()
    scale = torch.maximum(scale, scale.amax(dim=-1, keepdim=True) / 90)
    assert ((scale.amax(-1) / scale.amin(-1)) > 89).any(), "the limit was not needed"
    local = rigid.local_mean[:, :, None, None] + MAX_OFFSET * raw[..., :3] * scale
    r = rigid.rotations[:, :, None, None]
    mean = (r @ local[..., None])[..., 0] + rigid.translations[:, :, None, None]
    expected = _gaussians(mean, scale, r)
    assert largest((found.mean - expected.mean) / expected.mean.abs().clamp(min=1)) < 1e-12
    covariance = expected.covariance
    assert largest((found.covariance - covariance) / covariance.abs().clamp(min=1)) < 1e-12


def test_gamma_starts_where_it_is_told_and_has_no_upper_bound() -> None:
    for gamma_init in (0.004, 0.4, 4.0, 50.0):
        attention = layer(gamma_init=gamma_init)
        assert attention.geometry_weight().detach().numpy() == pytest.approx(gamma_init, rel=1e-5)
        w = attention.gamma_weight.detach()
        expected = torch.nn.functional.softplus(w) / math.sqrt(3)
        assert largest(attention.geometry_weight() - expected) < 1e-12
    attention.gamma_weight.data.fill_(1e4)
    assert attention.geometry_weight().min() > 5e3


def test_the_bounded_ablation_starts_weak_and_never_exceeds_its_bound() -> None:
    attention = layer(gamma="bounded")
    start = BOUNDED_MAX / (1 + math.exp(4))
    assert attention.geometry_weight().detach().numpy() == pytest.approx(start, rel=1e-6)
    attention.gamma_weight.data.fill_(1e4)
    assert attention.geometry_weight().max() <= BOUNDED_MAX


def test_the_affine_ablation_adds_the_mean_overlap_itself() -> None:
    attention = layer(geometry_norm="affine", gamma_init=9.0)
    inputs = random_inputs(masked=False)
    a = attention.geometry_weight()
    assert a.detach().numpy() == pytest.approx(9.0 / AFFINE_SPREAD, rel=1e-6)
    rigid = in_typical_scale(centred(inputs.rigid, inputs.mask), inputs.mask)
    query, key = (getattr(attention, f"{k}_gaussians")(inputs.s, rigid) for k in ("query", "key"))
    expected = a[:, None, None] * oracle.overlap(query, key)[1] / SIZES["n_gaussians"]
    # What is the same for all keys of a row changes no weight, and is not shown.
    expected = expected - expected.mean(-1, keepdim=True)
    assert largest(attention.inspect(*inputs, item=1).geometric_bias - expected) < 1e-10


def test_invariant_point_attention_is_algorithm_22() -> None:
    inputs = random_inputs(n_items=1, n=5, masked=False)
    attention = layer("ipa")
    maps = attention.inspect(*inputs)
    r, t = inputs.rigid.rotations[0], inputs.rigid.translations[0] / 10
    h, p = SIZES["n_heads"], attention.n_query_points
    with torch.no_grad():
        q, k = attention.to_query(inputs.s), attention.to_key(inputs.s)
        q, k = (x.view(5, h, -1) for x in (q, k))
        qp, kp = attention.to_query_point(inputs.s), attention.to_key_point(inputs.s)
        qp, kp = (x.view(5, h, p, 3) for x in (qp, kp))
        bias = attention.to_pair_bias(inputs.z)[0]
    w_c, w_l = math.sqrt(2 / (9 * p)), math.sqrt(1 / 3)
    for head in range(h):
        for i in range(5):
            for j in range(5):
                content = q[i, head] @ k[j, head] / math.sqrt(SIZES["c_hidden"]) + bias[i, j, head]
                a, b = qp[i, head] @ r[i].T + t[i], kp[j, head] @ r[j].T + t[j]
                # γ starts at 1.
                logit = w_l * (content - w_c / 2 * (a - b).square().sum())
                assert abs(maps.logits_after[head, i, j] - logit) < 1e-6


# ---- one layer in place of the other ----------------------------------------------------------


@pytest.mark.parametrize("n_gaussians", [1, 4, 8])
def test_all_kinds_have_the_same_number_of_parameters(n_gaussians: int) -> None:
    sizes = {"c_s": 128, "n_heads": 8, "c_hidden": 16, "n_points": 8, "c_z": 64}
    counts = [
        sum(p.numel() for p in build_attention(kind, n_gaussians=n_gaussians, **sizes).parameters())
        for kind in ATTENTIONS
    ]
    assert max(counts) - min(counts) <= 0.02 * counts[0]


def test_each_kind_has_a_name_that_types_know() -> None:
    assert get_args(Kind) == tuple(ATTENTIONS)


@KINDS
def test_a_new_layer_adds_nothing_and_learns(kind: str) -> None:
    inputs = random_inputs(dtype=torch.float32).with_gradients()
    attention = build_attention(kind, c_z=5, **SIZES)
    out = attention(*inputs)
    assert largest(out) == 0
    out.sum().backward()
    assert largest(attention.to_output.weight.grad) > 0


@KINDS
def test_every_parameter_and_input_matters(kind: str) -> None:
    inputs, attention = random_inputs().with_gradients(), layer(kind)
    attention(*inputs).square().sum().backward()
    for name, value in (*attention.named_parameters(), *inputs.leaves().items()):
        if kind == "ipa" and name in ("local_mean", "log_scale"):
            continue  # point attention does not see ellipsoids
        assert value.grad is not None, name
        assert largest(value.grad) > 1e-8, name


def test_names_that_do_not_exist_are_refused() -> None:
    for options in ({"gamma": "linear"}, {"geometry_norm": "none"}, {"implementation": "dense"}):
        with pytest.raises(ValueError, match="is one of"):
            layer(**options)
    with pytest.raises(ValueError, match="affine"):
        layer(geometry_norm="affine", gamma="bounded")
    with pytest.raises(ValueError, match="positive"):
        layer(gamma_init=0.0)
    with pytest.raises(ValueError, match="iga"):
        layer("mha")
    with pytest.raises(ValueError, match="no pair"):
        layer(c_z=0)(*random_inputs())


@KINDS
def test_the_pair_representation_may_be_left_out(kind: str) -> None:
    inputs = random_inputs()
    with_pairs = layer(kind)(*inputs)
    assert largest(with_pairs - layer(kind)(inputs.s, None, inputs.rigid, inputs.mask)) > 1e-3


# ---- what must not change the result ----------------------------------------------------------


def _far_inputs(seed: int = 0, dtype: torch.dtype = torch.float64) -> Inputs:
    return random_inputs(seed=seed, dtype=dtype, at=FAR)


@KINDS
@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_moving_everything_changes_no_output(kind: str, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    inputs, attention = _far_inputs(seed), layer(kind)
    shift = FAR * torch.randn(3, generator=g).double()
    rigid = moved(inputs.rigid, random_rotations(generator=g), shift)
    with torch.no_grad():
        out = attention(*inputs)
        again = attention(inputs.s, inputs.z, rigid, inputs.mask)
    assert largest(out) > 0.1
    assert largest(out - again) < 1e-8


@KINDS
def test_moving_everything_changes_no_output_in_single_precision(kind: str) -> None:
    g = torch.Generator().manual_seed(0)
    inputs, attention = _far_inputs(dtype=torch.float32), layer(kind, dtype=torch.float32)
    rotation = random_rotations(generator=g, dtype=torch.float32)
    rigid = moved(inputs.rigid, rotation, torch.tensor([FAR, FAR, -FAR]))
    with torch.no_grad():
        out = attention(*inputs)
        again = attention(inputs.s, inputs.z, rigid, inputs.mask)
    # Coordinates at 200 Å are rounded to 1e-5 Å before the layer sees them.
    assert largest(out - again) < 2e-3 * largest(out)


@KINDS
def test_updates_turn_with_the_whole(kind: str) -> None:
    g = torch.Generator().manual_seed(0)
    inputs, attention = _far_inputs(), layer(kind)
    to_update = torch.randn(SIZES["c_s"], 6, generator=g, dtype=torch.float64) / 4
    motion = random_rotations(generator=g), FAR * torch.randn(3, generator=g).double()

    def updated(rigid: GaussianRigid) -> GaussianRigid:
        vector = attention(inputs.s, inputs.z, rigid, inputs.mask) @ to_update
        return rigid.update_frame(vector)

    before, after = updated(inputs.rigid), updated(moved(inputs.rigid, *motion))
    expected = moved(before, *motion)
    for field in fields(GaussianRigid):
        assert largest(getattr(after, field.name) - getattr(expected, field.name)) < 1e-7
    assert largest(before.translations - inputs.rigid.translations) > 0.1


@KINDS
def test_a_mirror_image_is_told_apart(kind: str) -> None:
    g = torch.Generator().manual_seed(0)
    n = 12
    backbone = 4 * torch.randn(1, n, 1, 3, generator=g, dtype=torch.float64)
    atoms = backbone + torch.randn(1, n, 14, 3, generator=g, dtype=torch.float64)
    everything = torch.ones(1, n, 10, dtype=torch.bool)
    s = torch.randn(1, n, SIZES["c_s"], generator=g, dtype=torch.float64)
    outputs = []
    for mirror in (1.0, -1.0):
        x = atoms * torch.tensor([1.0, 1.0, mirror], dtype=torch.float64)
        rigid = from_atoms(x, everything)
        mask = torch.ones(1, n, dtype=torch.bool)
        maps = layer(kind, c_z=0).inspect(s, None, rigid, mask)
        outputs += [layer(kind, c_z=0)(s, None, rigid, mask), maps.attention]
    assert largest(outputs[0] - outputs[2]) > 0.01
    assert largest(outputs[1] - outputs[3]) > 0.01


@KINDS
@pytest.mark.parametrize("norm", ["zscore", "affine"])
@pytest.mark.parametrize("garbage", [0.0, 1e4, math.nan])
def test_padding_changes_neither_results_nor_gradients(
    kind: str, norm: str, garbage: float
) -> None:
    attention = layer(kind, dtype=torch.float32, geometry_norm=norm)
    alone = random_inputs(n_items=1, n=7, dtype=torch.float32).with_gradients()
    padded = random_inputs(n_items=1, n=12, dtype=torch.float32, seed=3)
    padded.mask = torch.cat([alone.mask, torch.zeros(1, 5, dtype=torch.bool)], dim=1)
    padded = padded.map(lambda x: torch.full_like(x, garbage))
    # The layer cleanses what belongs to a residue; pairs need only be finite.
    padded.z.fill_(0.0 if math.isnan(garbage) else 1.0)
    padded = padded.with_gradients()
    with torch.no_grad():
        for name, value in padded.leaves().items():
            own = alone.leaves()[name]
            (value[:, :7, :7] if name == "z" else value[:, :7]).copy_(own)
    out, out_padded = attention(*alone), attention(*padded)
    assert largest(out - out_padded[:, :7]) < 1e-5
    assert largest(out_padded[:, 7:]) == 0
    w = torch.cos(torch.arange(out.numel())).view_as(out)
    (out * w).sum().backward()
    (out_padded[:, :7] * w).sum().backward()
    for name, value in padded.leaves().items():
        expected = alone.leaves()[name].grad
        if expected is not None:
            found = value.grad[:, :7, :7] if name == "z" else value.grad[:, :7]
            assert largest(found - expected) < 1e-4 * max(largest(expected), 1.0), name
            assert largest(value.grad) - largest(found) < 1e-6, name


@KINDS
def test_the_other_items_of_a_batch_change_nothing(kind: str) -> None:
    attention = layer(kind, dtype=torch.float32)
    inputs = random_inputs(n_items=4, n=9, dtype=torch.float32)
    together = attention(*inputs)
    for item in range(4):
        one = slice(item, item + 1)
        alone = attention(inputs.s[one], inputs.z[one], inputs.rigid[one], inputs.mask[one])
        assert largest(together[one] - alone) < 1e-5


@KINDS
def test_the_order_of_residues_is_only_the_order_of_results(kind: str) -> None:
    inputs, attention = random_inputs(n=11), layer(kind)
    order = torch.randperm(11, generator=torch.Generator().manual_seed(0))
    shuffled = attention(
        inputs.s[:, order],
        inputs.z[:, order][:, :, order],
        inputs.rigid[:, order],
        inputs.mask[:, order],
    )
    assert largest(attention(*inputs)[:, order] - shuffled) < 1e-10


@pytest.mark.parametrize("norm", ["zscore", "affine"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_attention_is_the_same_in_angstrom_and_in_nanometre(norm: str, dtype: torch.dtype) -> None:
    attention = layer(dtype=dtype, geometry_norm=norm)
    inputs = random_inputs(dtype=dtype)
    tolerance = 1e-10 if dtype == torch.float64 else 1e-4
    for item in range(2):
        angstrom = attention.inspect(*inputs, item=item)
        rigid = replace(
            inputs.rigid,
            translations=0.1 * inputs.rigid.translations,
            local_mean=0.1 * inputs.rigid.local_mean,
            log_scale=inputs.rigid.log_scale + math.log(0.1),
        )
        nanometre = attention.inspect(inputs.s, inputs.z, rigid, inputs.mask, item=item)
        assert largest(angstrom.attention - nanometre.attention) < tolerance
        if norm == "zscore":
            bias, again = (m.geometric_bias[:, m.mask] for m in (angstrom, nanometre))
            assert largest(bias - again) < tolerance * largest(bias)


# ---- masks ------------------------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize("implementation", ["oracle", "tiled"])
def test_masked_rows_are_zeros_even_if_nothing_is_left(kind: str, implementation: str) -> None:
    attention = layer(kind, implementation=implementation)
    attention.to_output.bias.data.fill_(3.0)
    inputs = random_inputs().with_gradients()
    inputs.mask[1] = False
    out = attention(*inputs)
    assert largest(out[~inputs.mask]) == 0
    assert out[0][inputs.mask[0]].abs().min() > 0
    out.square().sum().backward()
    for name, value in inputs.leaves().items():
        if value.grad is not None:
            assert value.grad.isfinite().all(), name
            assert largest(value.grad[1]) == 0, name


# ---- looking inside ---------------------------------------------------------------------------


@KINDS
def test_inspection_gives_the_weights_that_the_layer_uses(kind: str) -> None:
    inputs, attention = random_inputs(n_items=2, n=9), layer(kind)
    maps = attention.inspect(*inputs, item=1, heads=[1])
    assert maps.attention.shape == (1, 9, 9)
    assert largest(maps.logits_before + maps.geometric_bias - maps.logits_after) < 1e-12
    mask = inputs.mask[1]
    rows = maps.attention[0][mask].sum(-1)
    assert largest(rows - 1) < 1e-12
    assert largest(maps.attention[0][:, ~mask]) == largest(maps.attention[0][~mask]) == 0
    # Read the weights off the layer: scalar values that are one at one residue, and an output layer
    # that passes on one number of head 1.
    attention.to_value.weight.data.zero_()
    attention.to_value.weight.data[SIZES["c_hidden"]] = 1.0  # first value of head 1
    attention.to_output.weight.data.zero_()
    attention.to_output.weight.data[0, SIZES["c_hidden"]] = 1.0
    attention.to_output.bias.data.zero_()
    values = inputs.s[1].sum(-1)
    expected = maps.attention[0] @ torch.where(mask, values, 0.0)
    assert largest(attention(*inputs)[1, :, 0] - expected) < 1e-10


def test_inspection_of_a_bf16_run_and_without_heads_works() -> None:
    inputs = random_inputs(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = layer(dtype=torch.float32).inspect(*inputs)
    assert maps.attention.shape[0] == maps.gamma.shape[0] == SIZES["n_heads"]
    assert {maps.attention.dtype, maps.distances.dtype} == {torch.float32}
