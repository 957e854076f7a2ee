"""One shard → the same rows in the same row groups, with all columns."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import Failure
from pipeline.shards import (
    DamagedShard,
    ShardWriter,
    chains_of,
    complete_rows,
    open_shard,
    row_digest,
    shard_schema,
)
from pipeline.shards.chains import CHAIN_COLUMNS
from pipeline.shards.reader import read_rows


class CannotUpgrade(Failure):
    """A dataset cannot be upgraded. The sentence names the file and says what to do."""


def sha256_of(path: Path) -> str:
    """In hexadecimal.

    Raises
    ------
    DamagedShard
        The shard is missing.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise DamagedShard(f"{path}: is missing; `{_repair(path)}` builds it again") from None


def write_upgraded(path: Path, to: Path) -> None:
    """Write a shard with the columns that it lacks.

    Parameters
    ----------
    path : Path
        The shard.
    to : Path
        Where the new one is written.

    Raises
    ------
    DamagedShard
    CannotUpgrade
        It has columns that this version of the program does not know.
    """
    with open_shard(path) as shard:
        strange = sorted(set(shard.schema_arrow.names) - set(shard_schema().names))
        if strange:
            raise CannotUpgrade(
                f"{path}: has columns that this version of the program does not know "
                f"({', '.join(strange)}); upgrade it with the version that wrote it, or a newer one"
            )
        metadata = shard.schema_arrow.metadata or {}
        with ShardWriter(to, {k.decode(): v.decode() for k, v in metadata.items()}) as writer:
            for group in range(shard.metadata.num_row_groups):
                writer.add_group(complete_rows(_read(shard, group, path), path))


def check_is_of(path: Path, index: pa.Table) -> None:
    """See that a shard holds what the index says of it: the digest of every row, computed again.

    Parameters
    ----------
    index : pyarrow.Table
        Rows of this shard.

    Raises
    ------
    DamagedShard
    """
    wanted = index.select(["chain_uid", "row_sha256"]).to_pydict()
    uids, digests = [], []
    with open_shard(path) as shard:
        for group in range(shard.metadata.num_row_groups):
            for chain in chains_of(read_rows(shard, path, [group], CHAIN_COLUMNS)):
                uids.append(chain.uid)
                digests.append(row_digest(chain))
    if uids != wanted["chain_uid"] or digests != wanted["row_sha256"]:
        raise DamagedShard(
            f"{path}: is not what build.json says, nor does it hold the chains of index.parquet; "
            f"`{_repair(path)}` builds it again"
        )


def _read(shard: pq.ParquetFile, group: int, path: Path) -> pa.Table:
    try:
        return shard.read_row_group(group, use_threads=False)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DamagedShard(
            f"{path}: {str(error).splitlines()[0]}; the file is damaged: `{_repair(path)}` builds "
            "it again"
        ) from error


def _repair(path: Path) -> str:
    return f"python -m pipeline.verify {path.parent.parent} --repair"
