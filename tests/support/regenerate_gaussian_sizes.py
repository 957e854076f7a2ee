"""The sizes of residue Gaussians that ``test_gaussian_sizes.py`` holds the code to.

    python -m tests.support.regenerate_gaussian_sizes

measures them again, rewrites ``tests/data/gaussian_sizes.csv`` and prints every row that changed.
Run it when the formula, the examples or the component dictionary change on purpose, and say in the
commit which of the three it was.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections import defaultdict
from pathlib import Path

import biotite.structure as struc
import biotite.structure.info as info
import biotite.structure.io.pdb as pdb
import biotite.structure.io.pdbx as pdbx
import numpy as np
import zstandard

from pipeline.geometry.gaussians import (
    Gaussians,
    from_all_atoms,
    from_backbone_atoms,
    from_rigid_and_sidechain,
)
from pipeline.residues.atom14 import ATOM14_NAMES
from pipeline.residues.types import RESTYPES
from tests.support.places import DATA, EXAMPLES, ROOT

STORED = DATA / "gaussian_sizes.csv"

COLUMNS = (
    "restype",
    "constructor",
    "source",
    "n",
    "scale_x",
    "scale_y",
    "scale_z",
    "volume",
    "centroid_ca",
)
CONSTRUCTORS = ("from_all_atoms", "from_rigid_and_sidechain", "from_backbone_atoms")
SOURCES = ("ideal", "examples")


def construct(constructor: str, positions: np.ndarray, mask: np.ndarray, **options) -> Gaussians:
    """Call a constructor by name on atom14 positions (L, 14, 3) and mask (L, 14)."""
    n, ca, c, o = np.moveaxis(positions[:, :4], 1, 0)
    sidechain, sidechain_mask = positions[:, 4:], mask[:, 4:]
    if constructor == "from_all_atoms":
        return from_all_atoms(n, ca, c, o, sidechain, sidechain_mask, o_mask=mask[:, 3], **options)
    if constructor == "from_rigid_and_sidechain":
        return from_rigid_and_sidechain(n, ca, c, sidechain, sidechain_mask, **options)
    return from_backbone_atoms(n, ca, c, o, o_mask=mask[:, 3], **options)


def mask_of(restype: str, count: int) -> np.ndarray:
    """(count, 14) mask of complete residues of one type."""
    names = ATOM14_NAMES[RESTYPES.index(restype)]
    return np.tile([name != "" for name in names], (count, 1))


def example_files() -> list[Path]:
    """One structure file per entry of the examples, in whatever format comes first by name."""
    found = {}
    for path in sorted(EXAMPLES.glob("*")):
        name = path.name.removesuffix(".gz").removesuffix(".zst")
        if name.endswith((".pdb", ".ent", ".cif", ".bcif")):
            found.setdefault(name.partition(".")[0].lower(), path)
    return list(found.values())


def read_with_biotite(path: Path) -> struc.AtomArray:
    """First model, heavy atoms of amino acids, read by biotite and not by our own parser."""
    raw = path.read_bytes()
    if path.suffix == ".gz":
        raw = gzip.decompress(raw)
    elif path.suffix == ".zst":
        raw = zstandard.ZstdDecompressor().stream_reader(raw).read()
    name = path.name.removesuffix(".gz").removesuffix(".zst")
    extra = ["occupancy"]
    if name.endswith(".bcif"):
        file = pdbx.BinaryCIFFile.read(io.BytesIO(raw))
        atoms = pdbx.get_structure(file, model=1, altloc="first", extra_fields=extra)
    elif name.endswith(".cif"):
        file = pdbx.CIFFile.read(io.StringIO(raw.decode()))
        atoms = pdbx.get_structure(file, model=1, altloc="first", extra_fields=extra)
    else:
        file = pdb.PDBFile.read(io.StringIO(raw.decode()))
        atoms = file.get_structure(model=1, altloc="first", extra_fields=extra)
    heavy = (atoms.element != "H") & (atoms.element != "D") & (atoms.occupancy > 0)
    return atoms[heavy & struc.filter_canonical_amino_acids(atoms)]


def complete_residues(source: str) -> dict[str, np.ndarray]:
    """Positions (n, 14, 3) float64 of the residues of each type that have all their atoms.

    `source` is "ideal" (one per type, from the chemical component dictionary) or "examples".
    """
    if source == "ideal":
        arrays = [info.residue(restype) for restype in RESTYPES]
    else:
        arrays = [
            residue
            for path in example_files()
            for residue in struc.residue_iter(read_with_biotite(path))
        ]
    found = defaultdict(list)
    for residue in arrays:
        restype = residue.res_name[0]
        names = residue.atom_name.tolist()
        slots = [name for name in ATOM14_NAMES[RESTYPES.index(restype)] if name]
        if len(set(names)) == len(names) and set(slots) <= set(names):
            positions = np.zeros((14, 3))
            # The files have three decimals; biotite's float32 has not.
            where = [names.index(name) for name in slots]
            positions[: len(slots)] = np.round(residue.coord[where].astype(np.float64), 3)
            found[restype].append(positions)
    return {restype: np.array(found[restype]) for restype in RESTYPES if restype in found}


def measure(restype: str, constructor: str, source: str, positions: np.ndarray) -> dict:
    """One row: medians over residues of the scale per axis, the volume and |centroid − CA|."""
    g = construct(constructor, positions, mask_of(restype, len(positions)))
    x, y, z = np.median(g.scale, axis=0)
    volume = np.median(4 / 3 * np.pi * g.scale[:, 0] * g.scale[:, 1] * g.scale[:, 2])
    offset = np.median(np.linalg.norm(g.centroid - positions[:, 1], axis=1))
    return dict(
        zip(
            COLUMNS,
            (restype, constructor, source, len(positions), x, y, z, volume, offset),
            strict=True,
        )
    )


def measure_all(source: str) -> list[dict]:
    """Rows for every residue type and constructor."""
    residues = complete_residues(source)
    return [
        measure(restype, constructor, source, positions)
        for restype, positions in residues.items()
        for constructor in CONSTRUCTORS
    ]


def stored() -> dict[tuple[str, str, str], dict]:
    """The checked-in rows by (restype, constructor, source)."""
    with STORED.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["n"] = int(row["n"])
        row.update({column: float(row[column]) for column in COLUMNS[4:]})
    return {(row["restype"], row["constructor"], row["source"]): row for row in rows}


def main() -> None:
    before = stored() if STORED.exists() else {}
    changed = 0
    rows = []
    for source in SOURCES:
        measured = measure_all(source)
        if not measured:
            print(f"no {source} here: their rows are left out")
        for row in measured:
            row.update({column: round(float(row[column]), 4) for column in COLUMNS[4:]})
            rows.append(row)
            old = before.pop((row["restype"], row["constructor"], row["source"]), None)
            if old is None:
                changed += 1
                print("new    ", *row.values())
                continue
            for column in COLUMNS[3:]:
                if old[column] != row[column]:
                    changed += 1
                    key = (row["restype"], row["constructor"], row["source"], column)
                    print("changed", *key, old[column], "→", row[column])
    for key in before:
        changed += 1
        print("gone   ", *key)
    STORED.parent.mkdir(exist_ok=True)
    with STORED.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} rows, {changed} changes, in {STORED.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
