"""`pipeline` and `model` are names that people's own files have: whose are they here?"""

from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("pipeline", "model")
_HOME = Path(__file__).resolve().parents[1]


def check_ours(package: str) -> None:
    """See that Python finds our package under its name; nothing is imported for that.

    Raises
    ------
    ImportError
        The sentence names what it finds instead.
    """
    found = find_spec(package)
    if not _is_ours(package, None if found is None else found.origin):
        what = getattr(found, "origin", None) or f"another {package}"
        raise ImportError(
            f"{what} hides the package `{package}` of ellipsoid-flow, because it comes first on "
            "Python's path: rename it, or start from another folder"
        )


def pass_over_others() -> None:
    """Take the working folder, and what PYTHONPATH names, off the path if they hide our packages.

    Workers get the path from here.
    """
    given = {os.getcwd(), *os.environ.get("PYTHONPATH", "").split(os.pathsep)}
    sys.path[:] = [
        entry
        for entry in sys.path
        if os.path.abspath(entry) not in map(os.path.abspath, given) or not _hides(entry)
    ]


def _hides(entry: str) -> bool:
    found = {name: PathFinder.find_spec(name, [entry or os.getcwd()]) for name in PACKAGES}
    return any(
        spec is not None and spec.origin is not None and not _is_ours(name, spec.origin)
        for name, spec in found.items()
    )


def _is_ours(package: str, origin: str | None) -> bool:
    return origin is not None and Path(origin).resolve() == _HOME / package / "__init__.py"
