"""Milliseconds per 1,000 residues of the geometry of a build, on one core.

    python benchmarks/geometry.py [FOLDER] [--files N]

Frames and Gaussians (`residue_gaussians`), and secondary structure beside biotite's
``annotate_sse`` on the same chains in the same run. FOLDER holds structure files (`.cif`, `.bcif`,
`.pdb`, each plain or `.gz`); the examples of the data manifest are the default. Small folders are
repeated up to about 30,000 residues, the size of one call in a build.
"""

from __future__ import annotations

import argparse
import gzip
import io
import time
import warnings
from pathlib import Path

import biotite.structure as struc
import biotite.structure.io.pdb as pdb
import biotite.structure.io.pdbx as pdbx
import numpy as np

from pipeline.geometry.gaussians import residue_gaussians
from pipeline.geometry.secondary_structure import secondary_structure
from pipeline.residues.atom14 import SLOT_OF_NAME
from pipeline.residues.types import RESTYPES

EXAMPLES = Path(__file__).resolve().parents[1] / "data_manifest" / "examples"
RESIDUES = 30_000
REPEATS = 15


def read(path: Path) -> struc.AtomArray | None:
    """Amino acids of the first model, or None for what biotite cannot read."""
    name = path.name.removesuffix(".gz")
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        if name.endswith(".bcif"):
            atoms = pdbx.get_structure(pdbx.BinaryCIFFile.read(io.BytesIO(raw)), model=1)
        elif name.endswith(".cif"):
            atoms = pdbx.get_structure(pdbx.CIFFile.read(io.StringIO(raw.decode())), model=1)
        elif name.endswith((".pdb", ".ent")):
            atoms = pdb.PDBFile.read(io.StringIO(raw.decode())).get_structure(model=1)
        else:
            return None
    except Exception as error:
        print(f"left out {path.name}: {error}")
        return None
    return atoms[struc.filter_canonical_amino_acids(atoms)]


def chains_of(atoms: struc.AtomArray) -> list[struc.AtomArray]:
    """Residues with a CA, chain by chain."""
    chains = []
    for chain_id in np.unique(atoms.chain_id):
        chain = atoms[atoms.chain_id == chain_id]
        starts = struc.get_residue_starts(chain, add_exclusive_stop=True)
        has_ca = np.add.reduceat((chain.atom_name == "CA").astype(int), starts[:-1]) == 1
        chain = chain[np.repeat(has_ca, np.diff(starts))]
        if len(chain):
            chains.append(chain)
    return chains


def atom14(chain: struc.AtomArray) -> tuple[np.ndarray, np.ndarray]:
    """Positions (L, 14, 3) float64 and mask (L, 14) of one chain."""
    residue = struc.spread_residue_wise(chain, np.arange(struc.get_residue_count(chain)))
    types = {name: i for i, name in enumerate(RESTYPES)}
    slot = np.array(
        [
            SLOT_OF_NAME[types[r]].get(a, -1) if r in types else -1
            for r, a in zip(chain.res_name.tolist(), chain.atom_name.tolist(), strict=True)
        ]
    )
    positions = np.zeros((residue[-1] + 1, 14, 3))
    mask = np.zeros((residue[-1] + 1, 14), dtype=bool)
    known = slot >= 0
    positions[residue[known], slot[known]] = chain.coord[known]
    mask[residue[known], slot[known]] = True
    return positions, mask


def milliseconds(function, repeats: int = REPEATS) -> float:
    """Quickest of several runs: the one that other work disturbed least."""
    function()
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - start)
    return best * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=EXAMPLES)
    parser.add_argument("--files", type=int, default=40, help="read at most so many")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")

    paths = sorted(p for p in arguments.folder.glob("*") if p.is_file())[: arguments.files]
    chains = [c for p in paths if (atoms := read(p)) is not None for c in chains_of(atoms)]
    if not chains:
        raise SystemExit(f"no structure with amino acids among the files of {arguments.folder}")
    n_read = sum(map(struc.get_residue_count, chains))
    copies = max(1, round(RESIDUES / n_read))

    arrays = [atom14(chain) for chain in chains]
    positions = np.concatenate([a for a, _ in arrays] * copies)
    mask = np.concatenate([m for _, m in arrays] * copies)
    ca = positions[:, 1].astype(np.float32)
    starts = [struc.get_residue_starts(chain) for chain in chains]
    lengths = [len(s) for s in starts] * copies
    index = [chain.res_id[s] for chain, s in zip(chains, starts, strict=True)]
    residue_index = np.concatenate(index * copies)
    chain_start = np.concatenate(([0], np.cumsum(lengths)))
    thousands = len(ca) / 1000

    print(f"{len(chains)} chains, {n_read} residues, repeated {copies}×; ms per 1,000 residues")
    gaussians = milliseconds(lambda: residue_gaussians(positions, mask))
    print(f"frames + Gaussians     {gaussians / thousands:8.3f}")
    ours = milliseconds(lambda: secondary_structure(ca, mask[:, 1], residue_index, chain_start))
    traces = [chain[chain.atom_name == "CA"] for chain in chains]
    theirs = milliseconds(lambda: [struc.annotate_sse(trace) for trace in traces], repeats=1)
    print(f"secondary structure    {ours / thousands:8.3f}")
    print(f"biotite annotate_sse   {theirs / n_read * 1000:8.3f}")


if __name__ == "__main__":
    main()
