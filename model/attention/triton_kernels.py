"""Gaussian attention for GPUs, in Triton: a forward kernel, and two for the gradients.

The arithmetic is that of `oracle`, in the order of flash attention: blocks of rows × keys live in
registers, and nothing of size N² is written. A program of `forward` and of `row_gradients` has some
rows of one head and goes through the keys; a program of `column_gradients` has some keys and goes
through the rows. So each number has one writer, there are no atomics, and equal inputs give equal
bits.

All of it is float32, whatever the precision of queries and keys in memory. The loop over Gaussians
is a loop of the GPU: unrolled, it takes minutes to compile, and spills.

A *slice* is one head of one item. Arrays over residues are (slices, N, channels); those of
Gaussians (components, slices, P, N), as in `gaussians.HeadGaussians`; those over pairs are tiles,
(slices, n_rows, N), of the rows from `first_row` on. Sizes in capitals are powers of two.
"""

from __future__ import annotations

import triton
import triton.language as tl

COUNTS = ("n", "n_heads", "n_gaussians", "c", "c_v", "first_row", "n_rows")
"""Arguments for which Triton would otherwise compile anew if one of them is 1, or a multiple of 16:
lengths differ from batch to batch, and what is compiled in tests is then what runs."""

LOWEST = tl.constexpr(-3.0e38)
VARIANCE_EPS = tl.constexpr(1e-5)


@triton.jit
def _solve(query, key, plane, i, j, of_row, of_key):
    """S = Σ_i + Σ_j and d = μ_i − μ_j with x eliminated; the names are those of `tiled._Solved`.

    `query` and `key` are pointers to mean and covariance; i and j lead to residues of one slice and
    p, and `of_row` and `of_key` tell which are there. Where there is none stands a unit sphere.
    (gx, gy, gz) = S⁻¹ d.
    """
    a, b = query[0] + i, key[0] + j
    x = tl.load(a, of_row, 0.0)[:, None] - tl.load(b, of_key, 0.0)[None, :]
    a, b = a + plane, b + plane
    y = tl.load(a, of_row, 0.0)[:, None] - tl.load(b, of_key, 0.0)[None, :]
    a, b = a + plane, b + plane
    z = tl.load(a, of_row, 0.0)[:, None] - tl.load(b, of_key, 0.0)[None, :]
    a, b = query[1] + i, key[1] + j
    xx = tl.load(a, of_row, 1.0)[:, None] + tl.load(b, of_key, 1.0)[None, :]
    a, b = a + plane, b + plane
    xy = tl.load(a, of_row, 0.0)[:, None] + tl.load(b, of_key, 0.0)[None, :]
    a, b = a + plane, b + plane
    xz = tl.load(a, of_row, 0.0)[:, None] + tl.load(b, of_key, 0.0)[None, :]
    a, b = a + plane, b + plane
    yy = tl.load(a, of_row, 1.0)[:, None] + tl.load(b, of_key, 1.0)[None, :]
    a, b = a + plane, b + plane
    yz = tl.load(a, of_row, 0.0)[:, None] + tl.load(b, of_key, 0.0)[None, :]
    a, b = a + plane, b + plane
    zz = tl.load(a, of_row, 1.0)[:, None] + tl.load(b, of_key, 1.0)[None, :]
    r = 1.0 / xx
    ly, lz = xy * r, xz * r
    d1, t, e1 = yy - xy * ly, yz - xz * ly, zz - xz * lz
    f = d1 * e1 - t * t
    rf = 1.0 / f
    w, v = y - ly * x, z - lz * x
    gy, gz = (e1 * w - t * v) * rf, (d1 * v - t * w) * rf
    return x, w, v, xx * f, r, ly, lz, d1, t, e1, rf, gy, gz


