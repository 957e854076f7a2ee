"""Ligands, metals and nucleic acids beside the protein chains of a file, as they were read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.export.chain_ids import LETTERS, Kind, fits_pdb
from pipeline.export.errors import ExportError
from pipeline.parsing.atom_table import ABSENT, AtomTable
from pipeline.residues import Linking, component


@dataclass(frozen=True, slots=True)
class OtherAtom:
    """`xyz` in units of 0.001 Å, `occupancy` in hundredths."""

    name: str
    element: str
    altloc: str
    xyz: tuple[int, int, int]
    occupancy: int


@dataclass(frozen=True, slots=True)
class OtherResidue:
    """A ligand, an ion, a sugar, a nucleotide.

    Attributes
    ----------
    label_asym_id : str
        As the file has it; in a PDB file the author's id.
    label_seq_id : int or None
        Of a nucleotide in its chain.
    """

    label_asym_id: str
    auth_asym_id: str
    comp_id: str
    label_seq_id: int | None
    auth_seq_id: int
    ins_code: str
    hetero: bool
    is_nucleic: bool
    atoms: tuple[OtherAtom, ...]


@dataclass(frozen=True, slots=True)
class KeptResidue:
    """Atoms of a residue of a protein chain as they were read.

    Attributes
    ----------
    comp_id : str
    hetero : bool
    atoms : tuple of OtherAtom
    whole : bool
        They stand for those of the chain's row; else they are added to them.
    """

    comp_id: str
    hetero: bool
    atoms: tuple[OtherAtom, ...]
    whole: bool


def other_residues(atoms: AtomTable) -> list[OtherResidue]:
    """The residues of a table, in its order."""
    if not len(atoms):
        return []
    columns = [
        atoms.auth_asym_id.astype("U"),
        atoms.label_asym_id.astype("U"),
        atoms.comp_id.astype("U"),
        atoms.auth_seq_id,
        atoms.label_seq_id,
        atoms.ins_code.astype("U"),
    ]
    new = np.ones(len(atoms), bool)
    for column in columns:
        new[1:] &= column[1:] == column[:-1]
    new[1:] = ~new[1:]
    firsts = np.flatnonzero(new).tolist()
    names, elements = atoms.name.astype("U").tolist(), atoms.element.astype("U").tolist()
    altlocs, places = atoms.altloc.astype("U").tolist(), atoms.coords.tolist()
    occupancies = atoms.occupancy.tolist()
    found = []
    for begin, end in zip(firsts, [*firsts[1:], len(atoms)], strict=True):
        author, label, comp, auth_seq, label_seq, code = (c[begin].item() for c in columns)
        known = component(comp)
        found.append(
            OtherResidue(
                label_asym_id=label or author or "_",
                auth_asym_id=author or label or "_",
                comp_id=comp or "UNL",
                label_seq_id=None if label_seq == ABSENT else label_seq,
                auth_seq_id=label_seq if auth_seq == ABSENT else auth_seq,
                ins_code=code,
                hetero=bool(atoms.hetero[begin]),
                is_nucleic=known is not None and known.linking == Linking.NUCLEIC,
                atoms=tuple(
                    OtherAtom(names[k], elements[k], altlocs[k], tuple(places[k]), occupancies[k])
                    for k in range(begin, end)
                ),
            )
        )
    return found


def with_ids_of(
    residues: Iterable[OtherResidue], ids: Mapping[str, str], kind: Kind
) -> tuple[list[OtherResidue], dict[str, str]]:
    """The residues under the ids that the chains have in a file.

    Parameters
    ----------
    residues : iterable of OtherResidue
    ids : dict of str to str
        Author's id of each protein chain → its id in the file.
    kind : {"cif", "pdb"}

    Returns
    -------
    residues : list of OtherResidue
    changed : dict of str to str
        Ids of chains without protein that are others in the file.

    Raises
    ------
    ExportError
        There are more chains than letters.
    """
    residues, names = list(residues), dict(ids)
    changed: dict[str, str] = {}
    mine = {residue.auth_asym_id for residue in residues} - names.keys()
    taken = set(names.values()) | {ident for ident in mine if fits_pdb(ident)}
    for residue in residues:
        ident = residue.auth_asym_id
        if ident in names:
            continue
        names[ident] = ident
        if kind == "pdb" and (not fits_pdb(ident) or ident in ids.values()):
            free = next((letter for letter in LETTERS if letter not in taken), None)
            if free is None:
                raise ExportError(
                    f"a PDB file has no letter left for chain {ident} of {residue.comp_id}; write "
                    "mmCIF (--format cif), which has no such limit"
                )
            names[ident] = changed[ident] = free
            taken.add(free)
    return [replace(r, auth_asym_id=names[r.auth_asym_id]) for r in residues], changed


class OtherEntities:
    """What mmCIF says of the residues: entities and chains.

    A ligand is a chain of its own there, an entity is what has one name. Nucleotides of one chain
    stay together, as an entity.

    Parameters
    ----------
    residues : sequence of OtherResidue
    taken : iterable of str
        Labels that protein chains have.
    fresh : iterator of str
        Ids that no entity has.
    """

    def __init__(
        self, residues: Sequence[OtherResidue], taken: Iterable[str], fresh: Iterator[str]
    ):
        used = set(taken)
        chains: dict[tuple[str, str], str] = {}
        self.residues: list[OtherResidue] = []
        self.of_label: dict[str, str] = {}
        self.nucleic: dict[str, list[OtherResidue]] = {}
        self.of_comp: dict[str, str] = {}
        for residue in residues:
            label, key = residue.label_asym_id, (residue.label_asym_id, residue.auth_asym_id)
            if residue.is_nucleic and key in chains:
                label = chains[key]
            else:
                number = 2
                while label in used:
                    label, number = f"{residue.label_asym_id}.{number}", number + 1
                used.add(label)
            residue = replace(residue, label_asym_id=label)
            if residue.is_nucleic:
                chains[key] = label
                self.nucleic.setdefault(label, []).append(residue)
                if label not in self.of_label:
                    self.of_label[label] = next(fresh)
            else:
                if residue.comp_id not in self.of_comp:
                    self.of_comp[residue.comp_id] = next(fresh)
                self.of_label[label] = self.of_comp[residue.comp_id]
            self.residues.append(residue)

    def entities(self) -> list[tuple[str, str]]:
        """Id and type."""
        ligands = [(ident, "non-polymer") for ident in self.of_comp.values()]
        return [*((self.of_label[label], "polymer") for label in self.nucleic), *ligands]

    def polymers(self) -> list[tuple[str, str, str]]:
        """Id, type and author's chain id of those that are polymers."""
        return [
            (self.of_label[label], _kind_of(chain), chain[0].auth_asym_id)
            for label, chain in self.nucleic.items()
        ]

    def components(self, but: Iterable[str]) -> list[tuple[str, str]]:
        """Names and types of the residues, without some names."""
        kinds = {
            r.comp_id: f"{_sugar(r)} linking" if r.is_nucleic else "non-polymer"
            for r in self.residues
        }
        for name in but:
            kinds.pop(name, None)
        return sorted(kinds.items())


def _sugar(residue: OtherResidue) -> str:
    return "RNA" if any(atom.name in ("O2'", "O2*") for atom in residue.atoms) else "DNA"


def _kind_of(chain: Sequence[OtherResidue]) -> str:
    sugars = {_sugar(residue) for residue in chain}
    if len(sugars) > 1:
        return "polydeoxyribonucleotide/polyribonucleotide hybrid"
    return "polyribonucleotide" if sugars == {"RNA"} else "polydeoxyribonucleotide"
