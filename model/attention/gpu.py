"""Gaussian attention by the kernels of `triton_kernels`: the numbers of `oracle.attend`.

Without a pair representation one launch does it all, in memory linear in N. With one, tiles of rows
pass through torch: products make the bias of a tile from its pairs, the kernel turns it into
logits, and further products average the pairs by the weights.

Where there is no GPU, ``TRITON_INTERPRET=1`` (set before Triton is imported) has the kernels
interpreted, on tensors of the CPU, thousands of times slower.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from model.attention.gaussians import HeadGaussians
from model.attention.heads import Heads
from model.attention.precision import without_autocast
from model.compiled_c import is_off

ROW_NUMBERS = 4
"""Kept of each row and head: mean of g (or centre of z), spread, top and sum of the softmax."""

PAIR_TILE = 1 << 24
"""Items × heads × rows × keys of a tile of pairs: 64 MiB for each of its two arrays."""

BLOCKS = {"forward": (16, 16), "row_gradients": (16, 16), "column_gradients": (16, 16)}
"""Rows × keys that a program holds in registers; more do not fit."""

OLDEST = (8, 0)
"""Compute capability that Triton asks for, and the least that tests compile for."""

MOST_SLICES = 65_535
"""Items × heads of a launch: the second axis of a grid goes no further."""

WARPS = {"forward": 4, "row_gradients": 8, "column_gradients": 4}

LAUNCH = {
    # Loops over blocks read what they do not write, but for tiles: nothing is read ahead.
    "num_stages": 1,
    # Products and sums in one rounding. Triton's default is not the same in all versions.
    "enable_fp_fusion": True,
}


def is_usable(tensor: Tensor) -> bool:
    """Whether the kernels work on tensors like this one."""
    return (
        tensor.device.type == "cuda"
        and tensor.dtype == torch.float32
        and not is_off()
        and _is_installed()
        and torch.version.hip is None
        and torch.cuda.get_device_capability(tensor.device) >= OLDEST
    )


@functools.cache
def _is_installed() -> bool:
    try:
        import triton  # noqa: F401
    except ImportError:
        return False
    return True


def forward(
    heads: Heads, query: HeadGaussians, key: HeadGaussians, strength: Tensor, normalise: bool
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Values and pair values as of `oracle.attend`, and rows, (4, B, H, N)."""
    call = _Call(heads, query, key, strength, normalise)
    values = torch.empty_like(call.v)
    rows = call.v.new_zeros((ROW_NUMBERS, *call.v.shape[:3]))
    pair_values = None
    if heads.pair is not None:
        pair_values = call.v.new_empty((*call.v.shape[:3], heads.pair.shape[-1]))
    with without_autocast(call.v):
        for first, n_rows in call.tiles():
            within = slice(first, first + n_rows)
            tile = None
            if heads.pair is not None and heads.pair_weight is not None:
                pair = heads.pair[:, within].to(call.v.dtype)
                tile = _by_head(torch.matmul(pair, heads.pair_weight.T))
            call.launch("forward", first, n_rows, (tile,), (values, rows))
            if tile is not None and pair_values is not None:
                _, _, top, total = rows[:, :, :, within, None].unbind(0)
                weights = tile.sub_(top).exp_().div_(total)
                pair_values[:, :, within] = torch.matmul(weights.transpose(1, 2), pair).transpose(
                    1, 2
                )
    return values, pair_values, rows


