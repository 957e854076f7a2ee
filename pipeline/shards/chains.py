"""Rows → the chains that they were made of."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.chain import Chain, EntryMetadata
from pipeline.shards.reader import LISTS, Rows

_OF_ENTRY = tuple(f.name for f in fields(EntryMetadata))
_OF_RESIDUES = tuple(f.name for f in fields(Chain) if f.name in LISTS)
_OF_CHAIN = tuple(
    f.name
    for f in fields(Chain)
    if f.name not in LISTS and f.name not in ("coords", "resolved", "metadata")
)

CHAIN_COLUMNS = (*_OF_CHAIN, *_OF_ENTRY, *_OF_RESIDUES, "x", "y", "z", "covariance")
"""What `chains_of` needs of a shard."""


def chains_of(rows: Rows, resolved: NDArray[np.bool_] | None = None) -> list[Chain]:
    """The chains of some rows, as they were when they were stored; arrays are views.

    Parameters
    ----------
    rows : Rows
        With `CHAIN_COLUMNS`. An insertion code that is none (see `insertion_codes`) becomes 0, so
        that the row's digest is not that of the chain.
    resolved : (R,) bool, optional
        Which residues have a frame. By default those that have a covariance, as the build left it.
    """
    lists: dict[str, Any] = {name: rows.lists[name] for name in _OF_RESIDUES}
    lists["ins_code"], _ = insertion_codes(rows.lists["ins_code"])
    lists["resolved"] = rows.lists["covariance"][:, 0] > 0 if resolved is None else resolved
    coords = np.stack([rows.lists[axis] for axis in "xyz"], axis=-1)
    assert rows.atoms is not None
    chains = []
    of_chain = rows.scalars.select(list(_OF_CHAIN)).to_pylist()
    of_entry = rows.scalars.select(list(_OF_ENTRY)).to_pylist()
    for k, (values, entry) in enumerate(zip(of_chain, of_entry, strict=True)):
        here = slice(int(rows.residues[k]), int(rows.residues[k + 1]))
        atoms = slice(int(rows.atoms[k]), int(rows.atoms[k + 1]))
        chains.append(
            Chain(
                **values,
                **{name: array[here] for name, array in lists.items()},
                coords=coords[atoms],
                metadata=EntryMetadata(**entry),
            )
        )
    return chains


def insertion_codes(texts: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Codes of insertion codes as text, 0 for none, and which texts are such codes."""
    codes, good = np.zeros(len(texts), np.uint8), np.ones(len(texts), bool)
    for k in np.flatnonzero(texts != ""):
        text = texts[k]
        good[k] = isinstance(text, str) and len(text) == 1 and 0 < ord(text) < 256
        codes[k] = ord(text) if good[k] else 0
    return codes, good
