"""``python -m pipeline.report``: a dataset at a glance, on one page."""

from __future__ import annotations

from pathlib import Path

from pipeline.files.storage import Location

__all__ = ["write_report"]


def write_report(
    out_dir: Location, output: Path | None = None, *, with_chains: bool = False
) -> Path | str:
    """Write ``report.html`` of a finished dataset; a file that says the same stays untouched.

    Parameters
    ----------
    out_dir : str, Path or Place
        Folder of the dataset, here or in a store (``s3://…``).
    output : Path, optional
        File to write instead of ``report.html`` beside the index.
    with_chains : bool
        Write ``report-chains.html`` as well, which shows the outliers that the page names. Without
        it, an older one is removed.

    Returns
    -------
    Path or str
        Where the page is; text if that is in a store.

    Raises
    ------
    UnreadableDataset, DamagedShard, StorageError, BadLocation
        The dataset cannot be read; no page was written.
    OSError
        The page cannot be written; what was there stays.
    """
    # Who imports this to have a report made in the end needs no template engine until then.
    from pipeline.report.write import write

    return write(out_dir, output, with_chains)[0].place
