"""Letters of 3Di against biotite's: are they the same, and how much faster do they come?

    python benchmarks/three_di.py FOLDER [--limit N] [--markdown]

Every structure file below FOLDER is read as a build reads it. Of each chain biotite's `to_3di` gets
all atoms; ours gets some dozens of chains at a time, as in a build. Both run in one process, one
after the other, and their times are those that the processor spent on them.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import biotite.structure as struc
import numpy as np
from biotite.structure.alphabet import to_3di
from build_speed import format_table

from pipeline.chain import Chain
from pipeline.crew.batches import BATCH_RESIDUES
from pipeline.export.atoms import Atoms, residue_names
from pipeline.features import atom14_positions, compute_features, unpack_mask
from pipeline.geometry.three_di import three_di
from pipeline.parsing import NotAStructure, ParseError, read_chains
from pipeline.sources import SourceError, decompress


def atom_array(chain: Chain) -> struc.AtomArray:
    """All atoms of a chain, its rows numbered from 0."""
    atoms, names = Atoms.of(chain), np.array(residue_names(chain))
    array = struc.AtomArray(len(chain.coords))
    array.coord = (chain.coords * 0.001).astype(np.float32)
    array.chain_id[:] = "A"
    array.res_id = atoms.residue
    array.res_name = names[atoms.residue]
    array.atom_name = np.array(atoms.names)
    array.element = np.array(atoms.elements)
    return array


def biotites(chain: Chain) -> tuple[np.ndarray, float]:
    """(L,) bytes of the residues that have atoms, X for the others; seconds."""
    array = atom_array(chain)
    began = time.process_time()
    (sequence,), _ = to_3di(array)
    seconds = time.process_time() - began
    letters = np.full(len(chain), ord("X"), np.uint8)
    text = "".join(sequence.symbols).upper()
    letters[np.unique(array.res_id)] = np.frombuffer(text.encode(), np.uint8)
    return letters, seconds


def ours(chains: list[Chain]) -> tuple[list[np.ndarray], float, float]:
    """Letters of each chain; seconds of them, and of all features."""
    began = time.process_time()
    features = compute_features(chains)
    whole = time.process_time() - began
    mask = unpack_mask(np.concatenate([c.atom14_mask for c in chains]))
    positions = atom14_positions(mask, np.concatenate([c.coords for c in chains]))
    resolved = np.concatenate([c.resolved for c in chains])
    ends = np.concatenate(([0], np.cumsum([len(c) for c in chains])))
    began = time.process_time()
    letters = three_di(positions, mask, resolved, ends)
    seconds = time.process_time() - began
    found = [f.three_di for f in features]
    assert np.array_equal(letters, np.concatenate(found))
    return found, seconds, whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=int, help="files")
    parser.add_argument("--markdown", action="store_true")
    given = parser.parse_args()
    paths = sorted(path for path in given.folder.rglob("*") if path.is_file())[: given.limit]
    n_files = n_chains = n_residues = compared = different = 0
    spent = dict.fromkeys(("biotite", "ours", "features"), 0.0)
    waiting: list[Chain] = []

    def settle() -> None:
        nonlocal compared, different
        if not waiting:
            return
        letters, seconds, whole = ours(waiting)
        spent["ours"] += seconds
        spent["features"] += whole
        for chain, mine in zip(waiting, letters, strict=True):
            theirs, seconds = biotites(chain)
            spent["biotite"] += seconds
            padded = np.concatenate(([False], chain.resolved, [False]))
            where = padded[:-2] & padded[1:-1] & padded[2:]
            compared += int(where.sum())
            different += int((mine != theirs)[where].sum())
            assert (mine[~where] == ord("X")).all(), chain
        waiting.clear()

    for path in paths:
        try:
            data = decompress(path.read_bytes(), 1 << 30, name=path.name)
            chains = read_chains(data, path.name.partition(".")[0]).chains
        except (NotAStructure, ParseError, SourceError):
            continue
        n_files, n_chains = n_files + 1, n_chains + len(chains)
        n_residues += sum(map(len, chains))
        waiting += chains
        if sum(map(len, waiting)) >= BATCH_RESIDUES:
            settle()
    settle()
    rows = [
        ("files, chains, residues", f"{n_files:,}, {n_chains:,}, {n_residues:,}"),
        ("compared (a residue and both its neighbours are resolved)", f"{compared:,}"),
        ("other letters than biotite's", f"{different:,}"),
        *(
            (f"{name}, residues/s", f"{n_residues / spent[key]:,.0f}")
            for key, name in (("biotite", "biotite's `to_3di`"), ("ours", "ours"))
        ),
        ("ours is faster by a factor of", f"{spent['biotite'] / spent['ours']:.0f}"),
        ("of the time of all features", f"{spent['ours'] / spent['features']:.0%}"),
    ]
    print(format_table(("", ""), rows, given.markdown))


if __name__ == "__main__":
    main()
