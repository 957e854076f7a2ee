"""Where in a protein a residue is: buried or not, and in which secondary structure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.metrics.side_chains import core_residues
from model.metrics.structure import Structure
from pipeline.geometry.secondary_structure import COIL, HELIX, STRAND, secondary_structure

PLACES = {
    "core": "of the core",
    "surface": "elsewhere",
    "helix": "of helices",
    "strand": "of strands",
    "coil": "of neither",
}
"""Names of `places_of`, and what they are called in a table."""


def places_of(known: Structure) -> dict[str, NDArray[np.bool_]]:
    """Where each residue is, by the names of `PLACES`; (L,) each.

    The core is that of `core_residues`, the surface the rest of what has a CA; helix, strand and
    coil are those of P-SEA.

    Parameters
    ----------
    known : Structure
        With its own side chains.
    """
    there = known.has_ca
    core = core_residues(known.positions, known.mask)
    chain = known.chain_index
    starts = np.append(np.flatnonzero(np.diff(chain, prepend=-1)), len(chain))
    labels = secondary_structure(known.ca.astype(np.float32), there, known.residue_index, starts)
    kinds = {"helix": HELIX, "strand": STRAND, "coil": COIL}
    return {
        "core": core & there,
        "surface": ~core & there,
        **{name: (labels == label) & there for name, label in kinds.items()},
    }
