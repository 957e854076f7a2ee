"""A device that cannot answer: torch's ``meta`` in the place of a GPU.

Tensors there have shapes and no numbers. Whatever asks for a number fails. What is copied there in
a way that a GPU would be waited for succeeds, and is listed.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from tests.support.places import ROOT

STAND_IN = torch.device("meta")

_COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
_OF_NUMBERS = (torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor)
_INDEXING = (Tensor.__getitem__, Tensor.__setitem__)


@contextmanager
def listing_waits() -> Iterator[list[str]]:
    """Gives the lines of ours, once they ran, that send the stand-in something and wait for it."""
    seen: list[str] = []
    with _Numbers(seen), _Copies(seen):
        yield seen


class _Copies(TorchDispatchMode):
    """Tensors that are copied there, and not asynchronously."""

    def __init__(self, seen: list[str]) -> None:
        super().__init__()
        self._seen = seen

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        out = function(*args, **kwargs)
        if function in _COPIES and out.device == STAND_IN:
            source = [x for x in args if isinstance(x, Tensor)][-1]
            if source.device != STAND_IN and not kwargs.get("non_blocking"):
                self._seen.append(_where())
        return out


class _Numbers(TorchFunctionMode):
    """Numbers of Python that become a tensor there, indices among them."""

    def __init__(self, seen: list[str]) -> None:
        super().__init__()
        self._seen = seen

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        out = function(*args, **(kwargs or {}))
        made = function in _OF_NUMBERS and out.device == STAND_IN
        if made or (function in _INDEXING and _goes_there(args[0], args[1])):
            self._seen.append(_where())
        return out


def _goes_there(tensor: Tensor, index: Any) -> bool:
    """Whether an index, or what is indexed, lies elsewhere."""
    each: Iterable[Any] = index if isinstance(index, tuple) else (index,)
    devices = {tensor.device} | {i.device for i in each if isinstance(i, Tensor) and i.ndim}
    return len(devices) > 1 or (
        tensor.device == STAND_IN and any(isinstance(i, list) for i in each)
    )


def _where() -> str:
    """The innermost line of ours but for this file's."""
    for frame in reversed(traceback.extract_stack()):
        # An environment may lie in the checkout.
        is_ours = frame.filename.startswith(f"{ROOT}/") and "site-packages" not in frame.filename
        if is_ours and frame.filename != __file__:
            return f"{frame.filename.removeprefix(f'{ROOT}/')}:{frame.lineno} {frame.line}"
    return "not ours"


def without_autocast_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Autocast does not know the stand-in; turning it off there is nothing."""
    autocast = torch.autocast

    def instead(device_type: str, *arguments: Any, **options: Any) -> Any:
        if device_type == STAND_IN.type:
            return nullcontext()
        return autocast(device_type, *arguments, **options)

    monkeypatch.setattr(torch, "autocast", instead)
