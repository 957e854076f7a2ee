"""Files that are not of a dataset, and those beside it of which ``build.json`` does not know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.built.layout import Layout
from pipeline.commands.words import mebibytes
from pipeline.verify.check_shard import first_line
from pipeline.verify.findings import Problem
from pipeline.verify.probe import KILLS, deadly

SPLITS = "splits.parquet"
"""What pipeline.split leaves beside the index."""

STAGE = "repair"
"""Folder below ``.build`` in which a repair makes what it puts in place."""


def check_strays(layout: Layout, here: Layout, names: set[str]) -> Iterator[Problem]:
    """What does not belong in a dataset, and what lies beside its tables.

    Parameters
    ----------
    layout, here : Layout
        The dataset, and everything of it but the shards, on this machine.
    names : set of str
        Its shards.
    """
    for name in _names_in_shards(layout):
        # Readers of whole folders pass over what begins so.
        if name not in names and not name.startswith((".", "_")):
            yield Problem(
                f"shards/{name}",
                "stray",
                "is not of this dataset, and whoever reads all of shards/ would read it too",
                "by-hand",
            )
    if (problem := _unreadable_splits(here)) is not None:
        yield problem
    state = here.root / here.state
    for folder, whose, who in (
        (here.scratch, "an interrupted build", "the next run of the build"),
        (state / STAGE, "an interrupted repair", "the next --repair that has to mend"),
    ):
        left = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
        if left:
            size = sum(path.stat().st_size for path in left)
            yield Problem(
                f"{here.state}/{folder.name}",
                "leftover",
                f"holds {len(left):,} files of {whose} ({mebibytes(size)}); {who} sweeps them up",
                "none",
                damage=False,
            )
    if not (here.root / here.options).exists():
        yield Problem(
            here.options,
            "options",
            "is missing: no reader needs it, but --repair finds the inputs by it",
            "by-hand",
            damage=False,
        )


def _names_in_shards(layout: Layout) -> Sequence[str]:
    if not layout.folder.is_local:
        return layout.folder.list(layout.shards)
    shards = layout.root / layout.shards
    return sorted(path.name for path in shards.iterdir()) if shards.is_dir() else ()


def _unreadable_splits(layout: Layout) -> Problem | None:
    path = layout.root / SPLITS
    try:
        if path.exists() and deadly([path]):
            raise ValueError(KILLS)
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            file.read(use_threads=False).validate(full=True)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
        sentence = f"cannot be read: {first_line(error)}; make it again with pipeline.split"
        return Problem(SPLITS, "unreadable", sentence, "by-hand")
    return None
