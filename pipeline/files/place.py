"""A folder or file of this machine or of a store, as it was given."""

from __future__ import annotations

import os
import re
from functools import cached_property
from pathlib import Path

from pipeline.files.storage import Folder, Location, open_folder


class Place:
    """Where something is: a path, or a URI that `open_folder` knows. An option of a command.

    Places are equal if their texts are. They travel to other processes as their texts, so that a
    relative path is one there, too.

    Parameters
    ----------
    location : str, Path, Folder or Place
        Nothing need be there. A path is spelled as pathlib does, a URI stays as it is.

    Attributes
    ----------
    is_uri : bool
        Whether it is no path; nothing is opened for that.
    """

    def __init__(self, location: Location) -> None:
        if isinstance(location, Folder):
            self.folder = location
            location = location.uri
        text = os.fspath(location)
        self.is_uri = re.match(r"[A-Za-z][A-Za-z0-9+.-]+:(/|$)", text) is not None
        self._text = text if self.is_uri else str(Path(text))

    @cached_property
    def folder(self) -> Folder:
        """The place, opened.

        Raises
        ------
        BadLocation, StorageError
            See `open_folder`.
        """
        return open_folder(self._text)

    @property
    def absolute(self) -> Place:
        """The same, whatever folder one works in; a URI stays what it is."""
        local = self.folder.local
        return self if local is None else Place(os.path.abspath(local))

    def __str__(self) -> str:
        return self._text

    def __fspath__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"Place({self._text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Place) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> tuple[type[Place], tuple[str]]:
        return Place, (self._text,)
