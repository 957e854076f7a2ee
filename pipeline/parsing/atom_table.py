"""``AtomTable``: the atoms of a file as columns, whatever format they came from.

Every reader (aligned, token-splitting, BinaryCIF, PDB, biotite) ends here, and interpretation
starts here, so the readers can be held against each other array by array.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.parsing.fields import changes, is_name
from pipeline.residues import Linking, component

ABSENT = -(2**31)
"""Stands in an integer column for ``.``, ``?`` or nothing; checked by name, never computed with."""

_UNDEFINED = 9_999_000, 9_999_999
"""0.001 Å, from and to. X-PLOR, CNS and CHARMM write 9999.000 for all three coordinates of an atom
that they have not placed; 9999.999 is the largest number of eight columns."""


@dataclass(frozen=True, slots=True)
class AtomTable:
    """The n atom rows of one or more models, in file order.

    Attributes
    ----------
    model : (n,) int32
        Model number as written in the file.
    hetero : (n,) bool
        ``HETATM``.
    element, name, altloc, comp_id, label_asym_id, auth_asym_id, ins_code : (n,) bytes
        Empty where the file has ``.``, ``?`` or blanks.
    label_entity_id : (n,) bytes
        Empty in PDB files.
    label_seq_id, auth_seq_id : (n,) int32
        `ABSENT` where the file gives none.
    coords : (n, 3) int32
        Units of 0.001 Å.
    located : (n,) bool
        All three coordinates are numbers.
    occupancy : (n,) int32
        Hundredths, the precision of the PDB format, so that both formats choose alike. An atom
        without an occupancy has 100.
    b_factor : (n,) float32
        Of atoms named CA; 0 elsewhere, unless those of all atoms were asked for.
    after_ter : (n,) bool
        PDB only: the last TER of the atom's chain stands before it.
    rounded : bool
        Some coordinate has digits beyond 0.001 Å.
    stretch : (n,) int32 or None
        PDB only: how many TER of the atom's chain stand before it.
    segid : (n,) bytes or None
        PDB only: the segment id (columns 73–76 of old files), where it differs within the file.
    later_chains, later_residues : tuple of bytes
        Where only the first model was read: author ids of chains (of ATOM records) that only later
        ones have; of further chains of which they have residues that the first lacks.
    had_lower_case_names : bool
        The file has all its atom names in lower case; `name` has them in capitals.
    borrowed : tuple of str
        mmCIF: columns that lack values for which the other of ``label_`` and ``auth_`` was read,
        and of how many atoms: ``label_comp_id:12``.
    """

    model: NDArray[np.int32]
    hetero: NDArray[np.bool_]
    element: NDArray[np.bytes_]
    name: NDArray[np.bytes_]
    altloc: NDArray[np.bytes_]
    comp_id: NDArray[np.bytes_]
    label_asym_id: NDArray[np.bytes_]
    auth_asym_id: NDArray[np.bytes_]
    label_entity_id: NDArray[np.bytes_]
    label_seq_id: NDArray[np.int32]
    auth_seq_id: NDArray[np.int32]
    ins_code: NDArray[np.bytes_]
    coords: NDArray[np.int32]
    located: NDArray[np.bool_]
    occupancy: NDArray[np.int32]
    b_factor: NDArray[np.float32]
    after_ter: NDArray[np.bool_]
    rounded: bool = False
    stretch: NDArray[np.int32] | None = None
    segid: NDArray[np.bytes_] | None = None
    later_chains: tuple[bytes, ...] = ()
    later_residues: tuple[bytes, ...] = ()
    had_lower_case_names: bool = False
    borrowed: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.model)

    def select(self, rows: NDArray[np.int64] | NDArray[np.bool_] | slice) -> AtomTable:
        """The given rows (a mask, indices or a slice), in the order given."""
        columns = {f.name: getattr(self, f.name) for f in fields(self)}
        arrays: dict[str, Any] = {
            k: v[rows] for k, v in columns.items() if isinstance(v, np.ndarray)
        }
        return replace(self, **arrays)


def with_undefined_unlocated(atoms: AtomTable) -> AtomTable:
    """The atoms; those whose coordinates stand for "undefined" are not located.

    They are 9999.000 or 9999.999 in all three, or exactly 0, 0, 0 in two or more atoms of a model,
    all ATOM or all HETATM. One atom, or the alternates of one, may be at the origin.
    """
    x = atoms.coords[:, 0]
    odd = np.flatnonzero((x == 0) | (x == _UNDEFINED[0]) | (x == _UNDEFINED[1]))
    odd = odd[(atoms.coords[odd] == x[odd, None]).all(axis=1) & atoms.located[odd]]
    if not len(odd):
        return atoms
    at_origin = odd[x[odd] == 0]
    columns = atoms.model, atoms.altloc, atoms.hetero
    shared = list(zip(*(column[at_origin].tolist() for column in columns), strict=True))
    n_sharing = Counter(shared)
    alone = at_origin[[n_sharing[place] == 1 for place in shared]]
    located = atoms.located.copy()
    located[odd] = False
    located[alone] = True
    return replace(atoms, located=located)


def is_same_in_all(model: NDArray[np.integer], *columns: NDArray[Any]) -> bool:
    """Whether the rows of every model are those of the first, in its order."""
    firsts = changes(model)
    n = len(model) // len(firsts)
    is_even = n * len(firsts) == len(model) and (firsts == np.arange(len(firsts)) * n).all()
    return bool(is_even and all((c.reshape(-1, n) == c[:n]).all() for c in columns))


NOTHING_LATER: tuple[tuple[bytes, ...], tuple[bytes, ...]] = (), ()


def only_later(
    model: NDArray[np.integer],
    chain: NDArray[np.bytes_],
    comp_id: NDArray[np.bytes_],
    numbers: Sequence[NDArray[Any]],
    hetero: NDArray[np.bool_],
) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """What models behind the first have in ATOM records, and it does not: (names of chains; names
    of further chains that have residues there which the first lacks).

    Waters do not count. Rows are residues, or atoms; `numbers` tell those of a chain apart.
    """
    if is_same_in_all(model, chain, comp_id, *numbers):
        return NOTHING_LATER
    waters = [name for name in set(comp_id.tolist()) if _is_water(name)]
    of_first = model == model[0]
    later = ~(of_first | hetero | np.isin(comp_id, waters))
    chains = set(chain[later].tolist()).difference(chain[of_first].tolist())
    columns = (chain, comp_id, *numbers)
    told, told_later = (
        set(zip(*(c[rows].tolist() for c in columns), strict=True)) for rows in (of_first, later)
    )
    with_more = {residue[0] for residue in told_later - told} - chains
    return tuple(sorted(chains)), tuple(sorted(with_more))


def _is_water(comp_id: bytes) -> bool:
    known = component(comp_id.decode("utf-8", "replace"))
    return known is not None and known.linking == Linking.WATER


_DUMMY = b"DUM"
"""A component of the dictionary that is no molecule: OPM marks the faces of membranes with it."""


def without_dummies(atoms: AtomTable) -> tuple[AtomTable, int]:
    """The atoms that are of some molecule, and how many are of none."""
    is_dummy = is_name(atoms.comp_id, _DUMMY)
    n = int(np.count_nonzero(is_dummy))
    return (atoms.select(~is_dummy), n) if n else (atoms, 0)


def in_capitals(name: NDArray[np.bytes_]) -> tuple[NDArray[np.bytes_], bool]:
    """Atom names, in capitals if none of the file has one; and whether that has changed them."""
    if not len(name) or not name[0].islower() or any(map(_has_capitals, set(name.tolist()))):
        return name, False
    return np.char.upper(name), True


def _has_capitals(name: bytes) -> bool:
    return name != name.lower()


@dataclass(frozen=True, slots=True)
class ChainAtoms:
    """The heavy atoms of a chain as its file has them, alternates among them.

    Attributes
    ----------
    atoms : AtomTable
        Sorted by row, in file order within.
    row : (n,) int64
        Of the `Chain`.
    in_slot : (n,) bool
        What the `Chain` holds. The others are alternates that were not chosen, or have no slot.
    """

    atoms: AtomTable
    row: NDArray[np.int64]
    in_slot: NDArray[np.bool_]

    def select(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> ChainAtoms:
        """Some of the atoms (a mask or indices), in the order given."""
        return ChainAtoms(self.atoms.select(which), self.row[which], self.in_slot[which])


def empty_names(n: int) -> NDArray[np.bytes_]:
    """A column of n empty names."""
    return np.zeros(n, "S1")
