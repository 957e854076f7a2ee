"""Chains that somebody asked for, as arrays and as a table of residues; without torch."""

from pipeline.selection.chain_pairs import interfaces
from pipeline.selection.residue_table import COLUMNS, residue_batches, residues

__all__ = ["COLUMNS", "interfaces", "residue_batches", "residues"]
