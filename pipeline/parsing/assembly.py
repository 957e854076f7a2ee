"""Biological assemblies: copies of chains under the operators that the file gives."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline.chain import Beside, Chain
from pipeline.parsing.entry_info import Assembly, EntryInfo
from pipeline.parsing.errors import ParseError


def build_assembly(
    chains: list[Chain],
    beside: list[Beside],
    info: EntryInfo,
    assembly: str,
    max_chains: int,
    ids: tuple[Collection[str], Collection[str]],
) -> tuple[list[Chain], list[Beside], list[str]]:
    """The chains of one biological assembly, and what is beside them in it.

    Parameters
    ----------
    chains : list of Chain
        Of the asymmetric unit.
    beside : list of Beside
        Of its models.
    assembly : str
        Its id in the file, or ``first``.
    max_chains : int
        Polypeptide chains allowed (a virus capsid has hundreds).
    ids : pair of collections of str
        ``label_asym_id`` and ``auth_asym_id`` of all chains of the file, ligands too.

    Returns
    -------
    chains : list of Chain
        The first copy of a chain keeps its ids, the next are ``A-2``, ``A-3`` …; coordinates are
        rounded to 0.001 Å where an operator is not the identity.
    beside : list of Beside
        Of its models.
    flags : list of str
        ``assembly_by_author_id:1`` where the assembly lists the author's ids, ``assembly_lacks:X``
        for a listed chain that the file does not have.

    Raises
    ------
    ParseError
        The file lacks the assembly or all of its chains, or it has too many chains.
    """
    labels, authors = ids
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
    return copies, [_beside_copies(b, found, by_author) for b in beside], flags


def _beside_copies(beside: Beside, assembly: Assembly, by_author: bool) -> Beside:
    """What is beside the chains of an assembly: it goes where its id goes."""
    own = beside.auth_asym_id if by_author else beside.label_asym_id
    rows: list[NDArray[np.int64]] = []
    coords: list[NDArray[np.int32]] = []
    residues: list[NDArray[np.int64]] = []
    n_residues = int(beside.residue.max(initial=-1)) + 1
    for part in assembly.parts:
        here = np.flatnonzero(np.isin(own, [a.encode() for a in part.asym_ids]))
        for rotation, translation in part.operators:
            rows.append(here)
            moved = _moved(beside.coords[here], rotation, translation)
            coords.append(np.clip(moved, -(2**31) + 1, 2**31 - 1).astype(np.int32))
            residues.append(beside.residue[here] + len(residues) * n_residues)
    row = np.concatenate(rows)
    return replace(
        beside,
        coords=np.concatenate(coords),
        residue=np.concatenate(residues),
        is_nucleic=beside.is_nucleic[row],
        label_asym_id=beside.label_asym_id[row],
        auth_asym_id=beside.auth_asym_id[row],
    )


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
    coords = _moved(chain.coords, rotation, translation)
    if np.abs(coords).max(initial=0) > 2**31 - 1:
        raise ParseError("bad-assembly", f"an operator of assembly {assembly} moves atoms too far")
    return replace(named, coords=coords.astype(np.int32), coords_rounded=True)


def _moved(
    coords: NDArray[np.int32], rotation: NDArray[np.float64], translation: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Coordinates in 0.001 Å under an operator, rounded."""
    x, y, z = coords.astype(np.float64).T
    # Elementwise: a matrix product may differ in the last bit from one processor to the next.
    moved = [
        rotation[a, 0] * x + rotation[a, 1] * y + rotation[a, 2] * z + translation[a] * 1000
        for a in range(3)
    ]
    return np.rint(np.stack(moved, axis=-1))
