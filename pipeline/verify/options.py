"""What a verification can be told."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from pipeline.commands.checks import (
    check_at_least,
    check_exists,
    check_has_folder,
    check_no_folder,
)
from pipeline.commands.words import dashed
from pipeline.errors import UsageError
from pipeline.files.place import Place


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

    dataset: Place
    quick: bool = False
    sample: float | None = None
    n_jobs: int = 0
    repair: bool = False
    pdb_dir: Path | None = None
    pdb_list: Path | None = None
    manifest: Path | None = None
    json: Path | None = None
    quiet: bool = False

    def check(self) -> None:
        """See that the options fit together.

        Raises
        ------
        UsageError
        """
        check_at_least(self, n_jobs=0)
        if self.sample is not None:
            self._check_sample(self.sample)
        for name in ("pdb_dir", "pdb_list", "manifest"):
            path: Path | None = getattr(self, name)
            if path is not None:
                if not self.repair:
                    raise UsageError(
                        f"{dashed(name)} says where inputs are, for --repair; give both or neither"
                    )
                check_exists(name, path)
        if self.json is not None:
            check_has_folder("json", self.json)
            check_no_folder("json", self.json)

    def _check_sample(self, sample: float) -> None:
        if self.quick:
            raise UsageError("--quick computes no Gaussians: give it or --sample")
        whole = sample >= 1 and float(sample).is_integer()
        if not math.isfinite(sample) or not (whole or 0 < sample < 1):
            raise UsageError(
                f"--sample {sample:g}: give a share of the chains between 0 and 1, or a whole "
                "number of chains"
            )
