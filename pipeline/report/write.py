"""Numbers → page → file."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from pipeline.built.built_dataset import BuiltDataset
from pipeline.built.layout import Layout
from pipeline.files.atomic import appears_whole
from pipeline.files.storage import Folder, Location
from pipeline.report.gather import Numbers, gather
from pipeline.report.page import render


@dataclass(frozen=True, slots=True)
class Written:
    """A page that is there.

    Attributes
    ----------
    place : Path or str
        Text if it is in a store.
    n_bytes : int
    """

    place: Path | str
    n_bytes: int


def write(location: Location, output: Path | None, with_chains: bool) -> list[Written]:
    """The page, and that of the chains if it was asked for and there are any; see
    `pipeline.report.write_report`."""
    dataset = BuiltDataset.open(location)
    numbers = gather(dataset)
    uids = _named(numbers) if with_chains else []
    folder = dataset.folder
    page, chains = Layout.report, Layout.report_chains
    if output is not None:
        page, chains = output.name, f"{output.stem}-chains.html"
    local = folder.local if output is None else output.parent
    contents = {page: render(numbers, chains if uids else None)}
    if uids:
        # A report reads no whole chains, and needs none of what writes them.
        from pipeline.report.chain_page import chain_page

        contents = {chains: chain_page(dataset, uids), **contents}
    elif output is None:
        folder.delete(chains)  # of another day, which the page no longer leads to
    written = []
    for name, text in contents.items():
        content = text.encode("utf-8")
        if local is None:
            _put(folder, name, content)
        else:
            _write(local / name, content)
        place = folder.describe(name) if local is None else local / name
        written.append(Written(place, len(content)))
    return written[::-1]


def _named(numbers: Numbers) -> list[str]:
    """The chains that the page names as outliers or shows in its gallery, each once."""
    named = [c.chain_uid for o in numbers.outliers for c in o.chains]
    return list(dict.fromkeys([*named, *numbers.gallery.uids]))


def _put(folder: Folder, name: str, content: bytes) -> None:
    try:
        if folder.read_bytes(name) == content:
            return
    except FileNotFoundError:
        pass
    with (
        tempfile.TemporaryDirectory(prefix="pipeline-report-") as scratch,
        folder.appears_whole(name, Path(scratch)) as temporary,
    ):
        temporary.write_bytes(content)


def _write(path: Path, content: bytes) -> None:
    if not _says(path, content):
        with appears_whole(path, _scratch(path)) as temporary:
            temporary.write_bytes(content)


def _says(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False


def _scratch(path: Path) -> Path:
    """A folder on the file system of `path` where an unfinished page bothers nobody."""
    scratch = Layout(path.absolute().parent).scratch
    return scratch if scratch.is_dir() else path.absolute().parent
