"""Pairs of chains in contact by gemmi's `NeighborSearch`: the oracle for ``interfaces.parquet``.

The chains are those of `gemmi_reading`; what is beside them is every other residue that gemmi
reads.
"""

from __future__ import annotations

import gzip
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

import gemmi
import numpy as np

from pipeline.residues import AATYPE_OF_LETTER, ATOM14_NAMES, Linking, component
from tests.support.gemmi_reading import Reading, _block_from_binarycif, read

Site: TypeAlias = tuple[int, int, tuple[int, int, int], str]
"""Chain, residue, coordinates in 0.001 Å, name of the atom."""

MARGIN = 0.002  # Å: what is at the distance itself is decided in integers


def interfaces(path: Path) -> dict[tuple[str, str], dict[str, int]]:
    """Pair of author ids of chains → columns of the table, sides in the order of the pair."""
    readings = read(path)
    sites = [list(_sites(k, reading)) for k, reading in enumerate(readings)]
    betas = [list(_betas(of_chain)) for of_chain in sites]
    pairs: dict[tuple[int, int], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for name, chosen, distance in (("cb", betas, 8000), ("atom", sites, 5000)):
        of_pair: dict[tuple[int, int], set[tuple[int, int]]] = defaultdict(set)
        for one, other, _ in _near(chosen, distance):
            of_pair[one[0], other[0]].add((one[1], other[1]))
        for pair, contacts in of_pair.items():
            pairs[pair][f"n_{name}_contacts"] = len(contacts)
            for side in (0, 1):
                pairs[pair][f"n_{name}_residues_{side + 1}"] = len({c[side] for c in contacts})
    for one, other, square in _near(sites, 8000):
        pair = (one[0], other[0])
        if pair in pairs:
            least = round(math.sqrt(square))
            pairs[pair]["min_distance"] = min(least, pairs[pair].get("min_distance", least))
            if square < 2200**2:
                bond = _is_bond(one[3][0] + other[3][0], square)
                pairs[pair]["covalent"] |= bond
                pairs[pair]["n_clashes"] += not bond
    for kind, what, beside in zip(
        ("ligand", "nucleic"), ("n_ligands", "n_nucleotides"), _beside(path, readings), strict=True
    ):
        touching: dict[int, set[int]] = defaultdict(set)
        touched: dict[int, set[int]] = defaultdict(set)
        # What is beside is one chain more, whose residues are the ligands.
        for one, other, _ in _near([*sites, beside], 5000, only=len(sites)):
            touching[one[0]].add(one[1])
            touched[one[0]].add(other[1])
        for pair, columns in pairs.items():
            for side in (0, 1):
                columns[f"n_{kind}_residues_{side + 1}"] = len(touching[pair[side]])
            columns[what] = len(touched[pair[0]] & touched[pair[1]])
    ids = [reading.auth_asym_id for reading in readings]
    return {(ids[a], ids[b]): dict(columns) for (a, b), columns in pairs.items()}


def _sites(number: int, reading: Reading) -> Iterator[Site]:
    k = 0
    for row, (letter, mask) in enumerate(
        zip(reading.sequence, reading.atom14_mask.tolist(), strict=True)
    ):
        names = ATOM14_NAMES[AATYPE_OF_LETTER.get(letter, 20)]
        for slot in range(14):
            if mask >> slot & 1:
                yield number, row, tuple(reading.coords[k].tolist()), names[slot]
                k += 1


def _betas(sites: Iterable[Site]) -> Iterator[Site]:
    residues: dict[int, dict[str, Site]] = defaultdict(dict)
    for site in sites:
        residues[site[1]][site[3]] = site
    for atoms in residues.values():
        if "CB" in atoms or "CA" in atoms:
            yield atoms.get("CB") or atoms["CA"]


def _beside(path: Path, readings: list[Reading]) -> tuple[list[Site], list[Site]]:
    """Atoms of ligands, and of nucleotides: neither waters nor of the chains' residues."""
    if ".bcif" in path.name:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
        structure = gemmi.make_structure_from_block(_block_from_binarycif(data))
    else:
        structure = gemmi.read_structure(str(path))
    structure.setup_entities()
    model = structure[0]
    polymer = {
        (reading.auth_asym_id, number, chr(code) if code else " ")
        for reading in readings
        for number, code in zip(
            reading.auth_seq_id.tolist(), reading.ins_code.tolist(), strict=True
        )
    }
    ligands: list[Site] = []
    nucleotides: list[Site] = []
    for chain in model:
        for number, residue in enumerate(chain):
            known = component(residue.name)
            linking = known.linking if known else Linking.OTHER
            place = (chain.name, residue.seqid.num, residue.seqid.icode)
            if linking is Linking.WATER:
                continue
            # At the ends of chains are residues without a backbone, in no row.
            is_end = residue.entity_type == gemmi.EntityType.Polymer
            if linking is not Linking.NUCLEIC and (place in polymer or is_end):
                continue
            here = nucleotides if linking is Linking.NUCLEIC else ligands
            ident = hash((chain.name, number))
            for atom in residue:
                if not atom.is_hydrogen() and atom.occ > 0:
                    xyz = tuple(round(v * 1000) for v in atom.pos.tolist())
                    here.append((len(readings), ident, xyz, atom.name))
    return ligands, nucleotides


def _near(
    chains: list[list[Site]], distance: int, only: int | None = None
) -> Iterator[tuple[Site, Site, int]]:
    """Pairs of sites of two chains, the lower number first; `only` those with this chain."""
    model = gemmi.Model(1)
    for number, sites in enumerate(chains):
        chain = gemmi.Chain(str(number))
        for k, site in enumerate(sites):
            # A residue for each atom: its number finds the site again.
            residue = gemmi.Residue()
            residue.name, residue.seqid = "UNK", gemmi.SeqId(k, " ")
            atom = gemmi.Atom()
            atom.name, atom.element = "C", gemmi.Element("C")
            atom.pos = gemmi.Position(*(v / 1000 for v in site[2]))
            residue.add_atom(atom)
            chain.add_residue(residue)
        model.add_chain(chain)
    search = gemmi.NeighborSearch(model, gemmi.UnitCell(), distance / 1000 + MARGIN).populate()
    contacts = gemmi.ContactSearch(distance / 1000 + MARGIN)
    contacts.ignore = gemmi.ContactSearch.Ignore.SameChain
    for found in contacts.find_contacts(search):
        a, b = found.partner1, found.partner2
        one = chains[int(a.chain.name)][a.residue.seqid.num]
        other = chains[int(b.chain.name)][b.residue.seqid.num]
        if one[0] > other[0]:
            one, other = other, one
        if only is not None and other[0] != only:
            continue
        square = int(((np.array(one[2], np.int64) - np.array(other[2], np.int64)) ** 2).sum())
        if square <= distance**2:
            yield one, other, square


def _is_bond(elements: str, square: int) -> bool:
    """The rule of docs/parsing.md, for what is nearer than 2.2 Å."""
    distance = math.sqrt(square) / 1000
    if elements == "SS":
        return distance >= 1.9
    if set(elements) == {"C", "S"}:
        return 1.6 <= distance <= 2.0
    return "C" in elements and "S" not in elements and 1.2 <= distance <= 1.7
