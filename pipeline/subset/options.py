"""What a subset can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

Names: TypeAlias = list[str]
"""Named here, for in the class below `list` is an option."""


@dataclass(frozen=True)
class SubsetOptions:
    """Make a dataset of some chains of one or several others.

    Parameters
    ----------
    sources
        Folders that pipeline.build or pipeline.subset made; as the first words, they need no
        option.
    out_dir
        Folder of the new dataset; it appears when all of it is there.
    where
        Keep the chains that fulfil a condition on columns of the index, such as "resolution < 2
        and length between 60 and 512".
    list
        Keep the chains of a list: a CSV with a column chain_uid, or entry_id and optionally chain;
        or a text with a chain_uid or an entry_id a line.
    shard_size
        Size of a shard in MiB, about; an entry is never cut.
    allow_mixed
        Join datasets although they were built with different tables of residues, or with different
        assemblies.
    report
        Write report.html, a page about the dataset, when it is finished.
    overwrite
        Replace the dataset that --out-dir holds.
    """

    sources: Names
    out_dir: Path
    where: str | None = None
    list: Path | None = None
    shard_size: int = 128
    allow_mixed: bool = False
    report: bool = True
    overwrite: bool = False
