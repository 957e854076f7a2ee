"""A loss that is not a number, and whose it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import torch
from torch import Tensor

from model.losses import LossTerm, LossWeights
from pipeline.errors import Failure


class BadLoss(Failure, RuntimeError):
    """A loss or a gradient is not finite; the message names terms and chains."""


def check_loss(
    total: Tensor,
    terms: Mapping[str, LossTerm],
    weights: LossWeights,
    uids: Sequence[str],
    step: int,
) -> None:
    """Stop at a loss that is not finite.

    Raises
    ------
    BadLoss
    """
    if bool(torch.isfinite(total)):
        return
    found = []
    for name, term in terms.items():
        if asdict(weights)[name] == 0:
            continue
        for uid, value in zip(uids, term.value.tolist(), strict=True):
            if not torch.isfinite(torch.tensor(value)):
                found.append(f"{name} is {value} for {uid}")
    what = "; ".join(found) or (
        f"it is {total.item()}, of finite terms for {', '.join(uids)}: their weights are too large"
    )
    raise BadLoss(f"batch {step}: the loss is not finite: {what}")
