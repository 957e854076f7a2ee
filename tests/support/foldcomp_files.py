"""Foldcomp's data for tests: structures packed by Foldcomp, and databases of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import gemmi
import pytest

from tests.support.places import EXAMPLES

ALPHAFOLD = "AF-P29373-F1-model_v4"


def alphafold_pdb() -> str:
    """The AlphaFold DB model of the examples, as a PDB file has it."""
    return gemmi.read_structure(str(EXAMPLES / f"{ALPHAFOLD}.cif.gz")).make_pdb_string()


def pack(name: str, pdb: str | None = None) -> bytes:
    """A structure packed by Foldcomp, which keeps the name as its title."""
    foldcomp = pytest.importorskip("foldcomp", reason="the extra foldcomp is not installed")
    return foldcomp.compress(name, pdb if pdb is not None else alphafold_pdb())


def write_database(path: Path, entries: Mapping[str, bytes]) -> Path:
    """A database as Foldcomp writes it: a NUL byte after each entry, counted in its length."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data, index, lookup = b"", "", ""
    for key, (name, content) in enumerate(entries.items()):
        index += f"{key}\t{len(data)}\t{len(content) + 1}\n"
        lookup += f"{key}\t{name}\t0\n"
        data += content + b"\0"
    path.write_bytes(data)
    Path(f"{path}.index").write_text(index)
    Path(f"{path}.lookup").write_text(lookup)
    Path(f"{path}.source").write_text(f"0\t{path.name}\n")
    Path(f"{path}.dbtype").write_bytes(b"\0\0\0\0")
    return path
