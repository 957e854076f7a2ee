"""Odd inputs made of real entries: gaps, chains under one id, insertion codes; in both formats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import gemmi

from pipeline.sources import decompress
from tests.support.places import EXAMPLES
from tests.support.structure_text import Atom, in_format

ENTRIES = ("1ubi.pdb.zst", "1a8o.cif.gz", "1bd2.cif.gz")
FORMATS = ("cif", "pdb")


@cache
def residues_of(name: str, n: int = 40) -> tuple[tuple[Atom, ...], ...]:
    """The first bonded residues of the first chain of an entry, numbered from 1."""
    text = decompress((EXAMPLES / name).read_bytes(), 1 << 26).decode()
    if name.split(".")[1] == "pdb":
        structure = gemmi.read_pdb_string(text)
    else:
        structure = gemmi.make_structure_from_block(gemmi.cif.read_string(text).sole_block())
    structure.remove_alternative_conformations()
    polymer = structure[0][0].get_polymer()
    found: list[tuple[Atom, ...]] = []
    before: gemmi.Residue | None = None
    for residue in polymer:
        if before is not None and before["C"][0].pos.dist(residue["N"][0].pos) > 2:
            found.clear()
        before = residue
        found.append(
            tuple(
                Atom(
                    atom.name,
                    {"MSE": "MET"}.get(residue.name, residue.name),
                    number=str(len(found) + 1),
                    xyz=tuple(f"{v:.3f}" for v in atom.pos.tolist()),  # type: ignore[arg-type]
                    element=atom.element.name,
                )
                for atom in residue
                if atom.name != "SE"
            )
        )
        if len(found) == n:
            break
    assert len(found) == n, name
    return tuple(found)


def numbered(name: str, numbers: Sequence[str]) -> list[Atom]:
    """Residues with these numbers (``52A`` has an insertion code), one behind the other."""
    atoms = []
    for residue, label in zip(residues_of(name), numbers, strict=False):
        number, code = (label[:-1], label[-1]) if label[-1].isalpha() else (label, "")
        atoms += [replace(atom, number=number, ins=code, seq=".") for atom in residue]
    return atoms


def without(atoms: Sequence[Atom], numbers: Sequence[int]) -> list[Atom]:
    """The same without some residues; the others keep their numbers."""
    return [atom for atom in atoms if int(atom.number) not in numbers]


def moved(atoms: Sequence[Atom], shift: float, **fields: str) -> list[Atom]:
    """The atoms at another place along x, with other fields."""
    return [
        replace(atom, xyz=(f"{float(atom.xyz[0]) + shift:.3f}", *atom.xyz[1:]), **fields)
        for atom in atoms
    ]


def copies(name: str, ids: Sequence[str], n: int = 20) -> list[Atom]:
    """The same residues again and again, 60 Å apart, under these chain ids."""
    atoms = numbered(name, [str(k) for k in range(1, n + 1)])
    return [atom for k, c in enumerate(ids) for atom in moved(atoms, 60.0 * k, chain=c)]


def write(folder: Path, kind: str, atoms: Sequence[Atom]) -> Path:
    """``odd.cif`` or ``odd.pdb``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"odd.{kind}"
    path.write_text(in_format(kind, atoms))
    return path


Reader = Callable[[Path], dict[str, int]]


def with_gemmi(path: Path) -> dict[str, int]:
    """Residues of each chain, by its id, as gemmi reads them; no two chains have one id."""
    chains = [(chain.name, len(chain)) for chain in gemmi.read_structure(str(path))[0]]
    assert len(dict(chains)) == len(chains)
    return dict(chains)


def with_biopython(path: Path) -> dict[str, int]:
    """The same as Biopython reads them, which refuses what is there twice."""
    from Bio.PDB import MMCIFParser, PDBParser

    parser = (
        MMCIFParser(QUIET=True)
        if path.suffix == ".cif"
        else PDBParser(PERMISSIVE=False, QUIET=True)
    )
    return {chain.id: len(chain) for chain in parser.get_structure("x", str(path))[0]}
