"""Digests that name data: the same chains, the same digest, however and wherever they were built.

They cover identity, sequences and integer columns, coordinates among them; never floats, paths,
times, layout or software versions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from pipeline.chain import Chain
from pipeline.residues import sequence_string
from pipeline.shards.schema import SCHEMA_VERSION


def row_digest(chain: Chain) -> bytes:
    """SHA-256 of one chain.

    Every field is preceded by its name and length in bytes, so that no two chains can spell the
    same bytes; numbers are little-endian.
    """
    digest = hashlib.sha256()

    def add(name: str, content: bytes) -> None:
        digest.update(f"{name}:{len(content)}:".encode())
        digest.update(content)

    add("chain_uid", chain.uid.encode())
    add("auth_asym_id", chain.auth_asym_id.encode())
    add("sequence", sequence_string(chain.aatype).encode())
    if chain.entity_sequence is not None:
        add("entity_sequence", chain.entity_sequence.encode())
    for name, array, dtype in (
        ("residue_index", chain.residue_index, "<i4"),
        ("auth_seq_id", chain.auth_seq_id, "<i4"),
        ("ins_code", chain.ins_code, "u1"),
        ("atom14_mask", chain.atom14_mask, "<u2"),
        ("coords", chain.coords, "<i4"),
    ):
        add(name, np.ascontiguousarray(array, dtype).tobytes())
    return digest.digest()


def dataset_digest(rows: Iterable[tuple[str, bytes]]) -> str:
    """SHA-256, in hexadecimal, of the row digests in the order of ``chain_uid`` (bytewise).

    Parameters
    ----------
    rows : iterable of (chain_uid, row digest)
    """
    digest = hashlib.sha256(f"schema:{SCHEMA_VERSION}\n".encode())
    for uid, row in sorted((uid.encode(), row) for uid, row in rows):
        digest.update(uid + b"\0" + row)
    return digest.hexdigest()
