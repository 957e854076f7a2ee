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
from pipeline.geometry.backbone_torsions import phi_psi
from pipeline.geometry.clashes import count_clashes
from pipeline.geometry.gaussians import BASE_THICKNESS, residue_gaussians
from pipeline.geometry.moments import Shape
from pipeline.geometry.secondary_structure import secondary_structure
from pipeline.geometry.three_di import three_di
from pipeline.residues import (
    ATOM14_ELEMENT,
    MAX_PEPTIDE_BOND,
    N_SLOTS,
    UNKNOWN,
    ramachandran_regions,
    wrong_hands,
)
from pipeline.residues.ramachandran import OUTLIER

TRIMMED = 10
"""One residue in so many is left out at each end of a chain for its trimmed mean."""

_ELEMENT_OF_SLOT = np.array([[ord(e or " ") for e in row] for row in ATOM14_ELEMENT], np.uint8)


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
    trimmed_mean_b_factor : float or None
        The same without a tenth of these residues at either end.
    clashes_per_1000_atoms : float
        Pairs of atoms of the chain that clash, see `count_clashes`; of 1,000 of its atoms.
    ramachandran_outlier_fraction : float or None
        Of the residues of known type that are bonded on both sides; ``None`` if there is none.
    n_chirality_errors : int
        Carbons of the wrong hand, see `wrong_hands`.
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
    trimmed_mean_b_factor: float | None
    clashes_per_1000_atoms: float
    ramachandran_outlier_fraction: float | None
    n_chirality_errors: int


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
    bits = np.concatenate([c.atom14_mask for c in chains])
    mask = unpack_mask(bits)
    coords = np.concatenate([c.coords for c in chains])
    positions = atom14_positions(mask, coords)
    aatype = np.concatenate([c.aatype for c in chains])
    resolved = np.concatenate([c.resolved for c in chains])
    index = np.concatenate([c.residue_index for c in chains])
    mu, sigma, _ = residue_gaussians(positions, mask, base_thickness, shape)
    centroid, covariance = mu.astype(np.float32), sigma.astype(np.float32)
    alpha = positions[:, 1]
    has_alpha = mask[:, 1]
    sse = secondary_structure(alpha.astype(np.float32), has_alpha, index, offsets)
    letters = three_di(positions, mask, resolved, offsets)

    joined = _joined(positions, resolved)
    joined[offsets[:-1]] = False
    breaks = resolved & ~joined
    breaks[_first_resolved(resolved, offsets)] = False
    atoms = np.concatenate(([0], np.cumsum([len(c.coords) for c in chains])))
    residue = np.repeat(np.arange(len(bits)), np.bitwise_count(bits))
    n_clashes = count_clashes(coords, residue, _ELEMENT_OF_SLOT[aatype][mask], atoms)
    rows = np.flatnonzero(joined[:-1] & joined[1:] & (aatype[:-1] < UNKNOWN))
    regions = ramachandran_regions(aatype[rows], *backbone_angles(positions, rows))
    n_angles = _each(rows, offsets)
    n_outliers = _each(rows[regions == OUTLIER], offsets)
    n_wrong = _each(wrong_hands(aatype, positions, mask), offsets)
    features = []
    for k, chain in enumerate(chains):
        here = slice(int(offsets[k]), int(offsets[k + 1]))
        with_alpha = has_alpha[here]
        n_alpha = int(np.count_nonzero(with_alpha))
        n_helix, n_strand = (int(np.count_nonzero(sse[here] == s)) for s in (1, 2))
        where = resolved[here]
        b_factor = chain.b_factor[with_alpha]
        n_ends = len(b_factor) // TRIMMED
        trimmed = _mean(b_factor[n_ends : len(b_factor) - n_ends])
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
                mean_b_factor=_mean(b_factor),
                trimmed_mean_b_factor=trimmed,
                clashes_per_1000_atoms=1000 * int(n_clashes[k]) / max(1, len(chain.coords)),
                ramachandran_outlier_fraction=int(n_outliers[k]) / int(n_angles[k])
                if n_angles[k]
                else None,
                n_chirality_errors=int(n_wrong[k]),
            )
        )
    return features


def bonded_on_both_sides(
    positions: NDArray[np.float64],
    resolved: NDArray[np.bool_],
    offsets: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Residues, (R,), that are joined to the one before and to the one after them; of one chain, or
    of chains that begin at `offsets`."""
    joined = _joined(positions, resolved)
    if offsets is not None:
        joined[offsets[:-1]] = False
    return np.flatnonzero(joined[:-1] & joined[1:])


def backbone_angles(
    positions: NDArray[np.float64], rows: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """φ and ψ in degrees, (R,) each, of residues that are bonded on both sides."""
    return phi_psi(positions[:, 0], positions[:, 1], positions[:, 2], rows)


def _each(rows: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many of the rows each chain has."""
    chain = np.searchsorted(offsets, rows, side="right") - 1
    return np.bincount(chain, minlength=len(offsets) - 1)


def _joined(positions: NDArray[np.float64], resolved: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(L,) True at resolved residues that are bonded to a resolved residue in the row before."""
    joined = np.zeros(len(resolved), bool)
    rows = np.flatnonzero(resolved[1:] & resolved[:-1]) + 1
    gap = positions[rows, 0] - positions[rows - 1, 2]
    # Elementwise sums: a dot product may differ in the last bit between processors.
    squared = gap[:, 0] ** 2 + gap[:, 1] ** 2 + gap[:, 2] ** 2
    joined[rows] = squared <= MAX_PEPTIDE_BOND**2
    return joined


def _first_resolved(resolved: NDArray[np.bool_], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of the first resolved residue of each chain that has one."""
    rows = np.flatnonzero(resolved)
    first = np.searchsorted(rows, offsets)
    return rows[first[:-1][np.diff(first) > 0]]


def _mean(values: NDArray[np.float32]) -> float | None:
    return float(values.sum(dtype=np.float64) / len(values)) if len(values) else None


def _radius_of_gyration(points: NDArray[np.float64]) -> float:
    if not len(points):
        return 0.0
    centred = points - points.mean(axis=0)
    return float(np.sqrt((centred**2).sum() / len(points)))