def backward(
    heads: Heads,
    query: HeadGaussians,
    key: HeadGaussians,
    strength: Tensor,
    normalise: bool,
    *,
    rows: Tensor,
    d_values: Tensor,
    d_pair_values: Tensor | None,
    pair_gradient: bool,
) -> tuple[Heads, HeadGaussians, HeadGaussians, Tensor]:
    """Gradients of the arguments of `forward`, which gave these numbers of rows."""
    call = _Call(heads, query, key, strength, normalise)
    d_values = d_values.contiguous()
    d_q, d_k, d_v = (torch.zeros_like(x, dtype=torch.float32) for x in (call.q, call.k, call.v))
    d_query, d_key = call.query.map(torch.zeros_like), call.key.map(torch.zeros_like)
    delta, along = (rows.new_empty(rows.shape[1:]) for _ in range(2))
    d_pair = d_pair_weight = None
    if heads.pair is not None and heads.pair_weight is not None and d_pair_values is not None:
        d_pair_weight = torch.zeros_like(heads.pair_weight)
        if pair_gradient:
            d_pair = torch.empty_like(heads.pair, memory_format=torch.contiguous_format)
        d_pair_values = d_pair_values.transpose(1, 2)  # (B, N, H, c_z)
    with without_autocast(call.v):
        for first, n_rows in call.tiles():
            within = slice(first, first + n_rows)
            tile = d_tile = None
            if (
                heads.pair is not None
                and heads.pair_weight is not None
                and d_pair_values is not None
            ):
                pair, out = heads.pair[:, within].to(call.v.dtype), d_pair_values[:, within]
                # The two ways on which the pair representation counts, bias and value, share
                # their products: (B, rows, 2H, c_z).
                ways = torch.cat([heads.pair_weight.expand_as(out), out], dim=2)
                both = torch.matmul(pair, ways.transpose(-1, -2))
                tile, d_tile = (_by_head(x) for x in both.chunk(2, dim=-1))
            shared = (d_values, rows, tile, d_tile)
            to_rows = (d_q, d_query.mean, d_query.covariance, delta, along)
            call.launch("row_gradients", first, n_rows, shared, to_rows)
            to_keys = (d_k, d_v, d_key.mean, d_key.covariance, delta, along)
            call.launch("column_gradients", first, n_rows, shared, to_keys)
            if tile is not None and d_tile is not None and d_pair_weight is not None:
                by_row = torch.cat([d_tile, tile], dim=1).transpose(1, 2)  # (B, rows, 2H, N)
                d_pair_weight += torch.matmul(by_row[:, :, : len(d_pair_weight)], pair).sum((0, 1))
                if d_pair is not None:
                    d_pair[:, within] = torch.matmul(by_row.transpose(-1, -2), ways)
    d_q, d_k = d_q.to(call.q.dtype), d_k.to(call.k.dtype)
    d_heads = Heads(d_q, d_k, d_v, heads.mask, d_pair, d_pair_weight)
    return d_heads, d_query, d_key, along.sum(dim=(0, 2))


def _by_head(x: Tensor) -> Tensor:
    """(B, rows, N, H) to (B, H, rows, N)."""
    return x.permute(0, 3, 1, 2).contiguous()


class _Call:
    """What the three kernels share."""

    def __init__(
        self,
        heads: Heads,
        query: HeadGaussians,
        key: HeadGaussians,
        strength: Tensor,
        normalise: bool,
    ):
        self.q, self.k, self.v = (x.contiguous() for x in (heads.q, heads.k, heads.v))
        self.query, self.key = query.map(Tensor.contiguous), key.map(Tensor.contiguous)
        self.mask = heads.mask.contiguous().view(torch.uint8)
        self.strength, self.normalise = strength.contiguous(), normalise
        self.count = heads.mask.sum(dim=1).clamp(min=1).to(torch.float32)
        self.has_pair = heads.pair is not None
        _, self.n_items, self.n_heads, self.n_gaussians, self.n = query.mean.shape
        if self.n_items * self.n_heads > MOST_SLICES:
            raise ValueError(
                f"attention of {self.n_items} items with {self.n_heads} heads: a GPU takes "
                f"{MOST_SLICES:,} of both together; make batches smaller (data.max_batch_size)"
            )

    def tiles(self) -> Iterator[tuple[int, int]]:
        """First row and number of rows; all at once without a pair representation."""
        size = self.n
        if self.has_pair:
            of_row = max(self.n_items * self.n_heads * self.n, 1)
            size = min(max(PAIR_TILE // of_row, 1), self.n)
        for first in range(0, self.n, max(size, 1)):
            yield first, min(size, self.n - first)

    def launch(
        self,
        name: str,
        first: int,
        n_rows: int,
        given: tuple[Tensor | None, ...],
        made: tuple[Tensor, ...],
    ) -> None:
        from model.attention import triton_kernels

        kernel: Any = getattr(triton_kernels, name)
        rows, keys = BLOCKS[name]
        sizes = {
            "C": _power_of_two(self.q.shape[-1], 16),
            "C_V": _power_of_two(self.v.shape[-1], 16),
        }
        counts = () if name == "forward" else (self.count,)
        if name != "forward":
            sizes["GAUSSIANS"] = _power_of_two(self.n_gaussians, 1)
        blocks = -(-self.n // keys) if name == "column_gradients" else -(-n_rows // rows)
        # What is not there is not looked at, and something has to stand in its place.
        given = tuple(self.v if x is None else x for x in given)
        with torch.cuda.device_of(self.q):
            kernel[(blocks, self.n_items * self.n_heads)](
                *(self.q, self.k, self.v),
                *(self.query.mean, self.query.covariance, self.key.mean, self.key.covariance),
                *(self.strength, self.mask, *counts, *given, *made),
                *(self.n, self.n_heads, self.n_gaussians, self.q.shape[-1], self.v.shape[-1]),
                *(first, n_rows, self.q.shape[-1] ** -0.5),
                **sizes,
                ROWS=rows,
                KEYS=keys,
                NORMALISE=self.normalise,
                HAS_TILE=self.has_pair,
                num_warps=WARPS[name],
                **LAUNCH,
            )


def _power_of_two(number: int, least: int) -> int:
    return max(least, 1 << (number - 1).bit_length())
