"""Ids under which chains are written: each its own, and such as the format holds.

Other programs know a chain by its author's id, and a residue by its chain, number and insertion
code. Two chains under one id are one chain to them, or an error; so the first keeps the id, and the
next are called ``A.2``, ``A.3`` …, as a build labels them. Residues under one number are one
residue to them; such a chain is numbered by ``residue_index``.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from pipeline.chain import Chain
from pipeline.export.errors import ExportError

Kind: TypeAlias = Literal["cif", "pdb"]

LETTERS = string.ascii_uppercase + string.ascii_lowercase + string.digits
"""Ids that a PDB file gives to chains whose own it cannot hold, in this order."""

_SHOWN = 5
"""Chains that a sentence lists; the file lists all."""


@dataclass(frozen=True, slots=True)
class Changed:
    """The chains of an entry as they are written, and what is not as it was.

    Attributes
    ----------
    chains : list of Chain
    ids : dict of str to str
        What a chain is called (its ``label_asym_id``, with the author's id if that differs) → its
        id in the file; only of chains whose id is changed.
    why : str
        Ids are changed.
    numbered_anew : list of str
        Ids in the file of chains whose residues have other numbers there.
    """

    chains: list[Chain]
    ids: dict[str, str]
    why: str
    numbered_anew: list[str]

    def sentence(self) -> str:
        """What somebody should know; empty if nothing is changed."""
        said = []
        if self.ids:
            shown = _listed([f"{old} as {new}" for old, new in self.ids.items()])
            said.append(f"chains are written under other ids, for {self.why}: {shown}")
        if self.numbered_anew:
            said.append(
                "residues are numbered anew, for several of a chain have one number: chain "
                + _listed(self.numbered_anew)
            )
        return "; ".join(said)

    def lines(self) -> Iterator[str]:
        """For the head of the file."""
        for old, new in self.ids.items():
            yield " ".join(f"chain {new} is chain {old}".split())
        for ident in self.numbered_anew:
            yield f"residues of chain {ident} are numbered anew"


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


def with_own_ids(
    chains: Sequence[Chain], kind: Kind, kept: Mapping[str, Collection[int]] | None = None
) -> Changed:
    """Give each chain of an entry (in all its models) an author's id of its own, and each residue
    of a chain a number.

    Parameters
    ----------
    chains : sequence of Chain
    kind : {"cif", "pdb"}
        In a PDB file an id is one printable character; chains with a longer one get letters that
        no chain of the entry has.
    kept : mapping, optional
        ``label_asym_id`` → rows that are written though the chain may have no atom of them.

    Raises
    ------
    ExportError
        There are more chains than letters.
    """
    keys = list(dict.fromkeys(_key(chain) for chain in chains))
    own = dict(zip(keys, distinct([author for _, author in keys]), strict=True))
    why = "another chain has the author's id"
    if kind == "pdb" and not all(map(fits_pdb, own.values())):
        own = _in_letters(own, chains[0].entry_id)
        why = "a PDB file has one letter for each"
    rows = kept or {}
    unclear = {
        _key(chain)
        for chain in chains
        if _has_equal_numbers(chain, rows.get(chain.label_asym_id, ()))
    }
    return Changed(
        chains=[_named(chain, own[_key(chain)], _key(chain) in unclear) for chain in chains],
        ids={
            label if label == author else f"{label} (the author's {author})": own[label, author]
            for label, author in keys
            if own[label, author] != author
        },
        why=why,
        numbered_anew=[own[key] for key in keys if key in unclear],
    )


def _named(chain: Chain, ident: str, anew: bool) -> Chain:
    if ident != chain.auth_asym_id:
        chain = replace(chain, auth_asym_id=ident)
    if anew:
        chain = replace(
            chain, auth_seq_id=chain.residue_index, ins_code=np.zeros_like(chain.ins_code)
        )
    return chain


def _has_equal_numbers(chain: Chain, kept: Collection[int]) -> bool:
    there = chain.atom14_mask > 0
    there[[*kept]] = True
    places = chain.auth_seq_id[there].astype(np.int64) * 256 + chain.ins_code[there]
    return len(np.unique(places)) < len(places)


def _listed(parts: Sequence[str]) -> str:
    more = f" and {len(parts) - _SHOWN} more" if len(parts) > _SHOWN else ""
    return ", ".join(parts[:_SHOWN]) + more


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