@triton.jit
def _overlap(query, key, place, i, j, n, n_gaussians, ROWS: tl.constexpr, KEYS: tl.constexpr):
    """g of a block; `query` and `key` are pointers to mean and covariance."""
    plane, slice_ = place
    g = tl.zeros((ROWS, KEYS), dtype=tl.float32)
    for p in range(n_gaussians):
        at = (slice_ * n_gaussians + p) * n
        x, w, v, det, r, _, _, _, _, _, _, gy, gz = _solve(
            query, key, plane, at + i, at + j, i < n, j < n
        )
        g += x * x * r + w * gy + v * gz + tl.log(det)
    return -0.5 * g


@triton.jit
def _add_overlap_gradient(
    sums,
    query,
    key,
    place,
    i,
    j,
    n,
    n_gaussians,
    weight,
    GAUSSIANS: tl.constexpr,
    AXIS: tl.constexpr,
):
    """Add Σ weight · ∂g, over keys (axis 1) or rows (axis 0), to sums (GAUSSIANS, residues).

    ∂g/∂μ_j = S⁻¹ d = −∂g/∂μ_i, and ∂g/∂Σ = ½ (S⁻¹ d dᵀ S⁻¹ − S⁻¹), of which an entry off the
    diagonal stands for two.
    """
    plane, slice_ = place
    sx, sy, sz, sxx, sxy, sxz, syy, syz, szz = sums
    number = tl.arange(0, GAUSSIANS)[:, None]
    for p in range(n_gaussians):
        at = (slice_ * n_gaussians + p) * n
        x, _, _, _, r, ly, lz, d1, t, e1, rf, gy, gz = _solve(
            query, key, plane, at + i, at + j, i < n, j < n
        )
        gx = x * r - ly * gy - lz * gz
        iyy, iyz, izz = e1 * rf, -t * rf, d1 * rf
        ixy, ixz = -(ly * iyy + lz * iyz), -(ly * iyz + lz * izz)
        ixx = r - ly * ixy - lz * ixz
        half = 0.5 * weight
        here = number == p
        sx += tl.where(here, tl.sum(weight * gx, AXIS)[None, :], 0.0)
        sy += tl.where(here, tl.sum(weight * gy, AXIS)[None, :], 0.0)
        sz += tl.where(here, tl.sum(weight * gz, AXIS)[None, :], 0.0)
        sxx += tl.where(here, tl.sum(half * (gx * gx - ixx), AXIS)[None, :], 0.0)
        sxy += tl.where(here, tl.sum(weight * (gx * gy - ixy), AXIS)[None, :], 0.0)
        sxz += tl.where(here, tl.sum(weight * (gx * gz - ixz), AXIS)[None, :], 0.0)
        syy += tl.where(here, tl.sum(half * (gy * gy - iyy), AXIS)[None, :], 0.0)
        syz += tl.where(here, tl.sum(weight * (gy * gz - iyz), AXIS)[None, :], 0.0)
        szz += tl.where(here, tl.sum(half * (gz * gz - izz), AXIS)[None, :], 0.0)
    return sx, sy, sz, sxx, sxy, sxz, syy, syz, szz


@triton.jit
def _no_sums(GAUSSIANS: tl.constexpr, RESIDUES: tl.constexpr):
    none = tl.zeros((GAUSSIANS, RESIDUES), dtype=tl.float32)
    return none, none, none, none, none, none, none, none, none


@triton.jit
def _store_sums(sums, mean, covariance, place, at, n, n_gaussians, sign, GAUSSIANS: tl.constexpr):
    """Add sums to what is there, which no other program touches."""
    plane, slice_ = place
    number = tl.arange(0, GAUSSIANS)[:, None]
    to = (slice_ * n_gaussians + number) * n + at[None, :]
    there = (number < n_gaussians) & (at < n)[None, :]
    for k in tl.static_range(3):
        old = tl.load(mean + k * plane + to, mask=there, other=0.0)
        tl.store(mean + k * plane + to, old + sign * sums[k], mask=there)
    for k in tl.static_range(6):
        old = tl.load(covariance + k * plane + to, mask=there, other=0.0)
        tl.store(covariance + k * plane + to, old + sums[3 + k], mask=there)


