"""Find the inputs: every file of a folder, of a list, and of the archives among them.

Folders and lists are here or in a store. Archives are tars and Foldcomp databases; nothing else is
opened, and nothing is written.
"""

from __future__ import annotations

import os
import posixpath
import stat
import urllib.parse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pyarrow.fs

from pipeline.files.storage import BadLocation, Folder, StorageError, open_folder
from pipeline.sources.errors import Missing
from pipeline.sources.found import Discovery, Finds
from pipeline.sources.list_store import list_store
from pipeline.sources.stored import is_here, is_uri, place_of, uri_in
from pipeline.sources.walk_folder import is_below, no_access, walk_folder

_REQUESTS_AT_ONCE = 32


def discover(
    root: Path | None, pdb_list: Path | None = None, exclude: Sequence[Path] = ()
) -> Discovery:
    """Find all inputs below a folder, in a list of paths, or both.

    Parameters
    ----------
    root : Path, optional
        A folder; or one file, which is then the only input. It may carry a URI, as all of these.
    pdb_list : Path, optional
        Text file of one path per line, relative to the list's own folder, or URIs; empty lines and
        lines that start with ``#`` are left out. A listed file that is not there is returned with
        size -1, so that reading it fails by name. A listed archive stands for its members.
    exclude : sequence of Path
        Folders that are not searched: the output.

    Raises
    ------
    Missing, Unreadable
        If `root` or `pdb_list` itself is not there. What is unreadable below is a problem in the
        result.
    StorageError
        A store does not answer, has no such bucket, or refuses.
    """
    finds = Finds(input_root(root, pdb_list))
    excluded = [open_folder(path) for path in exclude]
    if root is not None:
        place = open_folder(root)
        if place_kind(root) == "file":
            _add_listed(finds, [place.local.name if place.local is not None else place.name])
        elif place.is_local:
            walk_folder(finds, excluded)
        else:
            list_store(finds, excluded)
    if pdb_list is not None:
        _add_listed(finds, _listed_paths(open_folder(pdb_list), finds.root))
    return finds.result()


def input_root(root: Path | None, pdb_list: Path | None) -> Folder:
    """What the paths of the files that ``discover`` finds are relative to."""
    if root is not None:
        place = open_folder(root)
        return place.parent if place_kind(root) == "file" else place
    if pdb_list is None:
        raise ValueError("discover needs a folder or a list")
    return open_folder(pdb_list).parent


def place_kind(place: Path) -> str | None:
    """``"file"``, ``"folder"``, or None where there is nothing.

    Raises
    ------
    BadLocation, StorageError
    """
    folder = open_folder(place)
    if folder.local is not None:
        return "file" if folder.local.is_file() else "folder" if folder.local.exists() else None
    folder.check()
    if not folder.name:
        return "folder"
    kind = folder.info().type
    kinds = {pyarrow.fs.FileType.File: "file", pyarrow.fs.FileType.Directory: "folder"}
    return kinds.get(kind)


class SizeAndTime(NamedTuple):
    """What a file is recognised by."""

    size: int
    mtime_ns: int


def sizes_and_times(paths: Sequence[str], root: Folder) -> list[SizeAndTime | None]:
    """Size and time of files by their paths (see ``SourceFile``); None for what is no file now.

    Raises
    ------
    StorageError
        A store does not answer at all. (A single file that it does not tell about is None.)
    """
    far = [path for path in paths if not is_here(path, root)]
    with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as threads:
        asked = dict(zip(far, threads.map(lambda p: _ask_store(p, root), far), strict=True))
    return [asked[path] if path in asked else _stat(path, root) for path in paths]


def _stat(path: str, root: Folder) -> SizeAndTime | None:
    try:
        status = os.stat(os.path.join(root.local or "/", path))
    except (OSError, ValueError):  # ValueError: a null character
        return None
    is_file = stat.S_ISREG(status.st_mode)
    return SizeAndTime(status.st_size, status.st_mtime_ns) if is_file else None


def _ask_store(path: str, root: Folder) -> SizeAndTime | None:
    try:
        folder, name = place_of(path, root)
        info = folder.info(name)
    except StorageError:
        folder.check()
        return None  # reading it will say why
    except (OSError, ValueError):  # what is no possible key, or no URI
        return None
    is_file = info.type == pyarrow.fs.FileType.File
    return SizeAndTime(info.size, info.mtime_ns) if is_file else None


def _add_listed(finds: Finds, paths: Sequence[str]) -> None:
    paths = [path for path in dict.fromkeys(paths) if path not in finds]
    for path, found in zip(paths, sizes_and_times(paths, finds.root), strict=True):
        name = posixpath.basename(path)
        if is_uri(path):
            name = posixpath.basename(urllib.parse.unquote(path.partition("?")[0]))
        if found is None:
            finds.add_absent(path, name)
        else:
            finds.add_listed(path, name, found.size, found.mtime_ns)


def _listed_paths(pdb_list: Folder, root: Folder) -> list[str]:
    """The lines of a list as paths of ``SourceFile`` s."""
    lines = _read_list(pdb_list)
    folder = pdb_list.parent
    if folder.local is None:
        return [_path_of_uri_or_key(line, folder, root) for line in lines]
    here = os.path.abspath(folder.local)
    base = None if root.local is None else os.path.abspath(root.local)
    return [
        _path_of_uri_or_key(line, folder, root)
        if is_uri(line)
        else _relative(os.path.join(here, line), base, line)
        for line in lines
    ]


def _read_list(pdb_list: Folder) -> list[str]:
    if pdb_list.local is not None:
        try:
            content = pdb_list.local.read_bytes()
        except OSError as error:
            raise no_access("the list", str(pdb_list.local), error) from error
    else:
        try:
            content = pdb_list.parent.read_bytes(pdb_list.name)
        except FileNotFoundError:
            raise Missing(f"the list {pdb_list.describe()} does not exist") from None
    text = content.decode("utf-8", "surrogateescape")
    lines = (line.strip() for line in text.removeprefix("\ufeff").split("\n"))
    return [line for line in lines if line and not line.startswith("#")]


def _relative(path: str, root: str | None, listed: str) -> str:
    """`path` below `root` as the walk would call it; else absolute."""
    if "\0" in path:
        return listed
    if ".." in path.split("/"):  # behind a link, "folder/.." is not where it seems to be
        path = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    path = os.path.normpath(path)
    if root is None or not is_below(path, root):
        return path
    return path[len(root.rstrip("/")) + 1 :]


def _path_of_uri_or_key(line: str, folder: Folder, root: Folder) -> str:
    """A line of a list as the listing would call it if it is below `root`; else a URI."""
    if line.startswith("/"):
        return os.path.normpath(line)
    try:
        if is_uri(line):
            whole = uri_in(line, root if folder.is_local else folder)
        else:
            # As a path is resolved; an object whose key holds ".." cannot be asked for anyway.
            bucket, _, key = posixpath.normpath(folder.join(line)).partition("/")
            whole = uri_in(f"{_scheme(folder)}://{bucket}/{urllib.parse.quote(key)}", folder)
    except (BadLocation, ValueError):
        return line  # reading it says what is wrong with it
    if whole.is_within(root) and whole.root != root.root:
        return whole.root[len(root.root) + 1 :]
    location, _, query = whole.uri.partition("?")
    is_implied = query == root.uri.partition("?")[2] and not root.is_local
    return location if is_implied else whole.uri


def _scheme(folder: Folder) -> str:
    return folder.uri.partition(":")[0]
