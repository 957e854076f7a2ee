"""What was written is read again, as a build would, and compared with what it was written from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.chain import Chain
from pipeline.parsing import NotAStructure, ParseError, read_chains


def differences(text: str, chains: Sequence[Chain]) -> list[str]:
    """Sentences about chains that do not come back from a file's text; empty if all do.

    A chain comes back with its residues, numbers, insertion codes, masks, coordinates and whole
    sequence, under its author's id.
    """
    try:
        found = read_chains(text.encode(), chains[0].entry_id, models="all").chains
    except (ParseError, NotAStructure) as error:
        return [f"the file cannot be read: {error}"]
    if len(found) != len(chains):
        return [f"{len(found)} chains come back instead of {len(chains)}"]
    by_model = sorted(range(len(chains)), key=lambda k: chains[k].model)
    said = []
    for k, other in zip(by_model, sorted(found, key=lambda c: c.model), strict=True):
        wrong = _differing(chains[k], other)
        if len(chains[k]) != len(other):
            said.append(f"{chains[k].uid} has {len(other)} residues instead of {len(chains[k])}")
        elif wrong:
            said.append(f"{chains[k].uid} comes back with another {', '.join(wrong)}")
    return said


def _differing(chain: Chain, other: Chain) -> list[str]:
    wrong = []
    for name in ("aatype", "residue_index", "ins_code", "atom14_mask", "coords"):
        if not np.array_equal(getattr(chain, name), getattr(other, name)):
            wrong.append(name)
    # Residues without atoms have no author number in a file.
    numbered = np.where(chain.atom14_mask > 0, chain.auth_seq_id, 0)
    if not np.array_equal(numbered, other.auth_seq_id):
        wrong.append("auth_seq_id")
    for name in ("model", "auth_asym_id", "entity_sequence"):
        if getattr(chain, name) != getattr(other, name):
            wrong.append(name)
    return wrong
