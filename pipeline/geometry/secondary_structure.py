"""Helix, strand or coil from CA positions: P-SEA for many chains in one call.

Labels equal those of biotite 1.6's ``annotate_sse``, chain by chain; its conventions are the
specification here, where they differ from the paper too. Measurements are float32 as there, so
that no residue on a threshold changes sides.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Coordinates = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
Interval = tuple[np.float32, np.float32]

COIL, HELIX, STRAND = np.int8(0), np.int8(1), np.int8(2)

MIN_RESIDUES = 6
"""Chains with fewer CA are coil: no distance of the method can be measured on them."""

MIN_HELIX = 5
MIN_STRAND = 4
SHORT_STRAND = 3
MIN_CONTACTS = 5
"""CA–CA contacts that the residues of a short strand need together to count as a strand."""

_SEPARATION = 4
"""Rows without coordinates between two chains: more than the span (i−1 to i+3) of any measure."""

_GAP = 1
"""Such rows at a gap in the numbering of one chain: a single one, as in biotite."""

_CELL = 5.25
"""Edge of a cell in Å, above the contact distance by far more than any rounding."""

_CELL_BITS = 12

_MAX_PAIRS = 1 << 20
"""CA pairs measured at a time: bounds the memory if a broken file has all its CA in one place."""


def _interval(low: float, high: float) -> Interval:
    """The float32 numbers within [low, high] as their own closed interval.

    Comparing float32 with these is comparing exactly with the float64 limits.
    """
    low32, high32 = np.float32(low), np.float32(high)
    if float(low32) < low:
        low32 = np.nextafter(low32, np.float32(np.inf))
    if float(high32) > high:
        high32 = np.nextafter(high32, np.float32(-np.inf))
    return low32, high32


def _degrees(low: float, high: float) -> Interval:
    return _interval(float(np.deg2rad(low)), float(np.deg2rad(high)))


# Labesse et al. 1997, table 1: mean ± tolerance. d_k is between CA i−1 and i+k−1; τ is the angle at
# i, α the dihedral of i−1 to i+2.
_HELIX_D3 = _interval(5.3 - 0.5, 5.3 + 0.5)
_HELIX_D4 = _interval(6.4 - 0.6, 6.4 + 0.6)
_HELIX_TAU = _degrees(89 - 12, 89 + 12)
_HELIX_ALPHA = _degrees(50 - 20, 50 + 20)

_STRAND_D2 = _interval(6.7 - 0.6, 6.7 + 0.6)
_STRAND_D3 = _interval(9.9 - 0.9, 9.9 + 0.9)
_STRAND_D4 = _interval(12.4 - 1.1, 12.4 + 1.1)
_STRAND_TAU = _degrees(124 - 14, 124 + 14)
_STRAND_ALPHA = (_degrees(-180, -125), _degrees(145, 180))

# A contact is 4.2 Å < d ≤ 5.2 Å. The cell list that decides the upper limit in biotite compares
# squares, the lower limit is on the distance, both in float32.
_CONTACT_ABOVE = np.float32(4.2)
_CONTACT_SQUARED = np.float32(5.2) * np.float32(5.2)


def secondary_structure(
    ca: NDArray[np.float32],
    present: NDArray[np.bool_],
    residue_index: NDArray[np.integer],
    chain_start: NDArray[np.integer],
) -> NDArray[np.int8]:
    """Secondary structure of every residue of several chains by P-SEA.

    Parameters
    ----------
    ca : (L, 3) float32
        CA positions in Å.
    present : (L,) bool
        False where there is no CA; its position may then be anything.
    residue_index : (L,) int
        Numbering within each chain. A step other than 0 or 1 between residues that have a CA is a
        gap.
    chain_start : (C + 1,) int
        Chain c is the rows ``chain_start[c]:chain_start[c + 1]``; the last entry is L.

    Returns
    -------
    (L,) int8
        0 coil, 1 helix, 2 strand; 0 where there is no CA. Equal to biotite 1.6's ``annotate_sse``
        on the residues of each chain that have a CA.

    Raises
    ------
    ValueError
        Lengths that do not fit together.

    References
    ----------
    Labesse, Colloc'h, Pothier, Mornon: P-SEA: a new efficient assignment of secondary structure
    from Cα trace of proteins. CABIOS 13 (1997) 291–295.
    """
    length = len(ca)
    chain_start = np.asarray(chain_start, dtype=np.int64)
    if ca.shape != (length, 3) or len(present) != length or len(residue_index) != length:
        raise ValueError(
            f"expected ca (L, 3), present (L,) and residue_index (L,), found {ca.shape}, "
            f"{np.shape(present)} and {np.shape(residue_index)}"
        )
    if chain_start[0] != 0 or chain_start[-1] != length or (np.diff(chain_start) < 0).any():
        raise ValueError(f"chain_start must rise from 0 to {length}, found {chain_start}")
    labels = np.zeros(length, dtype=np.int8)

    # Rows with a CA, of chains long enough; from here on, these are all there is.
    present = present & np.isfinite(ca).all(axis=1)
    n_before = np.concatenate(([0], np.cumsum(present)))
    long_enough = np.diff(n_before[chain_start]) >= MIN_RESIDUES
    chain = np.repeat(np.arange(len(long_enough)), np.diff(chain_start))
    rows = np.flatnonzero(present & long_enough[chain])
    if len(rows) == 0:
        return labels
    chain = chain[rows]

    # Lay the chains out on one line with empty (NaN) places at gaps and between chains: whatever
    # is measured across an empty place is NaN, fails every comparison, and ends every region.
    index = residue_index[rows].astype(np.int64)
    step = np.diff(index)
    new_chain = np.diff(chain) != 0
    empty_before = np.where(new_chain, _SEPARATION, np.where((step == 0) | (step == 1), 0, _GAP))
    place = np.cumsum(np.concatenate(([_SEPARATION], 1 + empty_before)))
    line = np.full((3, int(place[-1]) + 1 + _SEPARATION), np.nan, dtype=np.float32)
    line[:, place] = ca[rows].T
    x: Coordinates = (line[0], line[1], line[2])

    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        helix, may_extend_helix, strand, may_extend_strand = _criteria(x)

        start, stop = _runs(helix)
        is_helix = stop - start >= MIN_HELIX
        marks_helix = _fill(start[is_helix], stop[is_helix], may_extend_helix)

        start, stop = _runs(strand)
        is_strand = stop - start >= MIN_STRAND
        short = np.flatnonzero(stop - start == SHORT_STRAND)
        contacts = _count_contacts(x, place, chain, start[short])
        is_strand[short] = contacts >= MIN_CONTACTS
        marks_strand = _fill(start[is_strand], stop[is_strand], may_extend_strand)

    on_line = np.where(marks_strand, STRAND, np.where(marks_helix, HELIX, COIL))
    labels[rows] = on_line[place]
    return labels


def _criteria(x: Coordinates) -> tuple[NDArray[np.bool_], ...]:
    """Which places satisfy the conditions of a helix, of its extension, of a strand, likewise.

    The sums of three are written out because their order is what makes them bit-equal to a sum
    over the last axis of (n, 3) coordinates.
    """
    n = len(x[0])

    def measured(values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values for places 1, 2, …, padded to the whole line."""
        out = np.full(n, np.nan, dtype=np.float32)
        out[1 : 1 + len(values)] = values
        return out

    def distance(k: int) -> NDArray[np.float32]:
        d = [c[k:] - c[:-k] for c in x]
        return measured(np.sqrt(_sum_products(d, d)))

    d2, d3, d4 = distance(2), distance(3), distance(4)

    bond = [c[1:] - c[:-1] for c in x]
    length = np.sqrt(_sum_products(bond, bond))
    bond = [b / length for b in bond]
    before, after = [b[:-1] for b in bond], [b[1:] for b in bond]
    tau = measured(np.arccos(-_sum_products(before, after)))

    # IUPAC dihedral about the bond i → i+1 from the normals of the planes on its two sides.
    normal = _cross(before, after)
    n1, n2 = [c[:-1] for c in normal], [c[1:] for c in normal]
    middle = [b[1:-1] for b in bond]
    alpha = measured(np.arctan2(_sum_products(_cross(n1, n2), middle), _sum_products(n1, n2)))

    helix_d3, helix_tau = _within(d3, _HELIX_D3), _within(tau, _HELIX_TAU)
    helix = (helix_d3 & _within(d4, _HELIX_D4)) | (helix_tau & _within(alpha, _HELIX_ALPHA))
    strand_d3 = _within(d3, _STRAND_D3)
    strand_alpha = _within(alpha, _STRAND_ALPHA[0]) | _within(alpha, _STRAND_ALPHA[1])
    strand = (_within(d2, _STRAND_D2) & strand_d3 & _within(d4, _STRAND_D4)) | (
        _within(tau, _STRAND_TAU) & strand_alpha
    )
    return helix, helix_d3 | helix_tau, strand, strand_d3


