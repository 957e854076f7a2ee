"""`interfaces`: the pairs of chains in contact, of the chains that somebody asked for."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from pipeline.built.built_dataset import UnreadableDataset
from pipeline.interfaces import among
from pipeline.selection.selection import Where, select


def interfaces(
    path: str | Path,
    *,
    where: Where = None,
    entry_where: Where = None,
    split: str | None = None,
) -> pa.Table:
    """One row per pair of chains in contact, both of which are asked for.

    Parameters
    ----------
    path : str or Path
        A built dataset.
    where, entry_where : str or pyarrow.compute.Expression, optional
        Which chains, as in `ShardDataset`.
    split : str, optional

    Returns
    -------
    pyarrow.Table
        The columns of ``interfaces.parquet``, see ``docs/format.md``; distances are in 0.001 Å.

    Raises
    ------
    ValueError
        A wrong condition, or no chain fulfils it.
    UnreadableDataset
        There is no such table, or it cannot be read.
    """
    selection = select(path, where=where, entry_where=entry_where, split=split)
    table = selection.dataset.interfaces()
    if table is None:
        raise UnreadableDataset(
            f"{selection.folder}: was built before there was interfaces.parquet; `python -m "
            f"pipeline.upgrade {selection.folder}` makes it"
        )
    return among(table, selection.uids)
