"""The notebooks of the documentation: each runs as it stands, and is stored without outputs."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.support.places import ROOT

NOTEBOOKS = sorted(ROOT.glob("docs/notebooks/*.ipynb"))
FIRST = "building-and-looking"
"""Makes the dataset that the others read."""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_stored_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)


def run(path: Path, folder: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("notebooks")
    run(ROOT / "docs" / "notebooks" / f"{FIRST}.ipynb", folder)
    return folder


@pytest.mark.slow
def test_the_first_notebook_builds_a_dataset(folder: Path) -> None:
    assert (folder / "dataset" / "build.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", [p for p in NOTEBOOKS if p.stem != FIRST], ids=lambda path: path.stem
)
def test_notebooks_run_from_beginning_to_end(path: Path, folder: Path) -> None:
    run(path, folder)
