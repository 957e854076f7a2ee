"""Chains of a block → one item: a dictionary of tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.dataset.crops import Crop
from pipeline.dataset.store import Block
from pipeline.seeded import seeded
from pipeline.selection.fields import FIELDS

Item = dict[str, Any]
Transform = Callable[[Item], Item]


class ItemMaker:
    """Puts items together: copies, joins chains, crops, transforms.

    Parameters
    ----------
    fields : sequence of str
        Keys of the item, in order; ``chain_index`` may be among them.
    crop : Crop, optional
        Applied to items longer than its size.
    transform : callable, optional
        item → item, last.
    seed : int
        Of the crops. A crop is a pure function of (seed, epoch, name of the item).
    """

    def __init__(
        self, fields: Sequence[str], crop: Crop | None, transform: Transform | None, seed: int
    ):
        self.fields = tuple(fields)
        self.crop, self.transform, self.seed = crop, transform, seed
        extra = crop.fields if crop is not None else ()
        self.read = tuple(dict.fromkeys(f for f in (*self.fields, *extra) if f != "chain_index"))
        """Fields that blocks must have."""
        self._types = [(name, np.dtype(FIELDS[name].item)) for name in self.read]

    def make(
        self,
        name: str,
        parts: Sequence[tuple[Block, int, int]],
        extras: Mapping[str, Any],
        epoch: int,
        more: Mapping[str, Tensor] | None = None,
    ) -> Item:
        """One item of the chains ``block[begin:end]``, in order.

        `more` are per-residue tensors that do not come from blocks, of all residues of the item.
        """
        item: Item = {}
        if len(parts) == 1:
            ((block, begin, end),) = parts
            for key, dtype in self._types:
                item[key] = torch.from_numpy(block[key][begin:end].astype(dtype))
            length = end - begin
        else:
            for key, dtype in self._types:
                pieces = [block[key][begin:end] for block, begin, end in parts]
                item[key] = torch.from_numpy(np.concatenate(pieces, dtype=dtype))
            length = sum(end - begin for _, begin, end in parts)
        if "chain_index" in self.fields:
            item["chain_index"] = _chain_index([end - begin for _, begin, end in parts])
        item.update(more or {})
        if self.crop is not None and length > self.crop.size:
            kept = self.crop.choose(item, seeded(self.seed, epoch, name))
            item = {key: value[kept] for key, value in item.items()}
        item = {key: item[key] for key in (*self.fields, *(more or ()))}
        item.update(extras)
        return item if self.transform is None else self.transform(item)


def _chain_index(lengths: Sequence[int]) -> Tensor:
    if len(lengths) == 1:
        return torch.zeros(lengths[0], dtype=torch.int64)
    return torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
