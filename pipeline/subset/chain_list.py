"""A list of chains or entries: which of a dataset's chains it names."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.chain import Chain
from pipeline.entry_ids import chain_key, entry_key
from pipeline.errors import UsageError
from pipeline.filters import Manifest, one_on_each_line

_COLUMNS = ("entry_id", "label_asym_id", "auth_asym_id")


class ListError(UsageError):
    """A list that cannot be used; the sentence says why."""


class _Named(NamedTuple):
    """What a manifest asks of a chain."""

    entry_id: str
    label_asym_id: str
    auth_asym_id: str


@dataclass(frozen=True, slots=True)
class ChainList:
    """What a file names: chains by their uid, entries, or chains of entries.

    Attributes
    ----------
    sha256 : str
        Of the file.
    names : frozenset of str
        Each a ``chain_uid`` or, if `may_be_entries`, an ``entry_id``.
    manifest : Manifest or None
        Instead of `names`.
    """

    sha256: str
    names: frozenset[str]
    may_be_entries: bool
    manifest: Manifest | None = None

    @classmethod
    def read(cls, path: Path) -> ChainList:
        """Read a CSV with a column ``chain_uid``, or ``entry_id`` and optionally ``chain``; or a
        text with a name a line.

        Raises
        ------
        ListError, ManifestError
        """
        try:
            data = path.read_bytes()
            text = data.decode("utf-8-sig")
        except OSError as error:
            raise ListError(f"--list {path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError:
            raise ListError(f"--list {path} is no text") from None
        sha256 = hashlib.sha256(data).hexdigest()
        lines = [line.strip() for line in text.splitlines()]
        header = [name.strip() for name in next(csv.reader(lines[:1]), [])]
        if "chain_uid" in header:
            rows = csv.DictReader(text.splitlines()[1:], header)
            names = frozenset(name for row in rows if (name := (row["chain_uid"] or "").strip()))
            chain_list = cls(sha256, names, may_be_entries=False)
        elif "entry_id" in header:
            return cls(sha256, frozenset(), True, Manifest.read(path))
        else:
            names = frozenset(line for line in lines if line and not line.startswith("#"))
            if strange := next((name for name in names if "," in name or "\t" in name), None):
                raise ListError(
                    f"--list {path}: {strange[:40]!r} is no name; the first line of a CSV names a "
                    "column chain_uid or entry_id"
                )
            chain_list = cls(sha256, names, may_be_entries=True)
        if not chain_list.names:
            raise ListError(f"--list {path} names nothing")
        return chain_list

    def chosen(self, index: pa.Table) -> tuple[NDArray[np.bool_], set[str]]:
        """(which rows of an index are named, the names that were found).

        Of a chain of a manifest the name is ``entry chain``.
        """
        columns = [index[name].to_pylist() for name in _COLUMNS]
        if self.manifest is not None:
            chains = [_Named(*row) for row in zip(*columns, strict=True)]
            mask = [self.manifest.has_chain(cast(Chain, chain)) for chain in chains]
            named = {n for entry, *ids in chains for n in self.manifest.names_of(entry, ids)}
            return np.array(mask, bool), named
        by_key: dict[str, set[str]] = {}
        for name in self.names:
            by_key.setdefault(chain_key(name), set()).add(name)
            if self.may_be_entries:
                by_key.setdefault(entry_key(name), set()).add(name)
        matched: set[str] = set()
        mask = []
        for uid, entry in zip(index["chain_uid"].to_pylist(), columns[0], strict=True):
            names = by_key.get(chain_key(uid), set())
            if self.may_be_entries:
                names = names | by_key.get(entry_key(entry), set())
            matched |= names
            mask.append(bool(names))
        return np.array(mask, bool), matched

    def not_found(self, matched: set[str]) -> list[str]:
        """What the list names and no dataset has."""
        if self.manifest is not None:
            return self.manifest.not_among(matched)
        return sorted(self.names - matched)

    def remark(self, not_found: Collection[str]) -> str:
        """What may be wrong with a manifest of which this was not found; mostly nothing."""
        if self.manifest is None:
            return ""
        listed = self.manifest.entries.items()
        cells = ((entry, chain) for entry, chains in listed for chain in chains or ())
        missing = set(not_found)
        return one_on_each_line(c for entry, c in cells if f"{entry} {c}" in missing)
