"""Bonds that a file lists beside its atoms: SSBOND and LINK, ``_struct_conn``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import dist

import numpy as np

from pipeline.chain import Chain
from pipeline.export.atoms import Kept, file_atoms, insertion_codes
from pipeline.export.others import OtherResidue
from pipeline.parsing.entry_info import BondedAtom, Connection
from pipeline.residues import VAN_DER_WAALS_RADII

DISULPHIDE = 2.5
"""Å between two SG, at most."""

LONGEST = {"covale": 2.3, "metalc": 3.2}
"""Å: a bond of the input whose atoms are farther apart is none any more."""


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
    bonds = [Bond("disulf", sulphurs[i], sulphurs[j]) for i, j in _near(sulphurs, DISULPHIDE)]
    found: dict[tuple[str, int, str, str], BondEnd] = {}
    for end in (*of_chains, *_of_others(others, names)):
        found.setdefault(end.key, end)
    for connection in connections:
        one, other = (found.get(_key(atom)) for atom in connection.atoms)
        if one is None or other is None or one.name == other.name == "SG":
            continue
        bond = Bond(connection.kind or _kind(one, other), one, other)
        if bond.length <= LONGEST[bond.kind]:
            bonds.append(bond)
    return bonds


def _near(ends: Sequence[BondEnd], reach: float) -> list[tuple[int, int]]:
    """Pairs of different residues within a distance, Å."""
    x = np.array([end.xyz for end in ends], np.float64).reshape(-1, 3) / 1000
    near = ((x[:, None] - x) ** 2).sum(-1) <= reach**2
    pairs = np.argwhere(np.triu(near, 1)).tolist()
    return [(i, j) for i, j in pairs if ends[i].key != ends[j].key]


def _key(atom: BondedAtom) -> tuple[str, int, str, str]:
    return atom.auth_asym_id, atom.auth_seq_id, atom.ins_code, atom.name


def _kind(one: BondEnd, other: BondEnd) -> str:
    metal = any(end.element.upper() not in VAN_DER_WAALS_RADII for end in (one, other))
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
