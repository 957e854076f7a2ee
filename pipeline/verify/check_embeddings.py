"""Embeddings beside the dataset: finished, of this dataset, and every number readable."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.fs

from pipeline.built.built_dataset import BuiltDataset, UnreadableDataset
from pipeline.built.stored_embeddings import EMBEDDINGS, SUMMARY, StoredEmbeddings, damage_named
from pipeline.files.storage import Folder
from pipeline.shards import DamagedShard
from pipeline.verify.findings import Problem

_PIECE = 8 << 20


def check_embeddings(folder: Folder, index: pa.Table, *, quick: bool) -> Iterator[Problem]:
    """What is wrong with what `pipeline.embed` left.

    Embeddings of other data are a remark: readers refuse them, and read nothing wrong.

    Parameters
    ----------
    folder : Folder
        Of the dataset.
    index : pyarrow.Table
        ``index.parquet``, which has been verified.
    quick : bool
        The parts' footers and columns of lengths only; no vector is decoded.

    Raises
    ------
    StorageError
    """
    names = _names(folder)
    if not names:
        return
    try:
        dataset = BuiltDataset.open(folder.uri)
    except UnreadableDataset:
        return  # which has been said of build.json
    chains = _chains_by_shard(index)
    for name in names:
        file = f"{EMBEDDINGS}/{name}/{SUMMARY}"
        try:
            stored = StoredEmbeddings.open(dataset, name)
        except UnreadableDataset as error:
            yield Problem(file, "embeddings", _without(str(error), folder, file), "none", False)
            continue
        for entry in stored.summary["parts"]:
            part = entry["name"]
            try:
                message = _other_bytes(stored, part, entry.get("sha256"))
                message = message or _difference(stored, part, chains.get(part, []), quick)
            except DamagedShard as error:
                message = _without(str(error), folder, stored.path(part))
            if message is not None:
                yield Problem(stored.path(part), "embeddings", message, "by-hand")


def _names(folder: Folder) -> list[str]:
    """Folders below ``embeddings/`` in which there is something."""
    selector = pyarrow.fs.FileSelector(
        folder.join(EMBEDDINGS), allow_not_found=True, recursive=True
    )
    with folder.errors_named(EMBEDDINGS):
        found = folder.filesystem.get_file_info(selector)
    start = folder.join(EMBEDDINGS).rstrip("/") + "/"
    files = (i.path.removeprefix(start) for i in found if i.type == pyarrow.fs.FileType.File)
    # Names that begin so are of a run that goes on, or was killed.
    names = {path.split("/")[0] for path in files if "/" in path}
    return sorted(name for name in names if not name.startswith("."))


def _chains_by_shard(index: pa.Table) -> dict[str, list[tuple[str, int]]]:
    """Shard → (chain, residues) in the order of the rows."""
    chains: dict[str, list[tuple[str, int]]] = {}
    columns = [index[name].to_pylist() for name in ("shard", "chain_uid", "length")]
    for shard, uid, length in zip(*columns, strict=True):
        chains.setdefault(shard, []).append((uid, length))
    return chains


def _other_bytes(stored: StoredEmbeddings, part: str, sha256: str | None) -> str | None:
    digest = hashlib.sha256()
    with (
        damage_named(stored.folder, stored.path(part)),
        stored.folder.open_input(stored.path(part)) as file,
    ):
        while piece := file.read(_PIECE):
            digest.update(piece)
    if sha256 is None or digest.hexdigest() == sha256:
        return None
    return f"has another SHA-256 than {SUMMARY} says; delete it, and run pipeline.embed again"


def _difference(
    stored: StoredEmbeddings, part: str, chains: list[tuple[str, int]], quick: bool
) -> str | None:
    with stored.open_part(part) as file:
        if file.metadata.num_rows != len(chains):
            return f"has {file.metadata.num_rows:,} chains, and its shard {len(chains):,}"
        if quick:
            return None
        row = 0
        for group in range(file.metadata.num_row_groups):
            read = stored.read_group(file, part, group)
            for uid, n in zip(read.uids, np.diff(read.offsets), strict=True):
                expected, length = chains[row]
                row += 1
                if uid != expected:
                    return f"has the chain {uid} where its shard has {expected}"
                if n not in (0, length):
                    return f"has {n:,} vectors for the {length:,} residues of {uid}"
            if not np.isfinite(read.values).all():
                return f"holds numbers that are not finite, in row group {group}"
    return None


def _without(sentence: str, folder: Folder, file: str) -> str:
    """A sentence about a file, without the file: a problem says that beside it."""
    return sentence.removeprefix(folder.describe(file)).lstrip(": ")
