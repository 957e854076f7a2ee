"""Sequences that people give for the residues of an input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from model.metrics import Structure
from model.tasks.inputs import InputError, InputStructure
from pipeline.commands.words import several
from pipeline.residues import AATYPE_OF_LETTER, ONE_LETTER, UNKNOWN


def retyped(given: Structure, aatype: NDArray[np.int64]) -> Structure:
    """Other types; side chains of residues that change are gone."""
    changed = aatype != given.aatype
    mask = given.mask.copy()
    mask[changed, 4:] = False
    return replace(given, aatype=aatype, mask=mask)


def spread(text: str, structure: InputStructure, option: str, free: str = "X") -> NDArray[np.int64]:
    """(L,) types of letters, one for each residue or for each resolved residue of every chain."""
    # A stop codon has no residue.
    parts = [part.strip().removesuffix("*") for part in text.split(":")]
    if len(parts) != len(structure.chains):
        raise InputError(
            f"{option} has {several(len(parts), 'chain')} (separated by ':') and {structure.name} "
            f"has {len(structure.chains)}"
        )
    aatype = []
    for part, chain in zip(parts, structure.chains, strict=True):
        known = set(ONE_LETTER) | set(free)
        for letter in part.upper():
            if letter not in known:
                raise InputError(
                    f"{option}: {letter!r} is no residue type; where none is known write X"
                )
        letters = [AATYPE_OF_LETTER.get(c, UNKNOWN) for c in part.upper()]
        types = np.full(len(chain), UNKNOWN, np.int64)
        if len(letters) == len(chain):
            types[:] = letters
        elif len(letters) == int(chain.resolved.sum()):
            types[chain.resolved] = letters
        else:
            raise InputError(
                f"{option} has {len(letters)} letters for chain {chain.auth_asym_id} of "
                f"{structure.name}, which has {len(chain)} residues, {int(chain.resolved.sum())} "
                "of them with a backbone"
            )
        aatype.append(types)
    return np.concatenate(aatype)
