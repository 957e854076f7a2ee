"""Find the inputs: every regular file of a folder, of a list, and of the tar archives among them.

Nothing is opened but archives, and nothing is written. Symbolic links are followed. Each real
folder is visited once, under its own name if it has one below the root; a link to a file that is
found under the same file name elsewhere is an alias and no second input. (Under another file name
it is another entry: hard links and links to one file are also how equal files are stored once.)
One folder is passed over wherever it is: what ``pipeline.fetch`` keeps beside its files.
"""

from __future__ import annotations

import errno
import heapq
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.sources.archive import list_archive
from pipeline.sources.errors import Missing, SourceError, Unreadable
from pipeline.sources.names import FETCH_STATE, is_tar_name, name_bytes, printable, split_name
from pipeline.sources.source_file import SourceFile, describe_name


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that could not be searched, and so may hide inputs.

    Attributes
    ----------
    name : str
        Printable, as in ``SourceFile.name``.
    reason : str
        A code as in ``SourceError.reason``, or ``"nested-archive"``, ``"sparse-member"``,
        ``"loop"``.
    message : str
        A sentence for people.
    """

    name: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Discovery:
    """What was found.

    Attributes
    ----------
    root : Path
        What relative paths of `files` are relative to.
    files : list of SourceFile
        Sorted bytewise by path, then by member.
    problems : list of Problem
        Sorted by name.
    aliases : list of str
        Links that lead to what is found under another path, and link members of archives.
    """

    root: Path
    files: list[SourceFile]
    problems: list[Problem] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)


def discover(
    root: Path | None, pdb_list: Path | None = None, exclude: Sequence[Path] = ()
) -> Discovery:
    """Find all inputs below a folder, in a list of paths, or both.

    Parameters
    ----------
    root : Path, optional
        A folder; or one file, which is then the only input.
    pdb_list : Path, optional
        Text file of one path per line, relative to the list's own folder; empty lines and lines
        that start with ``#`` are left out. A listed file that is not there is returned with size
        -1, so that reading it fails by name. A listed archive stands for its members.
    exclude : sequence of Path
        Folders that are not searched: the output.

    Raises
    ------
    Missing, Unreadable
        If `root` or `pdb_list` itself is not there. What is unreadable below is a problem in the
        result.
    """
    if root is None and pdb_list is None:
        raise ValueError("discover needs a folder or a list")
    base = root if root is not None else Path(pdb_list).parent  # type: ignore[arg-type]
    if root is not None and root.is_file():
        base = root.parent
    search = _Search(base, exclude)
    if root is not None:
        if root.is_file():
            search.add_listed(root.name)
        else:
            search.walk()
    if pdb_list is not None:
        folder = os.path.abspath(pdb_list.parent)
        for line in _read_list(pdb_list):
            search.add_listed(_relative(os.path.join(folder, line), search.root, line))
    return search.result(base)


def _read_list(pdb_list: Path) -> list[str]:
    try:
        text = pdb_list.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise _no_access("the list", str(pdb_list), error) from error
    lines = (line.strip() for line in text.removeprefix("\ufeff").split("\n"))
    return [line for line in lines if line and not line.startswith("#")]


def _relative(path: str, root: str, listed: str) -> str:
    """`path` below `root` as the walk would call it; else absolute."""
    if "\0" in path:
        return listed
    if ".." in path.split("/"):  # behind a link, "folder/.." is not where it seems to be
        path = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    path = os.path.normpath(path)
    return path[len(root.rstrip("/")) + 1 :] if _is_below(path, root) else path


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _no_access(what: str, path: str, error: OSError) -> SourceError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return Missing(f"{what} {printable(path)} does not exist")
    return Unreadable(f"{what} {printable(path)} cannot be read: {error.strerror}")


class _Search:
    """The state of one ``discover``."""

    def __init__(self, base: Path, exclude: Iterable[Path]) -> None:
        self.root = os.path.abspath(base)
        self._real_root = os.path.realpath(self.root)
        self._excluded = [os.path.realpath(path) for path in exclude]
        self._files: dict[str, SourceFile] = {}
        self._archives: list[str] = []
        self._problems: list[Problem] = []
        self._aliases: list[str] = []
        self._visited: set[tuple[int, int]] = set()
        self._links: list[tuple[bytes, str]] = []
        self._linked_files: set[str] = set()

    def walk(self) -> None:
        """Real folders first, so that what has a name of its own is found under it."""
        try:
            os.scandir(self.root).close()
        except OSError as error:
            raise _no_access("the input folder", self.root, error) from error
        if self._is_excluded(self._real_root):
            self._problem(self.root, "excluded", "is the output folder, or lies in it")
        self._walk_folder("", linked=False)
        while self._links:  # a heap: the order of links does not depend on that of the folder
            self._follow(heapq.heappop(self._links)[1])

    def add_listed(self, path: str) -> None:
        if path in self._files:
            return
        try:
            status = os.stat(os.path.join(self.root, path))
        except (OSError, ValueError):  # ValueError: a null character
            status = None
        name = os.path.basename(path)
        if status is None or not stat.S_ISREG(status.st_mode):
            stem, suffix_format, _ = split_name(name)
            self._files[path] = SourceFile(path, None, -1, 0, None, suffix_format, printable(stem))
        else:
            self._add_file(path, name, status)

    def result(self, base: Path) -> Discovery:
        members = [member for path in self._archives for member in self._open_archive(path)]
        files = [*self._files.values(), *members]
        files.sort(key=lambda file: (name_bytes(file.path), name_bytes(file.member or "")))
        self._problems.sort(key=lambda problem: (problem.name, problem.reason))
        return Discovery(base, files, self._problems, sorted(self._aliases))

    def _walk_folder(self, start: str, *, linked: bool) -> None:
        folders = [start]
        while folders:
            folder = folders.pop()
            path = os.path.join(self.root, folder) if folder else self.root
            prefix = f"{folder}/" if folder else ""
            try:
                status = os.stat(path)
                identity = status.st_dev, status.st_ino
                if identity in self._visited:
                    continue
                real_path = os.path.realpath(path) if linked or self._excluded else path
                if self._is_excluded(real_path):
                    continue
                self._visited.add(identity)
                with os.scandir(path) as entries:
                    for entry in entries:
                        relative = prefix + entry.name
                        if entry.is_symlink():
                            heapq.heappush(self._links, (name_bytes(relative), relative))
                        elif entry.is_dir(follow_symlinks=False):
                            if entry.name != FETCH_STATE:
                                folders.append(relative)
                        elif entry.is_file(follow_symlinks=False):
                            if linked and not self._is_new(f"{real_path}/{entry.name}", relative):
                                continue
                            self._stat_and_add(entry, relative)
            except OSError as error:
                self._unreadable(folder or ".", error)

    def _stat_and_add(self, entry: os.DirEntry[str], relative: str) -> None:
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError as error:  # removed since the folder was read
            self._unreadable(relative, error)
            return
        self._add_file(relative, entry.name, status)

    def _follow(self, link: str) -> None:
        path = os.path.join(self.root, link)
        try:
            status = os.stat(path)
        except OSError as error:
            if error.errno == errno.ELOOP:
                self._problem(link, "loop", "is a link that leads to itself")
            elif error.errno == errno.ENOENT:
                self._problem(link, "missing", "is a link to a file that does not exist")
            else:
                self._unreadable(link, error)
            return
        real_path = os.path.realpath(path)
        if self._is_excluded(real_path):
            return
        if stat.S_ISDIR(status.st_mode):
            if _is_below(self._real_root, real_path):
                self._problem(link, "loop", "is a link to a folder that holds the input folder")
            elif (status.st_dev, status.st_ino) in self._visited:
                self._aliases.append(printable(link))
            else:
                self._walk_folder(link, linked=True)
        elif stat.S_ISREG(status.st_mode):
            name = os.path.basename(link)
            if os.path.basename(real_path) != name or self._is_new(real_path, link):
                self._add_file(link, name, status)

    def _is_new(self, real_path: str, link: str) -> bool:
        """Whether a file reached by links is not found under the same file name already."""
        if _is_below(real_path, self._real_root) or real_path in self._linked_files:
            self._aliases.append(printable(link))
            return False
        self._linked_files.add(real_path)
        return True

    def _is_excluded(self, real_path: str) -> bool:
        return any(_is_below(real_path, folder) for folder in self._excluded)

    def _add_file(self, path: str, name: str, status: os.stat_result) -> None:
        stem, suffix_format, _ = split_name(name)
        self._files[path] = SourceFile(
            path,
            None,
            status.st_size,
            status.st_mtime_ns,
            None,
            suffix_format,
            printable(stem),
        )
        if is_tar_name(name):
            self._archives.append(path)

    def _open_archive(self, path: str) -> list[SourceFile]:
        """The members of an archive, which they replace among the files."""
        archive = self._files[path]
        try:
            listing = list_archive(os.path.join(self.root, path), name=archive.name)
        except OSError:
            return []  # reading the file will fail by name
        if not listing.is_tar:
            return []  # an ordinary file with an odd name: its content will tell
        del self._files[path]
        if listing.error is not None:
            self._problems.append(Problem(archive.name, listing.error.reason, str(listing.error)))
        members: dict[str, SourceFile] = {}
        for index, member in listing.members:
            name = describe_name(path, member.name)
            base_name = member.name.rpartition("/")[2]
            if member.kind == "link":
                self._aliases.append(name)
            elif member.kind == "sparse":
                self._problem_in(name, "sparse-member", "is stored with holes; unpack the archive")
            elif member.kind == "file" and is_tar_name(base_name):
                what = "is an archive in an archive; unpack the outer one"
                self._problem_in(name, "nested-archive", what)
            elif member.kind == "file":
                if member.name in members:  # appended anew: unpacking would keep the last one
                    self._aliases.append(name)
                stem, suffix_format, _ = split_name(base_name)
                members[member.name] = SourceFile(
                    path,
                    member.name,
                    member.size,
                    archive.mtime_ns,
                    None if listing.compressed else member.offset,
                    suffix_format,
                    printable(stem),
                    index if listing.compressed else None,
                )
        return list(members.values())

    def _unreadable(self, path: str, error: OSError) -> None:
        self._problem(path, "unreadable", f"cannot be read: {error.strerror}")

    def _problem(self, path: str, reason: str, what: str) -> None:
        self._problem_in(printable(path), reason, what)

    def _problem_in(self, name: str, reason: str, what: str) -> None:
        self._problems.append(Problem(name, reason, f"{name} {what}"))
