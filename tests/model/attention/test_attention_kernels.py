"""The kernels for GPUs, interpreted on a CPU: the numbers of the oracle; and compiled for GPUs.

What an error may be is not chosen. It is what single precision costs two other implementations,
the oracle and the tiles in float32, against float64 on the same inputs. Either is asked three
times, with x, y and z called otherwise: nothing is rounded by that, and another axis is eliminated
first. Where ellipsoids coincide, all pairs make the same few roundings, and once would be chance.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from _pytest.mark import ParameterSet
from torch import Tensor, nn

from model.attention import gpu, native, operator
from model.attention.gaussians import HeadGaussians
from model.attention.heads import Heads
from model.compiled_c import SWITCH
from model.gaussian_rigid import GaussianRigid
from tests.support.attention_inputs import Inputs, largest, layer, random_inputs
from tests.support.devices import DEVICE, interpreted_or_on_gpu
from tests.support.places import ROOT

TIMES_OF_REFERENCE = 8
"""One implementation's errors with one axis first are up to four times those with another."""

ROUNDING = 16 * torch.finfo(torch.float32).eps
"""Where the reference is exact by luck: a few roundings of the largest number, and of the output,
whose terms cancel in gradients."""

CASES = ["padding", "coincident", "needles", "far", "mixed", "one key"]


def _run(attention: nn.Module, inputs: Inputs) -> dict[str, Tensor]:
    """Output and all gradients by name, in float64 and on the CPU."""
    inputs = inputs.with_gradients()
    out = attention(*inputs)
    weight = torch.cos(torch.arange(out.numel(), dtype=out.dtype, device=out.device)).view_as(out)
    (out * weight).sum().backward()
    named = (*attention.named_parameters(), *inputs.leaves().items())
    found = {"output": out.detach()} | {name: value.grad for name, value in named}
    return {name: value.double().cpu() for name, value in found.items()}


def _run_with_axes_turned(attention: nn.Module, inputs: Inputs, by: int) -> dict[str, Tensor]:
    """`_run` after (x, y, z) has become (y, z, x) so many times; gradients as if it had not."""

    def turned(x: Tensor, axis: int, by: int) -> Tensor:
        return x.roll(by, dims=axis)

    rigid = replace(
        inputs.rigid,
        rotations=turned(inputs.rigid.rotations, -2, by),
        translations=turned(inputs.rigid.translations, -1, by),
    )
    found = _run(attention, replace(inputs, rigid=rigid))
    found["rotations"] = turned(found["rotations"], -2, -by)
    found["translations"] = turned(found["translations"], -1, -by)
    return found


def _check_against_oracle(inputs: Inputs, **options: str) -> None:
    """Errors against float64 are at most some times those of others in float32."""
    c_z = 0 if inputs.z is None else inputs.z.shape[-1]
    oracle, tiled, tested = (
        layer(c_z=c_z, dtype=torch.float32, implementation=name, **options)
        for name in ("oracle", "tiled", "triton")
    )
    double = layer(c_z=c_z, implementation="oracle", **options)
    double.load_state_dict(oracle.state_dict())
    expected = _run(double, inputs.map(Tensor.double))
    references = []
    for attention in (oracle, tiled):
        for by in range(3):
            attention.zero_grad()
            references.append(_run_with_axes_turned(attention, inputs, by))
    tested = tested.to(DEVICE)
    found = _run(tested, replace(inputs.map(lambda x: x.to(DEVICE)), mask=inputs.mask.to(DEVICE)))
    for name, value in expected.items():
        allowed = TIMES_OF_REFERENCE * max(largest(r[name] - value) for r in references)
        allowed += ROUNDING * max(largest(value), largest(expected["output"]))
        error = largest(found[name] - value)
        assert error <= allowed, f"{name}: {error:.2g}, and {allowed:.2g} are allowed"


def _case(name: str, c_z: int) -> Inputs:
    inputs = random_inputs(n_items=2, c_z=c_z, dtype=torch.float32, masked=name == "padding")
    rigid = inputs.rigid
    if name == "padding":
        inputs.mask[1] = False
    elif name == "coincident":
        rigid = rigid.map(lambda x: x[:, :1].expand_as(x).clone())
    elif name == "needles":
        rigid = rigid.map(lambda x: x[:, :1].expand_as(x).clone())
        rigid.log_scale[..., :2] = -math.inf
        rigid.translations[..., 0] += torch.linspace(0, 1, 9)
    elif name == "far":
        rigid.translations[:] += 200.0
        rigid.translations[:, 0] = 1e4
    elif name == "mixed":
        rigid.log_scale[0] = torch.linspace(-40, 40, 9)[:, None]
    elif name == "one key":
        inputs.mask[:, 1:] = False
    return replace(inputs, rigid=rigid)


