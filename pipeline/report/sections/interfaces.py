"""Pairs of chains in contact."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipeline.commands.words import several
from pipeline.report.charts import column_chart
from pipeline.report.histogram import size_classes
from pipeline.report.sections.elements import Figure, class_columns


def interface_figures(table: pa.Table | None) -> list[Figure]:
    """How large the interfaces are; none without any."""
    if table is None or not table.num_rows:
        return []
    residues = np.add(*(table[f"n_atom_residues_{side}"].to_numpy() for side in (1, 2)))
    pairs = several(table.num_rows, "pair")
    entries = several(len(table["entry_id"].unique()), "entry", "entries")
    said = [f"{pairs} of chains in contact, in {entries}."]
    for name, what in (
        ("covalent", "linked by a bond"),
        ("n_ligands", "with a ligand that touches both"),
        ("n_nucleotides", "with a nucleotide that touches both"),
        ("n_clashes", "with atoms nearer than 2.2 Å"),
    ):
        column = table[name]
        n = int(np.count_nonzero(column.drop_null().to_numpy()))
        if n:
            said.append(f"{n:,} {what}.")
    return [
        Figure(
            "Interfaces",
            column_chart(
                class_columns(size_classes(residues)),
                "Pairs of chains by residues in contact",
                "residues with a heavy atom within 5 Å of the other chain",
                "pairs",
            ),
            " ".join(said),
        )
    ]
