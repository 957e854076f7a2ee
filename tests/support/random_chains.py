"""Chains with every kind of gap, for tests of what comes after parsing."""

from __future__ import annotations

import numpy as np

from pipeline.chain import Chain, EntryMetadata
from pipeline.residues import ATOM14_EXISTS, UNKNOWN

_BACKBONE = np.array([[-0.525, 1.363, 0.0], [0.0, 0.0, 0.0], [1.526, 0.0, 0.0]])


def random_chain(seed: int, length: int = 30, *, holes: float = 0.2, **fields: object) -> Chain:
    """A chain of `length` residues at random places.

    Parameters
    ----------
    holes : float
        Share of residues that lack something: all of it, a backbone atom, or the side chain. The
        first residue is whole.
    """
    rng = np.random.default_rng(seed)
    aatype = rng.integers(0, UNKNOWN + 1, length).astype(np.int8)
    mask = ATOM14_EXISTS[aatype].copy()
    ca = np.cumsum(rng.normal(0, 2.2, (length, 3)), axis=0)
    positions = ca[:, None] + rng.normal(0, 1.5, (length, 14, 3))
    positions[:, :3] = ca[:, None] + _BACKBONE + rng.normal(0, 0.05, (length, 3, 3))
    for row in np.flatnonzero(rng.random(length) < holes):
        if row:
            kind = rng.integers(3)
            mask[row, [slice(None), rng.integers(3), slice(4, None)][kind]] = False
    resolved = mask[:, :3].all(axis=1)
    index = np.cumsum(rng.choice([1, 1, 1, 1, 5], length)).astype(np.int32)
    b_factor = np.where(mask[:, 1], rng.uniform(5, 90, length), 0).astype(np.float32)
    values: dict[str, object] = {
        "entry_id": f"r{seed:03d}",
        "model": 1,
        "label_asym_id": "A",
        "auth_asym_id": "H",
        "aatype": aatype,
        "residue_index": index,
        "auth_seq_id": (index - 7).astype(np.int32),
        "ins_code": rng.choice([0, 0, 0, ord("A")], length).astype(np.uint8),
        "atom14_mask": (mask * (1 << np.arange(14))).sum(axis=1).astype(np.uint16),
        "coords": np.rint(positions[mask] * 1000).astype(np.int32),
        "b_factor": b_factor,
        "resolved": resolved,
        **fields,
    }
    return Chain(**values)  # type: ignore[arg-type]


def annotated(seed: int, length: int = 30) -> Chain:
    """A chain with a value in every column that may be null."""
    metadata = EntryMetadata(
        file_entry_id="1ABC",
        method="X-RAY DIFFRACTION",
        resolution=1.75,
        deposition_date="1999-12-31",
        release_date="2000-02-29",
        title="Ünïcode: α-lytic protease",
        source="PDB",
        oligomer=2,
        confidence_kind="plddt",
        n_ligands=3,
        n_waters=4,
        n_nucleic=5,
    )
    return random_chain(
        seed,
        length,
        entity_id="1",
        entity_sequence="MKX",
        assembly="1",
        uniprot="P00001",
        taxonomy=9606,
        n_modified=1,
        n_altloc=2,
        n_microhet=3,
        n_bad_atoms=4,
        coords_rounded=True,
        metadata=metadata,
    )


def with_fields(chain: Chain, **fields: object) -> Chain:
    """The chain with other values."""
    known = {name: getattr(chain, name) for name in Chain.__slots__}
    return Chain(**{**known, **fields})  # type: ignore[arg-type]
