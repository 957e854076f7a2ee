"""How files become chains: what two builds must share to make one dataset."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.commands.words import MEBIBYTE
from pipeline.filters import Filters
from pipeline.geometry.gaussians import BASE_THICKNESS
from pipeline.parsing import PARSING_VERSION
from pipeline.parsing.confidence import BFactorIs
from pipeline.parsing.read_chains import MAX_ASSEMBLY_CHAINS
from pipeline.residues import COMPONENTS_VERSION
from pipeline.shards import SCHEMA_VERSION

MAX_MEMORY = 6144
"""MiB. mmCIF in aligned columns takes 4 times its size, other text 15 times; the largest entries
are some 300 MB of the former."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How files become chains: the part of the options that decides what the data are.

    Attributes
    ----------
    max_file_size : int
        Bytes, unpacked.
    max_memory : int
        Bytes that a worker process may take beyond its start; 0 for no limit.
    manifest_sha256 : str or None
        Of the manifest's content; `manifest` is where this run finds it.
    """

    models: Literal["first", "all"] = "first"
    assembly: str | None = None
    max_assembly_chains: int = MAX_ASSEMBLY_CHAINS
    b_factor_is: BFactorIs = "auto"
    base_thickness: float = BASE_THICKNESS
    shape: Literal["axis_aligned", "full"] = "axis_aligned"
    max_file_size: int = 512 * MEBIBYTE
    timeout: float = 300.0
    max_memory: int = MAX_MEMORY * MEBIBYTE
    filters: Filters = field(default_factory=Filters)
    manifest: Path | None = None
    manifest_sha256: str | None = None

    def identity(self) -> dict[str, Any]:
        """What two builds must share for their parts to be joined, as JSON-able values."""
        values = asdict(self)
        for elsewhere in ("timeout", "max_memory", "manifest"):
            del values[elsewhere]
        if self.b_factor_is == "auto":  # as before there was a choice
            del values["b_factor_is"]
        return {
            **values,
            "schema_version": SCHEMA_VERSION,
            "components_version": COMPONENTS_VERSION,
            "parsing_version": PARSING_VERSION,
        }

    @property
    def config_hash(self) -> str:
        """`config_hash` of `identity`."""
        return config_hash(self.identity())


def config_hash(config: Mapping[str, Any]) -> str:
    """SHA-256 of a configuration, in hexadecimal: as in ``build.json``."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
