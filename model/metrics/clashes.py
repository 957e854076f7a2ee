"""Clashes: heavy atoms of different residues that are nearer than their radii allow."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from model.metrics.residue_types import table_rows
from pipeline.residues import (
    ATOM14_ELEMENT,
    ATOM14_NAMES,
    BACKBONE_SLOTS,
    MAX_PEPTIDE_BOND,
    N_SLOTS,
    RESTYPES,
    SLOT_OF_NAME,
    VAN_DER_WAALS_RADII,
)
from pipeline.residues.geometry import FAR, N_BONDS

ALLOWANCE = 0.05
"""Å taken off every sum of two radii before it is scaled, as in PackBench."""

HYDROGEN_BOND = 0.6
"""Å that donor and acceptor of a hydrogen bond may come nearer: their radii count the hydrogen."""

MAX_DISULFIDE = 2.5
"""Å; a bond between two SG is 2.05 Å long."""

MIN_BONDS = 4
"""Atoms with fewer bonds between them are held where they are by lengths and angles, and by the
planes of peptides."""

_CYSTEINE, _PROLINE = RESTYPES.index("CYS"), RESTYPES.index("PRO")
_SG, _CD = SLOT_OF_NAME[_CYSTEINE]["SG"], SLOT_OF_NAME[_PROLINE]["CD"]
_N, _C = 0, 2

# Serine, threonine, tyrosine and histidine are both, in one state or the other.
_DONORS = frozenset(("N", "NE", "NH1", "NH2", "ND1", "ND2", "NE1", "NE2", "NZ", "OG", "OG1", "OH"))
_ACCEPTORS = frozenset(("O", "OD1", "OD2", "OE1", "OE2", "ND1", "NE2", "OG", "OG1", "OH"))


def _by_name(names: frozenset[str]) -> NDArray[np.bool_]:
    return np.array([[name in names for name in row] for row in ATOM14_NAMES])


_RADIUS = np.array(
    [[VAN_DER_WAALS_RADII.get(element, 0.0) for element in row] for row in ATOM14_ELEMENT]
)
_DONATES, _ACCEPTS = _by_name(_DONORS), _by_name(_ACCEPTORS)
# The nitrogen of proline has no hydrogen; NE2 of glutamine, unlike histidine's, accepts nothing.
_DONATES[_PROLINE, _N] = False
_ACCEPTS[RESTYPES.index("GLN"), SLOT_OF_NAME[RESTYPES.index("GLN")]["NE2"]] = False
_FIXED = np.zeros(N_SLOTS, bool)
# CB follows from the backbone: in packing, its contacts with backbones are nobody's doing.
_FIXED[[*BACKBONE_SLOTS, 4]] = True


@dataclass(frozen=True)
class Clashes:
    """Pairs of atoms, each pair once, the lower residue first.

    Attributes
    ----------
    residues : (P, 2) int64
        Rows of the structure.
    slots : (P, 2) int64
    distance : (P,) float64
        Å.
    contact : (P,) float64
        Å; r_a + r_b − 0.05 Å.
    hydrogen_bond : (P,) bool
        One is a donor, the other an acceptor.
    """

    residues: NDArray[np.int64]
    slots: NDArray[np.int64]
    distance: NDArray[np.float64]
    contact: NDArray[np.float64]
    hydrogen_bond: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.distance)

    def __getitem__(self, rows: NDArray[np.bool_]) -> Clashes:
        return Clashes(*(getattr(self, field.name)[rows] for field in fields(self)))

    def limit(self, fraction: float) -> NDArray[np.float64]:
        """(P,) Å; the distance below which each pair clashes."""
        return fraction * self.contact - HYDROGEN_BOND * self.hydrogen_bond

    def below(self, fraction: float) -> Clashes:
        """Those that also clash at a smaller fraction of the radii."""
        return self[self.distance < self.limit(fraction)]


def clashes(
    positions: ArrayLike,
    mask: ArrayLike,
    aatype: ArrayLike,
    chain_index: ArrayLike,
    *,
    fraction: float = 1.0,
    backbone: bool = False,
) -> Clashes:
    """Non-bonded heavy atoms closer than a fraction of the sum of their van der Waals radii.

    A pair clashes if its distance is below

        fraction · (r_a + r_b − 0.05 Å) − 0.6 Å [one is a donor, the other an acceptor].

    Counted are pairs of atoms of different residues, of all chains. Not counted are

    - pairs within one residue, however bad its own geometry;
    - pairs with fewer than four bonds between them: across a peptide bond (consecutive rows of one
      chain, C and N within 2.5 Å), and around a disulfide bridge (SG–SG within 2.5 Å);
    - any pair of SG: two cysteines that come near are a bridge in the making;
    - CD of proline with the backbones next to it;
    - backbone (CB included) with the backbone it is joined to: a matter of φ and ψ;
    - unless `backbone`, pairs in which neither atom lies beyond CB, because in packing those are
      given.

    Parameters
    ----------
    positions : (L, 14, 3) float
        Å, atom14; absent atoms may hold anything.
    mask : (L, 14) bool
    aatype : (L,) int
    chain_index : (L,) int
    fraction : float
        1.0 and 0.9 are what is reported (``clashes(…).below(0.9)``); the hydrogen-bond term is not
        scaled.
    backbone : bool
        Count pairs of backbone atoms too, for structures whose backbone was generated.

    Returns
    -------
    Clashes

    Notes
    -----
    The rule is that of the assessment of AttnPacker, which PackBench uses, so that counts can be
    set beside its tables; radii are Bondi's (S 1.80 Å there too). Differences: here the atoms
    around a disulfide (CB–SG and CB–CB across it) count as bonded, there only SG–SG; proline's N is
    no donor here; and there the exemption of proline's CD is not limited to its own neighbours.
    At 100 % the count of experimental structures is far from zero (about one pair in four
    residues): hydrogens are implicit, radii generous, and contacts 0.1 Å short are counted like
    overlaps. It compares methods; 90 % is nearer to what is physically wrong.

    References
    ----------
    McPartlon, Xu: AttnPacker. PNAS 120 (2023) e2216438120.
    Bondi: van der Waals volumes and radii. J. Phys. Chem. 68 (1964) 441–451.
    """
    positions = np.asarray(positions, np.float64)
    mask = np.asarray(mask, bool)
    kinds = table_rows(aatype)
    residue, slot = np.nonzero(mask & (_RADIUS[kinds] > 0))
    points, kind = positions[residue, slot], kinds[residue]
    reach = max(fraction * (2 * _RADIUS.max() - ALLOWANCE), 0.0)
    pairs = np.zeros((0, 2), np.intp)
    if len(points):
        pairs = cKDTree(points).query_pairs(reach, output_type="ndarray")

    # Cheap tests first: most pairs within reach are of one residue, or both of the backbone.
    fixed = _FIXED[slot]
    counted = residue[pairs[:, 0]] != residue[pairs[:, 1]]
    if not backbone:
        counted &= ~(fixed[pairs[:, 0]] & fixed[pairs[:, 1]])
    pairs = np.sort(pairs[counted], axis=1)
    a, b = pairs[:, 0], pairs[:, 1]
    donates, accepts = _DONATES[kind, slot], _ACCEPTS[kind, slot]
    found = Clashes(
        residues=residue[pairs],
        slots=slot[pairs],
        distance=np.linalg.norm(points[a] - points[b], axis=1),
        contact=_RADIUS[kind[a], slot[a]] + _RADIUS[kind[b], slot[b]] - ALLOWANCE,
        hydrogen_bond=(donates[a] & accepts[b]) | (accepts[a] & donates[b]),
    ).below(fraction)
    return found[~_allowed(found, positions, mask, kinds, np.asarray(chain_index))]


def _allowed(
    pairs: Clashes,
    positions: NDArray[np.float64],
    mask: NDArray[np.bool_],
    kinds: NDArray[np.intp],
    chain_index: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """(P,) Pairs that may be this near: bonds hold them there."""
    (i, j), (s, t) = pairs.residues.T, pairs.slots.T
    kind_i, kind_j = kinds[i], kinds[j]

    joined = (j == i + 1) & _follows(positions, mask, chain_index)[j]
    n_bonds = np.where(joined, N_BONDS[kind_i, s, _C] + 1 + N_BONDS[kind_j, _N, t], FAR)

    cysteines = (kind_i == _CYSTEINE) & (kind_j == _CYSTEINE)
    bridged = cysteines & mask[i, _SG] & mask[j, _SG]
    gap = np.where(bridged[:, None], positions[i, _SG] - positions[j, _SG], np.inf)
    bridged &= (gap**2).sum(axis=1) <= MAX_DISULFIDE**2
    across = N_BONDS[_CYSTEINE, s, _SG] + 1 + N_BONDS[_CYSTEINE, _SG, t]
    n_bonds = np.where(bridged, np.minimum(n_bonds, across), n_bonds)

    allowed = n_bonds < MIN_BONDS
    allowed |= cysteines & (s == _SG) & (t == _SG)
    allowed |= joined & _FIXED[s] & _FIXED[t]
    allowed |= joined & (kind_i == _PROLINE) & (s == _CD) & (t < 4)
    allowed |= joined & (kind_j == _PROLINE) & (t == _CD) & (s < 4)
    return allowed


def _follows(
    positions: NDArray[np.float64], mask: NDArray[np.bool_], chain_index: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """(L,) True where a residue is joined to the row before it by a peptide bond."""
    both = mask[1:, _N] & mask[:-1, _C] & (chain_index[1:] == chain_index[:-1])
    gap = np.where(both[:, None], positions[1:, _N] - positions[:-1, _C], np.inf)
    return np.append(False, (gap**2).sum(axis=1) <= MAX_PEPTIDE_BOND**2)
