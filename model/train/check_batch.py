"""Is a batch what the flow reads? If not, which chain is it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from model.flow.clean import BATCH_KEYS
from pipeline.errors import Failure
from pipeline.residues import UNKNOWN

_TRAILING = {
    "aatype": (),
    "residue_index": (),
    "chain_index": (),
    "atom14_positions": (14, 3),
    "atom14_mask": (14,),
    "rotmats": (3, 3),
    "trans": (3,),
    "residue_mask": (),
}


class BadBatch(Failure, ValueError):
    """A batch that cannot be trained on; the message names the chains."""


def names(batch: Mapping[str, Any]) -> list[str]:
    """A name for each protein of a batch: those of the chains that it stands for (``focus``), its
    ``chain_uid``, or those of all its chains."""
    if "focus" in batch and "chain_uid" in batch:
        both = zip(batch["focus"], batch["chain_uid"], strict=True)
        return ["+".join(focus) or str(uid) for focus, uid in both]
    if "chain_uid" in batch:
        return [str(uid) for uid in batch["chain_uid"]]
    if "chain_uids" in batch:
        return ["+".join(map(str, uids)) for uids in batch["chain_uids"]]
    raise BadBatch(f"a batch without chain_uid; it has {', '.join(map(str, batch))}")


def once_each(uids: Sequence[str]) -> list[str]:
    """The names of a batch, with a number where one comes again: two crops of one protein are to
    have noise of their own."""
    seen: Counter[str] = Counter()
    found = []
    for uid in uids:
        seen[uid] += 1
        found.append(uid if seen[uid] == 1 else f"{uid} {seen[uid]}")
    return found


def check_batch(batch: Mapping[str, Any]) -> None:
    """Look for what would spoil a step.

    Raises
    ------
    BadBatch
        A key is missing, shapes disagree, a type is none, or an atom that is said to be there has
        no finite place. The message names the key and the chains.
    """
    uids = names(batch)
    for key in BATCH_KEYS:
        if key not in batch:
            raise BadBatch(
                f"the batch of {_some(uids)} has no {key!r}: give it in data.columns, or leave "
                "data.columns out"
            )
    if len(uids) == 0 or len(batch["lengths"]) != len(uids):
        raise BadBatch(f"{len(batch['lengths'])} lengths for {len(uids)} chains: {_some(uids)}")
    size = batch["aatype"].shape[1:]
    for key, trailing in _TRAILING.items():
        wanted = (len(uids), *size, *trailing)
        if tuple(batch[key].shape) != wanted:
            raise BadBatch(
                f"{key} of {_some(uids)} has shape {tuple(batch[key].shape)}, expected {wanted}"
            )
    lengths = batch["lengths"]
    _check(uids, "lengths", (lengths >= 1) & (lengths <= size[0]), f"are not from 1 to {size[0]}")
    kinds = (batch["aatype"] >= 0) & (batch["aatype"] <= UNKNOWN)
    _check(uids, "aatype", kinds.all(1), f"has values outside 0–{UNKNOWN}")
    there = batch["atom14_mask"].bool()
    finite = torch.isfinite(batch["atom14_positions"]).all(-1) | ~there
    _check(uids, "atom14_positions", finite.flatten(1).all(1), "of present atoms is not finite")
    resolved = batch["residue_mask"].bool()
    for key in ("rotmats", "trans"):
        finite = torch.isfinite(batch[key]).flatten(2).all(-1) | ~resolved
        _check(uids, key, finite.all(1), "of resolved residues is not finite")


def check_embedding(batch: Mapping[str, Any], c_embedding: int) -> None:
    """Do the data have the embeddings that the network takes?

    Parameters
    ----------
    batch : mapping
    c_embedding : int
        Channels that the network takes, 0 for none.

    Raises
    ------
    BadBatch
        They have none, others, or some that nobody would look at.
    """
    width = batch["embedding"].shape[-1] if "embedding" in batch else 0
    if width == c_embedding:
        return
    if not width:
        raise BadBatch(
            f"the network takes embeddings of {c_embedding} numbers per residue, and the data have "
            "none: give --data.embedding NAME, or --model.network.c_embedding 0"
        )
    raise BadBatch(
        f"the data's embeddings have {width} numbers per residue, and the network takes "
        f"{c_embedding or 'none'}: give --model.network.c_embedding {width}, or leave out "
        "--data.embedding"
    )


def _check(uids: Sequence[str], key: str, fine: Tensor, otherwise: str) -> None:
    if not bool(fine.all()):
        wrong = [uid for uid, ok in zip(uids, fine.tolist(), strict=True) if not ok]
        raise BadBatch(f"{_some(wrong)}: {key} {otherwise}")


def _some(uids: Sequence[str], most: int = 8) -> str:
    more = f" and {len(uids) - most} more" if len(uids) > most else ""
    return ", ".join(uids[:most]) + more
