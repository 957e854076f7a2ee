"""How far apart bonded atoms may be."""

MAX_PEPTIDE_BOND = 2.5
"""Å. A C–N bond is 1.33 Å; an unmodelled residue between leaves at least 3 Å."""
