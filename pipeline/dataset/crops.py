"""Crops: which residues of an item are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class Crop(Protocol):
    """Chooses residues of items that are longer than `size`."""

    @property
    def size(self) -> int:
        """Residues that remain at most."""

    @property
    def fields(self) -> tuple[str, ...]:
        """What `choose` looks at."""

    def choose(self, item: dict[str, Tensor], random: np.random.Generator) -> Tensor:
        """(size,) int64, ascending: the residues that remain."""


@dataclass(frozen=True)
class ContiguousCrop:
    """A window of `size` consecutive residues; of several chains, as they stand in the item."""

    size: int
    fields: tuple[str, ...] = ("residue_mask",)

    def __post_init__(self) -> None:
        _check_positive(self.size)

    def choose(self, item: dict[str, Tensor], random: np.random.Generator) -> Tensor:
        n = len(item["residue_mask"])
        begin = int(random.integers(max(1, n - self.size + 1)))
        return torch.arange(begin, min(n, begin + self.size))


@dataclass(frozen=True)
class SpatialCrop:
    """The `size` residues whose CA are nearest to that of a random resolved residue.

    As in AlphaFold-Multimer's spatial cropping (Evans et al. 2021), without its interface bias.
    Unresolved residues come last; the residues stay in their order.
    """

    size: int
    fields: tuple[str, ...] = ("trans", "residue_mask")

    def __post_init__(self) -> None:
        _check_positive(self.size)

    def choose(self, item: dict[str, Tensor], random: np.random.Generator) -> Tensor:
        resolved = torch.nonzero(item["residue_mask"]).flatten()
        centre = int(resolved[int(random.integers(len(resolved)))])
        return around(item["trans"], item["residue_mask"], centre, self.size)


def around(trans: Tensor, residue_mask: Tensor, centre: int, size: int) -> Tensor:
    """The residues nearest to one of them.

    Parameters
    ----------
    trans : (L, 3) float
        CA, Å.
    residue_mask : (L,) bool
    centre : int
    size : int

    Returns
    -------
    (min(size, L),) int64
        Ascending. Ties go to the earlier residue.
    """
    distance = torch.linalg.vector_norm(trans.double() - trans[centre].double(), dim=-1)
    distance = distance.masked_fill(~residue_mask, torch.inf)
    return torch.sort(torch.argsort(distance, stable=True)[:size]).values


def _check_positive(size: int) -> None:
    if size < 1:
        raise ValueError(f"a crop keeps at least one residue, not {size}")
