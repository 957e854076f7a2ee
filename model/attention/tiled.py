"""Gaussian attention in tiles of rows: the numbers of `oracle.attend`, in memory linear in N.

The log overlap of two Gaussians does not separate into a product of features of either, so it
cannot ride on a dot product as point attention can. But a row of it is needed only while that row's
weights are: forward and backward go through tiles of rows, compute the overlap of a tile with all
keys, its statistics, logits and weights, use them and drop them. Kept for the backward pass are the
inputs and three numbers per row and head: centre and spread of g, log of the softmax's sum. Arrays
over pairs are only the pair representation, which is the caller's, and its gradient.

On a CPU with a C compiler the overlap itself comes from `native`; elsewhere from torch operations
on chunks that fit a core's cache.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from model.attention import native
from model.attention.gaussians import HeadGaussians
from model.attention.heads import Heads
from model.attention.oracle import VARIANCE_EPS
from model.attention.precision import without_autocast

TILE = 1 << 17
"""Rows × keys × heads × items of a tile on a CPU: half a MiB for each array in float32."""

TILE_ON_GPU = 1 << 22
CHUNK = 1 << 15
"""Elements of an array in the torch version of the overlap on a CPU, which has thirty of them."""

CHUNK_ON_GPU = 1 << 20
LEAST = -64.0
"""Logits below a row's largest (or the log of its sum) count as so far below it: a weight of 10⁻²⁸,
which no sum sees. What is smaller than 32 bits hold costs a processor up to a hundred times as
much, in exp, in products and in gradients."""

ROW_NUMBERS = 3
"""Kept of each row and head: centre and spread of g, log of the softmax's sum."""


def overlap(query: HeadGaussians, key: HeadGaussians) -> Tensor:
    """`oracle.overlap` without gradients: all pairs of Gaussians, (B, H, N, N)."""
    query, key = _contiguous(query), _contiguous(key)
    _, n_items, n_heads, _, n = query.mean.shape
    g = query.mean.new_empty((n_items, n_heads, n, n))
    for items, rows in _tiles(query.mean):
        g[items, :, rows] = _overlap(query, key, items, rows)
    return g


