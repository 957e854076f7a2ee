"""What a verification can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class VerifyOptions:
    """Verify a dataset, and repair it.

    Parameters
    ----------
    dataset
        Folder that pipeline.build made, here or in a store (s3://…); as the first word, it needs no
        option.
    quick
        Hashes, schemas, tables and counts only: no list of a shard is decoded.
    sample
        Compute the Gaussians of so many chains again (0.1: a tenth of them) instead of all.
    n_jobs
        Processes; 0 means as many as this process may use (cgroups and Slurm are respected).
    repair
        Build damaged shards again from their inputs, and write damaged tables anew, in a folder of
        this machine. What is there is replaced only by what it was.
    pdb_dir
        With --repair: where the inputs are now, if not where options.yaml says.
    pdb_list
        With --repair: where the list of inputs is now, if not where options.yaml says.
    manifest
        With --repair: where the manifest is now, if not where options.yaml says.
    json
        Write what was found to this file.
    quiet
        No progress, only what was found.
    """

    dataset: Path
    quick: bool = False
    sample: float | None = None
    n_jobs: int = 0
    repair: bool = False
    pdb_dir: Path | None = None
    pdb_list: Path | None = None
    manifest: Path | None = None
    json: Path | None = None
    quiet: bool = False
