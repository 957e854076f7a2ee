"""Biological assemblies: copies of chains under the operators that the file gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.chain import Chain
from pipeline.parsing.entry_info import EntryInfo
from pipeline.parsing.errors import ParseError


def build_assembly(
    chains: list[Chain], info: EntryInfo, assembly: str, max_chains: int
) -> list[Chain]:
    """The chains of one biological assembly.

    Parameters
    ----------
    chains : list of Chain
        Of the asymmetric unit.
    assembly : str
        Its id in the file, or ``first``.
    max_chains : int
        Polypeptide chains allowed (a virus capsid has hundreds).

    Returns
    -------
    list of Chain
        The first copy of a chain keeps its ids, the next are ``A-2``, ``A-3`` …; coordinates are
        rounded to 0.001 Å where an operator is not the identity.

    Raises
    ------
    ParseError
        The file lacks the assembly, or it has too many chains.
    """
    assemblies = info.read_assemblies()
    found = next((a for a in assemblies if assembly in ("first", a.id)), None)
    if found is None:
        known = ", ".join(a.id for a in assemblies) or "none"
        raise ParseError(
            "no-assembly", f"the file has no usable assembly {assembly!r} (it has: {known})"
        )
    by_model: dict[int, dict[str, list[Chain]]] = {}
    for chain in chains:
        members = by_model.setdefault(chain.model, {})
        # Further chains under one id ("A.2") go where the id goes.
        stem, dot, copy = chain.label_asym_id.rpartition(".")
        ident = stem if dot and copy.isdecimal() and stem in members else chain.label_asym_id
        members.setdefault(ident, []).append(chain)
    copies: list[Chain] = []
    for members in by_model.values():
        n_copies: dict[str, int] = {}
        for part in found.parts:
            present = [c for a in part.asym_ids for c in members.get(a, [])]
            if len(present) * len(part.operators) + sum(n_copies.values()) > max_chains:
                raise ParseError(
                    "assembly-too-large",
                    f"assembly {found.id} has more than {max_chains} polypeptide chains "
                    "(--max-assembly-chains)",
                )
            for rotation, translation in part.operators:
                for chain in present:
                    number = n_copies.get(chain.label_asym_id, 0) + 1
                    n_copies[chain.label_asym_id] = number
                    copies.append(_copy(chain, found.id, number, rotation, translation))
    return copies


def _copy(
    chain: Chain, assembly: str, number: int, rotation: np.ndarray, translation: np.ndarray
) -> Chain:
    suffix = f"-{number}" if number > 1 else ""
    named = replace(
        chain,
        assembly=assembly,
        label_asym_id=chain.label_asym_id + suffix,
        auth_asym_id=chain.auth_asym_id + suffix,
    )
    if np.array_equal(rotation, np.eye(3)) and not translation.any():
        return named
    x, y, z = chain.coords.astype(np.float64).T
    # Elementwise: a matrix product may differ in the last bit from one processor to the next.
    moved = [
        rotation[a, 0] * x + rotation[a, 1] * y + rotation[a, 2] * z + translation[a] * 1000
        for a in range(3)
    ]
    coords = np.rint(np.stack(moved, axis=-1))
    if np.abs(coords).max(initial=0) > 2**31 - 1:
        raise ParseError("bad-assembly", f"an operator of assembly {assembly} moves atoms too far")
    return replace(named, coords=coords.astype(np.int32), coords_rounded=True)