@triton.jit
def _matrix(array, slice_, at, n, channels, CHANNELS: tl.constexpr):
    """(residues, CHANNELS) of a slice, in float32."""
    channel = tl.arange(0, CHANNELS)[None, :]
    there = (at < n)[:, None] & (channel < channels)
    return tl.load(
        array + (slice_ * n + at[:, None]) * channels + channel, mask=there, other=0.0
    ).to(tl.float32)


@triton.jit
def _store_matrix(array, slice_, at, n, channels, value, CHANNELS: tl.constexpr):
    channel = tl.arange(0, CHANNELS)[None, :]
    there = (at < n)[:, None] & (channel < channels)
    tl.store(array + (slice_ * n + at[:, None]) * channels + channel, value, mask=there)


@triton.jit
def _product(a, b):
    # Not TF32, whose 10 bits would be 0.03 Å of a point 30 Å away.
    return tl.dot(a, b, input_precision="ieee")


@triton.jit
def _rows_of(rows, slice_, n_slices, i, n, n_gaussians, NORMALISE: tl.constexpr):
    """Mean and spread of g, top and sum of the softmax, and the centre of z, of some rows."""
    at, plane = slice_ * n + i, n_slices * n
    first = tl.load(rows + at, mask=i < n, other=0.0)
    top = tl.load(rows + 2 * plane + at, mask=i < n, other=0.0)
    total = tl.load(rows + 3 * plane + at, mask=i < n, other=1.0)
    if NORMALISE:
        mean, centre = first, tl.zeros_like(first)
        spread = tl.load(rows + plane + at, mask=i < n, other=0.0)
    else:
        mean, centre = tl.zeros_like(first), first
        spread = tl.zeros_like(first) + 1.0 / n_gaussians
    return mean, spread, top, total, centre


