"""Where a chain of an input is broken, and what is missing there by the author's numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.tasks.inputs import InputStructure
from model.tasks.kept_residues import first_of
from pipeline.residues import MAX_PEPTIDE_BOND


def peptide_bonds(structure: InputStructure) -> NDArray[np.float64]:
    """(L − 1,) From C of each residue to N of the next in the file, Å."""
    x = structure.structure.positions
    return np.asarray(np.linalg.norm(x[1:, 0] - x[:-1, 2], axis=-1))


def closed_up(structure: InputStructure) -> str:
    """Breaks that a sequence does not show, in words; nothing if there are none.

    Residues of which the file tells, though it does not say where they are, are X in a sequence.
    """
    chain, there = structure.structure.chain_index, structure.resolved
    together = (chain[1:] == chain[:-1]) & there[1:] & there[:-1]
    distance = peptide_bonds(structure)
    said = []
    for row in np.flatnonzero(together & (distance > MAX_PEPTIDE_BOND)).tolist():
        missing = int(structure.auth_seq_id[row + 1] - structure.auth_seq_id[row]) - 1
        by_number = f"; by their numbers {missing} missing" if missing > 0 else ""
        ends = f"{structure.describe(row)} and {structure.describe(row + 1)}"
        said.append(f"{ends} (C–N {distance[row]:.1f} Å{by_number})")
    if not said:
        return ""
    return f"is broken, and sequences are closed up without X there, between {first_of(said)}"
