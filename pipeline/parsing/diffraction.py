"""What a file says of refinement and data, where both X-rays and neutrons were used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pipeline.parsing.cif_words import Column, Columns

_XRAYS = frozenset({"X-RAY DIFFRACTION", "X-RAY"})
_OTHERS = frozenset({"NEUTRON DIFFRACTION", "NEUTRON", "ELECTRON CRYSTALLOGRAPHY", "ELECTRON"})
"""Methods of other experiments with reflections; NMR beside X-rays has none of its own."""


class XRayRows(NamedTuple):
    """Rows of one experiment.

    Attributes
    ----------
    refine, reflns : dict
        Columns of the rows of these categories that are of X-rays.
    flags : tuple of str
        Categories that do not tell which of their rows these are.
    """

    refine: Mapping[str, Column]
    reflns: Mapping[str, Column]
    flags: tuple[str, ...]


def rows_of_xrays(
    exptl: Mapping[str, Column],
    refine: Mapping[str, Column],
    reflns: Mapping[str, Column],
    radiation: Mapping[str, Column],
) -> XRayRows:
    """The rows that are of X-rays, by ``_refine.pdbx_refine_id`` and ``_diffrn_radiation``.

    If no row of a category is, all are taken, unless the file tells of X-rays and of another
    radiation: values of the two experiments would be mixed.
    """
    methods, refined = exptl.get("method", []), refine.get("pdbx_refine_id", [])
    types = radiation.get("pdbx_scattering_type", [])
    # Each table by itself: in some neutron entries only the refinement is called one of X-rays.
    is_joint = any(map(_is_joint, (methods, refined, types)))
    of_set = dict(zip(radiation.get("diffrn_id", []), map(_is_of_xrays, types), strict=False))
    refined_with = [_is_of_xrays(method) for method in refined]
    measured_with = [_is_of_sets(ids, of_set) for ids in reflns.get("pdbx_diffrn_id", [])]
    return XRayRows(
        _chosen(refine, refined_with, is_joint),
        _chosen(reflns, measured_with, is_joint),
        flags=tuple(
            f"experiment_unclear:{name}"
            for name, rows, of_xrays in (
                ("refine", refine, refined_with),
                ("reflns", reflns, measured_with),
            )
            if is_joint and rows and True not in of_xrays and (None in of_xrays or not of_xrays)
        ),
    )


def _chosen(
    columns: Mapping[str, Column], of_xrays: list[bool | None], is_joint: bool
) -> Mapping[str, Column]:
    if True not in of_xrays:
        return {} if is_joint else columns
    chosen = [is_one is True for is_one in of_xrays]
    if all(chosen):
        return columns

    def rows_of(column: Column) -> Column:
        return [v for v, is_chosen in zip(column, chosen, strict=False) if is_chosen]

    return Columns(columns, rows_of)


def _is_joint(words: Column) -> bool:
    told = {(word or "").upper() for word in words}
    return not told.isdisjoint(_XRAYS) and not told.isdisjoint(_OTHERS)


def _is_of_xrays(word: str | None) -> bool | None:
    return None if word is None else word.upper() in _XRAYS


def _is_of_sets(sets: str | None, of_set: Mapping[str | None, bool | None]) -> bool | None:
    """Whether data are of X-rays, by the data sets that were merged; ``None`` if nothing tells, or
    if sets of both were."""
    told = {of_set.get(ident.strip()) for ident in (sets or "").split(",")} - {None}
    return told.pop() if len(told) == 1 else None
