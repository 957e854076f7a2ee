"""The regular files below a folder of this machine.

Symbolic links are followed. Each real folder is visited once, under its own name if it has one
below the root; a link to a file that is found under the same file name elsewhere is an alias and no
second input. (Under another file name it is another entry: hard links and links to one file are
also how equal files are stored once.)

What is hidden, and what editors keep beside a file, is passed by, and so are copies of before a
change; but a link may lead there, as where a program keeps files under other names.
"""

from __future__ import annotations

import errno
import heapq
import os
import stat
from collections.abc import Sequence

from pipeline.files.storage import Folder
from pipeline.sources.errors import Missing, SourceError, Unreadable
from pipeline.sources.found import Finds
from pipeline.sources.names import FETCH_STATE, hidden_part, is_hidden, name_bytes, printable


def walk_folder(finds: Finds, excluded: Sequence[Folder]) -> None:
    """Add every regular file below the root of `finds`, but those below `excluded`.

    Raises
    ------
    Missing, Unreadable
        The root itself is not there, or cannot be read.
    """
    _Walk(finds, [str(f.local) for f in excluded if f.local is not None]).walk()


def is_below(path: str, folder: str) -> bool:
    """Whether a path is a folder, or lies in it; both as text."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def no_access(what: str, path: str, error: OSError) -> SourceError:
    """The error of something that everything depends on."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return Missing(f"{what} {printable(path)} does not exist")
    return Unreadable(f"{what} {printable(path)} cannot be read: {error.strerror}")


class _Walk:
    """The state of one ``walk_folder``."""

    def __init__(self, finds: Finds, excluded: Sequence[str]) -> None:
        assert finds.root.local is not None
        self.root = os.path.abspath(finds.root.local)
        self._finds = finds
        self._real_root = os.path.realpath(self.root)
        self._excluded = [os.path.realpath(path) for path in excluded]
        self._visited: set[tuple[int, int]] = set()
        self._links: list[tuple[bytes, str]] = []
        self._linked_files: set[str] = set()

    def walk(self) -> None:
        """Real folders first, so that what has a name of its own is found under it."""
        try:
            os.scandir(self.root).close()
        except OSError as error:
            raise no_access("the input folder", self.root, error) from error
        if self._is_excluded(self._real_root):
            self._problem(self.root, "excluded", "is the output folder, or lies in it")
        self._walk_folder("", linked=False)
        while self._links:  # a heap: the order of links does not depend on that of the folder
            self._follow(heapq.heappop(self._links)[1])

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
                        if is_hidden(entry.name, is_folder=entry.is_dir(follow_symlinks=False)):
                            if entry.name != FETCH_STATE or not entry.is_dir():
                                self._finds.add_hidden(relative)
                        elif entry.is_symlink():
                            heapq.heappush(self._links, (name_bytes(relative), relative))
                        elif entry.is_dir(follow_symlinks=False):
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
            if is_below(self._real_root, real_path):
                self._problem(link, "loop", "is a link to a folder that holds the input folder")
            elif (status.st_dev, status.st_ino) in self._visited:
                self._finds.add_alias(link)
            else:
                self._walk_folder(link, linked=True)
        elif stat.S_ISREG(status.st_mode):
            name = os.path.basename(link)
            if os.path.basename(real_path) != name or self._is_new(real_path, link):
                self._add_file(link, name, status)

    def _is_new(self, real_path: str, link: str) -> bool:
        """Whether a file reached by links is not found under the same file name already."""
        is_found = is_below(real_path, self._real_root) and not hidden_part(
            real_path[len(self._real_root) :]
        )
        if is_found or real_path in self._linked_files:
            self._finds.add_alias(link)
            return False
        self._linked_files.add(real_path)
        return True

    def _is_excluded(self, real_path: str) -> bool:
        return any(is_below(real_path, folder) for folder in self._excluded)

    def _add_file(self, path: str, name: str, status: os.stat_result) -> None:
        self._finds.add_file(path, name, status.st_size, status.st_mtime_ns)

    def _unreadable(self, path: str, error: OSError) -> None:
        self._problem(path, "unreadable", f"cannot be read: {error.strerror}")

    def _problem(self, path: str, reason: str, what: str) -> None:
        self._finds.add_problem(path, reason, what)
