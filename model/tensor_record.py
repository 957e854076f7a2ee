"""Frozen dataclasses of tensors, which move and slice together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from model.on_device import sent
from pipeline.short_repr import short_repr

T = TypeVar("T", bound="TensorRecord")


@dataclass(frozen=True)
class TensorRecord:
    """A frozen dataclass of tensors (or None) and of other such records."""

    def __init_subclass__(cls) -> None:
        # In its own namespace, where `dataclass` leaves it as it is.
        cls.__repr__ = short_repr  # type: ignore[method-assign]

    def map(self: T, function: Callable[[Tensor], Tensor]) -> T:
        """The same record with `function` applied to each tensor and each record in it."""
        changed: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                changed[field.name] = function(value)
            elif isinstance(value, TensorRecord):
                changed[field.name] = value.map(function)
        return replace(self, **changed)

    def to(self: T, device: torch.device | str) -> T:
        """On another device; see `model.on_device.sent`."""
        return self.map(lambda tensor: sent(tensor, device))

    def detach(self: T) -> T:
        return self.map(lambda tensor: tensor.detach())

    def __getitem__(self: T, index: Any) -> T:
        """Items of the batch."""
        return self.map(lambda tensor: tensor[index])
