"""Residue composition of known proteins, to compare a dataset with."""

from __future__ import annotations

SWISS_PROT_RELEASE = "UniProtKB/Swiss-Prot 2026_03"

# Release statistics, "Composition in percent for the complete database" (The UniProt Consortium;
# CC BY 4.0).
SWISS_PROT_PERCENT = {
    "A": 8.25, "R": 5.52, "N": 4.06, "D": 5.46, "C": 1.38,
    "Q": 3.93, "E": 6.71, "G": 7.07, "H": 2.27, "I": 5.90,
    "L": 9.64, "K": 5.79, "M": 2.41, "F": 3.86, "P": 4.75,
    "S": 6.66, "T": 5.36, "W": 1.10, "Y": 2.92, "V": 6.85,
}  # fmt: skip