@triton.jit(do_not_specialize=COUNTS)
def forward(
    q, k, v, query_mean, query_covariance, key_mean, key_covariance, strength, mask, tile,
    values, rows, n, n_heads, n_gaussians, c, c_v, first_row, n_rows, scale,
    C: tl.constexpr, C_V: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
    NORMALISE: tl.constexpr, HAS_TILE: tl.constexpr,
):  # fmt: skip
    """Weighted values, and four numbers of each row for the gradients.

    `tile` has the pair bias, and gets the logits. `scale` is 1/√c.
    """
    slice_ = tl.program_id(1).to(tl.int64)
    n_slices = tl.num_programs(1)
    place = (n_slices.to(tl.int64) * n_gaussians * n, slice_)
    item, head = slice_ // n_heads, slice_ % n_heads
    within = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    i = tl.where(within < n_rows, first_row + within, n)
    weight = tl.load(strength + head).to(tl.float32)
    a = _matrix(q, slice_, i, n, c, C) * scale
    query, key = (query_mean, query_covariance), (key_mean, key_covariance)

    mean = tl.zeros((ROWS,), dtype=tl.float32)
    spread = tl.zeros((ROWS,), dtype=tl.float32) + 1.0 / n_gaussians
    if NORMALISE:
        # Blocks are joined by their means and squares about them (Chan, Golub and LeVeque, 1979):
        # sums of squares about zero would lose the variance of a row far from everything.
        squares = tl.zeros((ROWS,), dtype=tl.float32)
        count = 0.0
        for start in range(0, n, KEYS):
            j = start + tl.arange(0, KEYS)
            valid = tl.load(mask + item * n + j, mask=j < n, other=0) != 0
            g = _overlap(query, key, place, i, j, n, n_gaussians, ROWS, KEYS)
            more = tl.sum(valid.to(tl.float32), 0)
            here = tl.sum(tl.where(valid[None, :], g, 0.0), 1) / tl.maximum(more, 1.0)
            about = tl.where(valid[None, :], g - here[:, None], 0.0)
            step, both = here - mean, tl.maximum(count + more, 1.0)
            mean += step * (more / both)
            squares += tl.sum(about * about, 1) + step * step * (count * more / both)
            count += more
        spread = 1.0 / tl.sqrt(squares / tl.maximum(count, 1.0) + VARIANCE_EPS)

    top = tl.full((ROWS,), LOWEST, dtype=tl.float32)
    total = tl.zeros((ROWS,), dtype=tl.float32)
    centre = tl.zeros((ROWS,), dtype=tl.float32)
    out = tl.zeros((ROWS, C_V), dtype=tl.float32)
    for start in range(0, n, KEYS):
        j = start + tl.arange(0, KEYS)
        valid = tl.load(mask + item * n + j, mask=j < n, other=0) != 0
        g = _overlap(query, key, place, i, j, n, n_gaussians, ROWS, KEYS)
        z = (g - mean[:, None]) * spread[:, None]
        logits = _product(a, tl.trans(_matrix(k, slice_, j, n, c, C))) + weight * z
        if HAS_TILE:
            at = (slice_ * n_rows + within[:, None]) * n + j[None, :]
            there = (within < n_rows)[:, None] & (j < n)[None, :]
            logits += tl.load(tile + at, mask=there, other=0.0)
        logits = tl.where(valid[None, :], logits, LOWEST)
        if HAS_TILE:
            # A number may be loaded by several threads, and is stored by one of them.
            tl.debug_barrier()
            tl.store(tile + at, logits, mask=there)
        higher = tl.maximum(top, tl.max(logits, 1))
        old = tl.exp(top - higher)
        # Where no key was valid so far, `higher` is that low, too.
        each = tl.where(valid[None, :], tl.exp(logits - higher[:, None]), 0.0)
        total = total * old + tl.sum(each, 1)
        # Far keys of no weight may have a z that is infinite.
        centre = centre * old + tl.sum(tl.where(each > 0, each * z, 0.0), 1)
        out = out * old[:, None] + _product(each, _matrix(v, slice_, j, n, c_v, C_V))
        top = higher

    # An item without keys has weights of zero.
    some = total > 0
    total = tl.where(some, total, 1.0)
    _store_matrix(values, slice_, i, n, c_v, out / total[:, None], C_V)
    at, plane = slice_ * n + i, n_slices.to(tl.int64) * n
    tl.store(rows + at, mean if NORMALISE else centre / total, mask=i < n)
    tl.store(rows + plane + at, spread, mask=i < n)
    tl.store(rows + 2 * plane + at, tl.where(some, top, 0.0), mask=i < n)
    tl.store(rows + 3 * plane + at, total, mask=i < n)


@triton.jit
def _weights(z, a, b, valid, top, total, weight, bias):
    """Weights of a block, as `forward` had them."""
    logits = _product(a, tl.trans(b)) + weight * z + bias
    logits = tl.where(valid[None, :], logits, LOWEST)
    return tl.exp(logits - top[:, None]) / total[:, None]