def _sum_products(
    a: list[NDArray[np.float32]], b: list[NDArray[np.float32]]
) -> NDArray[np.float32]:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _cross(a: list[NDArray[np.float32]], b: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    return [
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    ]


def _within(values: NDArray[np.float32], interval: Interval) -> NDArray[np.bool_]:
    return (values >= interval[0]) & (values <= interval[1])


def _runs(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Start and stop of every run of True (no run touches either end of the line)."""
    edges = np.flatnonzero(mask[1:] != mask[:-1]) + 1
    return edges[::2], edges[1::2]


def _fill(
    start: NDArray[np.int64], stop: NDArray[np.int64], may_extend: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Mark regions, each extended by the place before and after it where that is allowed."""
    start, stop = start - may_extend[start - 1], stop + may_extend[stop]
    # Regions one place apart overlap once extended, so depths are counted, not switched.
    depth = np.zeros(len(may_extend) + 1, dtype=np.int32)
    np.add.at(depth, start, 1)
    np.add.at(depth, stop, -1)
    return np.cumsum(depth[:-1]) > 0


def _count_contacts(
    x: Coordinates,
    place: NDArray[np.int64],
    chain: NDArray[np.int64],
    start: NDArray[np.int64],
) -> NDArray[np.int64]:
    """CA–CA contacts, within the chain, of the short strands that begin at `start`.

    Only strands of exactly `SHORT_STRAND` places ask for contacts, a few per cent of all residues:
    their neighbours are looked up in the list of CA sorted by chain and cell.
    """
    counts = np.zeros(len(start), dtype=np.int64)
    if len(start) == 0:
        return counts
    cells = [_cells(c[place], chain) for c in x]
    key = _cell_key(chain, *cells)
    order = np.argsort(key)
    key = key[order]
    neighbour_place = place[order]

    # The residues of the strands; a place without CA (at a gap in numbering) has no contacts.
    asking = (start[:, None] + np.arange(SHORT_STRAND)).ravel()
    strand = np.repeat(np.arange(len(start)), SHORT_STRAND)
    has_ca = ~np.isnan(x[0][asking])
    asking, strand = asking[has_ca], strand[has_ca]
    row = np.searchsorted(place, asking)

    # Cells that follow each other along z are one range of keys: 9 ranges instead of 27 cells.
    dx, dy = (d.ravel() for d in np.meshgrid([-1, 0, 1], [-1, 0, 1]))
    cx, cy, cz = (c[row][:, None] for c in cells)
    own_chain = chain[row][:, None]
    first = np.searchsorted(key, _cell_key(own_chain, cx + dx, cy + dy, cz - 1), "left").ravel()
    last = np.searchsorted(key, _cell_key(own_chain, cx + dx, cy + dy, cz + 1), "right").ravel()
    asking, strand = np.repeat(asking, len(dx)), np.repeat(strand, len(dx))

    n_pairs = last - first
    total = np.concatenate(([0], np.cumsum(n_pairs)))
    cuts = np.unique(np.searchsorted(total, np.arange(0, total[-1], _MAX_PAIRS), "left"))
    for low, high in zip(cuts, [*cuts[1:], len(n_pairs)], strict=True):
        n = n_pairs[low:high]
        offset = np.arange(total[high] - total[low]) + np.repeat(
            first[low:high] - total[low:high], n
        )
        other = neighbour_place[offset + total[low]]
        mine = np.repeat(asking[low:high], n)
        d = [c[other] - c[mine] for c in x]
        squared = _sum_products(d, d)
        contact = (squared <= _CONTACT_SQUARED) & (np.sqrt(squared) > _CONTACT_ABOVE)
        owner = np.repeat(strand[low:high], n)[contact]
        counts += np.bincount(owner, minlength=len(counts))
    return counts


def _cells(coordinate: NDArray[np.float32], chain: NDArray[np.int64]) -> NDArray[np.int64]:
    """Cell of each CA along one axis, counted from the lowest of its chain.

    Clipping keeps the keys apart in far-flung chains. It cannot part two neighbours, it only adds
    candidates.
    """
    first_of_chain = np.flatnonzero(np.diff(chain, prepend=-1))
    lowest = np.minimum.reduceat(coordinate, first_of_chain)
    lowest = np.repeat(lowest, np.diff(first_of_chain, append=len(chain)))
    cell = (coordinate.astype(np.float64) - lowest) * (1 / _CELL)
    # One free number at either end, so that a neighbour's cell never carries into the next field.
    return np.clip(cell, 0, (1 << _CELL_BITS) - 3).astype(np.int64) + 1


def _cell_key(
    chain: NDArray[np.int64], cx: NDArray[np.int64], cy: NDArray[np.int64], cz: NDArray[np.int64]
) -> NDArray[np.int64]:
    return (((chain << _CELL_BITS) + cx << _CELL_BITS) + cy << _CELL_BITS) + cz
