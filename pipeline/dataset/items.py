"""Chains of a block → one item: a dictionary of tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.dataset.crops import Crop
from pipeline.dataset.entities import NO_ENTITY, entities_and_copies
from pipeline.dataset.store import Block
from pipeline.seeded import seeded
from pipeline.selection.fields import FIELDS, OF_CHAINS

Item = dict[str, Any]
Transform = Callable[[Item], Item]


class ItemMaker:
    """Puts items together: copies, joins chains, crops, transforms.

    Parameters
    ----------
    fields : sequence of str
        Keys of the item, in order; those of `OF_CHAINS` may be among them.
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
        self.tells_entities = bool({"entity_index", "symmetry_index"} & {*self.fields})
        extra = crop.fields if crop is not None else ()
        types = ("residue_index", "aatype") if self.tells_entities else ()
        wanted = (*self.fields, *extra, *types)
        self.read = tuple(dict.fromkeys(f for f in wanted if f not in OF_CHAINS))
        """Fields that blocks must have."""
        self._types = [(name, np.dtype(FIELDS[name].item)) for name in self.read]

    def make(
        self,
        name: str,
        parts: Sequence[tuple[Block, int, int]],
        extras: Mapping[str, Any],
        epoch: int,
        more: Mapping[str, Tensor] | None = None,
        *,
        entities: Sequence[int] | None = None,
        focus: Sequence[int] = (),
    ) -> Item:
        """One item of the chains ``block[begin:end]``, in order.

        `more` are per-residue tensors that do not come from blocks, of all residues of the item;
        `entities` the codes of the chains' entities, by default unknown; `focus` the places of the
        chains that a crop is to be of, by default no matter which.
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
        lengths = [end - begin for _, begin, end in parts]
        if self.crop is not None or "chain_index" in self.fields:
            item["chain_index"] = _by_residue(range(len(parts)), lengths)
        if self.tells_entities:
            codes = [NO_ENTITY] * len(parts) if entities is None else entities
            entity, copy = entities_and_copies(
                codes,
                [block["residue_index"][begin:end] for block, begin, end in parts],
                [block["aatype"][begin:end] for block, begin, end in parts],
            )
            item["entity_index"] = _by_residue(entity, lengths)
            item["symmetry_index"] = _by_residue(copy, lengths)
        item.update(more or {})
        if self.crop is not None and length > self.crop.size:
            if focus:
                item["focus"] = torch.isin(item["chain_index"], torch.tensor(focus))
            kept = self.crop.choose(item, seeded(self.seed, epoch, name))
            item = {key: value[kept] for key, value in item.items()}
        item = {key: item[key] for key in (*self.fields, *(more or ()))}
        item.update(extras)
        return item if self.transform is None else self.transform(item)


def _by_residue(values: Sequence[int], lengths: Sequence[int]) -> Tensor:
    """(L,) int64: the value of each residue's chain."""
    return torch.from_numpy(np.repeat(np.array(values, np.int64), lengths))
