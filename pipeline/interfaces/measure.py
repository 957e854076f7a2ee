"""Chains → the pairs of them that are in contact, for the chains of many files at once.

Two residues are in contact if their CB are within 8 Å, or two of their heavy atoms within 5 Å.
Everything is counted in integers, so that it is the same on every machine and in every batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.chain import Beside, Chain
from pipeline.features import unpack_mask
from pipeline.geometry.clashes import DISTANCE as CLASH
from pipeline.geometry.clashes import at_bond_length
from pipeline.geometry.neighbours import ClosePairs, close_pairs, ranges
from pipeline.interfaces.table import INTERFACES_SCHEMA
from pipeline.residues import ATOM14_NAMES

CB_DISTANCE = 8000
"""0.001 Å; CB, or CA where there is no CB."""

ATOM_DISTANCE = 5000
"""0.001 Å."""

_INITIALS = np.array([[ord(name[:1] or " ") for name in row] for row in ATOM14_NAMES], np.uint8)

_Integer = TypeVar("_Integer", np.int32, np.int64)

_SQUARE_BITS = (CB_DISTANCE**2).bit_length()
_FAR = np.iinfo(np.int64).max

Key = tuple[str, str | None, int]
"""Entry, assembly and model: chains of different ones are not in contact."""


@dataclass(frozen=True, slots=True)
class _Points:
    """Atoms of the chains, laid end to end, and behind those of each group what is beside them.

    Attributes
    ----------
    coords : (n, 3) int32
    owner : (n,) int32
        The chain; of what is beside the chains of group g, the number of chains plus g.
    group, residue : (n,) int32
        What is beside has the residues from R on.
    group_of : (C,) int32
        Of each chain.
    chain_of, mask, aatype : (R,)
        Of each residue of a chain.
    atom_begin : (R + 1,) int64
        Where the atoms of each residue begin.
    is_nucleic : (residues beside,) bool
    """

    coords: NDArray[np.int32]
    owner: NDArray[np.int32]
    group: NDArray[np.int32]
    residue: NDArray[np.int32]
    group_of: NDArray[np.int32]
    chain_of: NDArray[np.int32]
    mask: NDArray[np.uint16]
    aatype: NDArray[np.int8]
    atom_begin: NDArray[np.int64]
    is_nucleic: NDArray[np.bool_]


def find_interfaces(
    chains: Sequence[Chain], beside: Mapping[Key, Beside] | None
) -> tuple[pa.Table, set[str]]:
    """Find the pairs of chains of one entry, assembly and model that are in contact.

    Parameters
    ----------
    chains : sequence of Chain
        Of whole entries.
    beside : mapping or None
        (entry, assembly, model) → ligands and nucleic acids; an absent one has none. ``None``:
        nothing is known of them, and the columns about them are null.

    Returns
    -------
    table : pyarrow.Table
        Of `INTERFACES_SCHEMA`.
    left_out : set of str
        Entries with too many atoms in one place, or strewn too wide: they have no rows.
    """
    members: dict[Key, list[Chain]] = {}
    for chain in chains:
        members.setdefault((chain.entry_id, chain.assembly, chain.model), []).append(chain)
    members = {key: several for key, several in members.items() if len(several) > 1}
    if not members:
        return INTERFACES_SCHEMA.empty_table(), set()
    keys = list(members)
    chosen = [chain for several in members.values() for chain in several]
    points = _points(members, beside or {})
    near = close_pairs(points.coords, points.owner, points.group, ATOM_DISTANCE)
    n_chains = len(chosen)
    protein = points.owner[near.second] < n_chains
    atoms = near.only(protein)
    alphas, beta_owner, beta_residue = _betas(points)
    betas = close_pairs(points.coords[alphas], beta_owner, points.group_of[beta_owner], CB_DISTANCE)

    left_out = near.left_out | betas.left_out
    owner_1, owner_2 = points.owner[atoms.first], points.owner[atoms.second]
    code = owner_1.astype(np.int64) * n_chains + owner_2
    beta_code = beta_owner[betas.first].astype(np.int64) * n_chains + beta_owner[betas.second]
    if left_out:
        kept = ~np.isin(points.group[atoms.first], list(left_out))
        atoms, code = atoms.only(kept), code[kept]
        kept = ~np.isin(points.group_of[beta_owner[betas.first]], list(left_out))
        betas, beta_code = betas.only(kept), beta_code[kept]
    atom_pairs, least_of_atoms = _least_of_each(code, atoms.square)
    beta_pairs, least_of_betas = _least_of_each(beta_code, betas.square)
    pairs = _distinct(np.concatenate([atom_pairs, beta_pairs]))
    pair_1, pair_2 = pairs // n_chains, pairs % n_chains

    n_beta = _count(beta_residue[betas.first], beta_residue[betas.second], points.chain_of, pairs)
    n_atom = _count(
        points.residue[atoms.first], points.residue[atoms.second], points.chain_of, pairs
    )
    least = np.full(len(pairs), _FAR)
    least[np.searchsorted(pairs, beta_pairs)] = least_of_betas
    least[np.searchsorted(pairs, atom_pairs)] = least_of_atoms
    lacking = np.flatnonzero(~np.isin(pairs, atom_pairs))
    if len(lacking):
        nearer = _least_squares(pair_1[lacking], pair_2[lacking], points)
        least[lacking] = np.minimum(least[lacking], nearer)
    covalent, n_clashes = _covalent_and_clashes(atoms, code, points, pairs)
    numbers: dict[str, NDArray[Any]] = {
        "n_cb_residues_1": n_beta[0],
        "n_cb_residues_2": n_beta[1],
        "n_cb_contacts": n_beta[2],
        "n_atom_residues_1": n_atom[0],
        "n_atom_residues_2": n_atom[1],
        "n_atom_contacts": n_atom[2],
        # A root is rounded alike everywhere.
        "min_distance": np.rint(np.sqrt(least.astype(np.float64))),
        "covalent": covalent,
        "n_clashes": n_clashes,
    }
    if beside is not None:
        numbers |= _of_others(near.only(~protein), points, pair_1, pair_2, n_chains)
    table = _table(chosen, pair_1, pair_2, numbers)
    return table, {keys[number][0] for number in left_out}


def _points(members: Mapping[Key, Sequence[Chain]], beside: Mapping[Key, Beside]) -> _Points:
    chains = [chain for several in members.values() for chain in several]
    group_of = np.repeat(
        np.arange(len(members), dtype=np.int32), [len(several) for several in members.values()]
    )
    mask = np.concatenate([chain.atom14_mask for chain in chains])
    chain_of = _numbered(map(len, chains))
    n_atoms = np.bitwise_count(mask).astype(np.int64)
    atom_begin = np.cumsum(n_atoms) - n_atoms
    coords = np.concatenate([chain.coords for chain in chains])
    residue = np.repeat(np.arange(len(mask), dtype=np.int32), n_atoms)
    owner = chain_of[residue]
    group = group_of[owner]
    is_nucleic = np.zeros(0, bool)
    numbers = [k for k, key in enumerate(members) if key in beside]
    if numbers:
        others = [beside[key] for k, key in enumerate(members) if k in set(numbers)]
        sizes = [len(other.coords) for other in others]
        n_residues = [int(other.residue.max(initial=-1)) + 1 for other in others]
        first = len(mask) + np.cumsum(n_residues) - n_residues
        number = np.repeat(np.array(numbers, np.int32), sizes)
        # Behind the chains of their group.
        order = np.argsort(np.concatenate([group, number]), kind="stable")
        before = np.cumsum(np.bincount(number, minlength=len(members))) - np.bincount(
            number, minlength=len(members)
        )
        atom_begin = atom_begin + before[group_of[chain_of]]
        coords = np.concatenate([coords, *(other.coords for other in others)])[order]
        owner = np.concatenate([owner, number + np.int32(len(chains))])[order]
        group = np.concatenate([group, number])[order]
        beside_residue = np.concatenate([other.residue for other in others])
        beside_residue = beside_residue + np.repeat(first, sizes)
        is_nucleic = np.zeros(sum(n_residues), bool)
        kinds = np.concatenate([other.is_nucleic for other in others])
        is_nucleic[beside_residue - len(mask)] = kinds
        residue = np.concatenate([residue, beside_residue.astype(np.int32)])[order]
    return _Points(
        coords=coords,
        owner=owner,
        group=group,
        residue=residue,
        group_of=group_of,
        chain_of=chain_of,
        mask=mask,
        aatype=np.concatenate([chain.aatype for chain in chains]),
        atom_begin=atom_begin,
        is_nucleic=is_nucleic,
    )


def _numbered(counts: Iterable[int]) -> NDArray[np.int32]:
    """As many 0 as the first count says, then 1, and so on."""
    several = np.fromiter(counts, np.int64)
    return np.repeat(np.arange(len(several), dtype=np.int32), several)


def _distinct(values: NDArray[_Integer]) -> NDArray[_Integer]:
    """What `numpy.unique` gives; sorting numbers takes less time than its hashing."""
    ordered = np.sort(values)
    is_new = np.ones(len(ordered), bool)
    is_new[1:] = ordered[1:] != ordered[:-1]
    return ordered[is_new]


def _least_of_each(
    code: NDArray[np.int64], square: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Distinct codes, and the least square of each; squares are of distances of up to 8 Å."""
    ordered = np.sort((code << _SQUARE_BITS) | square)
    codes = ordered >> _SQUARE_BITS
    is_first = np.ones(len(codes), bool)
    is_first[1:] = codes[1:] != codes[:-1]
    return codes[is_first], ordered[is_first] & ((1 << _SQUARE_BITS) - 1)