@triton.jit(do_not_specialize=COUNTS)
def row_gradients(
    q, k, v, query_mean, query_covariance, key_mean, key_covariance, strength, mask, count,
    d_values, rows, tile, d_tile, d_q, d_mean, d_covariance, delta_rows, along_rows,
    n, n_heads, n_gaussians, c, c_v, first_row, n_rows, scale,
    C: tl.constexpr, C_V: tl.constexpr, GAUSSIANS: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr,
    NORMALISE: tl.constexpr, HAS_TILE: tl.constexpr,
):  # fmt: skip
    """Gradients of queries; δ = Σ_j a ∂L/∂a and Σ_j z ∂L/∂logit of each row.

    `tile` has the pair bias and gets the weights; `d_tile` has ∂L/∂a by way of the pair values and
    gets ∂L/∂logit = a (∂L/∂a − δ).
    """
    slice_ = tl.program_id(1).to(tl.int64)
    n_slices = tl.num_programs(1).to(tl.int64)
    place = (n_slices * n_gaussians * n, slice_)
    item, head = slice_ // n_heads, slice_ % n_heads
    within = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    i = tl.where(within < n_rows, first_row + within, n)
    weight = tl.load(strength + head).to(tl.float32)
    a = _matrix(q, slice_, i, n, c, C) * scale
    out = _matrix(d_values, slice_, i, n, c_v, C_V)
    mean, spread, top, total, centre = _rows_of(
        rows, slice_, n_slices, i, n, n_gaussians, NORMALISE
    )
    query, key = (query_mean, query_covariance), (key_mean, key_covariance)

    # First sums along rows. Flash attention has δ from the values instead. Rounded otherwise than
    # what it is taken off, it would leave a sum of ∂L/∂logit that is not zero, and what is the same
    # for all keys would count: in rows of like ellipsoids that is most of ∂g.
    sum_a = tl.zeros((ROWS,), dtype=tl.float32)
    sum_ad = tl.zeros((ROWS,), dtype=tl.float32)
    sum_az = tl.zeros((ROWS,), dtype=tl.float32)
    sum_adz = tl.zeros((ROWS,), dtype=tl.float32)
    delta = tl.zeros((ROWS,), dtype=tl.float32)
    share = tl.zeros((ROWS,), dtype=tl.float32)
    d_a = tl.zeros((ROWS, C), dtype=tl.float32)
    sums = _no_sums(GAUSSIANS, ROWS)
    for number in tl.static_range(2):
        for start in range(0, n, KEYS):
            j = start + tl.arange(0, KEYS)
            valid = tl.load(mask + item * n + j, mask=j < n, other=0) != 0
            g = _overlap(query, key, place, i, j, n, n_gaussians, ROWS, KEYS)
            z = (g - mean[:, None]) * spread[:, None]
            b = _matrix(k, slice_, j, n, c, C)
            bias = tl.zeros((ROWS, KEYS), dtype=tl.float32)
            d_weight = _product(out, tl.trans(_matrix(v, slice_, j, n, c_v, C_V)))
            if HAS_TILE:
                at = (slice_ * n_rows + within[:, None]) * n + j[None, :]
                there = (within < n_rows)[:, None] & (j < n)[None, :]
                bias = tl.load(tile + at, mask=there, other=0.0)
                d_weight += tl.load(d_tile + at, mask=there, other=0.0)
            weights = _weights(z, a, b, valid, top, total, weight, bias)
            if number == 0:
                from_centre = tl.where(weights > 0, z - centre[:, None], 0.0)
                sum_a += tl.sum(weights, 1)
                sum_ad += tl.sum(weights * d_weight, 1)
                sum_az += tl.sum(weights * from_centre, 1)
                sum_adz += tl.sum(weights * d_weight * from_centre, 1)
            else:
                d_logits = weights * (d_weight - delta[:, None])
                if HAS_TILE:
                    tl.debug_barrier()  # as in `forward`
                    tl.store(tile + at, weights, mask=there)
                    tl.store(d_tile + at, d_logits, mask=there)
                d_a += _product(d_logits, b)
                if NORMALISE:
                    d_logits = tl.where(valid[None, :], d_logits - z * share[:, None], 0.0)
                d_g = d_logits * (weight * spread)[:, None]
                sums = _add_overlap_gradient(
                    sums, query, key, place, i, j, n, n_gaussians, d_g, GAUSSIANS, 1
                )
        if number == 0:
            delta = sum_ad / tl.where(sum_a > 0, sum_a, 1.0)
            along = sum_adz - delta * sum_az
            # What the gradient of a z-score takes off is z times this.
            share = along / tl.load(count + item)
            tl.store(delta_rows + slice_ * n + i, delta, mask=i < n)
            tl.store(along_rows + slice_ * n + i, along, mask=i < n)
    _store_matrix(d_q, slice_, i, n, c, d_a * scale, C)
    _store_sums(sums, d_mean, d_covariance, place, i, n, n_gaussians, -1.0, GAUSSIANS)


