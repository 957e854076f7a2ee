"""Embeddings beside a dataset: the files of ``OUT/embeddings/NAME``, and whether they belong to it.

A part has the name of its shard, the same row groups and the same rows in them; ``embedding.json``
says what made them and is written last. docs/embeddings.md explains both.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.built.built_dataset import BuiltDataset, UnreadableDataset
from pipeline.files.storage import Folder, StorageError, store_failure
from pipeline.shards import DamagedShard

EMBEDDINGS = "embeddings"
SUMMARY = "embedding.json"
FORMAT_VERSION = 1

DTYPES = {"float16": pa.float16(), "float32": pa.float32()}

IDENTITY = ("model_sha256", "layer", "dimension", "dtype", "max_length")
"""Keys of ``embedding.json`` that decide the numbers; every part repeats them."""

_LEAF = "embedding.list.element.list.element"


def part_schema(dimension: int, dtype: str, metadata: dict[str, str] | None = None) -> pa.Schema:
    """Columns of a part: ``length`` and ``embedding`` are null for chains that were left out."""
    vector = pa.list_(pa.field("element", DTYPES[dtype], nullable=False), dimension)
    residues = pa.list_(pa.field("element", vector, nullable=False))
    return pa.schema(
        [
            pa.field("chain_uid", pa.string(), nullable=False),
            pa.field("length", pa.int32()),
            pa.field("embedding", residues),
        ],
        metadata=metadata,
    )


def part_writer(path: Any, schema: pa.Schema) -> pq.ParquetWriter:
    """A writer of parts; one call of ``write_batch`` makes one row group of `group_of`."""
    return pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=False,
        # Exponents of neighbouring numbers are alike, mantissas are noise: apart, they pack.
        column_encoding={"chain_uid": "PLAIN", "length": "PLAIN", _LEAF: "BYTE_STREAM_SPLIT"},
        write_page_checksum=True,
        write_statistics=False,
    )


def group_of(
    uids: Sequence[str], embeddings: Sequence[NDArray[Any] | None], schema: pa.Schema
) -> pa.RecordBatch:
    """A row group.

    Parameters
    ----------
    uids : sequence of str
    embeddings : sequence of (L, E) array or None
        None for a chain that was left out.
    schema : pyarrow.Schema
        From `part_schema`.
    """
    kind = schema.field("embedding").type
    vector = kind.value_type
    lengths = [0 if e is None else len(e) for e in embeddings]
    there = [e for e in embeddings if e is not None]
    values = np.concatenate(there) if there else np.empty((0, vector.list_size))
    flat = pa.array(np.ascontiguousarray(values.reshape(-1), vector.value_type.to_pandas_dtype()))
    missing = pa.array([e is None for e in embeddings])
    lists = pa.ListArray.from_arrays(
        pa.array(np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)),
        pa.FixedSizeListArray.from_arrays(flat, type=vector),
        type=kind,
        mask=missing,
    )
    told = pa.array([None if e is None else len(e) for e in embeddings], pa.int32())
    return pa.RecordBatch.from_arrays([pa.array(uids, pa.string()), told, lists], schema=schema)


@dataclass(frozen=True)
class Group:
    """A row group of a part.

    Attributes
    ----------
    uids : list of str
    offsets : (k + 1,) int64
        Chain i has the rows ``offsets[i]`` to ``offsets[i + 1]``; none if it was left out.
    values : (R, E) float16 or float32
    """

    uids: list[str]
    offsets: NDArray[np.int64]
    values: NDArray[Any]


@dataclass(frozen=True)
class StoredEmbeddings:
    """Finished embeddings of a dataset.

    Attributes
    ----------
    folder : Folder
        Of the dataset.
    name : str
    summary : dict
        ``embedding.json``.
    """

    folder: Folder
    name: str
    summary: dict[str, Any]

    @classmethod
    def open(cls, dataset: BuiltDataset, name: str) -> StoredEmbeddings:
        """Open embeddings by name.

        Raises
        ------
        UnreadableDataset
            There are none of this name, they are not finished, or they were made for other data or
            by another version of this program.
        StorageError
        """
        folder, path = dataset.folder, f"{EMBEDDINGS}/{name}/{SUMMARY}"
        where = folder.describe(path)
        again = f"`python -m pipeline.embed {folder} --name {name}` with its --model"
        try:
            summary = json.loads(folder.read_bytes(path))
            version, digest = summary["embedding_version"], summary["digest"]
            parts = [part["name"] for part in summary["parts"]]
            _ = int(summary["dimension"]), DTYPES[summary["dtype"]]
        except (FileNotFoundError, NotADirectoryError):
            raise UnreadableDataset(
                f"{where}: there is no such file, so there are no finished embeddings {name!r}; "
                f"make them with {again}"
            ) from None
        except (ValueError, KeyError, TypeError):
            raise UnreadableDataset(f"{where}: is damaged; run {again} again") from None
        if version != FORMAT_VERSION:
            raise UnreadableDataset(
                f"{where}: version {version} of the format, and this program reads "
                f"{FORMAT_VERSION}; run {again} --overwrite"
            )
        build = dataset.build
        if digest != build["digest"]:
            raise UnreadableDataset(
                f"{where}: the embeddings {name!r} were made for other data (digest "
                f"{digest[:12]}…, the dataset has {build['digest'][:12]}…); run {again} again"
            )
        if parts != [shard["name"] for shard in build["shards"]]:
            raise UnreadableDataset(
                f"{where}: the embeddings {name!r} were made for the same chains in other shards; "
                f"run {again} again"
            )
        return cls(folder, name, summary)

    @property
    def dimension(self) -> int:
        return int(self.summary["dimension"])

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.summary["dtype"])

    @property
    def is_complete(self) -> bool:
        """Whether every chain of the dataset is embedded."""
        return bool(self.summary["counts"]["left_out"] == 0)

    def path(self, part: str) -> str:
        """Name of a part in the dataset's folder."""
        return f"{EMBEDDINGS}/{self.name}/{part}"

    def identity(self) -> dict[str, str]:
        """What the parts' metadata must say."""
        return identity_metadata(self.summary)

    def open_part(self, part: str) -> pq.ParquetFile:
        """Open a part, checksums verified.

        Raises
        ------
        DamagedShard
            It is missing or damaged, or was made by another model.
        StorageError
        """
        with damage_named(self.folder, self.path(part)):
            file = pq.ParquetFile(
                self.folder.join(self.path(part)),
                filesystem=self.folder.filesystem,
                page_checksum_verification=True,
            )
        metadata = metadata_of(file)
        if any(metadata.get(key) != value for key, value in self.identity().items()):
            file.close()
            raise DamagedShard(
                f"{self.folder.describe(self.path(part))}: was not made by what {SUMMARY} beside "
                f"it says; delete it, and {_AGAIN}"
            )
        return file

    def read_group(self, file: pq.ParquetFile, part: str, group: int) -> Group:
        """Read a row group of a part that `open_part` opened.

        Raises
        ------
        DamagedShard, StorageError
        """
        with damage_named(self.folder, self.path(part)):
            if group >= file.metadata.num_row_groups:
                raise ValueError(f"has no row group {group}")
            table = file.read_row_group(group)
            lists = table["embedding"].combine_chunks()
            lists = lists.chunk(0) if isinstance(lists, pa.ChunkedArray) else lists
            vectors = lists.flatten()
            values = vectors.flatten().to_numpy().reshape(-1, self.dimension)
            lengths = table["length"].fill_null(0).to_numpy()
            if values.dtype != self.dtype or int(lengths.sum()) != len(values):
                raise ValueError("its lists do not fit the lengths of the chains")
        offsets = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
        return Group(table["chain_uid"].to_pylist(), offsets, values)

    def lengths(self) -> NDArray[np.int64]:
        """(N,) residues of all chains in the order of the parts; -1 for those that were left out.

        Raises
        ------
        DamagedShard, StorageError
        """
        lengths = [np.empty(0, np.int64)]
        for part in self.summary["parts"]:
            with (
                self.open_part(part["name"]) as file,
                damage_named(self.folder, self.path(part["name"])),
            ):
                column = file.read(columns=["length"])["length"]
                lengths.append(column.fill_null(-1).to_numpy().astype(np.int64))
        return np.concatenate(lengths)


_AGAIN = "run `python -m pipeline.embed` again with the options of before: it makes what is missing"


@contextmanager
def damage_named(folder: Folder, name: str) -> Iterator[None]:
    """What goes wrong in the block becomes one sentence about a part."""
    path = folder.describe(name)
    try:
        yield
    except StorageError:
        raise
    except FileNotFoundError:
        raise DamagedShard(f"{path}: is missing; {_AGAIN}") from None
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        if (failure := store_failure(error, path)) is not None:
            raise failure from error
        raise DamagedShard(
            f"{path}: is damaged ({str(error).splitlines()[0]}); delete it, and {_AGAIN}"
        ) from error


def identity_metadata(summary: dict[str, Any]) -> dict[str, str]:
    """What decides the numbers, as metadata of a part."""
    return {
        "embedding_version": str(FORMAT_VERSION),
        **{key: str(summary[key]) for key in IDENTITY},
    }


def metadata_of(file: pq.ParquetFile) -> dict[str, str]:
    """Key-value metadata of a part."""
    metadata = file.schema_arrow.metadata or {}
    return {key.decode(): value.decode() for key, value in metadata.items()}
