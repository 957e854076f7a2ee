"""What moves to a device, and what is kept there so that it need not move."""

from __future__ import annotations

import torch
from torch import Tensor

BLOCKING = ("cpu", "mps")
"""Devices that a copy must have reached before its source may change."""


class Constant:
    """A tensor of which every device, once it has asked, keeps a copy.

    A copy to a GPU waits for all that the GPU has yet to do. Tables that are looked up in each step
    of training would make it wait each time.

    Parameters
    ----------
    value : Tensor
        On the CPU. Neither it nor its copies are ever written to.
    """

    def __init__(self, value: Tensor):
        self._value = value
        self._copies: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def __len__(self) -> int:
        return len(self._value)

    def on(self, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
        """The copy of a device, by default in the precision in which it was given."""
        dtype = self._value.dtype if dtype is None else dtype
        if device == self._value.device and dtype == self._value.dtype:
            return self._value
        if (device, dtype) not in self._copies:
            # What is made in inference mode could not be used in training afterwards.
            with torch.inference_mode(False):
                self._copies[device, dtype] = self._value.to(device, dtype)
        return self._copies[device, dtype]

    def like(self, tensor: Tensor) -> Tensor:
        """The copy on the device of a tensor and in its precision."""
        return self.on(tensor.device, tensor.dtype)

    def of(self, index: Tensor) -> Tensor:
        """Rows of the table, on the device of their numbers."""
        return self.on(index.device)[index]


def sent(tensor: Tensor, device: torch.device | str) -> Tensor:
    """A tensor on a device. The way there waits for nothing that a GPU has yet to do."""
    device = torch.device(device)
    if device.type == "cuda" and tensor.device.type == "cpu":
        # From memory that may be swapped out, the copy would be made at once.
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=device.type not in BLOCKING)
