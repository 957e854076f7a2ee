"""What an export can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


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
        Write a web page that shows one entry: cartoon and ellipsoids.
    viewer_script
        A copy of 3Dmol-min.js to put into the page, which then works without a network.
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
