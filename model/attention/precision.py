"""Where autocast must not reach."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def without_autocast(tensor: Tensor) -> torch.autocast:
    """Context in which operations on this tensor's device keep the precision of their inputs."""
    return torch.autocast(tensor.device.type, enabled=False)


def linear_in_full(layer: nn.Linear, x: Tensor, dtype: torch.dtype) -> Tensor:
    """The layer applied in `dtype`, whatever the autocast and the precision of its weights."""
    bias = None if layer.bias is None else layer.bias.to(dtype)
    with without_autocast(x):
        return functional.linear(x.to(dtype), layer.weight.to(dtype), bias)
