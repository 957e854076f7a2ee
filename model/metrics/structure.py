"""The arrays of one protein that metrics read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.chain import Chain
from pipeline.features import atom14_positions, unpack_mask
from pipeline.short_repr import short_repr


@dataclass(frozen=True)
class Structure:
    """One protein of L residues, of one chain or several.

    Attributes
    ----------
    positions : (L, 14, 3) float64
        Å, atom14; absent atoms may hold anything.
    mask : (L, 14) bool
        Atoms that are there; their coordinates are finite.
    aatype : (L,) int64
        0–19, 20 = X.
    residue_index : (L,) int64
        Numbering within each chain.
    chain_index : (L,) int64
        A chain's residues are consecutive rows.
    """

    positions: NDArray[np.float64]
    mask: NDArray[np.bool_]
    aatype: NDArray[np.int64]
    residue_index: NDArray[np.int64]
    chain_index: NDArray[np.int64]

    __repr__ = short_repr

    def __post_init__(self) -> None:
        length = len(self.aatype)
        shapes = {
            "positions": (length, 14, 3),
            "mask": (length, 14),
            "aatype": (length,),
            "residue_index": (length,),
            "chain_index": (length,),
        }
        for name, shape in shapes.items():
            found = np.shape(getattr(self, name))
            if found != shape:
                raise ValueError(
                    f"{name} of a structure of {length} residues: {found}, not {shape}"
                )
        bad = self.mask & ~np.isfinite(self.positions).all(axis=-1)
        if bad.any():
            residue, slot = np.argwhere(bad)[0]
            raise ValueError(
                f"{int(bad.sum())} atoms of a structure are not finite, the first in row "
                f"{residue}, slot {slot}: {self.positions[residue, slot]}"
            )

    def __len__(self) -> int:
        return len(self.aatype)

    @property
    def ca(self) -> NDArray[np.float64]:
        """(L, 3) Cα."""
        return self.positions[:, 1]

    @property
    def has_ca(self) -> NDArray[np.bool_]:
        """(L,)"""
        return self.mask[:, 1]

    def with_atoms(self, positions: ArrayLike, mask: ArrayLike | None = None) -> Structure:
        """The same residues with other atoms."""
        return replace(
            self,
            positions=np.asarray(positions, np.float64),
            mask=self.mask if mask is None else np.asarray(mask, bool),
        )

    @classmethod
    def from_chain(cls, chain: Chain) -> Structure:
        """Of a parsed chain."""
        mask = unpack_mask(chain.atom14_mask)
        return cls(
            positions=atom14_positions(mask, chain.coords),
            mask=mask,
            aatype=chain.aatype.astype(np.int64),
            residue_index=chain.residue_index.astype(np.int64),
            chain_index=np.zeros(len(chain), np.int64),
        )

    @classmethod
    def from_item(cls, item: Mapping[str, Any]) -> Structure:
        """Of an item of a dataset, or of one row of a batch cut to its length.

        Reads ``atom14_positions``, ``atom14_mask``, ``aatype``, ``residue_index`` and
        ``chain_index``; arrays, or tensors on the CPU.
        """
        return cls(
            positions=np.asarray(item["atom14_positions"], np.float64),
            mask=np.asarray(item["atom14_mask"], bool),
            aatype=np.asarray(item["aatype"], np.int64),
            residue_index=np.asarray(item["residue_index"], np.int64),
            chain_index=np.asarray(item["chain_index"], np.int64),
        )