@triton.jit(do_not_specialize=COUNTS)
def column_gradients(
    q, k, v, query_mean, query_covariance, key_mean, key_covariance, strength, mask, count,
    d_values, rows, tile, d_tile, d_k, d_v, d_mean, d_covariance, delta_rows, along_rows,
    n, n_heads, n_gaussians, c, c_v, first_row, n_rows, scale,
    C: tl.constexpr, C_V: tl.constexpr, GAUSSIANS: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr,
    NORMALISE: tl.constexpr, HAS_TILE: tl.constexpr,
):  # fmt: skip
    """Gradients of keys and values, added to those of the tiles before.

    `tile` has the weights and `d_tile` ∂L/∂logit, as `row_gradients` leaves them.
    """
    slice_ = tl.program_id(1).to(tl.int64)
    n_slices = tl.num_programs(1).to(tl.int64)
    place = (n_slices * n_gaussians * n, slice_)
    item, head = slice_ // n_heads, slice_ % n_heads
    j = tl.program_id(0) * KEYS + tl.arange(0, KEYS)
    valid = tl.load(mask + item * n + j, mask=j < n, other=0) != 0
    weight = tl.load(strength + head).to(tl.float32)
    keys = tl.load(count + item)
    b = _matrix(k, slice_, j, n, c, C)
    value = _matrix(v, slice_, j, n, c_v, C_V)
    query, key = (query_mean, query_covariance), (key_mean, key_covariance)

    d_b = tl.zeros((KEYS, C), dtype=tl.float32)
    d_value = tl.zeros((KEYS, C_V), dtype=tl.float32)
    sums = _no_sums(GAUSSIANS, KEYS)
    for start in range(0, n_rows, ROWS):
        within = start + tl.arange(0, ROWS)
        i = tl.where(within < n_rows, first_row + within, n)
        present = (i < n)[:, None] & valid[None, :]
        a = _matrix(q, slice_, i, n, c, C) * scale
        out = _matrix(d_values, slice_, i, n, c_v, C_V)
        mean, spread, top, total, _ = _rows_of(rows, slice_, n_slices, i, n, n_gaussians, NORMALISE)
        z = tl.zeros((ROWS, KEYS), dtype=tl.float32)
        if NORMALISE or not HAS_TILE:
            g = _overlap(query, key, place, i, j, n, n_gaussians, ROWS, KEYS)
            z = (g - mean[:, None]) * spread[:, None]
        if HAS_TILE:
            at = (slice_ * n_rows + within[:, None]) * n + j[None, :]
            there = (within < n_rows)[:, None] & (j < n)[None, :]
            weights = tl.load(tile + at, mask=there, other=0.0)
            d_logits = tl.load(d_tile + at, mask=there, other=0.0)
        else:
            delta = tl.load(delta_rows + slice_ * n + i, mask=i < n, other=0.0)
            weights = _weights(z, a, b, valid, top, total, weight, 0.0)
            weights = tl.where(present, weights, 0.0)
            d_logits = weights * (_product(out, tl.trans(value)) - delta[:, None])
        d_value += _product(tl.trans(weights), out)
        d_b += _product(tl.trans(d_logits), a)
        if NORMALISE:
            along = tl.load(along_rows + slice_ * n + i, mask=i < n, other=0.0)
            d_logits = tl.where(present, d_logits - z * (along / keys)[:, None], 0.0)
        d_g = d_logits * (weight * spread)[:, None]
        sums = _add_overlap_gradient(
            sums, query, key, place, i, j, n, n_gaussians, d_g, GAUSSIANS, 0
        )
    _store_matrix(d_k, slice_, j, n, c, d_b + _matrix(d_k, slice_, j, n, c, C), C)
    _store_matrix(d_v, slice_, j, n, c_v, d_value + _matrix(d_v, slice_, j, n, c_v, C_V), C_V)
    _store_sums(sums, d_mean, d_covariance, place, j, n, n_gaussians, 1.0, GAUSSIANS)
