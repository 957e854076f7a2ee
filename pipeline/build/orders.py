"""What ``--plan`` leaves for the tasks of an array job: the plan, and what goes with it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.built.layout import Layout
from pipeline.built.plan import Part, plan_table, read_plan
from pipeline.built.reading import Reading
from pipeline.built.records import InputRecord
from pipeline.built.tables import write_table
from pipeline.errors import UsageError
from pipeline.files.storage import StorageError
from pipeline.filters import Filters


@dataclass(frozen=True)
class Orders:
    """Everything that ``--part`` and ``--finalise`` would otherwise have to search for.

    Attributes
    ----------
    root : str
        What the paths in the plan are relative to; the same on every machine.
    reading : Reading
    sources : dict
        ``pdb_dir`` and ``pdb_list`` as the plan was made with, absolute.
    options : str
        The YAML that is to lie beside the dataset.
    others : tuple of InputRecord
        What was found and is in no part.
    software : dict
        `versions` of whoever made the plan.
    """

    root: str
    reading: Reading
    sources: dict[str, str | None]
    options: str
    others: tuple[InputRecord, ...]
    software: dict[str, str]

    def to_json(self, parts: Sequence[Part]) -> str:
        """As text that belongs to a plan."""
        values = asdict(self)
        values["reading"]["manifest"] = _text(self.reading.manifest)
        config = self.reading.config_hash
        return json.dumps({**values, "config_hash": config, "plan": _name(parts, config)})


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _name(parts: Sequence[Part], config_hash: str) -> str:
    """SHA-256 of all that a plan says."""
    said = [[p.number, p.fingerprint(config_hash)] for p in parts]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def write_orders(layout: Layout, parts: Sequence[Part], orders: Orders) -> None:
    """Write the plan and, last, what belongs to it."""
    folder = layout.folder
    folder.delete(layout.name(layout.orders))
    with folder.appears_whole(layout.plan.name, layout.scratch) as path:
        write_table(plan_table(parts), path)
    with folder.appears_whole(layout.name(layout.orders), layout.scratch) as path:
        path.write_text(orders.to_json(parts), encoding="utf-8")


def read_orders(layout: Layout) -> tuple[list[Part], Orders]:
    """The plan of an array job.

    Raises
    ------
    UsageError
        There is none, or it is not whole, or of another version.
    StorageError
    """
    remedy = "run the command that makes the plan again: --plan"
    try:
        values = json.loads(layout.folder.read_bytes(layout.name(layout.orders)))
        with layout.folder.open_input(layout.plan.name) as file:
            parts = read_plan(file)
    except StorageError:
        raise
    except FileNotFoundError:
        raise UsageError(f"{layout.folder} has no plan for an array job; {remedy}") from None
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UsageError(f"the plan in {layout.folder} is damaged ({error}); {remedy}") from error
    orders = _from_json(values)
    if orders.reading.config_hash != values["config_hash"]:
        raise UsageError(
            f"the plan in {layout.folder} was made by another version of ellipsoid-flow; {remedy}"
        )
    if values["plan"] != _name(parts, values["config_hash"]):
        raise UsageError(f"{layout.describe(layout.plan)} is not the plan of --plan; {remedy}")
    return parts, orders


def _from_json(values: Mapping[str, Any]) -> Orders:
    reading = dict(values["reading"])
    manifest = reading["manifest"]
    reading["manifest"] = None if manifest is None else Path(manifest)
    reading["filters"] = Filters(**reading["filters"])
    return Orders(
        values["root"],
        Reading(**reading),
        values["sources"],
        values["options"],
        tuple(InputRecord(**r) for r in values["others"]),
        values["software"],
    )
