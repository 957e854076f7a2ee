"""Attention in tiles and in single precision has the numbers of the oracle, and no others."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from model.attention import ATTENTIONS, FrameAttention, native, operator, oracle, tiled
from model.attention.gaussians import HeadGaussians
from model.attention.heads import Heads
from model.compiled_c import SWITCH
from tests.support.attention_inputs import SIZES, Inputs, largest, layer, random_inputs
from tests.support.openmp import skip_without_openmp

FAR = 200.0
HAS_NATIVE = native.is_usable(torch.zeros(1))


@pytest.fixture(params=["torch", "compiled"])
def arithmetic(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Both ways in which a tile's overlap is computed."""
    if request.param == "torch":
        monkeypatch.setenv(SWITCH, "0")
    elif not HAS_NATIVE:
        pytest.skip("there is no C compiler here")
    assert native.is_usable(torch.zeros(1)) == (request.param == "compiled")
    return request.param


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several tiles and several chunks of each, of sizes that do not divide."""
    monkeypatch.setattr(tiled, "TILE", 100)
    monkeypatch.setattr(tiled, "CHUNK", 90)


def _run(attention: FrameAttention, inputs: Inputs) -> dict[str, Tensor]:
    """Output and all gradients by name."""
    inputs = inputs.with_gradients()
    attention.zero_grad()
    out = attention(*inputs)
    weight = torch.cos(torch.arange(out.numel(), dtype=out.dtype)).view_as(out)
    (out * weight).sum().backward()
    named = (*attention.named_parameters(), *inputs.leaves().items())
    return {"output": out.detach()} | {name: value.grad for name, value in named}


def _relative_errors(found: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, float]:
    assert found.keys() == expected.keys()
    return {
        name: largest(found[name].double() - value.double()) / max(largest(value), 1e-3)
        for name, value in expected.items()
    }


# ---- tiles ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("c_z", [0, 5])
@pytest.mark.parametrize(
    "options", [{}, {"gamma": "bounded"}, {"geometry_norm": "affine"}], ids=str
)
@pytest.mark.parametrize("masked", [True, False])
def test_tiles_give_the_values_and_gradients_of_the_oracle(
    arithmetic: str, c_z: int, options: dict[str, str], masked: bool
) -> None:
    inputs = random_inputs(n_items=3, n=11, c_z=c_z, masked=masked)
    if masked:
        inputs.mask[1] = False
    expected = _run(layer(c_z=c_z, implementation="oracle", **options), inputs)
    found = _run(layer(c_z=c_z, **options), inputs)
    assert max(_relative_errors(found, expected).values()) < 1e-9


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("options", [{}, {"geometry_norm": "affine"}], ids=str)
def test_tiles_in_single_precision_are_near_the_oracle_in_double(
    arithmetic: str, options: dict[str, str]
) -> None:
    inputs = random_inputs(n_items=2, n=17)
    expected = _run(layer(implementation="oracle", **options), inputs)
    single = inputs.map(torch.Tensor.float)
    found = _run(layer(dtype=torch.float32, **options), single)
    assert max(_relative_errors(found, expected).values()) < 1e-4


@pytest.mark.parametrize("n", [1, 127, 129])
def test_blocks_of_keys_may_be_cut_anywhere(arithmetic: str, n: int) -> None:
    inputs = random_inputs(n_items=1, n=n, c_z=0)
    expected = _run(layer(c_z=0, implementation="oracle"), inputs)
    assert max(_relative_errors(_run(layer(c_z=0), inputs), expected).values()) < 1e-9


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("normalise", [True, False])
def test_gradients_are_those_of_finite_differences(arithmetic: str, normalise: bool) -> None:
    g = torch.Generator().manual_seed(0)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=g, dtype=torch.float64)

    n_items, n_heads, n_gaussians, n = 2, 2, 2, 4
    factor = normal(n_items, n_heads, 2 * n_gaussians, n, 3, 3)
    covariance = factor @ factor.mT + torch.eye(3)
    upper = torch.stack([covariance[..., i, j] for i in range(3) for j in range(i, 3)])
    leaves = [
        *(normal(n_items, n_heads, n, c) for c in (3, 3, 2)),
        *(normal(3, n_items, n_heads, n_gaussians, n), upper[:, :, :, :n_gaussians]),
        *(normal(3, n_items, n_heads, n_gaussians, n), upper[:, :, :, n_gaussians:]),
        *(normal(n_heads).exp(), normal(n_items, n, n, 3), normal(n_heads, 3)),
    ]
    mask = torch.tensor([[True, True, False, True], [True] * 4])

    def attend(q, k, v, mi, ci, mj, cj, strength, pair, pair_weight):
        query, key = HeadGaussians(mi, ci), HeadGaussians(mj, cj)
        heads = Heads(q, k, v, mask, pair, pair_weight)
        return operator.attend(heads, query, key, strength, normalise)

    leaves = [x.detach().clone().requires_grad_() for x in leaves]
    assert torch.autograd.gradcheck(attend, leaves)


def test_threads_share_the_work_and_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    skip_without_openmp(native._library(torch.float32))
    monkeypatch.setattr(native, "WORTH_A_THREAD", 1)
    inputs = random_inputs(n_items=3, n=20, c_z=0)
    one = _run(layer(c_z=0), inputs)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    three = _run(layer(c_z=0), inputs)
    assert all(torch.equal(one[name], three[name]) for name in one)


def test_a_compiled_layer_has_the_tiles_in_its_one_graph() -> None:
    inputs, attention = random_inputs(n_items=1, n=7), layer()
    expected = _run(attention, inputs)
    compiled = torch.compile(attention, backend="aot_eager", fullgraph=True)
    found = _run(compiled, inputs)
    names = {name.removeprefix("_orig_mod."): value for name, value in found.items()}
    assert max(_relative_errors(names, expected).values()) < 1e-9


def test_inspection_in_tiles_is_that_of_the_oracle(arithmetic: str, small_tiles: None) -> None:
    inputs = random_inputs(n=11)
    maps, expected = (layer(implementation=i).inspect(*inputs, item=1) for i in ("tiled", "oracle"))
    assert largest(maps.geometric_bias - expected.geometric_bias) < 1e-10
    assert largest(maps.attention - expected.attention) < 1e-10


def test_pairs_in_half_precision_or_of_any_layout_are_welcome(arithmetic: str) -> None:
    inputs = random_inputs(dtype=torch.float32)
    attention = layer(dtype=torch.float32)
    expected = _run(attention, inputs)
    strided = Inputs(inputs.s, inputs.z.transpose(1, 2).contiguous(), inputs.rigid, inputs.mask)
    leaf = strided.z.clone().requires_grad_()
    out = attention(inputs.s, leaf.transpose(1, 2), inputs.rigid, inputs.mask)
    weight = torch.cos(torch.arange(out.numel(), dtype=out.dtype)).view_as(out)
    (out * weight).sum().backward()
    assert largest(leaf.grad.transpose(1, 2) - expected["z"]) < 1e-6
    half = inputs.z.bfloat16().requires_grad_()
    attention(inputs.s, half, inputs.rigid, inputs.mask).sum().backward()
    assert half.grad.dtype == torch.bfloat16


# ---- without a compiler ------------------------------------------------------------------------


def test_without_a_compiler_nothing_is_said_and_nothing_changes(
    monkeypatch: pytest.MonkeyPatch, tmp_path, capfd: pytest.CaptureFixture[str]
) -> None:
    expected = _run(layer(), random_inputs())
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    native._library.cache_clear()
    try:
        assert not native.is_usable(torch.zeros(1))
        found = _run(layer(), random_inputs())
    finally:
        monkeypatch.undo()
        native._library.cache_clear()
    assert max(_relative_errors(found, expected).values()) < 1e-9
    assert capfd.readouterr() == ("", "")


def test_a_compiler_that_fails_is_no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("CC", "false")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    native._library.cache_clear()
    try:
        assert not native.is_usable(torch.zeros(1))
    finally:
        monkeypatch.undo()
        native._library.cache_clear()
    assert not list(tmp_path.rglob("*.so"))


def test_the_library_is_compiled_once_per_machine_and_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    if not HAS_NATIVE:
        pytest.skip("there is no C compiler here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    try:
        native._library.cache_clear()
        assert native.is_usable(torch.zeros(1))
        (kept,) = tmp_path.rglob("*.so")
        written = kept.stat().st_mtime_ns
        native._library.cache_clear()
        assert native.is_usable(torch.zeros(1))
        assert kept.stat().st_mtime_ns == written
    finally:
        monkeypatch.undo()
        native._library.cache_clear()


# ---- single precision --------------------------------------------------------------------------


def test_single_precision_agrees_with_the_oracle_in_double_at_20_nm(arithmetic: str) -> None:
    # What is compared is what the layer computes: both start from the same rounded coordinates.
    single = random_inputs(n_items=2, n=40, dtype=torch.float32, at=FAR, spread=12.0)
    double = single.map(torch.Tensor.double)
    assert single.rigid.translations.abs().mean() > 0.4 * FAR
    expected = _run(layer(implementation="oracle"), double)
    errors = _relative_errors(_run(layer(dtype=torch.float32), single), expected)
    assert max(errors.values()) < 1e-4, errors


def test_bf16_autocast_leaves_the_geometry_in_single_precision(
    arithmetic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, content = [], set()

    def record(heads, query, key, strength, normalise):
        tensors = (*vars(heads).values(), *vars(query).values(), *vars(key).values(), strength)
        content.update({heads.q.dtype, heads.k.dtype})
        seen.extend(
            x.dtype for x in tensors if x is not None and x is not heads.q and x is not heads.k
        )
        return forward(heads, query, key, strength, normalise)

    forward = tiled.forward
    monkeypatch.setattr(tiled, "forward", record)
    attention, inputs = layer(dtype=torch.float32), random_inputs(dtype=torch.float32)
    plain = attention.inspect(*inputs)
    leaves = inputs.with_gradients()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = attention.inspect(*inputs)
        out = attention(*leaves)
        # The backward pass of a step may be inside, too.
        out.float().square().sum().backward()
    assert set(seen) == {torch.float32, torch.bool}
    assert content <= {torch.float32, torch.bfloat16}
    assert torch.equal(cast.geometric_bias, plain.geometric_bias)
    assert not torch.equal(cast.logits_before, plain.logits_before), "autocast was not on"
    assert all(v.grad.dtype == torch.float32 for v in leaves.leaves().values())


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *((kind, {}) for kind in ATTENTIONS),
        ("iga", {"implementation": "oracle"}),
        ("iga", {"implementation": "oracle", "geometry_norm": "affine"}),
        ("iga", {"implementation": "tiled", "geometry_norm": "affine"}),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "case",
    ["coincident", "flat", "needles", "points", "huge", "mixed", "far", "equal keys", "one key"],
)
def test_no_ellipsoid_makes_a_nan_forward_or_backward(
    arithmetic: str, kind: str, options: dict[str, str], case: str
) -> None:
    inputs = random_inputs(dtype=torch.float32, masked=False)
    rigid = inputs.rigid
    if case == "coincident":
        rigid = rigid.map(lambda x: x[:, :1].expand_as(x).clone())
    elif case == "flat":
        rigid.log_scale[..., 2] = -math.inf
    elif case == "needles":
        rigid = rigid.map(lambda x: x[:, :1].expand_as(x).clone())
        rigid.log_scale[..., :2] = -math.inf
        rigid.translations[..., 0] += torch.linspace(0, 1, 9)
    elif case == "points":
        rigid.log_scale.fill_(-math.inf)
    elif case == "huge":
        rigid.log_scale[0, :3] = 30.0
    elif case == "mixed":
        rigid.log_scale[0] = torch.linspace(-40, 40, 9)[:, None]
    elif case == "far":
        rigid.translations[:, 0] = 1e6
    elif case == "equal keys":
        inputs.s[:] = inputs.s[:, :1]
        rigid = rigid.map(lambda x: x[:, :1].expand_as(x).clone())
    elif case == "one key":
        inputs.mask[:, 1:] = False
    inputs = replace(inputs, rigid=rigid)
    attention = layer(kind, dtype=torch.float32, **options)
    for name, value in _run(attention, inputs).items():
        if value is not None:
            assert value.isfinite().all(), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_parallel_needles_keep_a_determinant_that_is_right(
    arithmetic: str, dtype: torch.dtype
) -> None:
    # The worst that `limit_anisotropy` lets through, along a diagonal: cofactors lose all digits.
    axis = torch.tensor([1.0, 1.0, 1.0], dtype=torch.float64) / math.sqrt(3)
    covariance = torch.outer(axis, axis) + (torch.eye(3) - torch.outer(axis, axis)) / 8100
    upper = torch.stack([covariance[i, j] for i in range(3) for j in range(i, 3)])
    each = HeadGaussians(
        torch.zeros(3, 1, 1, 1, 4, dtype=dtype),
        upper.to(dtype).view(6, 1, 1, 1, 1).expand(6, 1, 1, 1, 4).contiguous(),
    )
    expected = -0.5 * (3 * math.log(2) - 2 * math.log(8100))
    for overlap in (tiled.overlap, oracle.overlap):
        assert largest(overlap(each, each) - expected) < (2e-3 if dtype == torch.float32 else 1e-10)


# ---- memory ------------------------------------------------------------------------------------


class _LargestArray(TorchDispatchMode):
    """The most numbers in one array that any operation returns."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self.largest = max(self.largest, tensor.untyped_storage().nbytes() // 4)
        return out


