"""What a build can be told."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pipeline.built.reading import MAX_MEMORY, Reading
from pipeline.commands.words import MEBIBYTE
from pipeline.filters import Filters
from pipeline.geometry.gaussians import BASE_THICKNESS
from pipeline.parsing.confidence import BFactorIs
from pipeline.parsing.read_chains import MAX_ASSEMBLY_CHAINS


@dataclass(frozen=True)
class BuildOptions:
    """Turn a folder of protein structure files into Parquet shards.

    Parameters
    ----------
    out_dir
        Folder of the dataset, or its URI in a store (s3://bucket/folder, gs://bucket/folder); made
        if it is not there. Running the same command again resumes.
    pdb_dir
        Folder that is searched for structure files (PDB, mmCIF, BinaryCIF; plain, .gz, .zst, .fcz;
        in tar archives and Foldcomp databases; in nested folders), or one file; or its URI in a
        store. Nothing is ever written there.
    pdb_list
        Text file of paths, one a line, relative to the list's folder, or URIs; beside or instead of
        --pdb-dir. It may be in a store itself.
    manifest
        CSV with a column entry_id and optionally chain: only these are built.
    n_jobs
        Worker processes; 0 means as many as this process may use (cgroups and Slurm are respected).
    backend
        Where the parts are built: in processes of this machine (loky), or on a Dask or Ray cluster
        that runs already.
    address
        Of that cluster: Dask's scheduler or its scheduler file; Ray's head, or auto.
    plan
        Write plan.parquet for an array job and stop; --part builds parts of it, --finalise joins
        them.
    part
        I/N, I from 0: build every Nth part of the plan, from the Ith on, beside other tasks.
    finalise
        Join the parts of the plan that the tasks of an array job have built.
    update
        Keep the shards of inputs that have not changed, by their content; build again only those
        in which something has changed or is gone, and add what is new in shards of its own.
    obsolete
        List of entries that are left out though their files are there: the PDB's obsolete.dat, or
        an entry a line, and after a comma what supersedes it.
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
    part_size
        Input per shard in MiB (compressed); 0 chooses it by the size of the whole input.
    allow_failures
        Exit with status 0 if no more files than this fail.
    overwrite
        Delete what another configuration built in the output folder, and start anew.
    report
        Write report.html, a page about the dataset, when it is finished; without it, an older one
        is removed.
    dry_run
        Print the plan and stop.
    quiet
        No progress, only the summary.
    log_file
        Append a JSON line for every event (start, part, failure, summary).
    filters
        Rules for what is kept.
    """

    out_dir: Path
    pdb_dir: Path | None = None
    pdb_list: Path | None = None
    manifest: Path | None = None
    n_jobs: int = 0
    backend: Literal["loky", "dask", "ray"] = "loky"
    address: str | None = None
    plan: bool = False
    part: str | None = None
    finalise: bool = False
    update: bool = False
    obsolete: Path | None = None
    models: Literal["first", "all"] = "first"
    assembly: str | None = None
    max_assembly_chains: int = MAX_ASSEMBLY_CHAINS
    b_factor_is: BFactorIs = "auto"
    base_thickness: float = BASE_THICKNESS
    shape: Literal["axis_aligned", "full"] = "axis_aligned"
    timeout: float = 300.0
    max_file_size: int = 512
    max_memory: int = MAX_MEMORY
    part_size: int = 0
    allow_failures: int = 0
    overwrite: bool = False
    report: bool = True
    dry_run: bool = False
    quiet: bool = False
    log_file: Path | None = None
    filters: Filters = field(default_factory=Filters, metadata={"flatten": True})

    def reading(self) -> Reading:
        """The part of the options that the workers need and the configuration hash covers."""
        sha256 = None
        if self.manifest is not None:
            sha256 = hashlib.sha256(self.manifest.read_bytes()).hexdigest()
        return Reading(
            models=self.models,
            assembly=self.assembly,
            max_assembly_chains=self.max_assembly_chains,
            b_factor_is=self.b_factor_is,
            base_thickness=self.base_thickness,
            shape=self.shape,
            max_file_size=self.max_file_size * MEBIBYTE,
            timeout=self.timeout,
            max_memory=self.max_memory * MEBIBYTE,
            filters=self.filters,
            manifest=self.manifest,
            manifest_sha256=sha256,
        )
