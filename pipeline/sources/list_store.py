"""The objects below a folder of a store."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow.fs

from pipeline.files.storage import Folder
from pipeline.sources.found import Finds
from pipeline.sources.names import FETCH_STATE, hidden_part


def list_store(finds: Finds, excluded: Sequence[Folder]) -> None:
    """Add every object below the root of `finds`, in nested folders too, but those of `excluded`.

    Empty objects whose keys end in ``/`` are markers of folders, made by tools that show a store
    as a disk; they are no files. What is hidden is passed by, as in a folder here. What Arrow lists
    and cannot ask for is a problem by its name.

    Raises
    ------
    StorageError
        The store does not answer, or refuses.
    """
    root = finds.root
    if any(root.is_within(folder) for folder in excluded):
        finds.add_problem(root.describe(), "excluded", "is the output folder, or lies in it")
        return
    not_searched = [f"{f.root[len(root.root) + 1 :]}/" for f in excluded if f.is_within(root)]
    for info in root.everything():
        if info.type != pyarrow.fs.FileType.File:
            continue
        path = info.path[len(root.root) + 1 :]
        if any(path.startswith(folder) for folder in not_searched):
            continue
        parts = path.split("/")
        if FETCH_STATE in parts[:-1]:
            continue
        if {"", ".", ".."} & set(parts):
            what = "has a key with an empty part, . or .., which cannot be asked for; copy it"
            finds.add_problem(path, "bad-key", f"{what} to another key")
        elif (hidden := hidden_part(path)) is not None:
            finds.add_hidden(hidden)
        elif path in finds:
            what = "is there twice, once with a slash at its end; copy that object to another key"
            finds.add_problem(path, "bad-key", what)
        else:
            finds.add_file(path, parts[-1], info.size, info.mtime_ns)
