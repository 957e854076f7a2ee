"""Biological assemblies: copies of chains under the operators that the file gives."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from pipeline.chain import Chain
from pipeline.parsing.entry_info import Assembly, EntryInfo
from pipeline.parsing.errors import ParseError


def build_assembly(
    chains: list[Chain],
    info: EntryInfo,
    assembly: str,
    max_chains: int,
    labels: Collection[str],
    authors: Collection[str],
) -> tuple[list[Chain], list[str]]:
    """The chains of one biological assembly.

    Parameters
    ----------
    chains : list of Chain
        Of the asymmetric unit.
    assembly : str
        Its id in the file, or ``first``.
    max_chains : int
        Polypeptide chains allowed (a virus capsid has hundreds).
    labels, authors : collection of str
        ``label_asym_id`` and ``auth_asym_id`` of all chains of the file, ligands too.

    Returns
    -------
    chains : list of Chain
        The first copy of a chain keeps its ids, the next are ``A-2``, ``A-3`` …; coordinates are
        rounded to 0.001 Å where an operator is not the identity.
    flags : list of str
        ``assembly_by_author_id:1`` where the assembly lists the author's ids, ``assembly_lacks:X``
        for a listed chain that the file does not have.

    Raises
    ------
    ParseError
        The file lacks the assembly or all of its chains, or it has too many chains.
    """
    assemblies = info.read_assemblies()
    found = next((a for a in assemblies if assembly in ("first", a.id)), None)
    if found is None:
        known = ", ".join(a.id for a in assemblies) or "none"
        raise ParseError(
            "no-assembly", f"the file has no usable assembly {assembly!r} (it has: {known})"
        )
    by_author = _lists_authors(found, labels, authors)
    flags = [f"assembly_by_author_id:{found.id}"] if by_author else []
    listed = dict.fromkeys(a for part in found.parts for a in part.asym_ids)
    flags += [f"assembly_lacks:{a}" for a in listed if a not in (authors if by_author else labels)]
    by_model: dict[int, dict[str, list[Chain]]] = {}
    for chain in chains:
        members = by_model.setdefault(chain.model, {})
        if by_author:
            members.setdefault(chain.auth_asym_id, []).append(chain)
            continue
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
    return copies, flags


def _lists_authors(assembly: Assembly, labels: Collection[str], authors: Collection[str]) -> bool:
    """Whether an assembly names its chains as the authors do; the format says by label."""
    listed = sorted({a for part in assembly.parts for a in part.asym_ids})
    if not listed or any(a in labels for a in listed):
        return False
    if all(a in authors for a in listed):
        return True
    raise ParseError(
        "bad-assembly",
        f"assembly {assembly.id} lists the chains {', '.join(listed)}; the file has "
        f"{', '.join(sorted(labels))} (label_asym_id) and {', '.join(sorted(authors))} "
        "(auth_asym_id)",
    )


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
