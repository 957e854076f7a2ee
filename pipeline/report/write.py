"""Numbers → page → file."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pipeline.built.built_dataset import BuiltDataset
from pipeline.built.layout import Layout
from pipeline.files.atomic import appears_whole
from pipeline.files.storage import Folder, Location
from pipeline.report.gather import gather
from pipeline.report.page import render


def write(location: Location, output: Path | None) -> Path | str:
    """See `pipeline.report.write_report`."""
    dataset = BuiltDataset.open(location)
    content = render(gather(dataset)).encode("utf-8")
    folder, name = dataset.folder, Layout.report
    path = output
    if path is None:
        if folder.local is None:
            _put(folder, name, content)
            return folder.describe(name)
        path = folder.local / name
    if not _says(path, content):
        with appears_whole(path, _scratch(path)) as temporary:
            temporary.write_bytes(content)
    return path


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


def _says(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False


def _scratch(path: Path) -> Path:
    """A folder on the file system of `path` where an unfinished page bothers nobody."""
    scratch = Layout(path.absolute().parent).scratch
    return scratch if scratch.is_dir() else path.absolute().parent
