"""What a build can be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pipeline.built.reading import Reading
from pipeline.commands.checks import check_at_least, check_exists
from pipeline.commands.words import dashed
from pipeline.errors import UsageError
from pipeline.files.place import Place
from pipeline.files.storage import BadLocation, Folder
from pipeline.filters import Manifest
from pipeline.sources import place_kind


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
        Where the parts are built: in processes of this machine (loky is an old name for them), or
        on a Dask or Ray cluster that runs already.
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
    reading
        How files become chains.
    part_size
        Input per shard in MiB (compressed); 0 chooses it by the size of the whole input.
    allow_failures
        Exit with status 0 if no more files than this fail.
    allow_empty
        Exit with status 0 though no chain was kept; without it, that is status 1.
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
    """

    out_dir: Place
    pdb_dir: Place | None = None
    pdb_list: Place | None = None
    manifest: Path | None = None
    n_jobs: int = 0
    backend: Literal["processes", "dask", "ray", "loky"] = "processes"
    address: str | None = None
    plan: bool = False
    part: str | None = None
    finalise: bool = False
    update: bool = False
    obsolete: Path | None = None
    reading: Reading = field(default_factory=Reading, metadata={"flatten": "here"})
    part_size: int = 0
    allow_failures: int = 0
    allow_empty: bool = False
    overwrite: bool = False
    report: bool = True
    dry_run: bool = False
    quiet: bool = False
    log_file: Path | None = None

    def __post_init__(self) -> None:
        for name in ("out_dir", "pdb_dir", "pdb_list"):  # which a library's user has as a Path
            if (given := getattr(self, name)) is not None and not isinstance(given, Place):
                object.__setattr__(self, name, Place(given))

    def check(self) -> None:
        """See that the inputs are there and apart from the output, and that numbers make sense.

        Raises
        ------
        UsageError
        StorageError
            A store does not answer, has no such bucket, or refuses.
        """
        if self.pdb_dir is None and self.pdb_list is None:
            raise UsageError("give --pdb-dir, --pdb-list or both")
        for name, place in (("pdb_dir", self.pdb_dir), ("pdb_list", self.pdb_list)):
            try:
                if place is not None and place_kind(place) is None:
                    there_is_no = f"{place.folder}: there is no such file or folder"
                    raise UsageError(f"{dashed(name)} {there_is_no}")
            except BadLocation as error:
                raise UsageError(f"{dashed(name)} {error}") from None
        for name, path in (("manifest", self.manifest), ("obsolete", self.obsolete)):
            if path is not None:
                check_exists(name, path)
        folder = self.out_dir.folder
        if self.pdb_dir is not None:
            _check_apart(self.pdb_dir.folder, folder)
        check_at_least(self, n_jobs=0, part_size=0, allow_failures=0)
        self.reading.check()
        if self.manifest is not None:
            Manifest.read(self.manifest)
        folder.check()

    def whole_reading(self) -> Reading:
        """What the workers need and the configuration hash covers: `reading`, with the manifest as
        it is now.

        Raises
        ------
        OSError
        """
        return self.reading if self.manifest is None else self.reading.with_manifest(self.manifest)


def _check_apart(source: Folder, output: Folder) -> None:
    """The output is not the input, nor around it."""
    if source.local is not None and output.local is not None:
        out, folder = output.local.resolve(), source.local.resolve()
        same, inside = out == folder, out in folder.parents
    else:
        same, inside = source == output, source.is_within(output)
    if same:
        raise UsageError("--out-dir is the input folder, which is never written to; give another")
    if inside:
        raise UsageError(
            f"--pdb-dir {source} lies in the output folder, which is not searched; give another "
            "--out-dir"
        )
