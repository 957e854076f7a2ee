"""What the command can be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from model.sample.request import check_request
from model.tasks import Request


@dataclass(frozen=True)
class SampleOptions:
    """Sample proteins, and write them.

    Parameters
    ----------
    ckpt
        Checkpoint of model.train; without it, the small one that comes with the package.
    out_dir
        Folder for a structure file per sample, sequences.fasta, metrics.csv, residues.csv
        and options.yaml.
    format
        mmCIF or PDB. B-factors are the predicted errors of residues in Å.
    trajectory
        Write NAME_trajectory files as well, with a model for each step.
    overwrite
        Replace files of the same names in a folder that is not empty.
    device
        Where the network runs: cpu, cuda, cuda:1 …; without it, cuda if there is one.
    quiet
        Say nothing but what went wrong.
    """

    out_dir: Path
    ckpt: Path | None = None
    format: Literal["cif", "pdb"] = "cif"
    trajectory: bool = False
    overwrite: bool = False
    device: str | None = None
    quiet: bool = False
    request: Request = field(
        default_factory=lambda: Request("unconditional"), metadata={"flatten": True}
    )

    def check(self) -> None:
        """See that the options go together.

        Raises
        ------
        UsageError
        """
        check_request(self.request)
