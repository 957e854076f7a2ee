"""``splits.parquet``: its columns, its metadata, and whether it belongs to a dataset."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.built.novelty import NEAREST_FIELDS
from pipeline.errors import Failure
from pipeline.files.storage import Folder, StorageError
from pipeline.split.assign import NO_SPLIT, Assignment
from pipeline.split.chains import Chains
from pipeline.split.nearest import NOTHING, Nearest

FILE_NAME = "splits.parquet"
FORMAT_VERSION = "1"

SCHEMA = pa.schema(
    [
        pa.field("chain_uid", pa.string(), nullable=False),
        pa.field("entry_id", pa.string(), nullable=False),
        pa.field("cluster", pa.string(), nullable=False),
        pa.field("component", pa.string(), nullable=False),
        pa.field("split", pa.string()),
        pa.field("reason", pa.string()),
    ]
)
"""One row per chain in the order of ``chain_uid``; ``reason`` says why ``split`` is null."""

SCHEMA_WITH_NEAREST = pa.schema([*SCHEMA, *NEAREST_FIELDS])
"""The same, where neighbours of held-out chains were looked for."""


class SplitsError(Failure):
    """splits.parquet cannot be read or written; the sentence says what to do."""


def splits_metadata(
    digest: str, identity: dict[str, Any], method: str, seed: int
) -> dict[str, str]:
    """Key-value metadata of the file.

    Parameters
    ----------
    digest : str
        Of the dataset.
    identity : dict
        `SplitOptions.identity`.
    """
    return {
        "splits_version": FORMAT_VERSION,
        "digest": digest,
        "method": method,
        "seed": str(seed),
        "options": json.dumps(identity, sort_keys=True),
        "mmseqs_version": str(identity.get("mmseqs_version") or ""),
    }


def splits_table(
    chains: Chains, found: Assignment, metadata: dict[str, str], nearest: Nearest | None = None
) -> pa.Table:
    """The rows, in the order of ``chain_uid``."""
    unit = json.loads(metadata["options"])["unit"]
    names = chains.entry_ids if unit == "entry" else chains.uids
    columns: dict[str, Any] = {
        "chain_uid": chains.uids,
        "entry_id": chains.entry_ids,
        "cluster": [chains.uids[k] for k in found.clusters],
        "component": [names[k] for k in found.components],
        "split": [None if s == NO_SPLIT else found.names[s] for s in found.split],
        "reason": found.reasons,
    }
    if nearest is None:
        return pa.table(columns, schema=SCHEMA.with_metadata(metadata))
    for way, numbers in (("sequence", nearest.by_sequence), ("structure", nearest.by_structure)):
        columns[f"nearest_by_{way}"] = [None if k == NOTHING else chains.uids[k] for k in numbers]
    for name, values in (("nearest_identity", nearest.identity), ("nearest_tm", nearest.tm)):
        columns[name] = pa.array(values.astype(np.float32), from_pandas=True)
    return pa.table(columns, schema=SCHEMA_WITH_NEAREST.with_metadata(metadata))


def splits_file(table: pa.Table) -> bytes:
    """The file's content: the same table gives the same bytes."""
    output = pa.BufferOutputStream()
    pq.write_table(table, output, compression="zstd", compression_level=3, write_page_checksum=True)
    return output.getvalue().to_pybytes()


def read_metadata(folder: Folder) -> dict[str, str]:
    """Key-value metadata of the splits of a dataset.

    Raises
    ------
    SplitsError
        The file is damaged, or was not written by this program.
    """
    path = folder.describe(FILE_NAME)
    try:
        with folder.errors_named(FILE_NAME), folder.open_input(FILE_NAME) as file:
            found = pq.read_schema(file).metadata or {}
    except StorageError:
        raise
    except (OSError, ValueError, pa.ArrowException) as error:
        first = str(error).splitlines()[0]
        raise SplitsError(f"{path}: is damaged ({first}); --overwrite makes it anew") from None
    return {key.decode(): value.decode() for key, value in found.items()}
