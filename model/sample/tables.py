"""`save_tables`: ``sequences.fasta``, two tables and the options, of the rows of each sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from model.metrics import write_csv
from model.output_folder import write, written
from model.tasks import Request
from model.tasks.motif_bench import SCAFFOLD_INFO, scaffold_rows

FASTA = "sequences.fasta"
METRICS = "metrics.csv"
RESIDUES = "residues.csv"
OPTIONS = "options.yaml"

Row = dict[str, Any]


@dataclass(frozen=True)
class SampleRows:
    """What the tables hold of one sample.

    Attributes
    ----------
    name : str
    fasta : str
        Its records.
    metrics : dict
    residues : list of dict
    """

    name: str
    fasta: str
    metrics: Row
    residues: list[Row]


def save_tables(
    samples: Sequence[SampleRows], out_dir: Path, options: str, request: Request
) -> list[str]:
    """Sequences, metrics and the options that made them; the names of the tables that are there."""
    write(out_dir / FASTA, "".join(sample.fasta for sample in samples))
    rows = same_columns([sample.metrics for sample in samples])
    residues = [row for sample in samples for row in sample.residues]
    tables = {METRICS: rows, RESIDUES: residues}
    if request.motifbench:
        tables[SCAFFOLD_INFO] = scaffold_rows(request, [sample.name for sample in samples])
    for name, table in tables.items():
        if table:
            written(out_dir / name, partial(write_csv, rows=table))
    write(out_dir / OPTIONS, options)
    return [FASTA, *(name for name, table in tables.items() if table)]


def same_columns(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Rows with all columns of all of them, NaN where a row has none."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: row.get(name, float("nan")) for name in columns} for row in rows]
