"""Which chains of an index somebody asked for."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.export.errors import ExportError
from pipeline.where import parse_where


def chosen_rows(
    index: pa.Table,
    chains: Sequence[str] | None = None,
    entries: Sequence[str] | None = None,
    where: str | None = None,
) -> pa.Table:
    """Rows of the index in its order: named chains and chains of named entries (all without
    either), and of these those that fulfil the condition.

    Raises
    ------
    ExportError
        A name is none of the dataset's, or nothing is left.
    WhereError
    """
    if chains is not None or entries is not None:
        for what, column, names in (("chain", "chain_uid", chains), ("entry", "entry_id", entries)):
            if names is not None:
                _check(index, what, column, names)
        named = pc.is_in(index["chain_uid"], pa.array(chains or [], pa.string()))
        of_named = pc.is_in(index["entry_id"], pa.array(entries or [], pa.string()))
        index = index.filter(pc.or_(named, of_named))
    if where is not None:
        index = index.filter(parse_where(where, index.schema))
        if not index.num_rows:
            raise ExportError(f"no chain fulfils {where}")
    if not index.num_rows:
        raise ExportError("the dataset holds no chains")
    return index


def _check(index: pa.Table, what: str, column: str, names: Sequence[str]) -> None:
    known = set(index[column].to_pylist())
    for name in names:
        if name in known:
            continue
        message = f"the dataset holds no {what} {name}"
        # Looking for near names among a million takes minutes; among those that begin alike, not.
        similar = {k for k in known if k[:3].lower() == name[:3].lower()}
        near = difflib.get_close_matches(name, sorted(similar)[:10_000], n=3)
        if near:
            message += f"; did you mean {' or '.join(near)}?"
        else:
            message += f": {column} in its index.parquet are such as {min(known, default='none')}"
        raise ExportError(message)
