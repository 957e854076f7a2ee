"""What a file says beside its atoms: entities, sequences, provenance, assemblies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.chain import EntryMetadata
from pipeline.parsing.atom_table import AtomTable


@dataclass(frozen=True, slots=True)
class Polymer:
    """What is known about the chain of one asym id.

    Attributes
    ----------
    is_protein : bool or None
        ``None``: the file has no entity records, its residues must decide.
    sequence : tuple of str or None
        Component ids of the entity sequence (``_entity_poly_seq``, SEQRES).
    missing : tuple of (comp id, author number, insertion code)
        REMARK 465 of a PDB file, in its order.
    """

    is_protein: bool | None = None
    entity_id: str | None = None
    sequence: tuple[str, ...] | None = None
    missing: tuple[tuple[str, int, str], ...] = ()
    uniprot: str | None = None
    taxonomy: int | None = None


UNDESCRIBED = Polymer()


@dataclass(frozen=True, slots=True)
class AssemblyPart:
    """Chains and the operators (rotation 3×3, translation 3, both float64, Å) that copy them."""

    asym_ids: tuple[str, ...]
    operators: tuple[tuple[NDArray[np.float64], NDArray[np.float64]], ...]


@dataclass(frozen=True, slots=True)
class Assembly:
    """One biological assembly: ``_pdbx_struct_assembly`` or REMARK 350."""

    id: str
    parts: tuple[AssemblyPart, ...]


class BondedAtom(NamedTuple):
    """An atom by the author's names."""

    auth_asym_id: str
    auth_seq_id: int
    ins_code: str
    comp_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Connection:
    """A bond that a file lists: ``_struct_conn``, or LINK of a PDB file.

    Attributes
    ----------
    kind : str
        ``covale``, ``metalc`` or what else mmCIF calls them; empty in a PDB file, which tells none.
    atoms : pair of BondedAtom
    """

    kind: str
    atoms: tuple[BondedAtom, BondedAtom]


@dataclass(frozen=True, slots=True)
class EntryInfo:
    """Everything of a file but its atoms.

    Attributes
    ----------
    polymers : dict
        By ``label_asym_id`` (PDB: author chain id).
    entities : dict
        By entity id; empty for PDB files.
    has_entities : bool
        The file has entity records: ``_entity``, ``_entity_poly`` or ``_struct_asym``.
    read_assemblies : callable
        () → the assemblies; few builds ask for them, and they take long to interpret.
    read_connections : callable
        () → the bonds between residues of the asymmetric unit, but disulphides and hydrogen bonds.
    count_unread : callable
        () → how often the file tells what is never read, by name.
    claimed_atoms : int or None
        How many atoms the file itself says it has.
    is_measured : bool
        It names an experiment: its method, its resolution or a refinement.
    has_origin : bool
        It names a method, a resolution, a database or a unit cell. Without any, what its texts and
        its values look like may tell what it is.
    says_prediction : bool
        It says that the structure is a prediction, and not what its B-factors are.
    flags : tuple of str
        Remarks on what the header says.
    read_every_b_factor : callable or None
        () → the atoms again, with the B-factors of all; few files are asked for them.
    """

    metadata: EntryMetadata = field(default_factory=EntryMetadata)
    polymers: dict[str, Polymer] = field(default_factory=dict)
    entities: dict[str, Polymer] = field(default_factory=dict)
    has_entities: bool = False
    read_assemblies: Callable[[], tuple[Assembly, ...]] = tuple
    read_connections: Callable[[], tuple[Connection, ...]] = tuple
    count_unread: Callable[[], dict[str, int]] = dict
    claimed_atoms: int | None = None
    is_measured: bool = False
    has_origin: bool = False
    says_prediction: bool = False
    flags: tuple[str, ...] = ()
    read_every_b_factor: Callable[[], AtomTable] | None = None

    @property
    def may_look_predicted(self) -> bool:
        """Whether values of B-factors may hint at what the file does not say."""
        return not self.has_origin and self.metadata.confidence_kind is None