def _footprint(implementation: str, n: int, c_z: int = 0) -> tuple[int, int]:
    """(largest array in a forward and backward pass, numbers saved for the latter)."""
    inputs = random_inputs(n_items=1, n=n, c_z=c_z, dtype=torch.float32).with_gradients()
    attention = layer(c_z=c_z, dtype=torch.float32, implementation=implementation)
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes() // 4
        return tensor

    with _LargestArray() as seen, torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        attention(*inputs).sum().backward()
    return seen.largest, sum(saved.values())


def test_nothing_of_the_size_of_all_pairs_times_heads_is_ever_held(
    arithmetic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiled, "TILE", 1 << 12)
    monkeypatch.setattr(tiled, "CHUNK", 1 << 12)
    n = 160
    pairs = n * n * SIZES["n_heads"]
    array, _ = _footprint("tiled", n)
    assert array < pairs / 2
    # The test sees what it is meant to see.
    array, _ = _footprint("oracle", n)
    assert array >= pairs * SIZES["n_gaussians"]


def test_what_is_saved_for_the_backward_pass_grows_linearly(arithmetic: str) -> None:
    small, large = (_footprint("tiled", n)[1] for n in (64, 128))
    assert large < 2.05 * small
    dense_small, dense_large = (_footprint("oracle", n)[1] for n in (64, 128))
    assert dense_large > 3.5 * dense_small
    assert large < dense_large / 20


def test_beside_the_pair_representation_nothing_grows_quadratically(arithmetic: str) -> None:
    n, c_z = 96, 5
    without, with_pairs = (_footprint("tiled", n, c)[1] for c in (0, c_z))
    weights = 2 * c_z * SIZES["c_s"] * 8
    assert with_pairs - without < n * n * c_z + weights + n * SIZES["n_heads"] * 4 * c_z
