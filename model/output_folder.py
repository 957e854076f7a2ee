"""Folders that the commands of the model fill, file by whole file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from model.errors import AlreadyThere
from pipeline.files.atomic import appears_whole


def make_folder(out_dir: Path, overwrite: bool, advice: str = "") -> None:
    """See that the folder is there, and empty unless its files may be replaced.

    `advice` is what else may be done about one that is not.

    Raises
    ------
    AlreadyThere
    """
    if out_dir.exists() and not out_dir.is_dir():
        raise AlreadyThere(f"{out_dir} is a file; give a folder")
    if out_dir.exists() and any(out_dir.iterdir()) and not overwrite:
        raise AlreadyThere(
            f"{out_dir} holds files already; --overwrite replaces those of one name{advice}"
        )
    out_dir.mkdir(parents=True, exist_ok=True)


def write(path: Path, text: str) -> None:
    """A file that appears whole."""
    written(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def written(path: Path, fill: Callable[[Path], Any]) -> None:
    """What `fill` writes, under its name at once."""
    with appears_whole(path, path.absolute().parent) as temporary:
        fill(temporary)
