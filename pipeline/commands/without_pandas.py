"""Arrow without pandas, in processes that have no use for pandas.

Where pandas is installed, Arrow imports it when it makes an array of a list, to see whether there
are values of pandas' among the items. That takes half as long again as a command's own start.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType

_OURS = ("pipeline.", "model.")


class _NoPandas(MetaPathFinder):
    """No code of ours imports pandas: where it does, it has called Arrow."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        if name == "pandas" and _importer().startswith(_OURS):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def _importer() -> str:
    """The module whose code imports something now, or has called what of Arrow's does."""
    frame = sys._getframe(2)
    while _is_between(name := str(frame.f_globals.get("__name__", ""))) and frame.f_back:
        frame = frame.f_back
    return name


def _is_between(name: str) -> bool:
    return "importlib" in name or name.startswith("pyarrow.")


def without_pandas() -> None:
    """From now on Arrow finds no pandas when we call it. Whoever imports it gets it as ever."""
    if not any(isinstance(finder, _NoPandas) for finder in sys.meta_path):
        sys.meta_path.insert(0, _NoPandas())
