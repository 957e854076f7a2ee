"""Stretches of real entries as `structure_text.Atom`s, to be rewritten by tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache
from itertools import groupby

import gemmi

from pipeline.sources import decompress
from tests.support.places import EXAMPLES
from tests.support.structure_text import Atom

STRETCHES = {
    "1ubi": ("1ubi.pdb.zst", "A"),
    "1a8o": ("1a8o.cif.gz", "A"),
    "1orc": ("1orc.pdb.gz", "A"),
    "5pti": ("5pti.cif.gz", "A"),
}
"""Entry → file of the examples and author's chain."""


@lru_cache(maxsize=8)
def _structure(file: str) -> gemmi.Structure:
    text = decompress((EXAMPLES / file).read_bytes(), 1 << 28).decode()
    if ".pdb" in file:
        return gemmi.read_pdb_string(text)
    block = gemmi.cif.read_string(text).sole_block()
    return gemmi.make_structure_from_block(block)


@lru_cache(maxsize=32)
def stretch(entry: str, n: int = 20, skip: int = 0) -> tuple[Atom, ...]:
    """The heavy atoms of n bonded residues of the first conformer, numbered from 1, in a chain A;
    `skip` residues before them are left out."""
    file, chain = STRETCHES[entry]
    atoms: list[Atom] = []
    polymer = _structure(file)[0][chain].get_polymer()
    for number, residue in enumerate(list(polymer.first_conformer())[skip : skip + n], start=1):
        seen: set[str] = set()
        for atom in residue:
            if atom.element.is_hydrogen or atom.name in seen:
                continue
            seen.add(atom.name)
            atoms.append(
                Atom(
                    atom.name,
                    residue.name,
                    number=str(number),
                    seq=str(number),
                    xyz=tuple(f"{value:.3f}" for value in atom.pos.tolist()),
                    b=f"{atom.b_iso:.2f}",
                    element=atom.element.name.upper(),
                    record="HETATM" if residue.het_flag == "H" else "ATOM",
                )
            )
    return tuple(atoms)


def names(atoms: Iterable[Atom]) -> list[str]:
    """The component of each residue."""
    return [group[0].comp for group in residues(atoms)]


def residues(atoms: Iterable[Atom]) -> list[list[Atom]]:
    """The atoms, residue by residue."""
    return [list(group) for _, group in groupby(atoms, lambda a: (a.chain, a.seq, a.number))]


def by_residue(atoms: Iterable[Atom], change: Callable[[int], dict[str, str]]) -> list[Atom]:
    """The atoms, with fields that a function of the residue's place (from 1) gives."""
    return [
        replace(atom, **change(place))
        for place, group in enumerate(residues(atoms), start=1)
        for atom in group
    ]


def moved(atoms: Iterable[Atom], by: float) -> list[Atom]:
    """The atoms, shifted along x by so many Å."""
    return [replace(a, xyz=(f"{float(a.xyz[0]) + by:.3f}", *a.xyz[1:])) for a in atoms]
