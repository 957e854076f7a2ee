"""Entries that two side chains are given alternates in, so that these touch."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import cache

import gemmi
import numpy as np
import zstandard

from pipeline.chain import Chain
from pipeline.residues import SLOT_OF_NAME
from tests.support.places import EXAMPLES


@dataclass(frozen=True)
class Tip:
    """The last atom of a side chain."""

    chain: str
    number: int
    atom: str
    xyz: tuple[float, float, float]


@cache
def two_tips(entry: str) -> tuple[Tip, Tip]:
    """Two side chains, of different chains if there are several, that point at each other.

    Their last atoms are 5.4 to 8 Å apart, no other atom is within 3.6 Å of the middle, and neither
    residue nor those beside it have alternates. They come by chain, then along it.
    """
    atoms = [
        (chain.name, n, residue, atom)
        for chain in _structure(entry)[0]
        for n, residue in enumerate(chain.get_polymer())
        for atom in residue
    ]
    xyz = np.array([atom.pos.tolist() for *_, atom in atoms])
    labelled = {(chain, n) for chain, n, _, atom in atoms if atom.has_altloc()}
    chains = {chain for chain, *_ in atoms}
    tips = [
        k
        for k, (chain, n, residue, atom) in enumerate(atoms)
        if atom.name in ("CD1", "CG2", "NZ", "OE1", "OD1", "NH1", "CE", "OG")
        and residue.seqid.icode == " "
        and not labelled & {(chain, n - 1), (chain, n), (chain, n + 1)}
    ]
    for i in tips:
        for j in tips:
            (chain, n, one, _), (other_chain, m, other, _) = atoms[i], atoms[j]
            if (chain, n + 2) > (other_chain, m) or (chain == other_chain and len(chains) > 1):
                continue
            if 5.4 < np.linalg.norm(xyz[i] - xyz[j]) < 8.0:
                others = np.delete(xyz, [i, j], axis=0)
                if np.linalg.norm(others - (xyz[i] + xyz[j]) / 2, axis=1).min() > 3.6:
                    return (
                        Tip(chain, one.seqid.num, atoms[i][3].name, tuple(xyz[i].tolist())),
                        Tip(other_chain, other.seqid.num, atoms[j][3].name, tuple(xyz[j].tolist())),
                    )
    raise AssertionError(f"{entry} has no two such side chains")


def touching(
    kind: str, entry: str, occupancies: tuple[float, float], gap: float, reverse: bool = False
) -> bytes:
    """The entry as a file in which the two atoms have labels A and B.

    Those of B are where the atoms were; those of A are `gap` Å from each other in the middle.
    `reverse` writes the chains in the other order.
    """
    structure = _structure(entry)
    tips = two_tips(entry)
    for tip, (moved, _) in zip(tips, moved_and_not(entry, gap), strict=True):
        residue = structure[0].sole_residue(tip.chain, gemmi.SeqId(tip.number, " "))
        atom = next(a for a in residue if a.name == tip.atom)
        other = atom.clone()
        atom.altloc, atom.occ, atom.pos = "A", occupancies[0], gemmi.Position(*moved)
        other.altloc, other.occ = "B", occupancies[1]
        residue.add_atom(other)
    if reverse:
        chains = [chain.clone() for chain in structure[0]]
        for chain in chains:
            structure[0].remove_chain(chain.name)
        for chain in reversed(chains):
            structure[0].add_chain(chain)
    text = (
        structure.make_pdb_string()
        if kind == "pdb"
        else structure.make_mmcif_document().as_string()
    )
    return text.encode()


def moved_and_not(entry: str, gap: float) -> list[tuple[list[float], list[float]]]:
    """Of either atom, the places of A and of B."""
    one, other = (np.array(tip.xyz) for tip in two_tips(entry))
    middle, along = (one + other) / 2, (other - one) / np.linalg.norm(other - one)
    places = ((middle - gap / 2 * along, one), (middle + gap / 2 * along, other))
    return [(np.round(a, 3).tolist(), b.tolist()) for a, b in places]


def labels_of(chains: list[Chain], entry: str, gap: float) -> str:
    """Which label either atom was read with."""
    found = ""
    for tip, places in zip(two_tips(entry), moved_and_not(entry, gap), strict=True):
        (chain,) = (c for c in chains if c.auth_asym_id == tip.chain)
        here = (chain.auth_seq_id == tip.number) & (chain.ins_code == 0)
        (row,) = np.flatnonzero(here & (chain.atom14_mask > 0))
        slot = SLOT_OF_NAME[chain.aatype[row]][tip.atom]
        before = [int(m).bit_count() for m in chain.atom14_mask[:row]]
        within = (int(chain.atom14_mask[row]) & ((1 << slot) - 1)).bit_count()
        xyz = chain.coords[sum(before) + within] / 1000
        found += "AB"[[np.allclose(xyz, place, atol=2e-3) for place in places].index(True)]
    return found


def _structure(entry: str) -> gemmi.Structure:
    data = (EXAMPLES / entry).read_bytes()
    if entry.endswith(".gz"):
        data = gzip.decompress(data)
    elif entry.endswith(".zst"):
        data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    if ".cif" in entry:
        structure = gemmi.make_structure_from_block(gemmi.cif.read_string(data).sole_block())
    else:
        structure = gemmi.read_pdb_string(data)
        structure.setup_entities()
    structure.remove_hydrogens()
    return structure