# ---- numbers ------------------------------------------------------------------------------------


def _combinations() -> list[ParameterSet]:
    """All of them; those that are not slow meet each case, norm and way through the kernels."""
    found = []
    for k, case in enumerate(CASES):
        for norm in ("affine", "zscore"):
            for c_z in (0, 5):
                quick = (norm == "affine") == (k % 2 == 0) and (c_z == 0) == (k % 4 < 2)
                marks = () if quick else pytest.mark.slow
                found.append(pytest.param(case, norm, c_z, marks=marks))
    return found


@interpreted_or_on_gpu
@pytest.mark.parametrize(("case", "norm", "c_z"), _combinations())
def test_kernels_give_the_values_and_gradients_of_the_oracle(
    case: str, norm: str, c_z: int
) -> None:
    _check_against_oracle(_case(case, c_z), geometry_norm=norm)


@interpreted_or_on_gpu
@pytest.mark.parametrize(
    ("n", "c_z", "norm"),
    [
        (1, 5, "zscore"),
        (19, 0, "affine"),
        pytest.param(19, 5, "zscore", marks=pytest.mark.slow),
        pytest.param(19, 0, "zscore", marks=pytest.mark.slow),
        pytest.param(19, 5, "affine", marks=pytest.mark.slow),
        pytest.param(50, 5, "zscore", marks=pytest.mark.slow),
    ],
)
def test_blocks_and_tiles_may_be_cut_anywhere(
    n: int, c_z: int, norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "BLOCKS", dict.fromkeys(gpu.BLOCKS, (16, 16)))
    monkeypatch.setattr(gpu, "PAIR_TILE", 2 * n * 7)
    inputs = random_inputs(n_items=1, n=n, c_z=c_z, dtype=torch.float32, masked=n > 1)
    _check_against_oracle(inputs, geometry_norm=norm)


@interpreted_or_on_gpu
def test_content_in_half_precision_is_computed_in_single() -> None:
    g = torch.Generator().manual_seed(0)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=g).to(DEVICE)

    q, k, v = normal(1, 1, 6, 4).bfloat16(), normal(1, 1, 6, 4).bfloat16(), normal(1, 1, 6, 3)
    # Spheres in the same place: what is left is the content.
    covariance = torch.tensor([1.0, 0, 0, 1, 0, 1]).view(6, 1, 1, 1, 1).expand(6, 1, 1, 1, 6)
    each = HeadGaussians(torch.zeros(3, 1, 1, 1, 6).to(DEVICE), covariance.to(DEVICE))
    heads = Heads(q, k, v, torch.ones(1, 6, dtype=torch.bool, device=DEVICE))
    values, _, _ = gpu.forward(heads, each, each, torch.ones(1, device=DEVICE), False)
    exact = (q.double() @ k.double().transpose(-1, -2) / 2).softmax(-1) @ v.double()
    assert largest(values.double() - exact) < 1e-6


@interpreted_or_on_gpu
@pytest.mark.parametrize("implementation", ["tiled", "triton"])
def test_queries_and_keys_of_16_bits_keep_their_precision_and_their_gradients(
    implementation: str,
) -> None:
    g = torch.Generator().manual_seed(0)
    operands = [x if x is None else x.detach() for x in _operands(c_z=0)]
    # Six channels, whose root is no power of two: scaled in 16 bits, a logit would change.
    operands[:2] = torch.randn(2, 1, 2, 5, 6, generator=g).bfloat16().unbind(0)
    operands[7] = torch.full((1,), 0.7).expand(2)  # one number in memory
    exact = [x.double() if x is not None and x.is_floating_point() else x for x in operands]
    found = []
    for tensors, name in ((exact, "tiled"), (operands, implementation)):
        given = [x if x is None else x.to(DEVICE) for x in tensors]
        for x in given[:2]:
            x.requires_grad_()
        values, _, _ = torch.ops.ellipsoid_flow.gaussian_attention(*given, False, name)
        values.sum().backward()  # its gradient is one number in memory
        found.append((values.detach().double().cpu(), *(x.grad.cpu() for x in given[:2])))
    (values, *gradients), (tested, *of_16_bits) = found
    assert largest(tested - values) < 1e-6
    for here, there in zip(gradients, of_16_bits, strict=True):
        assert there.dtype == torch.bfloat16
        assert bool(((there - here).abs() <= here.abs() * 2**-8 + 1e-6).all())


@interpreted_or_on_gpu
@pytest.mark.parametrize("c_z", [0, 5])
def test_a_batch_of_nothing_has_values_and_gradients_of_nothing(c_z: int) -> None:
    attention = layer(c_z=c_z, dtype=torch.float32, implementation="triton").to(DEVICE)
    inputs = random_inputs(n_items=1, c_z=c_z, dtype=torch.float32).map(lambda x: x[:0].to(DEVICE))
    inputs.mask = inputs.mask[:0].to(DEVICE)
    out = attention(*inputs)
    assert out.shape == inputs.s.shape
    out.sum().backward()
    assert all(not bool(p.grad.any()) for p in attention.parameters() if p.grad is not None)


