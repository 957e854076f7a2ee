"""What a search found, put together: files, members in the place of their archives, problems."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from pipeline.files.place import Place
from pipeline.files.storage import Folder, StorageError
from pipeline.sources.archive import list_archive
from pipeline.sources.foldcomp_database import (
    COMPANIONS,
    INDEX,
    LOOKUP,
    is_database,
    list_database,
)
from pipeline.sources.names import hidden_part, is_tar_name, name_bytes, printable, split_name
from pipeline.sources.source_file import SourceFile, describe_name
from pipeline.sources.stored import StoredRemotely, Windowed, open_stored, place_of
from pipeline.sources.tar import MAX_NAME


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that could not be searched, and so may hide inputs.

    Attributes
    ----------
    name : str
        Printable, as in ``SourceFile.name``.
    reason : str
        A code as in ``SourceError.reason``, or ``"nested-archive"``, ``"sparse-member"``,
        ``"overlong-name"``, ``"loop"``, ``"bad-key"``.
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
    root : Place
        What relative paths of `files` are relative to.
    files : list of SourceFile
        Sorted bytewise by path, then by member.
    problems : list of Problem
        Sorted by name.
    aliases : list of str
        Links that lead to what is found under another path, and link members of archives.
    hidden : list of str
        Files and folders that are passed by for their names (see ``is_hidden``), without what is in
        such a folder.
    """

    root: Place
    files: list[SourceFile]
    problems: list[Problem] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)


class Finds:
    """What searches add to; one for each ``discover``."""

    def __init__(self, root: Folder) -> None:
        self.root = root
        self._files: dict[str, SourceFile] = {}
        self._archives: list[str] = []
        self._listed: list[str] = []
        self._problems: list[Problem] = []
        self._aliases: list[str] = []
        self._hidden: set[str] = set()

    def __contains__(self, path: str) -> bool:
        return path in self._files

    def add_file(self, path: str, name: str, size: int, mtime_ns: int) -> None:
        """A file by its path (see ``SourceFile``), its name without folders, size and time."""
        stem, suffix_format, _ = split_name(name)
        self._files[path] = SourceFile(
            path, None, size, mtime_ns, None, suffix_format, printable(stem)
        )
        if size >= 0 and is_tar_name(name):
            self._archives.append(path)

    def add_listed(self, path: str, name: str, size: int, mtime_ns: int) -> None:
        """A file that was named by itself: what belongs to it was not."""
        self.add_file(path, name, size, mtime_ns)
        if split_name(name)[1:] == (None, None) and not is_tar_name(name):
            self._listed.append(path)

    def add_absent(self, path: str, name: str) -> None:
        """A listed file that is not there: reading it fails by name."""
        self.add_file(path, name, -1, 0)

    def add_alias(self, path: str) -> None:
        self._aliases.append(printable(path))

    def add_hidden(self, path: str) -> None:
        """A hidden file or folder; a store tells of a folder once for each of its objects."""
        self._hidden.add(printable(path))

    def add_problem(self, path: str, reason: str, what: str) -> None:
        """`what` goes on from the name: ``"is a link that leads to itself"``."""
        self._problem_in(printable(path), reason, what)

    def result(self) -> Discovery:
        """Everything, with the members of archives and databases in the place of those."""
        with_index = [path for path in self._files if path + INDEX in self._files]
        members = [
            member
            for path in dict.fromkeys([*with_index, *self._listed])
            if path in self._files  # not the companion of another one
            for member in self._open_database(path)
        ]
        members += [member for path in self._archives for member in self._open_archive(path)]
        files = [*self._files.values(), *members]
        files.sort(key=lambda file: (name_bytes(file.path), name_bytes(file.member or "")))
        self._problems.sort(key=lambda problem: (problem.name, problem.reason))
        aliases, hidden = sorted(self._aliases), sorted(self._hidden)
        return Discovery(Place(self.root), files, self._problems, aliases, hidden)

    def _open_archive(self, path: str) -> list[SourceFile]:
        """The members of an archive, which they replace among the files."""
        archive = self._files[path]
        folder, name = place_of(path, self.root)
        try:
            with open_stored(folder, name) as stored:
                is_far = isinstance(stored, StoredRemotely)
                listing = list_archive(Windowed(stored) if is_far else stored, name=archive.name)
        except StorageError as error:
            folder.check()  # if the whole store is gone, that is what to say
            del self._files[path]
            self._problems.append(Problem(archive.name, "unreadable", str(error)))
            return []
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
            if member.kind != "other" and (hidden := hidden_part(member.name)) is not None:
                self._hidden.add(describe_name(path, hidden))
            elif member.kind == "link":
                self._aliases.append(name)
            elif member.kind == "overlong":
                what = f"has a name of over {MAX_NAME:,} bytes; give it another one"
                self._problem_in(name, "overlong-name", what)
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

    def _open_database(self, path: str) -> list[SourceFile]:
        """The entries of a Foldcomp database, which they and its other files replace."""
        database = self._files[path]
        folder, name = place_of(path, self.root)
        try:
            with ExitStack() as stack:
                index = stack.enter_context(open_stored(folder, name + INDEX))
                stored = stack.enter_context(open_stored(folder, name))
                if not is_database(stored):
                    return []
                lookup = None
                with suppress(FileNotFoundError):
                    lookup = stack.enter_context(open_stored(folder, name + LOOKUP))
                listing = list_database(stored.size, index, lookup)
        except StorageError:
            folder.check()
            return []  # reading the file will fail by name
        except OSError:
            return []
        for companion in ("", *COMPANIONS):
            self._files.pop(path + companion, None)
        if listing.problem is not None:
            self._problem_in(database.name, "corrupt-stream", listing.problem)
        for entry in listing.beyond:
            what = "does not lie in its database, which was cut off, or has another one's index"
            self._problem_in(describe_name(path, entry.name), "truncated-stream", what)
        entries = []
        for entry in listing.entries:
            stem, suffix_format, _ = split_name(entry.name.rpartition("/")[2])
            entries.append(
                SourceFile(
                    path,
                    entry.name,
                    entry.size,
                    database.mtime_ns,
                    entry.offset,
                    suffix_format,
                    printable(stem),
                    entry.key,
                )
            )
        return entries

    def _problem_in(self, name: str, reason: str, what: str) -> None:
        self._problems.append(Problem(name, reason, f"{name} {what}"))
