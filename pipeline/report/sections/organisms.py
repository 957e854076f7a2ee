"""Organisms and ligands, as far as a dataset knows of them."""

from __future__ import annotations

import dataclasses
from typing import Any

from pipeline.commands.words import several
from pipeline.report.charts import column_chart
from pipeline.report.gather import Chains
from pipeline.report.sections.elements import MOST_ROWS, Bar, Figure, bar, class_columns
from pipeline.report.wording import count, share

TAXONOMY = "https://www.ncbi.nlm.nih.gov/Taxonomy/Browser/wwwtax.cgi?id="


def organisms(chains: Chains) -> dict[str, Any]:
    """Chains by organism, and entries by number of ligands."""
    shown, rest = chains.organisms[:MOST_ROWS], chains.organisms[MOST_ROWS:]
    bars: list[Bar] = [
        dataclasses.replace(bar(str(taxon), n, chains.n), link=f"{TAXONOMY}{taxon}")
        for taxon, n in shown
    ]
    if rest:
        bars.append(bar(several(len(rest), "other"), sum(n for _, n in rest), chains.n))
    if chains.organisms and chains.n_without_organism:
        bars.append(bar("not said", chains.n_without_organism, chains.n))
    return {
        "organism_bars": bars,
        "n_organisms": len(chains.organisms),
        "ligand_figures": _ligands(chains),
    }


def _ligands(chains: Chains) -> list[Figure]:
    n_with = sum(n for _, _, n in chains.ligands)
    if not chains.n_entries:
        return []
    columns = [("0", chains.n_entries - n_with), *class_columns(chains.ligands)]
    return [
        Figure(
            "Ligands of an entry",
            column_chart(
                columns[:12],
                "Entries by number of ligands",
                "residues that are no chain, nucleic acid or water",
                "entries",
            ),
            f"{count(n_with)} of {several(chains.n_entries, 'entry', 'entries')} "
            f"({share(n_with, chains.n_entries)}) have ligands, ions included; "
            f"{count(chains.n_with_nucleic)} have nucleic acids. The dataset holds how many, not "
            "which, and no atom of them.",
        )
    ]
