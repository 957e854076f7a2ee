"""``Chain``: the one record that travels between the rooms of the pipeline."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class EntryMetadata:
    """What a file says about the whole entry; ``None`` where it does not say.

    Dates are ISO strings (``YYYY-MM-DD``); `resolution` is in Å; `oligomer` is the number of
    polymer chains of the first biological assembly. `r_free` and `data_completeness`, the share of
    the possible reflections that were measured, are from 0 to 1. The three counts are over residues
    of the model that was read.
    """

    file_entry_id: str | None = None
    method: str | None = None
    resolution: float | None = None
    deposition_date: str | None = None
    release_date: str | None = None
    title: str | None = None
    source: str | None = None
    oligomer: int | None = None
    confidence_kind: str | None = None
    n_ligands: int = 0
    n_waters: int = 0
    n_nucleic: int = 0
    r_free: float | None = None
    data_completeness: float | None = None


@dataclass(frozen=True, slots=True)
class Chain:
    """One polypeptide chain of one model; L rows (residues), A atoms.

    Attributes
    ----------
    aatype : (L,) int8
        0–19 in the order of three-letter names, 20 = X.
    residue_index : (L,) int32
        Strictly increasing; the 1-based sequence id where the file has an entity sequence.
    auth_seq_id : (L,) int32
        Author numbering; 0 at residues that the file does not number (unresolved ones of a PDB
        file, say).
    ins_code : (L,) uint8
        ASCII insertion code, 0 = none.
    atom14_mask : (L,) uint16
        Bit k set where the atom of slot k is present.
    coords : (A, 3) int32
        Units of 0.001 Å; present atoms only, residue by residue in slot order.
    b_factor : (L,) float32
        Of CA, Å² (or pLDDT, see ``EntryMetadata.confidence_kind``); 0 where CA is absent.
    resolved : (L,) bool
        N, CA and C are present and not collinear.
    zero_occupancy_fraction : float or None
        Of the heavy atoms that the file has of the chain; those are left out, unless they are all.
    """

    entry_id: str
    model: int
    label_asym_id: str
    auth_asym_id: str
    aatype: NDArray[np.int8]
    residue_index: NDArray[np.int32]
    auth_seq_id: NDArray[np.int32]
    ins_code: NDArray[np.uint8]
    atom14_mask: NDArray[np.uint16]
    coords: NDArray[np.int32]
    b_factor: NDArray[np.float32]
    resolved: NDArray[np.bool_]
    entity_id: str | None = None
    entity_sequence: str | None = None
    assembly: str | None = None
    uniprot: str | None = None
    taxonomy: int | None = None
    n_modified: int = 0
    n_altloc: int = 0
    n_microhet: int = 0
    n_bad_atoms: int = 0
    coords_rounded: bool = False
    zero_occupancy_fraction: float | None = None
    metadata: EntryMetadata = field(default_factory=EntryMetadata)

    def __repr__(self) -> str:
        return f"Chain({self.uid}: {len(self)} residues, {len(self.coords)} atoms)"

    def __len__(self) -> int:
        return len(self.aatype)

    @property
    def uid(self) -> str:
        """``entry_model_chain``, or ``entry_assembly_model_chain`` for an assembly."""
        parts = [self.entry_id, str(self.model), self.label_asym_id]
        if self.assembly is not None:
            parts.insert(1, self.assembly)
        return "_".join(parts)


@dataclass(frozen=True, slots=True)
class Beside:
    """What is beside the protein chains of one model: m heavy atoms of ligands and nucleic acids.

    Attributes
    ----------
    coords : (m, 3) int32
        Units of 0.001 Å. Alternates are all there.
    residue : (m,) int64
        Number of the ligand's or nucleotide's residue, from 0; rises along the atoms.
    is_nucleic : (m,) bool
    label_asym_id, auth_asym_id : (m,) bytes
    """

    model: int
    coords: NDArray[np.int32]
    residue: NDArray[np.int64]
    is_nucleic: NDArray[np.bool_]
    label_asym_id: NDArray[np.bytes_]
    auth_asym_id: NDArray[np.bytes_]
