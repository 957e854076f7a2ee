"""Whose functions an array is for, as the array API standard has it."""

from __future__ import annotations

from typing import Any

import array_api_compat
import numpy as np

# A tuple, since torch.compile follows no union of types.
_OF_NUMPY = (np.ndarray, np.generic)


def array_namespace(*arrays: Any) -> Any:
    """The module of functions for some arrays: NumPy, or what `array_api_compat` has for torch.

    NumPy has followed the standard since 2.1. `array_api_compat` has a module for it nevertheless,
    which imports all there is of NumPy: a tenth of a second, more than many a command's work.

    Parameters
    ----------
    arrays : arrays, numbers or None
    """
    if all(isinstance(a, _OF_NUMPY) or a is None for a in arrays):
        return np
    return array_api_compat.array_namespace(*arrays)
