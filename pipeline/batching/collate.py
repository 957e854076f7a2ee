"""`collate`: items of different lengths → one padded batch."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import get_worker_info

from pipeline.batching.shared_storage import in_one_storage
from pipeline.dataset.embeddings import KEY as EMBEDDING
from pipeline.selection.fields import FIELDS, OF_CHAINS

PER_RESIDUE = frozenset({*FIELDS, *OF_CHAINS, EMBEDDING})
"""Keys of items whose tensors have one row per residue."""

LENGTHS = "lengths"


def collate(
    items: Sequence[Mapping[str, Any]], *, per_residue: Collection[str] = ()
) -> dict[str, Any]:
    """Pad items to the longest of them and stack them.

    What is per residue is told by name, never guessed from a shape: a label that happens to be as
    long as the chain is not padded.

    Parameters
    ----------
    items : sequence of mappings
        All with the same keys, at least one of them per residue.
    per_residue : collection of str
        Further keys with one row per residue, besides `PER_RESIDUE`.

    Returns
    -------
    dict
        ``lengths`` : (B,) int64
            Residues of each item. ``residue_mask`` is False at padding, and at unresolved residues
            as well; this tells them apart.
        per-residue keys : (B, L, …)
            Padding is 0 and False, and the identity in ``rotmats``, so that nothing there is
            singular.
        other tensors and arrays : (B, …)
            Stacked.
        numbers and booleans : (B,)
            int64, float32 or bool.
        everything else : list
            Strings, lists, None.

    Raises
    ------
    ValueError
        Items disagree about keys, shapes or types; or a per-residue key has another length than the
        others. The sentence names the key and the chain.
    """
    if not items:
        raise ValueError("a batch of no items")
    first = items[0]
    declared = PER_RESIDUE.union(per_residue)
    padded = [key for key in first if key in declared]
    if not padded:
        raise ValueError(f"no key of the items is per residue: {', '.join(first)}")
    if LENGTHS in first:
        raise ValueError(f"{LENGTHS} is a key of batches; give it another name in items")
    lengths = [_rows(item, padded[0]) for item in items]
    for item, length in zip(items, lengths, strict=True):
        if item.keys() != first.keys():
            key = sorted(item.keys() ^ first.keys())[0]
            one, other = (item, first) if key in item else (first, item)
            raise ValueError(f"{_name(one)} has {key}, {_name(other)} in the same batch has not")
        for key in padded:
            if _rows(item, key) != length:
                raise ValueError(
                    f"{_name(item)}: {key} has {_rows(item, key)} rows and {padded[0]} {length}; "
                    "both are per residue"
                )
    batch: dict[str, Any] = {}
    for key in first:
        values = [item[key] for item in items]
        batch[key] = _pad(key, values, items) if key in declared else _stack(key, values, items)
    batch[LENGTHS] = torch.tensor(lengths)
    return batch if get_worker_info() is None else in_one_storage(batch)


def _pad(key: str, values: list[Any], items: Sequence[Mapping[str, Any]]) -> Tensor:
    tensors = [torch.as_tensor(value) for value in values]
    _check_alike(key, [(t.dtype, t.shape[1:]) for t in tensors], items)
    padded = pad_sequence(tensors, batch_first=True)
    if key == "rotmats":
        identity = torch.eye(3, dtype=padded.dtype)
        for row, tensor in zip(padded, tensors, strict=True):
            row[len(tensor) :] = identity
    return padded


def _stack(key: str, values: list[Any], items: Sequence[Mapping[str, Any]]) -> Any:
    if all(isinstance(value, Tensor | np.ndarray | np.generic) for value in values):
        tensors = [torch.as_tensor(value) for value in values]
        advice = f"; if it is per residue, say collate(…, per_residue=[{key!r}])"
        _check_alike(key, [(t.dtype, t.shape) for t in tensors], items, advice)
        return torch.stack(tensors)
    for kinds, dtype in ((bool, torch.bool), (int, torch.int64), (int | float, torch.float32)):
        if all(isinstance(v, kinds) and isinstance(v, bool) == (kinds is bool) for v in values):
            return torch.tensor(values, dtype=dtype)
    if any(isinstance(value, Tensor | np.ndarray | np.generic | int | float) for value in values):
        _check_alike(key, [type(value).__name__ for value in values], items)
    return values


def _check_alike(
    key: str, kinds: list[Any], items: Sequence[Mapping[str, Any]], advice: str = ""
) -> None:
    for kind, item in zip(kinds, items, strict=True):
        if kind != kinds[0]:
            raise ValueError(
                f"{key} is {_told(kinds[0])} in {_name(items[0])} and {_told(kind)} in "
                f"{_name(item)}{advice}"
            )


def _told(kind: Any) -> str:
    return f"{kind[0]} of shape {tuple(kind[1])}" if isinstance(kind, tuple) else str(kind)


def _rows(item: Mapping[str, Any], key: str) -> int:
    value = item.get(key)
    if not isinstance(value, Tensor | np.ndarray) or value.ndim == 0:
        raise ValueError(f"{_name(item)}: {key} is per residue, but no tensor of several rows")
    return int(value.shape[0])


def _name(item: Mapping[str, Any]) -> str:
    return str(item.get("chain_uid", "an item"))