def forward(
    heads: Heads, query: HeadGaussians, key: HeadGaussians, strength: Tensor, normalise: bool
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Values and pair values as of `oracle.attend`, and `ROW_NUMBERS` of each row.

    Parameters
    ----------
    heads : Heads
    query, key : HeadGaussians
    strength : (H,) float
    normalise : bool

    Returns
    -------
    values : (B, H, N, C) float
    pair_values : (B, H, N, c_z) float or None
    rows : (3, B, H, N) float
        Centre and spread of g, log of the softmax's sum.
    """
    q, k, v = _scaled(heads)
    query, key = _contiguous(query), _contiguous(key)
    pair, pair_weight = heads.pair, heads.pair_weight
    n_items, n_heads, n, _ = q.shape
    values = torch.empty_like(v)
    pair_values = None
    if pair is not None:
        pair_values = v.new_empty((n_items, n_heads, n, pair.shape[-1]))
    rows = q.new_empty((ROW_NUMBERS, n_items, n_heads, n))
    mean, spread, log_sum = rows[..., None].unbind(0)
    padding = _Padding(heads.mask)

    with without_autocast(q):
        for items, within in _tiles(query.mean):
            z = _overlap(query, key, items, within)
            absent, count = padding.of(items)
            if absent is not None:
                z.masked_fill_(absent, 0.0 if normalise else torch.finfo(z.dtype).min)
            if normalise:
                m = z.sum(dim=-1, keepdim=True) / count
            else:
                # A row's weights do not see what is the same for all of its keys. At its nearest
                # key g keeps its digits; at the mean, one key far away takes them from all.
                m = z.amax(dim=-1, keepdim=True)
            z -= m
            if absent is not None:
                z.masked_fill_(absent, 0.0)
            if normalise:
                variance = z.square().sum(dim=-1, keepdim=True) / count
                r = torch.rsqrt(variance + VARIANCE_EPS)
            else:
                r = torch.full_like(m, 1 / query.mean.shape[3])
            z *= r

            logits = torch.matmul(q[items, :, within], k[items].transpose(-1, -2))
            logits.addcmul_(z, strength[:, None, None])
            tile = None
            if pair is not None and pair_weight is not None:
                tile = pair[items, within].to(q.dtype)
                logits += torch.matmul(pair_weight, tile.transpose(-1, -2)).transpose(1, 2)
            if absent is not None:
                logits.masked_fill_(absent, torch.finfo(q.dtype).min)
            top = logits.amax(dim=-1, keepdim=True)
            weights = logits.sub_(top).clamp_(min=LEAST).exp_()
            if absent is not None:
                weights.masked_fill_(absent, 0.0)
            total = weights.sum(dim=-1, keepdim=True)
            # An item without keys has a sum of zero, and weights of zero.
            total = total.clamp_(min=torch.finfo(q.dtype).tiny)
            weights /= total

            values[items, :, within] = torch.matmul(weights, v[items])
            if pair_values is not None and tile is not None:
                pair_values[items, :, within] = torch.matmul(
                    weights.transpose(1, 2), tile
                ).transpose(1, 2)
            mean[items, :, within], spread[items, :, within] = m, r
            log_sum[items, :, within] = top + total.log()
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
    """Gradients of the arguments of `forward`, which gave these numbers of rows.

    That of the pairs is None unless `pair_gradient`.
    """
    q, k, v = _scaled(heads)
    query, key = _contiguous(query), _contiguous(key)
    pair, pair_weight = heads.pair, heads.pair_weight
    mean, spread, log_sum = rows[..., None].unbind(0)
    n_heads = q.shape[1]
    d_values = d_values.contiguous()
    d_q, d_k, d_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
    d_query, d_key = query.map(torch.zeros_like), key.map(torch.zeros_like)
    d_strength = torch.zeros_like(strength)
    d_pair = d_pair_weight = None
    if pair is not None and pair_weight is not None and d_pair_values is not None:
        if pair_gradient:
            d_pair = torch.empty_like(pair, memory_format=torch.contiguous_format)
        d_pair_weight = torch.zeros_like(pair_weight)
        d_pair_values = d_pair_values.transpose(1, 2).contiguous()  # (B, N, H, c_z)
    padding = _Padding(heads.mask)

    with without_autocast(q):
        for items, within in _tiles(query.mean):
            z = _overlap(query, key, items, within)
            absent, count = padding.of(items)
            z.sub_(mean[items, :, within]).mul_(spread[items, :, within])
            if absent is not None:
                z.masked_fill_(absent, 0.0)
            logits = torch.matmul(q[items, :, within], k[items].transpose(-1, -2))
            logits.addcmul_(z, strength[:, None, None])
            tile = ways = None
            both: Tensor | None = None
            if pair is not None and pair_weight is not None and d_pair_values is not None:
                # The two ways on which the pair representation counts, bias and value, share
                # their products: (items, rows, 2H, c_z).
                tile = pair[items, within].to(q.dtype)
                out_pair = d_pair_values[items, within]
                ways = torch.cat([pair_weight.expand_as(out_pair), out_pair], dim=2)
                both = torch.matmul(ways, tile.transpose(-1, -2)).transpose(1, 2)
                logits += both[:, :n_heads]
            if absent is not None:
                logits.masked_fill_(absent, torch.finfo(q.dtype).min)
            weights = logits.sub_(log_sum[items, :, within]).clamp_(min=LEAST).exp_()
            if absent is not None:
                weights.masked_fill_(absent, 0.0)

            # Values, then softmax: dL/dlogit = a (dL/da − Σ a dL/da).
            out = d_values[items, :, within]
            d_v[items] += torch.matmul(weights.transpose(-1, -2), out)
            d_logits = torch.matmul(out, v[items].transpose(-1, -2))
            if both is not None:
                d_logits += both[:, n_heads:]
            d_logits *= weights
            # The sum of the weights is 1 but for the rounding of log_sum, which large logits
            # make large: without it, what is the same for all keys would count.
            total = weights.sum(dim=-1, keepdim=True).clamp_(min=torch.finfo(q.dtype).tiny)
            mean_out = d_logits.sum(dim=-1, keepdim=True) / total
            d_logits.addcmul_(weights, mean_out, value=-1)

            d_q[items, :, within] = torch.matmul(d_logits, k[items])
            d_k[items] += torch.matmul(d_logits.transpose(-1, -2), q[items, :, within])
            if tile is not None and ways is not None and d_pair_weight is not None:
                by_row = d_logits.transpose(1, 2)
                d_pair_weight += torch.matmul(by_row, tile).sum(dim=(0, 1))
                if d_pair is not None:
                    by_row = torch.cat([by_row, weights.transpose(1, 2)], dim=2)
                    _product_into(d_pair[items, within], by_row.transpose(-1, -2), ways)

            # z-score: dL/dg = γ r (dL/dlogit − mean(dL/dlogit) − z mean(z dL/dlogit)), whose
            # second term is zero after a softmax.
            along = torch.linalg.vecdot(d_logits, z)[..., None]
            d_strength += along.sum(dim=(0, 2, 3))
            if normalise:
                d_logits.addcmul_(z, along / count, value=-1)
            d_g = d_logits.mul_(strength[:, None, None] * spread[items, :, within])
            _add_gradient(query, key, items, within, d_g, d_query, d_key)

    d_q = (d_q * heads.q.shape[-1] ** -0.5).to(heads.q.dtype)
    d_heads = Heads(d_q, d_k.to(heads.k.dtype), d_v, heads.mask, d_pair, d_pair_weight)
    return d_heads, d_query, d_key, d_strength


def _scaled(heads: Heads) -> tuple[Tensor, Tensor, Tensor]:
    """q/√c, k and v in the precision of v."""
    q, k = heads.q.to(heads.v.dtype), heads.k.to(heads.v.dtype)
    return (q * q.shape[-1] ** -0.5).contiguous(), k.contiguous(), heads.v.contiguous()


def _product_into(out: Tensor, a: Tensor, b: Tensor) -> None:
    """out = a b for a tile of a larger array, which may be of another precision."""
    if out.dtype == a.dtype:
        torch.bmm(a.flatten(0, 1), b.flatten(0, 1), out=out.view(-1, *out.shape[-2:]))
    else:
        out.copy_(torch.matmul(a, b))


class _Padding:
    """Keys that are absent (None where all are present), and how many there are."""

    def __init__(self, mask: Tensor):
        self._absent = ~mask[:, None, None, :]
        self._count = mask.sum(dim=1).clamp(min=1)[:, None, None, None]
        # On a GPU the question would wait for everything before it.
        self._none = mask.device.type == "cpu" and bool(mask.all())

    def of(self, items: slice) -> tuple[Tensor | None, Tensor]:
        return None if self._none else self._absent[items], self._count[items]


def _contiguous(gaussians: HeadGaussians) -> HeadGaussians:
    return gaussians.map(torch.Tensor.contiguous)


def _tiles(mean: Tensor) -> Iterator[tuple[slice, slice]]:
    """Items and rows of each tile: some rows of one item, or all rows of some items."""
    _, n_items, n_heads, _, n = mean.shape
    size = TILE if mean.device.type == "cpu" else TILE_ON_GPU
    n_rows = max(min(size // (n_heads * n), n), 1)
    items_at_once = max(size // (n_heads * n * n), 1) if n_rows == n else 1
    for first in range(0, n_items, items_at_once):
        items = slice(first, min(first + items_at_once, n_items))
        for row in range(0, n, n_rows):
            yield items, slice(row, min(row + n_rows, n))


# ---- the overlap of a tile -------------------------------------------------------------------


def _overlap(query: HeadGaussians, key: HeadGaussians, items: slice, rows: slice) -> Tensor:
    if native.is_usable(query.mean):
        return native.overlap(query, key, items, rows)
    return overlap_of_tile(query, key, items, rows)


def _add_gradient(
    query: HeadGaussians,
    key: HeadGaussians,
    items: slice,
    rows: slice,
    weight: Tensor,
    d_query: HeadGaussians,
    d_key: HeadGaussians,
) -> None:
    add = native.add_gradient if native.is_usable(query.mean) else add_gradient_of_tile
    add(query, key, items, rows, weight, d_query, d_key)


def overlap_of_tile(query: HeadGaussians, key: HeadGaussians, items: slice, rows: slice) -> Tensor:
    """g of some rows of some items with all keys, (items, H, rows, N); see `oracle.overlap`."""
    _, _, n_heads, _, n = query.mean.shape
    n_items, n_rows = items.stop - items.start, rows.stop - rows.start
    g = query.mean.new_zeros((n_items, n_heads, n_rows, n))
    for i, j, p in _chunks(query.mean, items, rows):
        solved = _Solved(query, key, items, slice(rows.start + i.start, rows.start + i.stop), j, p)
        g[:, :, i, j] += solved.log_overlap().sum(dim=2)
    return g


def add_gradient_of_tile(
    query: HeadGaussians,
    key: HeadGaussians,
    items: slice,
    rows: slice,
    weight: Tensor,
    d_query: HeadGaussians,
    d_key: HeadGaussians,
) -> None:
    """Add the gradients of Σ weight · g of a tile, weight (items, H, rows, N).

    With y = S⁻¹ d: ∂g/∂μ_i = −y = −∂g/∂μ_j and ∂g/∂Σ_i = ∂g/∂Σ_j = ½ (y yᵀ − S⁻¹), of which an
    entry off the diagonal stands for two.
    """
    for i, j, p in _chunks(query.mean, items, rows):
        within = slice(rows.start + i.start, rows.start + i.stop)
        solved = _Solved(query, key, items, within, j, p)
        w = weight[:, :, None, i, j]
        for component, gradient in enumerate(solved.mean_gradient(w)):
            d_query.mean[component, items, :, p, within] -= gradient.sum(dim=-1)
            d_key.mean[component, items, :, p, j] += gradient.sum(dim=-2)
        for component, gradient in enumerate(solved.covariance_gradient(w)):
            d_query.covariance[component, items, :, p, within] += gradient.sum(dim=-1)
            d_key.covariance[component, items, :, p, j] += gradient.sum(dim=-2)


def _chunks(mean: Tensor, items: slice, rows: slice) -> Iterator[tuple[slice, slice, slice]]:
    """Rows (from the tile's first), keys and Gaussians of each chunk of a tile."""
    _, _, n_heads, n_gaussians, n = mean.shape
    n_rows = rows.stop - rows.start
    size = CHUNK if mean.device.type == "cpu" else CHUNK_ON_GPU
    size //= n_heads * (items.stop - items.start)
    n_keys = max(min(size, n), 1)
    p_at_once = max(min(size // n_keys, n_gaussians), 1)
    i_at_once = max(min(size // (n_keys * p_at_once), n_rows), 1)
    for i in range(0, n_rows, i_at_once):
        for j in range(0, n, n_keys):
            for p in range(0, n_gaussians, p_at_once):
                yield (
                    slice(i, min(i + i_at_once, n_rows)),
                    slice(j, min(j + n_keys, n)),
                    slice(p, min(p + p_at_once, n_gaussians)),
                )


class _Solved:
    """S = Σ_i + Σ_j and d = μ_i − μ_j of a chunk, (items, H, P, rows, keys), with x eliminated.

    d1, e1 and t are the Schur complement of S_xx in y and z, and f its determinant; (x, w, v) is d
    after the same elimination. Unlike cofactors of S, whose error grows with the square of the
    condition number, this keeps a positive determinant for needles, too.
    """

    def __init__(
        self, query: HeadGaussians, key: HeadGaussians, items: slice, i: slice, j: slice, p: slice
    ):
        x, y, z = (query.mean[:, items, :, p, i, None] - key.mean[:, items, :, p, None, j]).unbind(
            0
        )
        xx, xy, xz, yy, yz, zz = (
            query.covariance[:, items, :, p, i, None] + key.covariance[:, items, :, p, None, j]
        ).unbind(0)
        self.xx, self.x, self.r = xx, x, xx.reciprocal()
        self.ly, self.lz = xy * self.r, xz * self.r
        self.d1 = torch.addcmul(yy, xy, self.ly, value=-1)
        self.t = torch.addcmul(yz, xz, self.ly, value=-1)
        self.e1 = torch.addcmul(zz, xz, self.lz, value=-1)
        self.f = torch.addcmul(self.d1 * self.e1, self.t, self.t, value=-1)
        self.rf = self.f.reciprocal()
        self.w = torch.addcmul(y, self.ly, x, value=-1)
        self.v = torch.addcmul(z, self.lz, x, value=-1)
        self.y_y = torch.addcmul(self.e1 * self.w, self.t, self.v, value=-1).mul_(self.rf)
        self.y_z = torch.addcmul(self.d1 * self.v, self.t, self.w, value=-1).mul_(self.rf)

    def log_overlap(self) -> Tensor:
        """−½ dᵀ S⁻¹ d − ½ log det S."""
        total = (self.xx * self.f).log_()
        total.addcmul_(self.w, self.y_y).addcmul_(self.v, self.y_z)
        return total.addcmul_(self.x * self.x, self.r).mul_(-0.5)

    def mean_gradient(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """weight · S⁻¹ d."""
        self.y_x = self.x * self.r
        self.y_x.addcmul_(self.ly, self.y_y, value=-1).addcmul_(self.lz, self.y_z, value=-1)
        return weight * self.y_x, weight * self.y_y, weight * self.y_z

    def covariance_gradient(self, weight: Tensor) -> Iterator[Tensor]:
        """weight · ½ (y yᵀ − S⁻¹) for xx xy xz yy yz zz, doubled off the diagonal."""
        iyy, iyz, izz = self.e1 * self.rf, -self.t * self.rf, self.d1 * self.rf
        ixy = -(self.ly * iyy).addcmul_(self.lz, iyz)
        ixz = -(self.ly * iyz).addcmul_(self.lz, izz)
        ixx = self.r.addcmul(self.ly, ixy, value=-1).addcmul_(self.lz, ixz, value=-1)
        half = 0.5 * weight
        y_x, y_y, y_z = self.y_x, self.y_y, self.y_z
        yield (y_x * y_x).sub_(ixx).mul_(half)
        yield (y_x * y_y).sub_(ixy).mul_(weight)
        yield (y_x * y_z).sub_(ixz).mul_(weight)
        yield (y_y * y_y).sub_(iyy).mul_(half)
        yield (y_y * y_z).sub_(iyz).mul_(weight)
        yield (y_z * y_z).sub_(izz).mul_(half)