def test_more_items_than_a_launch_takes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "MOST_SLICES", 3)
    inputs = random_inputs(n_items=2, dtype=torch.float32)
    with pytest.raises(ValueError, match="of 2 items with 2 heads: a GPU takes 3 of both"):
        layer(dtype=torch.float32, implementation="triton")(*inputs)


@interpreted_or_on_gpu
def test_a_wrong_number_is_outside_of_the_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*arguments):
        values, pair_values, rows = forward(*arguments)
        return values * (1 + 1e-4), pair_values, rows

    forward = gpu.forward
    monkeypatch.setattr(gpu, "forward", wrong)
    with pytest.raises(AssertionError, match="are allowed"):
        _check_against_oracle(random_inputs(n_items=1, dtype=torch.float32))


# ---- memory -------------------------------------------------------------------------------------


def test_the_kernels_write_nothing_of_the_size_of_all_pairs_times_heads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What they write is allocated before they are launched.
    written: list[int] = []

    def launch(self, name, first, n_rows, given, made):
        written.extend(x.numel() for x in (*given, *made) if x is not None)

    monkeypatch.setattr(gpu._Call, "launch", launch)
    monkeypatch.setattr(gpu, "PAIR_TILE", 1 << 12)
    n = 160
    for c_z in (0, 5):
        inputs = random_inputs(n_items=1, n=n, c_z=c_z, dtype=torch.float32)
        layer(c_z=c_z, dtype=torch.float32, implementation="triton")(
            *inputs.with_gradients()
        ).sum().backward()
        assert written
        assert max(written) < n * n / 2


# ---- what is compiled ---------------------------------------------------------------------------

RESOURCES = [
    ("forward", 90, "affine", "none", "fp32"),
    *(
        pytest.param(*options, marks=pytest.mark.slow)
        for options in (
            ("forward", 80, "zscore", "pairs", "bf16"),
            ("forward", 90, "zscore", "pairs", "fp32"),
            ("row_gradients", 80, "affine", "none", "fp32"),
            ("row_gradients", 90, "affine", "pairs", "fp32"),
            ("row_gradients", 80, "zscore", "pairs", "bf16"),
            ("row_gradients", 90, "zscore", "none", "fp32"),
            ("column_gradients", 80, "affine", "none", "fp32"),
            ("column_gradients", 90, "affine", "pairs", "fp32"),
            ("column_gradients", 80, "zscore", "pairs", "bf16"),
            ("column_gradients", 90, "zscore", "none", "fp32"),
        )
    ),
]
MOST_SPILLED = 64
"""Bytes of a thread: a hundredth of what it computes with."""

MOST_SHARED = 48 << 10
"""Bytes that every GPU gives a block, so that several blocks share a processor."""


@pytest.mark.parametrize(("kernel", "architecture", "norm", "pairs", "content"), RESOURCES)
def test_kernels_compile_for_gpus_and_hardly_spill(
    kernel: str, architecture: int, norm: str, pairs: str, content: str, tmp_path: Path
) -> None:
    pytest.importorskip("triton", reason="the extra `gpu` is not installed")
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    words = (kernel, str(architecture), norm, pairs, content)
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.kernel_resources", *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    taken = json.loads(done.stdout)
    assert taken["stack"] <= MOST_SPILLED
    assert taken["shared"] <= MOST_SHARED
    assert not taken["tf32"], "products are of 32 bits"
    # In 64 slices of 4,096 × 4,096 pairs, 32 bits would not reach all numbers.
    assert not taken["narrow"]
    assert taken["products"] > 10


# ---- the operator -------------------------------------------------------------------------------


def _operands(*, c_z: int = 3, dtype: torch.dtype = torch.float32) -> list[Tensor | None]:
    g = torch.Generator().manual_seed(0)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=g, dtype=dtype)

    covariance = torch.tensor([1.0, 0.1, 0.2, 1.5, 0.3, 2.0], dtype=dtype).view(6, 1, 1, 1, 1)
    covariance = covariance + 0.1 * torch.rand(6, 1, 2, 2, 5, generator=g, dtype=dtype)
    mean = normal(3, 1, 2, 2, 5)
    tensors = [normal(1, 2, 5, 4), normal(1, 2, 5, 4), normal(1, 2, 5, 6)]
    tensors += [mean, covariance, mean + 0.3, covariance.clone(), torch.ones(2, dtype=dtype)]
    mask = torch.tensor([[True, True, False, True, True]])
    pairs = [normal(1, 5, 5, c_z), normal(2, c_z)] if c_z else [None, None]
    for x in (*tensors, *pairs):
        if x is not None:
            x.requires_grad_()
    return [*tensors, mask, *pairs]


