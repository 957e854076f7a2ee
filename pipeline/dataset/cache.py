"""The fields of a whole dataset, decoded once into flat arrays: mapped files, or memory."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import DTypeLike, NDArray

from pipeline.built.built_dataset import BuiltDataset
from pipeline.commands.words import MEBIBYTE
from pipeline.errors import Failure
from pipeline.files.storage import Folder
from pipeline.selection.fields import FIELDS, columns_of, decode
from pipeline.shards import DamagedShard, open_shard, read_rows

logger = logging.getLogger("pipeline.dataset")

CACHE_VERSION = 1
"""Rises when a field is computed differently; caches of another version are not used."""

DONE = "done.json"
"""Is there when a cache is whole."""

_READ_GROUPS = 4
_ANEW = "delete its folder, and the cache is made anew"

Arrays = dict[str, NDArray[Any]]


class CacheError(Failure):
    """The cache cannot be made: no space, no permission."""


def size_of(n_residues: int, fields: Sequence[str]) -> int:
    """Bytes of the arrays."""
    return n_residues * sum(FIELDS[name].bytes_per_residue for name in fields)


def fill(
    folder: Folder,
    shards: Sequence[str],
    fields: Sequence[str],
    arrays: Arrays,
    lengths: NDArray[np.int64],
    uids: pa.ChunkedArray,
) -> None:
    """Decode all rows of some shards, one after the other, into arrays over residues.

    Parameters
    ----------
    folder : Folder
    shards : sequence of str
        Names, in the order of the arrays.
    fields : sequence of str
    arrays : dict
        Field → array to be filled.
    lengths : (n,) int64
        Of the chains, in the order of the arrays.
    uids : pyarrow.ChunkedArray
        Their names.

    Raises
    ------
    DamagedShard
        A shard is damaged, or does not hold what the index says.
    """
    begin = chain = 0
    for name in shards:
        path = folder.join("shards", name)
        with open_shard(path, folder.filesystem) as shard:
            groups = list(range(shard.metadata.num_row_groups))
            for k in range(0, len(groups), _READ_GROUPS):
                some = groups[k : k + _READ_GROUPS]
                rows = read_rows(shard, path, some, ["chain_uid", *columns_of(fields)])
                names = rows.scalars["chain_uid"]
                if not names.equals(uids.slice(chain, len(rows))) or not np.array_equal(
                    np.diff(rows.residues), lengths[chain : chain + len(rows)]
                ):
                    raise DamagedShard(
                        f"{path}: its chains are not those of the index; "
                        f"`python -m pipeline.verify {folder} --repair` makes them agree"
                    )
                end = begin + int(rows.residues[-1])
                for field, values in decode(rows, fields).items():
                    arrays[field][begin:end] = values
                begin, chain = end, chain + len(rows)
    if chain != len(lengths):
        raise DamagedShard(
            f"{folder}: the shards hold {chain} chains and the index {len(lengths)}; "
            f"`python -m pipeline.verify {folder} --repair` makes them agree"
        )


def in_memory(
    folder: Folder,
    shards: Sequence[str],
    fields: Sequence[str],
    lengths: NDArray[np.int64],
    uids: pa.ChunkedArray,
) -> Arrays:
    """The arrays in this process's memory."""
    n = int(lengths.sum())
    arrays = {f: np.empty((n, *FIELDS[f].shape), FIELDS[f].stored) for f in fields}
    fill(folder, shards, fields, arrays, lengths, uids)
    return arrays


def mapped(place: Path, fields: Sequence[str], n_residues: int) -> Arrays:
    """The arrays of a finished cache, mapped copy-on-write: nobody can change the files.

    Raises
    ------
    CacheError
        A file is gone, or has another size.
    """
    arrays: Arrays = {}
    for name in fields:
        field = FIELDS[name]
        shape = (n_residues, *field.shape)
        arrays[name] = map_file(place / f"{name}.bin", field.stored, shape)
    return arrays


