"""Ids under which chains are written: each its own, and such as the format holds.

Other programs know a chain by its author's id. Two chains under one id are one chain to them, or
an error; so the first keeps the id, and the next are called ``A.2``, ``A.3`` …, as a build labels
them.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from pipeline.chain import Chain
from pipeline.export.errors import ExportError
from pipeline.export.stored_chains import StoredChain

Kind: TypeAlias = Literal["cif", "pdb"]

LETTERS = string.ascii_uppercase + string.ascii_lowercase + string.digits
"""Ids that a PDB file gives to chains whose own it cannot hold, in this order."""

_SHOWN = 5
"""Changed ids that a sentence lists; the file lists all."""


@dataclass(frozen=True, slots=True)
class Changed:
    """The chains of an entry as they are written, and which of them have another id there.

    Attributes
    ----------
    entry : list of StoredChain
    ids : dict of str to str
        What a chain is called (its ``label_asym_id``, with the author's id if that differs) → its
        id in the file; only of chains whose id is changed.
    why : str
    """

    entry: list[StoredChain]
    ids: dict[str, str]
    why: str

    def sentence(self) -> str:
        """What somebody should know; empty if no id is changed."""
        if not self.ids:
            return ""
        shown = [f"{old} as {new}" for old, new in list(self.ids.items())[:_SHOWN]]
        more = f" and {len(self.ids) - _SHOWN} more" if len(self.ids) > _SHOWN else ""
        return f"chains are written under other ids, for {self.why}: {', '.join(shown)}{more}"

    def lines(self) -> Iterator[str]:
        """For the head of the file."""
        for old, new in self.ids.items():
            yield " ".join(f"chain {new} is chain {old}".split())


def distinct(ids: Sequence[str]) -> list[str]:
    """Each id once: the first of equals keeps it, the next are ``A.2``, ``A.3`` … as far as free.

    Examples
    --------
    >>> distinct(["A", "B", "A", "A"])
    ['A', 'B', 'A.2', 'A.3']
    """
    taken = set(ids)
    seen: Counter[str] = Counter()
    found = []
    for ident in ids:
        seen[ident] += 1
        name = ident
        if seen[ident] > 1:
            while (name := f"{ident}.{seen[ident]}") in taken:
                seen[ident] += 1
            taken.add(name)
        found.append(name)
    return found


def with_own_ids(entry: Sequence[StoredChain], kind: Kind) -> Changed:
    """Give each chain of an entry (in all its models) an author's id of its own.

    Parameters
    ----------
    entry : sequence of StoredChain
    kind : {"cif", "pdb"}
        In a PDB file an id is one printable character; chains with a longer one get letters that
        no chain of the entry has.

    Raises
    ------
    ExportError
        There are more chains than letters.
    """
    keys = list(dict.fromkeys(_key(stored.chain) for stored in entry))
    own = dict(zip(keys, distinct([author for _, author in keys]), strict=True))
    why = "another chain has the author's id"
    if kind == "pdb" and not all(map(fits_pdb, own.values())):
        own = _in_letters(own, entry[0].chain.entry_id)
        why = "a PDB file has one letter for each"
    return Changed(
        entry=[
            replace(s, chain=replace(s.chain, auth_asym_id=own[_key(s.chain)]))
            if own[_key(s.chain)] != s.chain.auth_asym_id
            else s
            for s in entry
        ],
        ids={
            label if label == author else f"{label} (the author's {author})": own[label, author]
            for label, author in keys
            if own[label, author] != author
        },
        why=why,
    )


def fits_pdb(ident: str) -> bool:
    """Whether a PDB file has room for a chain's id."""
    return len(ident) == 1 and "!" <= ident <= "~"


def _key(chain: Chain) -> tuple[str, str]:
    return chain.label_asym_id, chain.auth_asym_id


def _in_letters(own: Mapping[tuple[str, str], str], entry_id: str) -> dict[tuple[str, str], str]:
    kept = {ident for ident in own.values() if fits_pdb(ident)}
    free = iter([letter for letter in LETTERS if letter not in kept])
    found = {}
    for key, ident in own.items():
        letter = ident if fits_pdb(ident) else next(free, None)
        if letter is None:
            raise ExportError(
                f"{entry_id} has {len(own)} chains, and a PDB file has no letters left for them; "
                "write mmCIF (--format cif), which has no such limit"
            )
        found[key] = letter
    return found
