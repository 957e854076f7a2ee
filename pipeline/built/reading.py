"""How files become chains: what two builds must share to make one dataset."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pipeline.commands.words import MEBIBYTE
from pipeline.errors import UsageError
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

MIN_MEMORY = 64
"""MiB that building small files takes, and some room."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How files become chains: the part of the options that decides what the data are.

    `max_file_size` and `max_memory` are bytes here, and MiB on the command line. `manifest_sha256`
    is of the content of `manifest`, which is where this run finds it; a build puts both in.

    Parameters
    ----------
    models
        The first model of a file, whatever its number, or all of them.
    assembly
        Build this biological assembly (its id in the file, or first) instead of the asymmetric
        unit.
    max_assembly_chains
        Assemblies with more polypeptide chains fail.
    b_factor_is
        What B-factors are where the file does not say: plddt if all inputs that name no experiment
        are predictions with pLDDT; auto takes them for B-factors, and flags what looks like pLDDT.
    base_thickness
        Added to the standard deviation of a residue's atoms along each axis, in Å.
    shape
        Ellipsoids along the axes of the residue's frame, or of the true second moment.
    timeout
        Seconds a file may take; one that takes longer fails, and the others are built.
    max_file_size
        Unpacked size in MiB above which a file fails unread.
    max_memory
        MiB that a worker process may take beyond what it starts with; a file that needs more fails,
        and the others are built. 0 for no limit. Linux only: elsewhere there is none.
    filters
        Rules for what is kept.
    """

    models: Literal["first", "all"] = "first"
    assembly: str | None = None
    max_assembly_chains: int = MAX_ASSEMBLY_CHAINS
    b_factor_is: BFactorIs = "auto"
    base_thickness: float = BASE_THICKNESS
    shape: Literal["axis_aligned", "full"] = "axis_aligned"
    timeout: float = 300.0
    max_file_size: int = field(default=512 * MEBIBYTE, metadata={"unit": MEBIBYTE})
    max_memory: int = field(default=MAX_MEMORY * MEBIBYTE, metadata={"unit": MEBIBYTE})
    filters: Filters = field(default_factory=Filters, metadata={"flatten": True})
    manifest: Path | None = field(default=None, metadata={"option": False})
    manifest_sha256: str | None = field(default=None, metadata={"option": False})

    def check(self) -> None:
        """See that numbers and rules make sense.

        Raises
        ------
        UsageError
        """
        if self.max_file_size < 1:
            raise UsageError("--max-file-size is at least 1 MiB")
        if self.max_memory and self.max_memory < MIN_MEMORY * MEBIBYTE:
            raise UsageError(
                f"--max-memory must be at least {MIN_MEMORY} MiB, without which nothing is built; "
                "or 0 for no limit"
            )
        if not 0 < self.timeout < math.inf:
            raise UsageError("--timeout must be a positive number of seconds")
        if not 0 <= self.base_thickness < math.inf:
            raise UsageError("--base-thickness must be 0 or a positive number of Å")
        self.filters.check()

    def with_manifest(self, manifest: Path) -> Reading:
        """Restricted to what a manifest lists.

        Raises
        ------
        OSError
        """
        sha256 = hashlib.sha256(manifest.read_bytes()).hexdigest()
        return replace(self, manifest=manifest, manifest_sha256=sha256)

    def identity(self) -> dict[str, Any]:
        """What two builds must share for their parts to be joined, as JSON-able values."""
        values = {**asdict(self), "filters": self.filters.identity()}
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
