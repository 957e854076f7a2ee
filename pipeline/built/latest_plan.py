"""The plan of the build that wrote to a folder last: kept before anything is built."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from pipeline.built.layout import Layout
from pipeline.built.plan import Part, plan_table, read_plan
from pipeline.built.tables import write_table
from pipeline.files.storage import StorageError


def keep_plan(layout: Layout, parts: Sequence[Part]) -> None:
    """Write down what is going to be built, before it is: an update may follow an interruption.

    What is written down already stays as it is.
    """
    if _read_plan(layout, layout.latest_plan) == list(parts):
        return
    with layout.folder.appears_whole(layout.name(layout.latest_plan), layout.scratch) as path:
        write_table(plan_table(parts), path)


def latest_plan(layout: Layout) -> list[Part]:
    """The plan of the build that wrote to a folder last; empty where there is none to be read."""
    return _read_plan(layout, layout.latest_plan) or _read_plan(layout, layout.plan) or []


def _read_plan(layout: Layout, path: Path) -> list[Part] | None:
    """A plan; none where there is no such file that can be read."""
    try:
        with layout.folder.open_input(layout.name(path)) as file:
            return read_plan(file)
    except StorageError:
        raise
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return None
