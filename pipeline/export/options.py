"""What an export can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.commands.checks import check_no_folder
from pipeline.errors import UsageError
from pipeline.export.chain_ids import Kind

_FORMATS: dict[str, Kind] = {".cif": "cif", ".mmcif": "cif", ".pdb": "pdb", ".ent": "pdb"}


@dataclass(frozen=True)
class ExportOptions:
    """Write chains of a dataset as structure files, sequences, or a page that shows them.

    Parameters
    ----------
    dataset
        Folder that pipeline.build or pipeline.subset made; as the first word, it needs no option.
    chain
        Chains by their chain_uid, such as 1bd2_1_D; without --chain and --entry, all of them.
    entry
        Entries by their entry_id, all their chains; beside --chain, both are taken.
    where
        Of these, the chains that fulfil a condition on columns of the index, such as "resolution
        < 2 and n_breaks = 0".
    output
        A file for one entry (.cif, .mmcif, .pdb or .ent), or a folder for a file per entry.
    format
        mmCIF, or PDB, which is too narrow for some entries; by the name of --output, else cif.
    per
        In a folder, a file for each entry or for each chain.
    ellipsoids
        Add the residues' Gaussians: a pseudo-atom each, with the covariance as ANISOU or
        _atom_site_anisotrop, in chains of their own.
    view
        Write a web page that shows one entry: cartoon and ellipsoids. It needs no network.
    viewer_script
        Another 3Dmol-min.js to put into the page than the one that comes with this package.
    fasta
        Write the sequences of the chosen chains.
    overwrite
        Replace files that are there.
    """

    dataset: Path
    chain: list[str] | None = None
    entry: list[str] | None = None
    where: str | None = None
    output: Path | None = None
    format: Literal["cif", "pdb"] | None = None
    per: Literal["entry", "chain"] = "entry"
    ellipsoids: bool = False
    view: Path | None = None
    viewer_script: Path | None = None
    fasta: Path | None = None
    overwrite: bool = False

    @property
    def is_one_file(self) -> bool:
        """Whether `output` is a file, not a folder of files."""
        return self._kind_by_name is not None

    @property
    def kind(self) -> Kind:
        """Format of what is written to `output`."""
        return self.format or self._kind_by_name or "cif"

    @property
    def _kind_by_name(self) -> Kind | None:
        if self.output is None or self.output.is_dir():
            return None
        return _FORMATS.get(self.output.suffix.lower())

    def check(self) -> None:
        """See that there is something to write, and that it fits the names of files.

        Raises
        ------
        UsageError
        """
        if self.output is None and self.fasta is None and self.view is None:
            raise UsageError("nothing to write: give --output, --view or --fasta")
        if self.viewer_script is not None and self.view is None:
            raise UsageError("--viewer-script is for --view, which is not given")
        for name, path in (("fasta", self.fasta), ("view", self.view)):
            if path is not None:
                check_no_folder(name, path)
        if self.output is None:
            if self.ellipsoids or self.format is not None:
                raise UsageError("--ellipsoids and --format are for --output, which is not given")
            return
        by_name = self._kind_by_name
        if by_name is None:
            if self.output.exists() and not self.output.is_dir():
                raise UsageError(
                    f"--output {self.output} is a file; give a folder, or a name that ends in "
                    ".cif or .pdb"
                )
        elif self.per == "chain":
            raise UsageError(f"--per chain makes many files, and --output {self.output} is one")
        elif self.format not in (None, by_name):
            raise UsageError(f"--output {self.output} is not the name of a {self.format} file")
