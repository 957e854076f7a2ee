"""Bonds that a file lists beside its atoms: SSBOND and LINK, ``_struct_conn``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from math import dist

import numpy as np

from pipeline.chain import Chain
from pipeline.export.atoms import Kept, file_atoms, insertion_codes
from pipeline.export.others import OtherResidue
from pipeline.geometry.neighbours import close_pairs
from pipeline.parsing.entry_info import BondedAtom, Connection
from pipeline.residues import RESTYPES, VAN_DER_WAALS_RADII

DISULPHIDE = 2.5
"""Å between two SG, at most."""

LONGEST = {"covale": 2.3, "metalc": 3.2}
"""Å: a bond of the input whose atoms are farther apart is none any more."""

NO_METALS = {*VAN_DER_WAALS_RADII, "D", "B", "SI", "AS", "TE"}
"""Elements in capitals that are bonded, and do not coordinate."""


@dataclass(frozen=True, slots=True)
class BondEnd:
    """An atom of a bond: what names it in a file, and where it is (0.001 Å)."""

    label_asym_id: str
    auth_asym_id: str
    comp_id: str
    label_seq_id: int | None
    auth_seq_id: int
    ins_code: str
    name: str
    element: str
    altloc: str
    xyz: tuple[int, int, int]

    @property
    def key(self) -> tuple[str, int, str, str]:
        return self.auth_asym_id, self.auth_seq_id, self.ins_code, self.name

    @property
    def residue(self) -> tuple[str, int | None]:
        """Of a protein chain."""
        return self.label_asym_id, self.label_seq_id

    def is_with(self, other: BondEnd) -> bool:
        """Whether the two atoms are there at the same time: no two alternates exclude them."""
        return not (self.altloc and other.altloc) or self.altloc == other.altloc


@dataclass(frozen=True, slots=True)
class Bond:
    """`kind` is that of ``_struct_conn.conn_type_id``."""

    kind: str
    one: BondEnd
    other: BondEnd

    @property
    def length(self) -> float:
        """Å."""
        return dist(self.one.xyz, self.other.xyz) / 1000


def bonds_between(
    chains: Sequence[Chain],
    kept: Mapping[str, Kept],
    others: Sequence[OtherResidue],
    connections: Sequence[Connection],
) -> list[Bond]:
    """Disulphides, wherever two SG are near enough, and those of some bonds that are there.

    Between two residues there may be several, each of other alternates; atoms of alternates that
    are not there together are not bonded. The peptide bond of two residues that follow each other
    is none that is listed, but with a modified residue.

    Parameters
    ----------
    chains : sequence of Chain
        Of one model.
    kept : mapping
        By ``label_asym_id``.
    others : sequence of OtherResidue
    connections : sequence of Connection
        By the ids of the file.
    """
    names = {"SG", *(atom.name for connection in connections for atom in connection.atoms)}
    of_chains = list(_of_chains(chains, kept, names))
    sulphurs = [end for end in of_chains if end.name == "SG"]
    bonds = [Bond("disulf", one, other) for one, other in _near(sulphurs, DISULPHIDE)]
    found: dict[tuple[str, int, str, str], list[BondEnd]] = {}
    for end in (*of_chains, *_of_others(others, names)):
        found.setdefault(end.key, []).append(end)
    for connection in connections:
        for one, other in product(*(found.get(_key(atom), []) for atom in connection.atoms)):
            if one.name == other.name == "SG" or _follow(one, other) or not one.is_with(other):
                continue
            bond = Bond(connection.kind or _kind(one, other), one, other)
            if bond.length <= LONGEST[bond.kind]:
                bonds.append(bond)
    return bonds


def once_each(bonds: Iterable[Bond]) -> list[Bond]:
    """The bonds, but of the disulphides between the same two residues the first."""
    seen: set[object] = set()
    found = []
    for bond in bonds:
        key = (bond.one.residue, bond.other.residue) if bond.kind == "disulf" else bond
        if key not in seen:
            seen.add(key)
            found.append(bond)
    return found


def _near(ends: Sequence[BondEnd], reach: float) -> list[tuple[BondEnd, BondEnd]]:
    """Pairs of different residues that are there together, within a distance, Å."""
    if not ends:
        return []
    new = [one.residue != other.residue for one, other in pairwise(ends)]
    owner = np.concatenate([[0], np.cumsum(new)]).astype(np.int32)
    points = np.array([end.xyz for end in ends], np.int32)
    pairs = close_pairs(points, owner, np.zeros_like(owner), round(reach * 1000))
    near = sorted(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    return [(ends[i], ends[j]) for i, j in near if ends[i].is_with(ends[j])]


def _follow(one: BondEnd, other: BondEnd) -> bool:
    """Whether this is the bond that a chain has between each two of its residues."""
    if one.name != "C":
        one, other = other, one
    return (
        (one.name, other.name) == ("C", "N")
        and one.label_asym_id == other.label_asym_id
        and one.label_seq_id is not None
        and one.label_seq_id + 1 == other.label_seq_id
        and one.comp_id in RESTYPES
        and other.comp_id in RESTYPES
    )


def _key(atom: BondedAtom) -> tuple[str, int, str, str]:
    return atom.auth_asym_id, atom.auth_seq_id, atom.ins_code, atom.name


def _kind(one: BondEnd, other: BondEnd) -> str:
    metal = any(end.element.upper() not in NO_METALS for end in (one, other))
    return "metalc" if metal else "covale"


def _of_chains(
    chains: Iterable[Chain], kept: Mapping[str, Kept], names: Collection[str]
) -> Iterator[BondEnd]:
    for chain in chains:
        codes = insertion_codes(chain)
        for atom in file_atoms(chain, kept.get(chain.label_asym_id, {})):
            if atom.name not in names:
                continue
            x, y, z = atom.xyz
            yield BondEnd(
                chain.label_asym_id,
                chain.auth_asym_id,
                atom.comp_id,
                int(chain.residue_index[atom.row]),
                int(chain.auth_seq_id[atom.row]),
                codes[atom.row],
                atom.name,
                atom.element,
                atom.altloc,
                (x, y, z),
            )


def _of_others(others: Iterable[OtherResidue], names: Collection[str]) -> Iterator[BondEnd]:
    for residue in others:
        for atom in residue.atoms:
            if atom.name not in names:
                continue
            yield BondEnd(
                residue.label_asym_id,
                residue.auth_asym_id,
                residue.comp_id,
                residue.label_seq_id,
                residue.auth_seq_id,
                residue.ins_code,
                atom.name,
                atom.element,
                atom.altloc,
                atom.xyz,
            )
