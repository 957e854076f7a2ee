"""What options of several commands are checked for; each says what to give instead."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from pipeline.commands.words import dashed
from pipeline.errors import UsageError


def check_at_least(options: object, **least: int) -> None:
    """Of each option that is named, the least value; one that is None was not given.

    Raises
    ------
    UsageError
    """
    for name, bound in least.items():
        if (value := getattr(options, name)) is not None and value < bound:
            raise UsageError(f"{dashed(name)} is at least {bound}, found {value}")


def check_share(name: str, value: float) -> None:
    """An option's value is from 0 to 1.

    Raises
    ------
    UsageError
    """
    if not 0 <= value <= 1:
        raise UsageError(f"{dashed(name)} is a share, from 0 to 1")


def is_day(text: str) -> bool:
    """Whether a text is a day as YYYY-MM-DD."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def check_day(name: str, value: str) -> None:
    """An option's value is a day.

    Raises
    ------
    UsageError
    """
    if not is_day(value):
        raise UsageError(f"{dashed(name)} {value}: give a day as YYYY-MM-DD")


def check_no_file(name: str, folder: Path) -> None:
    """What is to be a folder is none yet, or one.

    Raises
    ------
    UsageError
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{dashed(name)} {folder} is a file; give a folder")


def check_no_folder(name: str, file: Path) -> None:
    """What is to be a file is no folder.

    Raises
    ------
    UsageError
    """
    if file.is_dir():
        raise UsageError(f"{dashed(name)} {file} is a folder; give a file")


def check_has_folder(name: str, file: Path) -> None:
    """What is to be a file can be one there.

    Raises
    ------
    UsageError
    """
    if not file.absolute().parent.is_dir():
        raise UsageError(f"{dashed(name)} {file}: there is no folder {file.parent}")


def check_exists(name: str, path: Path) -> None:
    """What is to be read is there.

    Raises
    ------
    UsageError
    """
    if not path.exists():
        raise UsageError(f"{dashed(name)} {path}: there is no such file or folder")
