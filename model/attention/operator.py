"""Gaussian attention as an operator of torch: one node for compilers, with a gradient of its own.

`torch.compile` and `torch.export` see ``ellipsoid_flow::gaussian_attention`` and its gradient
as they see a matrix product, and do not look inside. Which implementation does the work is chosen
here for each call, by where its tensors are. Nothing else knows, and no checkpoint says.

The library's own functions are used, and not `torch.library.custom_op`, which loads the compiler
into every process that calls the operator.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from model.attention import gpu, native, tiled
from model.attention.gaussians import HeadGaussians
from model.attention.heads import Heads
from model.compiled_c import SWITCH, is_off

MODULES: dict[str, ModuleType] = {"tiled": tiled, "triton": gpu}
"""Those that have `forward`, `backward` and `ROW_NUMBERS`."""

_ARGUMENTS = (
    "Tensor q, Tensor k, Tensor v, Tensor query_mean, Tensor query_covariance, Tensor key_mean, "
    "Tensor key_covariance, Tensor strength, Tensor mask, Tensor? pair, Tensor? pair_weight, "
    "bool normalise, str implementation"
)
_N_TENSORS = 11


def attend(
    heads: Heads,
    query: HeadGaussians,
    key: HeadGaussians,
    strength: Tensor,
    normalise: bool = True,
    *,
    implementation: str | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Parameters and result as for `oracle.attend`; `implementation` is one of `MODULES`."""
    values, pair_values, _ = torch.ops.ellipsoid_flow.gaussian_attention(
        *(heads.q, heads.k, heads.v),
        *(query.mean, query.covariance, key.mean, key.covariance),
        *(strength, heads.mask, heads.pair),
        *(None if heads.pair is None else heads.pair_weight, normalise),
        implementation or chosen(query.mean),
    )
    return values, None if heads.pair is None else pair_values


def chosen(tensor: Tensor) -> str:
    """The implementation for tensors like this one, of `MODULES`."""
    return "triton" if gpu.is_usable(tensor) else "tiled"


def describe(device: torch.device) -> str:
    """What computes Gaussian attention on a device, for people."""
    example = torch.empty(0, device=device)
    if chosen(example) == "triton":
        return f"Triton on {torch.cuda.get_device_name(device)}"
    if native.is_usable(example):
        return "C on the CPU"
    why = (
        f"{SWITCH}=0"
        if is_off()
        else ("there is no C compiler" if device.type == "cpu" else "there is no Triton for it")
    )
    return f"torch on {device.type}, which is slower ({why})"


def _unpacked(tensors: tuple[Any, ...]) -> tuple[Heads, HeadGaussians, HeadGaussians, Tensor]:
    q, k, v, query_mean, query_covariance, key_mean, key_covariance = tensors[:7]
    strength, mask, pair, pair_weight = tensors[7:]
    heads = Heads(q, k, v, mask, pair, pair_weight)
    query = HeadGaussians(query_mean, query_covariance)
    return heads, query, HeadGaussians(key_mean, key_covariance), strength


def _forward(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    normalise, implementation = arguments[_N_TENSORS:]
    unpacked = _unpacked(arguments[:_N_TENSORS])
    values, pair_values, rows = MODULES[implementation].forward(*unpacked, normalise)
    return values, rows.new_empty(0) if pair_values is None else pair_values, rows


def _forward_shapes(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    q, _, v, *_ = arguments
    pair, implementation = arguments[9], arguments[-1]
    pair_values = v.new_empty(0 if pair is None else (*q.shape[:3], pair.shape[-1]))
    rows = v.new_empty((MODULES[implementation].ROW_NUMBERS, *q.shape[:3]))
    return v.new_empty(v.shape), pair_values, rows


def _backward(d_values: Tensor, d_pair_values: Tensor, *arguments: Any) -> list[Tensor]:
    normalise, implementation, rows, pair_gradient = arguments[_N_TENSORS:]
    heads, query, key, strength = _unpacked(arguments[:_N_TENSORS])
    has_pair = heads.pair is not None
    d_heads, d_query, d_key, d_strength = MODULES[implementation].backward(
        *(heads, query, key, strength, normalise),
        rows=rows,
        d_values=d_values,
        d_pair_values=d_pair_values if has_pair else None,
        pair_gradient=pair_gradient,
    )
    found = (
        *(d_heads.q, d_heads.k, d_heads.v, d_query.mean, d_query.covariance),
        *(d_key.mean, d_key.covariance, d_strength, d_heads.pair, d_heads.pair_weight),
    )
    return [rows.new_empty(0) if x is None else x for x in found]


def _backward_shapes(d_values: Tensor, d_pair_values: Tensor, *arguments: Any) -> list[Tensor]:
    pair_gradient = arguments[-1]
    tensors = [*arguments[:8], arguments[9] if pair_gradient else None, arguments[10]]
    return [d_values.new_empty(0) if x is None else x.new_empty(x.shape) for x in tensors]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs[:_N_TENSORS], output[-1])
    ctx.options = inputs[_N_TENSORS:]


def _differentiate(ctx: Any, d_values: Tensor, d_pair_values: Tensor, _: Tensor) -> tuple[Any, ...]:
    *tensors, rows = ctx.saved_tensors
    pair_gradient = tensors[9] is not None and ctx.needs_input_grad[9]
    found = torch.ops.ellipsoid_flow.gaussian_attention_backward(
        d_values, d_pair_values, *tensors, *ctx.options, rows, pair_gradient
    )
    *d_before, d_pair, d_pair_weight = found
    return (
        *d_before,
        None,
        d_pair if pair_gradient else None,
        None if tensors[10] is None else d_pair_weight,
        *(None, None),
    )


def _no_second_gradient(ctx: Any, *_: Any) -> None:
    raise RuntimeError("Gaussian attention has no gradient of its gradient")


def _register() -> torch.library.Library:
    library = torch.library.Library("ellipsoid_flow", "FRAGMENT")
    tags = (torch.Tag.pt2_compliant_tag,)
    library.define(
        f"gaussian_attention({_ARGUMENTS}) -> (Tensor values, Tensor pair_values, Tensor rows)",
        tags=tags,
    )
    library.define(
        f"gaussian_attention_backward(Tensor d_values, Tensor d_pair_values, {_ARGUMENTS}, "
        "Tensor rows, bool pair_gradient) -> Tensor[]",
        tags=tags,
    )
    for name, function, shapes, gradient, keep in (
        ("gaussian_attention", _forward, _forward_shapes, _differentiate, _keep),
        ("gaussian_attention_backward", _backward, _backward_shapes, _no_second_gradient, None),
    ):
        library.impl(name, function, "CompositeExplicitAutograd")
        full = f"ellipsoid_flow::{name}"
        torch.library.register_fake(full, shapes, lib=library)
        torch.library.register_autograd(full, gradient, setup_context=keep, lib=library)
    return library


_LIBRARY = _register()  # registrations last as long as it does
