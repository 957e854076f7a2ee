"""Labels of the user's own, joined to items by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import torch

from pipeline.commands.words import several

KEY = "chain_uid"

LabelSource: TypeAlias = "pa.Table | Mapping[str, Any] | str | Path"


class Labels:
    """Values by ``chain_uid``.

    Parameters
    ----------
    source : pyarrow.Table, mapping or path
        A table (of pandas: ``pa.Table.from_pandas``), or a Parquet or CSV file, with a column
        ``chain_uid`` and labels in the others; or a mapping from ``chain_uid`` to a value, which
        becomes ``item["label"]``.

    Raises
    ------
    ValueError
        No column to join by, no label, or a name that occurs twice.
    """

    def __init__(self, source: LabelSource):
        if isinstance(source, Mapping):
            table = pa.table({KEY: list(source), "label": list(source.values())})
        elif isinstance(source, str | Path):
            is_csv = str(source).endswith((".csv", ".csv.gz"))
            table = pyarrow.csv.read_csv(source) if is_csv else pq.read_table(source)
        else:
            table = source
        if KEY not in table.column_names:
            raise ValueError(f"labels need a column {KEY}; found {', '.join(table.column_names)}")
        self.names = [name for name in table.column_names if name != KEY]
        if not self.names:
            raise ValueError(f"labels have no column besides {KEY}")
        self._table = table
        names = table[KEY].to_pylist()
        self._row = {name: k for k, name in enumerate(names)}
        if len(self._row) < len(names):
            twice = next(n for k, n in enumerate(names) if self._row[n] != k)
            raise ValueError(f"two labels for {twice}")

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({', '.join(self.names)} of {several(len(self._row), 'chain')})"
        )

    def __contains__(self, name: str) -> bool:
        return name in self._row

    def of(self, name: str) -> dict[str, Any]:
        """The labels of one chain: numbers and lists of numbers as tensors."""
        row = self._row[name]
        return {n: as_value(self._table[n][row].as_py()) for n in self.names}


def as_value(value: Any) -> Any:
    """A number or a list of numbers as a tensor; anything else as it is."""
    if isinstance(value, bool | int | float):
        dtype = torch.float32 if isinstance(value, float) else None
        return torch.tensor(value, dtype=dtype)
    if isinstance(value, list) and value and all(isinstance(v, int | float) for v in value):
        array = np.array(value)
        return torch.from_numpy(array.astype(np.float32) if array.dtype.kind == "f" else array)
    return value
