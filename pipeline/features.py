"""Chains → derived columns, for many chains at once.

Frames, Gaussians and secondary structure are computed on the concatenated residues of a batch:
NumPy's cost per call is then paid once for dozens of chains. What is computed for a chain does not
depend on which other chains are in its batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.chain import Chain
from pipeline.geometry.gaussians import BASE_THICKNESS, residue_gaussians
from pipeline.geometry.moments import Shape
from pipeline.geometry.secondary_structure import secondary_structure
from pipeline.geometry.three_di import three_di
from pipeline.residues import MAX_PEPTIDE_BOND, N_SLOTS, UNKNOWN


@dataclass(frozen=True, slots=True)
class ChainFeatures:
    """Derived values of one chain of L residues.

    Attributes
    ----------
    centroid : (L, 3) float32
        μ, Å, global; zeros at unresolved residues.
    covariance : (L, 6) float32
        Σ, Å², global, upper triangle xx xy xz yy yz zz; zeros at unresolved residues.
    sse : (L,) int8
        0 coil, 1 helix, 2 strand (P-SEA).
    three_di : (L,) uint8
        ASCII letters of 3Di, X where there is none.
    n_breaks : int
        Places where consecutive resolved residues are not joined: residues between them are
        unresolved, or C and N are over 2.5 Å apart.
    radius_of_gyration : float
        Å, of the CA atoms of the resolved residues, unweighted.
    helix_fraction, strand_fraction, coil_fraction : float
        Of the residues that have a CA; all 0 if none has.
    fraction_x : float
        Of all residues.
    mean_b_factor : float or None
        Over the residues that have a CA; ``None`` if none has.
    """

    centroid: NDArray[np.float32]
    covariance: NDArray[np.float32]
    sse: NDArray[np.int8]
    three_di: NDArray[np.uint8]
    n_resolved: int
    n_breaks: int
    radius_of_gyration: float
    helix_fraction: float
    strand_fraction: float
    coil_fraction: float
    fraction_x: float
    mean_b_factor: float | None


def unpack_mask(mask: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """(L,) bit masks → (L, 14) bool."""
    little = np.ascontiguousarray(mask, "<u2").view(np.uint8).reshape(-1, 2)
    return np.unpackbits(little, axis=1, bitorder="little")[:, :N_SLOTS].astype(bool)


def atom14_positions(mask: NDArray[np.bool_], coords: NDArray[np.int32]) -> NDArray[np.float64]:
    """(L, 14) mask and (A, 3) coordinates in 0.001 Å → (L, 14, 3) in Å, zeros where absent."""
    positions = np.zeros((*mask.shape, 3), np.float64)
    # By the numbers of the slots: a mask over two axes takes NumPy twice as long.
    positions.reshape(-1, 3)[np.flatnonzero(mask)] = coords * 0.001
    return positions


def compute_features(
    chains: Sequence[Chain],
    *,
    base_thickness: float = BASE_THICKNESS,
    shape: Shape = "axis_aligned",
) -> list[ChainFeatures]:
    """Derive the columns of several chains.

    Parameters
    ----------
    chains : sequence of Chain
        A few dozen at a time use the processor's caches best.
    base_thickness : float
        Å, see `gaussians.from_all_atoms`.
    shape : {"axis_aligned", "full"}
    """
    if not chains:
        return []
    lengths = np.array([len(c) for c in chains])
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    mask = unpack_mask(np.concatenate([c.atom14_mask for c in chains]))
    positions = atom14_positions(mask, np.concatenate([c.coords for c in chains]))
    resolved = np.concatenate([c.resolved for c in chains])
    index = np.concatenate([c.residue_index for c in chains])
    mu, sigma, _ = residue_gaussians(positions, mask, base_thickness, shape)
    centroid, covariance = mu.astype(np.float32), sigma.astype(np.float32)
    alpha = positions[:, 1]
    has_alpha = mask[:, 1]
    sse = secondary_structure(alpha.astype(np.float32), has_alpha, index, offsets)
    letters = three_di(positions, mask, resolved, offsets)

    breaks = _breaks(positions, resolved, np.repeat(np.arange(len(chains)), lengths))
    features = []
    for k, chain in enumerate(chains):
        here = slice(int(offsets[k]), int(offsets[k + 1]))
        with_alpha = has_alpha[here]
        n_alpha = int(np.count_nonzero(with_alpha))
        n_helix, n_strand = (int(np.count_nonzero(sse[here] == s)) for s in (1, 2))
        where = resolved[here]
        features.append(
            ChainFeatures(
                centroid=centroid[here],
                covariance=covariance[here],
                sse=sse[here],
                three_di=letters[here],
                n_resolved=int(np.count_nonzero(where)),
                n_breaks=int(np.count_nonzero(breaks[here])),
                radius_of_gyration=_radius_of_gyration(alpha[here][where]),
                helix_fraction=n_helix / max(1, n_alpha),
                strand_fraction=n_strand / max(1, n_alpha),
                coil_fraction=(n_alpha - n_helix - n_strand) / max(1, n_alpha),
                fraction_x=int(np.count_nonzero(chain.aatype == UNKNOWN)) / len(chain),
                mean_b_factor=_mean(chain.b_factor[with_alpha]),
            )
        )
    return features


def _breaks(
    positions: NDArray[np.float64],
    resolved: NDArray[np.bool_],
    chain: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """(L,) True at resolved residues that are not joined to the resolved residue before them."""
    rows = np.flatnonzero(resolved)
    breaks = np.zeros(len(resolved), bool)
    before, after = rows[:-1], rows[1:]
    gap = positions[after, 0] - positions[before, 2]
    # Elementwise sums: a dot product may differ in the last bit between processors.
    squared = gap[:, 0] ** 2 + gap[:, 1] ** 2 + gap[:, 2] ** 2
    apart = (after - before != 1) | (squared > MAX_PEPTIDE_BOND**2)
    breaks[after] = apart & (chain[after] == chain[before])
    return breaks


def _mean(values: NDArray[np.float32]) -> float | None:
    return float(values.sum(dtype=np.float64) / len(values)) if len(values) else None


def _radius_of_gyration(points: NDArray[np.float64]) -> float:
    if not len(points):
        return 0.0
    centred = points - points.mean(axis=0)
    return float(np.sqrt((centred**2).sum() / len(points)))
