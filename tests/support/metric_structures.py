"""Structures for the tests of metrics: real chains of the examples, and small ones made by hand."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from model.metrics import Structure
from pipeline.parsing import read_chains
from pipeline.residues import ATOM14_EXISTS
from pipeline.residues.geometry import IDEAL_BACKBONE
from pipeline.residues.side_chains import build_side_chains, place_side_chains
from pipeline.sources.decompress import decompress
from tests.support.places import EXAMPLES


@cache
def example(name: str = "3enl.pdb.gz", chain: int = 0) -> Structure:
    """A chain of the examples; 3enl is complete, of 436 residues."""
    data = decompress((EXAMPLES / name).read_bytes(), 1 << 28)
    return Structure.from_chain(read_chains(data, name).chains[chain])


def first_residues(structure: Structure, n: int) -> Structure:
    """The start of a chain."""
    return Structure(
        **{name: getattr(structure, name)[:n] for name in Structure.__dataclass_fields__}
    )


def random_rotation(seed: int) -> np.ndarray:
    """Uniform over SO(3)."""
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    q[:, 0] *= np.linalg.det(q)
    return q


def moved(structure: Structure, seed: int, distance: float = 200.0) -> Structure:
    """Rotated, and carried `distance` Å away."""
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=3)
    shift = distance * direction / np.linalg.norm(direction)
    return structure.with_atoms(structure.positions @ random_rotation(seed).T + shift)


def with_garbage(structure: Structure) -> Structure:
    """NaN in every absent slot."""
    return structure.with_atoms(np.where(structure.mask[..., None], structure.positions, np.nan))


def noisy(structure: Structure, scale: float, seed: int = 0) -> Structure:
    """Every side-chain atom displaced."""
    noise = np.random.default_rng(seed).normal(0, scale, structure.positions.shape)
    noise[:, :4] = 0
    return structure.with_atoms(structure.positions + noise)


def ideal_residues(chi: np.ndarray, aatype: list[int] | np.ndarray) -> np.ndarray:
    """(L, 14, 3): ideal residues in their frames, of torsions in degrees."""
    kinds = np.asarray(aatype)
    side_chains, _ = build_side_chains(np.radians(chi), kinds)
    return np.concatenate([IDEAL_BACKBONE[kinds], side_chains], axis=1)


def repacked(chi: np.ndarray, structure: Structure) -> Structure:
    """The structure's backbone with side chains of other torsions, in degrees."""
    placed = place_side_chains(
        np.radians(chi), structure.positions, structure.mask, structure.aatype
    )
    return structure.with_atoms(*placed)


def spread_out(aatype: list[int], gap: float = 30.0, seed: int | None = None) -> Structure:
    """Ideal residues far from each other, of ideal or random torsions, each its own chain."""
    kinds = np.array(aatype)
    chi = np.full((len(kinds), 4), np.nan)
    if seed is not None:
        chi = np.random.default_rng(seed).uniform(-180, 180, chi.shape)
    positions = ideal_residues(chi, kinds) + gap * np.arange(len(kinds))[:, None, None]
    index = np.arange(len(kinds))
    return Structure(positions, ATOM14_EXISTS[kinds].copy(), kinds, index, index)


def as_one_chain(structure: Structure) -> Structure:
    """All residues in one chain."""
    return replace(structure, chain_index=np.zeros(len(structure), np.int64))
