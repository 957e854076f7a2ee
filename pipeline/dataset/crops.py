"""Crops: which residues of an item are kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import UsageError

CONTACT = 8.0
"""Å between the CB of two residues (CA, where there is none) that make a pair of an interface."""


class Crop(Protocol):
    """Chooses residues of items that are longer than `size`."""

    @property
    def size(self) -> int:
        """Residues that remain at most."""

    @property
    def fields(self) -> tuple[str, ...]:
        """What `choose` looks at, besides ``chain_index``."""

    def choose(self, item: dict[str, Tensor], random: np.random.Generator) -> Tensor:
        """(size,) int64, ascending: the residues that remain.

        `item` has ``chain_index`` as well, and ``focus``, (L,) bool, if the item stands for one or
        two of its chains: the crop is to be of these.
        """


@dataclass(frozen=True)
class ContiguousCrop:
    """A window of `size` consecutive residues; of several chains, a window of each.

    The windows of several chains have the random sizes of AlphaFold-Multimer (R. Evans et al. 2021,
    supplement, algorithm 1): in a random order, each chain gets any number of residues that leaves
    neither too few to the others nor too many. Chains may get none; those in focus come first and
    get at least one.
    """

    size: int
    fields: tuple[str, ...] = ("residue_mask",)

    def __post_init__(self) -> None:
        _check_size(self.size)

    def choose(self, item: dict[str, Tensor], random: np.random.Generator) -> Tensor:
        n = len(item["residue_mask"])
        lengths = [n]
        if "chain_index" in item:
            lengths = torch.unique_consecutive(item["chain_index"], return_counts=True)[1].tolist()
        if len(lengths) == 1:
            begin = int(random.integers(max(1, n - self.size + 1)))
            return torch.arange(begin, min(n, begin + self.size))
        begins = np.cumsum([0, *lengths])[:-1]
        order = random.permutation(len(lengths)).tolist()
        focused = 0
        if "focus" in item:
            in_focus = item["focus"][torch.from_numpy(begins)].tolist()
            order.sort(key=lambda k: not in_focus[k])
            focused = sum(in_focus)
        room, behind = self.size, n
        windows = []
        for place, k in enumerate(order):
            behind -= lengths[k]
            waiting = max(0, focused - place - 1)
            most = min(lengths[k], max(0, room - waiting))
            least = min(most, max(room - behind, int(place < focused)))
            taken = int(random.integers(least, most + 1))
            begin = begins[k] + int(random.integers(lengths[k] - taken + 1))
            windows.append(torch.arange(begin, begin + taken))
            room -= taken
        return torch.sort(torch.cat(windows)).values


@dataclass(frozen=True)
class SpatialCrop:
    """The `size` residues whose CA are nearest to that of a random resolved residue.

    As in AlphaFold-Multimer's spatial cropping (Evans et al. 2021), without its interface bias, and
    in AlphaFold 3's. The random residue is of a chain in focus. Unresolved residues come last; the
    residues stay in their order.
    """

    size: int
    fields: tuple[str, ...] = ("trans", "residue_mask")

    def __post_init__(self) -> None:
        _check_size(self.size)

    def choose(self, item: dict[str, Tensor], random: np.random.Generator) -> Tensor:
        mask = item["residue_mask"]
        resolved = torch.nonzero(mask & item["focus"] if "focus" in item else mask).flatten()
        if not len(resolved):
            resolved = torch.nonzero(mask).flatten()
        if not len(resolved):
            return ContiguousCrop(self.size).choose(item, random)
        centre = int(resolved[int(random.integers(len(resolved)))])
        return around(item["trans"], mask, centre, self.size)


@dataclass(frozen=True)
class InterfaceCrop:
    """The neighbourhood of a random pair of residues of an interface: both sides of it.

    The pair is any two resolved residues of different chains in contact (`CONTACT`), each pair
    equally likely; with a chain in focus, one of them is of it, and with two, each is of one of
    these: if none is in contact, the nearest two. What remains are the `size` residues whose CA are
    nearest to that of either, the pair among them. After the spatial cropping at interfaces of
    AlphaFold-Multimer (Evans et al. 2021, supplement, algorithm 2) and AlphaFold 3 (Abramson et al.
    2024, supplement, 2.7), which take one residue for the centre. Where there is no such pair, as
    in a monomer, it is a `SpatialCrop`.
    """

    size: int
    fields: tuple[str, ...] = ("trans", "residue_mask", "atom14_positions", "atom14_mask")

    def __post_init__(self) -> None:
        _check_size(self.size)
        if self.size < 2:
            raise ValueError("a crop at an interface keeps two residues at least, not 1")

    def choose(self, item: dict[str, Tensor], random: np.random.Generator) -> Tensor:
        pairs = contacts(item)
        if "focus" in item:
            focus = item["focus"]
            two = len(torch.unique(item["chain_index"][focus])) > 1
            pairs = pairs[focus[pairs].sum(1) > int(two)]
            if two and not len(pairs):
                pairs = _nearest(item)
        if not len(pairs):
            return SpatialCrop(self.size).choose(item, random)
        pair = pairs[int(random.integers(len(pairs)))]
        return around(item["trans"], item["residue_mask"], pair.tolist(), self.size)


@dataclass(frozen=True)
class CropShares:
    """How often a `MixedCrop` is of each kind. The defaults are AlphaFold 3's for entries of the
    PDB (Abramson et al. 2024, supplement, table 4).

    Attributes
    ----------
    contiguous : float
    spatial : float
    interface : float
    """

    contiguous: float = 0.2
    spatial: float = 0.4
    interface: float = 0.4

    def __post_init__(self) -> None:
        for name in ("contiguous", "spatial", "interface"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise UsageError(f"the share of {name} crops is not negative, but {value}")
        if not self.contiguous + self.spatial + self.interface > 0:
            raise UsageError("the shares of all crops are 0; one of them is above")


@dataclass(frozen=True)
class MixedCrop:
    """A `ContiguousCrop`, `SpatialCrop` or `InterfaceCrop`, drawn by their shares for each item."""

    size: int
    shares: CropShares = field(default_factory=CropShares)

    def __post_init__(self) -> None:
        self._kinds()

    @property
    def fields(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(f for crop, _ in self._kinds() for f in crop.fields))

    def choose(self, item: dict[str, Tensor], random: np.random.Generator) -> Tensor:
        kinds = self._kinds()
        ends = np.cumsum([share for _, share in kinds])
        drawn = int(np.searchsorted(ends, random.random() * ends[-1], side="right"))
        return kinds[min(drawn, len(kinds) - 1)][0].choose(item, random)

    def _kinds(self) -> list[tuple[Crop, float]]:
        """Those that can be drawn, so that a share of 0 reads no coordinates."""
        shares = self.shares
        kinds = (
            (ContiguousCrop, shares.contiguous),
            (SpatialCrop, shares.spatial),
            (InterfaceCrop, shares.interface),
        )
        return [(crop(self.size), share) for crop, share in kinds if share > 0]


def looks_at_places(crop: Crop) -> bool:
    """Whether which residues are left depends on where they are."""
    return "trans" in crop.fields


def around(trans: Tensor, residue_mask: Tensor, centre: int | Sequence[int], size: int) -> Tensor:
    """The residues nearest to one of them, or to the nearest of several.

    Parameters
    ----------
    trans : (L, 3) float
        CA, Å.
    residue_mask : (L,) bool
    centre : int or sequence of int
    size : int

    Returns
    -------
    (min(size, L),) int64
        Ascending. Ties go to the earlier residue.
    """
    points = trans.double()
    distance: Tensor | None = None
    for one in [centre] if isinstance(centre, int) else centre:
        further = torch.linalg.vector_norm(points - points[one], dim=-1)
        distance = further if distance is None else torch.minimum(distance, further)
    if distance is None:
        raise ValueError("the residues nearest to none of them")
    distance = distance.masked_fill(~residue_mask, torch.inf)
    return torch.sort(torch.argsort(distance, stable=True)[:size]).values


def contacts(item: dict[str, Tensor]) -> Tensor:
    """(P, 2) int64: pairs i < j of resolved residues of different chains within `CONTACT`,
    in ascending order."""
    rows, points = _resolved(item, item["residue_mask"])
    pairs = rows[_tree(points).query_pairs(CONTACT, output_type="ndarray")].reshape(-1, 2)
    chain = item["chain_index"].numpy()
    pairs = np.sort(pairs[chain[pairs[:, 0]] != chain[pairs[:, 1]]], axis=1)
    return torch.from_numpy(pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))])


def _nearest(item: dict[str, Tensor]) -> Tensor:
    """(1, 2) int64: the nearest resolved residues of the two chains in focus; (0, 2) if one has
    none."""
    mask, chain = item["residue_mask"] & item["focus"], item["chain_index"]
    first = mask & (chain == chain[item["focus"]][0])
    (rows, points), (others, further) = _resolved(item, first), _resolved(item, mask & ~first)
    if not (len(rows) and len(others)):
        return torch.zeros(0, 2, dtype=torch.int64)
    distance, nearest = _tree(points).query(further)
    k = int(np.argmin(distance))
    return torch.tensor([[int(rows[nearest[k]]), int(others[k])]])


def _resolved(
    item: dict[str, Tensor], mask: Tensor
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows of a mask, and their CB, or CA where there is none."""
    rows = np.flatnonzero(mask.numpy())
    slot = np.where(item["atom14_mask"].numpy()[rows, 4], 4, 1)
    return rows, item["atom14_positions"].numpy()[rows, slot].astype(np.float64)


def _tree(points: NDArray[np.float64]) -> Any:
    # Takes 0.2 s to import, and only interfaces need it.
    from scipy.spatial import cKDTree

    return cKDTree(points)


def _check_size(size: int) -> None:
    if size < 1:
        raise ValueError(f"a crop keeps at least one residue, not {size}")
