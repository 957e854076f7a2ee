"""Bonds, angles, RMSD and clashes of side chains that are rebuilt from their own torsions.

    python benchmarks/side_chain_geometry.py FOLDER [--files 400] [--markdown]

What ideal geometry costs: the torsions of real residues are measured, and the side chains built
again by `pipeline.residues.side_chains` on the backbones as they are: arginine's fifth torsion is
flat, and of proline only χ1 is used. *From random χ*: the same residues, χ uniform. Bonds and
angles are compared with those of ideal residues. Then the builder's speed. FOLDER holds structure
files, drawn at even steps through their names; residues that lack an atom are left out.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from build_speed import describe_machine, format_table

from model.metrics import Structure, chi_angles, clashes, side_chain_rmsd
from pipeline.parsing import NotAStructure, read_chains
from pipeline.residues import ATOM14_EXISTS, CHI_MASK, RESTYPES
from pipeline.residues.geometry import IDEAL_BACKBONE, N_BONDS
from pipeline.residues.side_chains import build_side_chains, place_side_chains
from pipeline.sources.decompress import decompress

TYPES = range(len(RESTYPES))
FAR_OFF = 0.1
"""Å: bonds that are further from ideal are counted."""
OVERLAP = 0.8
"""Of the sum of van der Waals radii."""


def read(folder: Path, files: int) -> Iterator[Structure]:
    """Chains with complete side chains only."""
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    for path in paths[:: max(1, len(paths) // files)][:files]:
        try:
            parsed = read_chains(decompress(path.read_bytes(), 1 << 30), path.name)
        except NotAStructure:
            continue
        for chain in map(Structure.from_chain, parsed.chains):
            whole = (chain.mask == ATOM14_EXISTS[chain.aatype]).all(axis=1)
            yield chain.with_atoms(
                chain.positions, chain.mask & (whole[:, None] | (np.arange(14) < 4))
            )


def bonds_and_angles(kind: int) -> tuple[np.ndarray, np.ndarray]:
    """Slots (B, 2) of bonds and (A, 3) of angles, the middle second, with a side-chain atom."""
    bonds = np.argwhere(np.triu(N_BONDS[kind] == 1))
    angles = [
        (a, middle, b)
        for middle in range(14)
        for a, b in combinations(np.flatnonzero(N_BONDS[kind, middle] == 1), 2)
        if max(a, middle, b) > 3
    ]
    return bonds[bonds[:, 1] > 3], np.array(angles, int).reshape(-1, 3)


def lengths(x: np.ndarray, bonds: np.ndarray) -> np.ndarray:
    return np.linalg.norm(x[..., bonds[:, 0], :] - x[..., bonds[:, 1], :], axis=-1)


def degrees(x: np.ndarray, angles: np.ndarray) -> np.ndarray:
    a, b = (x[..., angles[:, k], :] - x[..., angles[:, 1], :] for k in (0, 2))
    cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def errors_of_geometry(structures: list[Structure]) -> tuple[np.ndarray, np.ndarray]:
    """Deviations of all bonds (Å) and angles (degrees) from those of ideal residues."""
    x = np.concatenate([s.positions for s in structures])
    kinds = np.concatenate([s.aatype for s in structures])
    there = np.concatenate([s.mask[:, 4] for s in structures])
    side_chains, _ = build_side_chains(np.full((len(TYPES), 4), np.nan), np.arange(len(TYPES)))
    ideal = np.concatenate([IDEAL_BACKBONE[: len(TYPES)], side_chains], axis=1)
    of_bonds, of_angles = [], []
    for kind in TYPES:
        bonds, angles = bonds_and_angles(kind)
        of_type = x[(kinds == kind) & there]
        of_bonds.append((lengths(of_type, bonds) - lengths(ideal[kind], bonds)).ravel())
        of_angles.append((degrees(of_type, angles) - degrees(ideal[kind], angles)).ravel())
    return np.concatenate(of_bonds), np.concatenate(of_angles)


def row_of(name: str, found: list[Structure], real: list[Structure]) -> list[str]:
    bonds, angles = errors_of_geometry(found)
    rmsd = [
        side_chain_rmsd(f.positions, f.mask, r.positions, r.mask, r.aatype)
        for f, r in zip(found, real, strict=True)
    ]
    atoms = sum(int(s.mask[:, 5:].sum()) for s in found)
    overlaps = sum(
        len(clashes(s.positions, s.mask, s.aatype, s.chain_index, fraction=OVERLAP)) for s in found
    )
    return [
        name,
        f"{np.nanmean([r.all for r in rmsd]):.3f}",
        f"{np.nanmean([r.core for r in rmsd]):.3f}",
        f"{rms(bonds):.3f}",
        f"{100 * np.mean(np.abs(bonds) > FAR_OFF):.2f} %",
        f"{rms(angles):.2f}",
        f"{1000 * overlaps / atoms:.1f}",
    ]


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def rebuilt(chain: Structure, chi: np.ndarray) -> Structure:
    """Other side chains where the real ones are complete."""
    positions, mask = place_side_chains(chi, chain.positions, chain.mask, chain.aatype)
    return chain.with_atoms(positions, mask & chain.mask)


def rows_of_types(found: list[Structure], real: list[Structure]) -> list[list[str]]:
    squared = np.concatenate(
        [((f.positions - r.positions) ** 2).sum(-1) for f, r in zip(found, real, strict=True)]
    )[:, 4:]
    mask = np.concatenate([s.mask for s in found])[:, 4:]
    kinds = np.concatenate([s.aatype for s in found])
    rows = []
    for kind in np.flatnonzero(CHI_MASK[: len(TYPES), 0]):
        of_type = (kinds == kind) & mask[:, 0]
        each = np.sqrt(squared[of_type][:, ATOM14_EXISTS[kind, 4:]].mean(axis=1))
        at = f"{each.mean():.3f}", f"{np.median(each):.3f}"
        rows.append([RESTYPES[kind], f"{of_type.sum()}", *at])
    return rows


def rows_of_speed(structures: list[Structure], chi: list[np.ndarray]) -> list[list[str]]:
    x, mask, kinds = (
        np.concatenate([getattr(s, name) for s in structures])
        for name in ("positions", "mask", "aatype")
    )
    angles = np.concatenate(chi)
    tensors = [torch.tensor(a) for a in (angles, x, mask, kinds)]
    single = [t.float() if t.is_floating_point() else t for t in tensors]
    leaf = torch.nan_to_num(single[0]).requires_grad_()

    def backward() -> None:
        placed, _ = place_side_chains(leaf, *single[1:])
        placed.sum().backward()

    ways: dict[str, Callable[[], object]] = {
        "NumPy, float64": lambda: place_side_chains(angles, x, mask, kinds),
        "torch, float32": lambda: place_side_chains(*single),
        "torch, float32, forward and backward": backward,
    }
    rows = []
    for name, way in ways.items():
        way()
        best = min(_seconds(way) for _ in range(5))
        rows.append([name, f"{1e6 * best / len(kinds):.2f}", f"{60 * len(kinds) / best / 1e6:.1f}"])
    return rows


def _seconds(way: Callable[[], object]) -> float:
    start = time.process_time()
    way()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=400)
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for line in describe_machine():
        print(f"{'- ' if options.markdown else ''}{line}")
    real = list(read(options.folder, options.files))
    if not real:
        raise SystemExit(f"error: no structure among the files of {options.folder}")
    chi = [np.radians(chi_angles(s.positions, s.mask, s.aatype)) for s in real]
    rng = np.random.default_rng(0)
    own = [rebuilt(s, angles) for s, angles in zip(real, chi, strict=True)]
    random = [rebuilt(s, rng.uniform(-np.pi, np.pi, (len(s), 4))) for s in real]
    n_residues = sum(int(s.mask[:, 4].sum()) for s in real)
    print(f"\n{len(real)} chains, {n_residues} residues\n")
    header = ["side chains", "RMSD, Å", "core", "bonds, Å rms", f"off by > {FAR_OFF} Å"]
    header += ["angles, ° rms", f"clashes < {OVERLAP} per 1,000 atoms"]
    ways = {"as they are": real, "from their χ": own, "from random χ": random}
    rows = [row_of(name, found, real) for name, found in ways.items()]
    print(format_table(header, rows, options.markdown) + "\n")
    header = ["from their χ", "residues", "mean RMSD, Å", "median"]
    print(format_table(header, rows_of_types(own, real), options.markdown) + "\n")
    header = ["one core", "µs per residue", "million residues per minute"]
    print(format_table(header, rows_of_speed(real, chi), options.markdown))


if __name__ == "__main__":
    main()
