"""Chains that are not like the others, by name, with where to look at them."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from pipeline.commands.words import several
from pipeline.entry_ids import is_alphafold_db_id, is_pdb_id
from pipeline.report.gather import Numbers
from pipeline.report.outliers import MOST_NAMED, Outlier
from pipeline.report.sections.elements import bar
from pipeline.report.wording import count, legible

_ACCESSION = re.compile(r"AF[-_](?:AF)?([A-Z0-9]{6,10}?)(?:-|F\d+$|$)", re.IGNORECASE | re.ASCII)


def outliers(numbers: Numbers, pages: str | None) -> dict[str, Any]:
    """The oddities, and the chains named for each.

    Parameters
    ----------
    pages : str or None
        The file beside the report that shows the named chains, if there is one.
    """
    kinds, rows = [], []
    for oddity in numbers.outliers:
        kinds.append(
            {
                "bar": bar(oddity.name, oddity.n, numbers.chains.n),
                "rule": oddity.rule,
                "keeps_others": oddity.keeps_others,
            }
        )
        rows += [
            {
                "name": legible(chain.chain_uid, 60),
                "why": oddity.name,
                "length": chain.length,
                "finding": legible(chain.finding, 120),
                "archive": archive_link(chain),
                "page": None
                if pages is None
                else f"{quote(pages)}#{quote(chain.chain_uid, safe='')}",
            }
            for chain in oddity.chains
        ]
    return {
        "oddities": kinds,
        "outlier_rows": rows,
        "outlier_note": _note(numbers),
        "has_outlier_pages": pages is not None,
    }


def _note(numbers: Numbers) -> str:
    note = f"At most {MOST_NAMED} chains are named for each reason, the most extreme ones."
    if numbers.scan.is_sample:
        note += (
            f" Ellipsoids were looked at in {several(numbers.scan.sampled_chains, 'chain')} of "
            f"{count(numbers.chains.n)}."
        )
    return note


def archive_link(chain: Outlier) -> tuple[str, str] | None:
    """(name of the archive, address of the entry), if it is known which and where."""
    if chain.source == "PDB" and is_pdb_id(chain.entry_id):
        return "PDB", f"https://www.rcsb.org/structure/{chain.entry_id.upper()}"
    if chain.source == "AlphaFold DB" and is_alphafold_db_id(chain.entry_id):
        match = _ACCESSION.match(chain.entry_id)
        if match:
            return "AlphaFold DB", f"https://alphafold.ebi.ac.uk/entry/{match[1].upper()}"
    return None