@pytest.mark.parametrize(
    ("implementation", "c_z"),
    [
        ("tiled", 3),
        ("tiled", 0),
        pytest.param("triton", 3, marks=[interpreted_or_on_gpu, pytest.mark.slow]),
    ],
)
def test_torch_finds_the_operator_in_order(implementation: str, c_z: int) -> None:
    torch.library.opcheck(
        torch.ops.ellipsoid_flow.gaussian_attention.default,
        (*_operands(c_z=c_z), True, implementation),
        atol=1e-4,
        rtol=1e-4,
    )


def test_a_gradient_of_its_gradient_is_refused() -> None:
    operands = _operands(dtype=torch.float64)
    values, _, _ = torch.ops.ellipsoid_flow.gaussian_attention(*operands, True, "tiled")
    (d_q,) = torch.autograd.grad(values.sum(), operands[:1], create_graph=True)
    with pytest.raises(RuntimeError, match="no gradient of its gradient"):
        d_q.sum().backward()


class _OfTensors(nn.Module):
    """A layer whose arguments are all tensors, as exporting wants them."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = layer(dtype=torch.float32)

    def forward(self, s: Tensor, z: Tensor, mask: Tensor, *rigid: Tensor) -> Tensor:
        return self.layer(s, z, GaussianRigid(*rigid), mask)


@pytest.mark.filterwarnings("ignore:Dynamo detected:UserWarning")
def test_a_layer_is_exported_with_the_operator_as_one_node() -> None:
    inputs, module = random_inputs(n_items=1, n=7, dtype=torch.float32), _OfTensors()
    arguments = (inputs.s, inputs.z, inputs.mask, *vars(inputs.rigid).values())
    program = torch.export.export(module, arguments)
    graphs = [m.graph for m in program.graph_module.modules() if hasattr(m, "graph")]
    names = [str(node.target) for graph in graphs for node in graph.nodes]
    assert names.count("ellipsoid_flow.gaussian_attention.default") == 1
    assert largest(program.module()(*arguments) - module(*arguments)) < 1e-5


# ---- which it is --------------------------------------------------------------------------------


def test_a_cpu_takes_c_and_where_there_is_none_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(native, "_library", lambda dtype: object())
    assert operator.describe(cpu) == "C on the CPU"
    monkeypatch.setattr(native, "_library", lambda dtype: None)
    assert operator.describe(cpu) == "torch on cpu, which is slower (there is no C compiler)"
    monkeypatch.setenv(SWITCH, "0")
    assert operator.describe(cpu) == "torch on cpu, which is slower (ELLIPSOID_FLOW_NATIVE=0)"
    assert operator.chosen(torch.zeros(1)) == "tiled"


def test_a_layer_takes_triton_where_it_is_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    def forward(heads, query, key, strength, normalise):
        taken.append(query.mean.device)
        return operator.tiled.forward(heads, query, key, strength, normalise)

    monkeypatch.setattr(gpu, "forward", forward)
    monkeypatch.setattr(gpu, "is_usable", lambda tensor: True)
    inputs = random_inputs(dtype=torch.float32)
    attention = layer(dtype=torch.float32)
    with torch.no_grad():
        out = attention(*inputs)
        assert taken
        monkeypatch.setattr(gpu, "is_usable", lambda tensor: False)
        assert torch.equal(attention(*inputs), out)
    assert len(taken) == 1


def test_under_autocast_a_layer_hands_over_queries_and_keys_in_16_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = []

    def forward(heads, query, key, strength, normalise):
        taken.append((heads.q.dtype, heads.k.dtype, heads.v.dtype, query.mean.dtype))
        return operator.tiled.forward(heads, query, key, strength, normalise)

    monkeypatch.setattr(gpu, "forward", forward)
    attention = layer(dtype=torch.float32, implementation="triton")
    inputs = random_inputs(dtype=torch.float32)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        attention(*inputs)
    assert taken == [(torch.bfloat16, torch.bfloat16, torch.float32, torch.float32)]


def test_older_gpus_than_triton_knows_take_the_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    class OnGPU:
        device, dtype = torch.device("cuda"), torch.float32

    monkeypatch.setattr(gpu, "_is_installed", lambda: True)
    found = {}
    for capability in ((7, 5), (8, 0), (9, 0), (12, 0)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, c=capability: c)
        found[capability] = gpu.is_usable(OnGPU())
    assert found == {(7, 5): False, (8, 0): True, (9, 0): True, (12, 0): True}


def test_double_precision_is_not_for_the_kernels() -> None:
    class OnGPU:
        device, dtype = torch.device("cuda"), torch.float64

    assert not gpu.is_usable(OnGPU())
