"""What a download can be told."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pipeline.commands.checks import check_at_least, check_no_file
from pipeline.commands.words import dashed
from pipeline.errors import UsageError
from pipeline.fetch.servers import Source
from pipeline.files.place import Place
from pipeline.sources import Format

POLITE_CONNECTIONS, POLITE_RATE = 16, 20.0
"""Most that the public servers are asked for; a mirror of one's own may be asked for more."""


@dataclass(frozen=True)
class FetchOptions:
    """Download the entries that a manifest names.

    Parameters
    ----------
    manifest
        CSV with a column entry_id, as pipeline.build takes it: PDB ids, or for AlphaFold DB UniProt
        accessions or ids such as AF-P29373-F1.
    out_dir
        Folder of the files, also as --out. The same command again goes on where it was.
    source
        Who is asked: rcsb, pdbe, pdbj or alphafold.
    format
        bcif (BinaryCIF), cif (mmCIF) or pdb.
    mirror
        URL that replaces the server's: the beginning of its URLs, or a whole one with {id}, {ID},
        {middle} or {format} in it.
    layout
        flat, or divided: folders by the two middle characters of the id, as in the PDB archive.
    alphafold_version
        Version of the models, where the entry's id does not say it.
    at_once
        Connections at once.
    per_second
        Most requests in a second, over all connections.
    attempts
        How often an entry is tried when the server stumbles.
    timeout
        Seconds that a server may be silent, or slower than 1 kB/s.
    max_file_size
        Largest file in MiB, unpacked.
    allow_failures
        Exit with 0 if no more entries than this fail.
    overwrite
        Download again what is there.
    quiet
        No progress, only the summary.
    """

    manifest: Path
    out_dir: Place = field(metadata={"also": "out"})
    source: Source = "rcsb"
    format: Format = "bcif"
    mirror: str | None = None
    layout: Literal["flat", "divided"] = "flat"
    alphafold_version: int = 6
    at_once: int = 4
    per_second: float = 5.0
    attempts: int = 5
    timeout: float = 30.0
    max_file_size: int = 512
    allow_failures: int = 0
    overwrite: bool = False
    quiet: bool = False

    def check(self) -> None:
        """See that the files can lie where they shall, and that servers are asked politely.

        Raises
        ------
        UsageError
        """
        if self.out_dir.is_uri:
            raise UsageError(f"--out-dir {self.out_dir}: give a folder of this machine")
        check_no_file("out_dir", Path(self.out_dir))
        check_at_least(
            self, at_once=1, attempts=1, max_file_size=1, alphafold_version=1, allow_failures=0
        )
        for name in ("per_second", "timeout"):
            if not 0 < getattr(self, name) < math.inf:
                raise UsageError(f"{dashed(name)} must be a positive number")
        if self.mirror is None and (
            self.at_once > POLITE_CONNECTIONS or self.per_second > POLITE_RATE
        ):
            raise UsageError(
                f"public servers are asked by at most {POLITE_CONNECTIONS} connections and "
                f"{POLITE_RATE:g} times a second (--at-once, --per-second); for the whole archive "
                "there is rsync, and for a copy of your own --mirror, which has no such limit"
            )