def map_file(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> NDArray[Any]:
    """One array of a finished cache, mapped copy-on-write.

    Raises
    ------
    CacheError
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise CacheError(f"{path} cannot be read: {error.strerror}; {_ANEW}") from error
    if size != math.prod(shape) * np.dtype(dtype).itemsize:
        raise CacheError(f"{path} has another size than it was made with; {_ANEW}")
    # As a plain array: slicing a memmap object costs ten times as much.
    return np.asarray(np.memmap(path, dtype, "c", shape=shape))


def place_of(dataset: BuiltDataset, fields: Sequence[str], cache_dir: str | None) -> Path:
    """Where the cache of these data and fields is, or will be.

    Beside the shards; without permission to write there, or for a remote dataset, in the user's
    cache folder.
    """
    folder, build = dataset.folder, dataset.build
    shards = [shard.sha256 for shard in build.shards]
    key = json.dumps([CACHE_VERSION, build.digest, shards, sorted(fields)])
    name = hashlib.sha256(key.encode()).hexdigest()[:20]
    if cache_dir is not None:
        return Path(cache_dir) / name
    if folder.is_local:
        root = Path(folder.join(".cache"))
        if os.access(root if root.exists() else root.parent, os.W_OK):
            return root / name
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "ellipsoid-flow" / name


def ensure(
    place: Path,
    folder: Folder,
    shards: Sequence[str],
    fields: Sequence[str],
    lengths: NDArray[np.int64],
    uids: pa.ChunkedArray,
    say: Callable[[str], None] = logger.warning,
) -> None:
    """Make the cache unless it is there; of several processes one does, the others wait.

    Raises
    ------
    CacheError
        There is no room for it, or it may not be written there.
    DamagedShard
    """
    n = int(lengths.sum())
    make_once(
        place,
        size_of(n, fields),
        f"decoding {n} residues",
        lambda scratch: _write(scratch, folder, shards, fields, lengths, uids),
        say,
    )


def make_once(
    place: Path,
    size: int,
    what: str,
    write: Callable[[Path], None],
    say: Callable[[str], None] = logger.warning,
) -> None:
    """Make a folder of `size` bytes unless it is there; `write` fills an unfinished one.

    Raises
    ------
    CacheError
    """
    done = place / DONE
    if done.exists():
        return
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with _locked(place.parent / f"{place.name}.lock"):
            if done.exists():
                return
            free = shutil.disk_usage(place.parent).free
            if size > free:
                raise CacheError(
                    f"the cache needs {size / 2**30:.1f} GiB at {place}, where "
                    f"{free / 2**30:.1f} GiB are free: give another cache_dir, or fewer columns, "
                    "or make a subset with `python -m pipeline.subset`"
                )
            say(f"{what} into {place} ({size / MEBIBYTE:.1f} MiB), once")
            shutil.rmtree(place, ignore_errors=True)
            scratch = Path(tempfile.mkdtemp(prefix=f"{place.name}.", dir=place.parent))
            try:
                write(scratch)
                os.replace(scratch, place)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise CacheError(
            f"the cache cannot be written at {place}: {error.strerror or error}"
        ) from error


def _write(
    scratch: Path,
    folder: Folder,
    shards: Sequence[str],
    fields: Sequence[str],
    lengths: NDArray[np.int64],
    uids: pa.ChunkedArray,
) -> None:
    n = int(lengths.sum())
    arrays: Arrays = {}
    for name in fields:
        field = FIELDS[name]
        path = scratch / f"{name}.bin"
        with open(path, "wb") as file:
            if n:
                # Blocks now, not a bus error when a page of a full disk is touched.
                os.posix_fallocate(file.fileno(), 0, n * field.bytes_per_residue)
        if n:
            arrays[name] = np.memmap(path, field.stored, "r+", shape=(n, *field.shape))
    if n:
        fill(folder, shards, fields, arrays, lengths, uids)
    for array in arrays.values():
        array.flush()  # type: ignore[attr-defined]
    (scratch / DONE).write_text(
        json.dumps({"fields": list(fields), "residues": n, "version": CACHE_VERSION})
    )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
