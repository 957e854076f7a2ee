"""What others do with the same file: one function per peer, from a path to what it yields.

Each takes its library's usual way, the quicker one where there are two, and reads and unpacks the
file itself. The research script is ours, written the way published training code prepares data:
Biopython objects, a Python loop over residues and atoms, padded float64 arrays, a pickle.
"""

from __future__ import annotations

import gzip
import io
import pickle
import warnings
from pathlib import Path
from typing import Any, Literal

import biotite.structure as struc
import biotite.structure.io.pdb as pdb
import biotite.structure.io.pdbx as pdbx
import gemmi
import numpy as np
from Bio.PDB import FastMMCIFParser, MMCIFParser, PDBParser
from Bio.PDB.binary_cif import BinaryCIFParser
from Bio.PDB.Chain import Chain
from isal import igzip

Format = Literal["cif", "pdb", "bcif"]


def is_gzipped(path: Path) -> bool:
    return path.suffix == ".gz"


def gunzip_with_gzip(path: Path) -> bytes:
    """The file's content through Python's own gzip module."""
    data = path.read_bytes()
    return gzip.decompress(data) if is_gzipped(path) else data


def gunzip_with_isal(path: Path) -> bytes:
    """The file's content through ISA-L."""
    data = path.read_bytes()
    return igzip.decompress(data) if is_gzipped(path) else data


def read_with_biotite(path: Path, file_format: Format) -> struc.AtomArray:
    """Atoms of the first model, as bare `get_structure` gives them."""
    data = gunzip_with_gzip(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if file_format == "bcif":
            return pdbx.get_structure(pdbx.BinaryCIFFile.read(io.BytesIO(data)), model=1)
        text = io.StringIO(data.decode("utf-8", "replace"))
        if file_format == "cif":
            return pdbx.get_structure(pdbx.CIFFile.read(text), model=1)
        return pdb.PDBFile.read(text).get_structure(model=1)


def read_with_gemmi(path: Path) -> tuple[np.ndarray, ...]:
    """Coordinates, B factors, names and numbers of the first model's atoms, as arrays."""
    structure = gemmi.read_structure(str(path))
    del structure[1:]
    try:
        flat = gemmi.FlatStructure(structure)
    except RuntimeError:  # it has no room for names of eight characters
        return _gemmi_arrays_in_a_loop(structure)
    columns = (flat.pos, flat.b_iso, flat.occ, flat.resnums)
    names = (flat.atom_names, flat.residue_names, flat.chain_ids, flat.altlocs, flat.icodes)
    return tuple(np.array(c) for c in (*columns, *names))


def _gemmi_arrays_in_a_loop(structure: gemmi.Structure) -> tuple[np.ndarray, ...]:
    rows = [
        (
            *(atom.pos.tolist(), atom.b_iso, atom.occ, residue.seqid.num),
            *(atom.name, residue.name, chain.name, atom.altloc, residue.seqid.icode),
        )
        for chain in structure[0]
        for residue in chain
        for atom in residue
    ]
    return tuple(np.array(column) for column in zip(*rows, strict=True))


RESIDUES20 = "ALA ARG ASN ASP CYS GLN GLU GLY HIS ILE LEU LYS MET PHE PRO SER THR TRP TYR VAL"
ATOMS37 = (
    "N CA C CB O CG CG1 CG2 OG OG1 SG CD CD1 CD2 ND1 ND2 OD1 OD2 SD CE CE1 CE2 CE3 NE NE1 NE2 "
    "OE1 OE2 CH2 NH1 NH2 OH CZ CZ2 CZ3 NZ OXT"
)
RESIDUE_NUMBER = {name: k for k, name in enumerate(RESIDUES20.split())}
ATOM37_NUMBER = {name: k for k, name in enumerate(ATOMS37.split())}


def research_script(
    path: Path, file_format: Format, out_dir: Path, *, fast_cif: bool = False
) -> Path | None:
    """One entry → one pickle of its chains' padded arrays; None if it has no residues.

    Parameters
    ----------
    path : Path
    file_format : {"cif", "pdb", "bcif"}
    out_dir : Path
        The pickle goes here.
    fast_cif : bool
        Biopython's FastMMCIFParser (atoms only, quicker) in place of MMCIFParser.
    """
    model = next(iter(_biopython_structure(path, file_format, fast_cif)))
    chains = {}
    for chain in model:
        arrays = _atom37_of_chain(chain)
        if arrays is not None:
            chains[chain.id] = arrays
    if not chains:
        return None
    out = out_dir / f"{path.name}.pkl"
    with out.open("wb") as file:
        pickle.dump(chains, file, protocol=pickle.HIGHEST_PROTOCOL)
    return out


def _biopython_structure(path: Path, file_format: Format, fast_cif: bool) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if file_format == "bcif":
            return BinaryCIFParser().get_structure(path.name, str(path))  # unpacks by itself
        if file_format == "pdb":
            parser = PDBParser(QUIET=True)
        else:
            parser = (FastMMCIFParser if fast_cif else MMCIFParser)(QUIET=True)
        text = io.StringIO(gunzip_with_gzip(path).decode("utf-8", "replace"))
        return parser.get_structure(path.name, text)


def _atom37_of_chain(chain: Chain) -> dict[str, np.ndarray] | None:
    aatype, positions, masks, indices, b_factors = [], [], [], [], []
    for residue in chain:
        if residue.id[0] == "W":
            continue
        position = np.zeros((len(ATOM37_NUMBER), 3))
        mask = np.zeros(len(ATOM37_NUMBER))
        b_factor = np.zeros(len(ATOM37_NUMBER))
        for atom in residue:
            if atom.name not in ATOM37_NUMBER:
                continue
            slot = ATOM37_NUMBER[atom.name]
            position[slot] = atom.coord
            mask[slot] = 1.0
            b_factor[slot] = atom.bfactor
        if mask.sum() < 0.5:
            continue
        aatype.append(RESIDUE_NUMBER.get(residue.resname, len(RESIDUE_NUMBER)))
        positions.append(position)
        masks.append(mask)
        indices.append(residue.id[1])
        b_factors.append(b_factor)
    if not aatype:
        return None
    atom_positions, atom_mask = np.array(positions), np.array(masks)
    alpha = atom_mask[:, ATOM37_NUMBER["CA"]]
    centre = (atom_positions[:, ATOM37_NUMBER["CA"]] * alpha[:, None]).sum(0) / (alpha.sum() + 1e-5)
    return {
        "aatype": np.array(aatype),
        "atom_positions": (atom_positions - centre) * atom_mask[..., None],
        "atom_mask": atom_mask,
        "residue_index": np.array(indices),
        "b_factors": np.array(b_factors),
        "bb_mask": alpha,
    }
