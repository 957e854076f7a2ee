"""Files → entries: one per folder and stem, each with an id that nothing else has."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.sources.names import name_bytes, printable, version_in_name
from pipeline.sources.source_file import SourceFile

_PREFERENCE = {"bcif": 0, "cif": 1, "pdb": 2, None: 3}


@dataclass(frozen=True, slots=True)
class Entry:
    """One structure, in one or several files.

    Attributes
    ----------
    entry_id : str
        Unique, printable. The stem; where two folders have the same stem, the shortest end of the
        path that only this entry has: ``trimmed/1abc``. A member of ``set.tar`` is in the folder
        ``set.tar``. No stem holds a ``/``, so the stem can be told from what qualifies it.
    candidates : tuple of SourceFile
        In the order in which they are tried: BinaryCIF, mmCIF, PDB, unknown; of several versions
        of the archive's file the latest.
    """

    entry_id: str
    candidates: tuple[SourceFile, ...]


def group_entries(files: Iterable[SourceFile]) -> list[Entry]:
    """Group files of the same folder (of the same archive) and stem.

    A pure function of the set of files: their order does not matter. Entries are sorted by the
    path of their first candidate, so that reading them in turn walks the disk in turn.
    """
    groups: dict[str, dict[tuple[str, ...], list[SourceFile]]] = defaultdict(dict)
    folders: dict[str, tuple[str, ...]] = {}
    for file in files:
        folder = file.path.rpartition("/")[0]
        if file.member is not None:
            folder = f"{file.path}/{file.member.rpartition('/')[0]}"
        if folder not in folders:
            folders[folder] = _components(folder)
        groups[file.stem].setdefault(folders[folder], []).append(file)
    entries = []
    for stem, by_folder in groups.items():
        where = sorted(by_folder)
        for parts, qualifier in zip(where, _shortest_ends(where), strict=True):
            candidates = by_folder[parts]
            if len(candidates) > 1:
                candidates = sorted(candidates, key=_rank)
            entry_id = "/".join((*qualifier, stem)) if qualifier else stem
            entries.append(Entry(entry_id, tuple(candidates)))
    entries.sort(key=lambda entry: entry.candidates[0].sort_key)
    return entries


def _components(folder: str) -> tuple[str, ...]:
    """Printable components of a path; the first is empty if it is absolute."""
    parts = tuple(printable(part) for part in folder.split("/") if part not in ("", "."))
    return ("", *parts) if folder.startswith("/") else parts


def _shortest_ends(folders: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """For each of several different paths the shortest end that no other one has.

    A path that is itself the end of another one cannot be told apart by an end: it stays whole,
    and the longer one says more.
    """
    ends: list[tuple[str, ...]] = [()] * len(folders)
    unclear = list(range(len(folders)))
    length = 0
    while len(unclear) > 1:
        counts = Counter(folders[i][-length:] if length else () for i in unclear)
        for i in unclear:
            ends[i] = folders[i][-length:] if length else ()
        # Whole paths are done: two that are equal up to here would be one folder.
        unclear = [i for i in unclear if counts[ends[i]] > 1 and len(folders[i]) > length]
        length += 1
    for i in unclear:
        ends[i] = folders[i][-length:] if length else ()
    return ends


def _rank(file: SourceFile) -> tuple[int, bool, int, int, int, bytes, bytes]:
    name = file.member if file.member is not None else file.path
    version = version_in_name(name.rpartition("/")[2])
    major, minor = version or (0, 0)
    is_old = version is not None
    length = len(name_bytes(name))
    return _PREFERENCE[file.suffix_format], is_old, -major, -minor, length, *file.sort_key