def _betas(
    points: _Points,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
    """CB of each residue, or CA where it has no CB: (atom, chain, residue)."""
    mask = points.mask
    with_one = np.flatnonzero(mask & 0b10010)
    of_these = mask[with_one]
    before = np.where(of_these & 0b10000, 0b1111, 0b1).astype(np.uint16)
    atom = points.atom_begin[with_one] + np.bitwise_count(of_these & before)
    return atom, points.chain_of[with_one], with_one.astype(np.int32)


def _count(
    first: NDArray[np.int32],
    second: NDArray[np.int32],
    chain_of: NDArray[np.int32],
    pairs: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Residues of the first and of the second chains, and pairs of residues; of each pair."""
    n, n_chains = len(chain_of), int(chain_of[-1]) + 1
    contacts = _distinct(first.astype(np.int64) * n + second)
    residues = contacts // n, contacts % n
    chain_1, chain_2 = (chain_of[residue].astype(np.int64) for residue in residues)
    pair = np.searchsorted(pairs, chain_1 * n_chains + chain_2)
    counts = [
        np.bincount(_distinct(pair * n + residue) // n, minlength=len(pairs))
        for residue in residues
    ]
    return counts[0], counts[1], np.bincount(pair, minlength=len(pairs))


def _least_squares(
    chain_1: NDArray[np.int64], chain_2: NDArray[np.int64], points: _Points
) -> NDArray[np.int64]:
    """Of the distances of heavy atoms, where CB alone are near: they are no farther than these."""
    n_chains = len(points.group_of)
    n_atoms = np.bincount(points.owner, minlength=n_chains)[:n_chains]
    residue = np.searchsorted(points.chain_of, np.arange(n_chains))
    sides = np.stack([chain_1, chain_2], axis=1).ravel()
    atom = ranges(points.atom_begin[residue[sides]], n_atoms[sides])
    side = np.repeat(np.arange(len(sides), dtype=np.int32), n_atoms[sides])
    near = close_pairs(points.coords[atom], side, side // 2, CB_DISTANCE)
    least = np.full(len(chain_1), _FAR)
    np.minimum.at(least, side[near.first] // 2, near.square)
    return least


def _covalent_and_clashes(
    atoms: ClosePairs, code: NDArray[np.int64], points: _Points, pairs: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which pairs have a bond, by its length, and how many atoms of each are too near for none."""
    close = np.flatnonzero(atoms.square < CLASH**2)
    first, second = (_initials(points, side[close]) for side in (atoms.first, atoms.second))
    bonded = at_bond_length(first, second, atoms.square[close])
    pair = np.searchsorted(pairs, code[close])
    covalent = np.zeros(len(pairs), bool)
    covalent[pair[bonded]] = True
    return covalent, np.bincount(pair[~bonded], minlength=len(pairs))


def _initials(points: _Points, atom: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The first letters of the names of atoms."""
    residue = points.residue[atom]
    present = unpack_mask(points.mask[residue])
    rank = atom - points.atom_begin[residue]
    slot = np.argmax(np.cumsum(present, axis=1) == rank[:, None] + 1, axis=1)
    return _INITIALS[points.aatype[residue], slot]


def _of_others(
    near: ClosePairs,
    points: _Points,
    pair_1: NDArray[np.int64],
    pair_2: NDArray[np.int64],
    n_chains: int,
) -> dict[str, NDArray[np.int64]]:
    """Contacts of the chains with ligands and with nucleic acids."""
    n_residues = len(points.mask)
    chain, residue = points.owner[near.first], points.residue[near.first]
    other = points.residue[near.second] - n_residues
    numbers = {}
    for kind, what, wanted in (
        ("ligand", "n_ligands", False),
        ("nucleic", "n_nucleotides", True),
    ):
        here = points.is_nucleic[other] == wanted
        touching = np.bincount(points.chain_of[_distinct(residue[here])], minlength=n_chains)
        numbers[f"n_{kind}_residues_1"] = touching[pair_1]
        numbers[f"n_{kind}_residues_2"] = touching[pair_2]
        n = len(points.is_nucleic)
        held = _distinct(chain[here].astype(np.int64) * n + other[here])
        begin = np.searchsorted(held, np.arange(n_chains + 1) * n)
        count = np.diff(begin)[pair_1]
        mine = held[ranges(begin[pair_1], count)] % max(n, 1)
        pair = np.repeat(np.arange(len(pair_1)), count)
        shared = np.isin(pair_2[pair] * n + mine, held)
        numbers[what] = np.bincount(pair[shared], minlength=len(pair_1))
    return numbers


def _table(
    chains: Sequence[Chain],
    pair_1: NDArray[np.int64],
    pair_2: NDArray[np.int64],
    numbers: Mapping[str, NDArray[Any]],
) -> pa.Table:
    """Rows of the pairs; of two chains the one whose name comes first stands first."""
    names = np.empty(len(chains), object)
    names[:] = [chain.uid.encode() for chain in chains]
    swapped = names[pair_1] > names[pair_2] if len(pair_1) else np.zeros(0, bool)
    first, second = np.where(swapped, pair_2, pair_1), np.where(swapped, pair_1, pair_2)
    columns: dict[str, list[Any] | NDArray[Any]] = {
        "entry_id": [chains[k].entry_id for k in first],
        "assembly": [chains[k].assembly for k in first],
        "model": [chains[k].model for k in first],
    }
    for side, which in ((1, first), (2, second)):
        columns[f"chain_uid_{side}"] = [chains[k].uid for k in which]
        columns[f"label_asym_id_{side}"] = [chains[k].label_asym_id for k in which]
    for name, values in numbers.items():
        other = name[:-1] + {"1": "2", "2": "1"}.get(name[-1], name[-1])
        columns[name] = np.where(swapped, numbers[other], values)
    arrays = []
    for field in INTERFACES_SCHEMA:
        column = columns.get(field.name)
        arrays.append(
            pa.nulls(len(first), field.type) if column is None else pa.array(column, field.type)
        )
    return pa.Table.from_arrays(arrays, schema=INTERFACES_SCHEMA)
