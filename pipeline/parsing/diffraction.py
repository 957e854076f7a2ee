"""What a file says of refinement and data, where both X-rays and neutrons were used."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.parsing.cif_words import Column, Columns


def refined_with_xrays(refine: Mapping[str, Column]) -> Mapping[str, Column]:
    """The rows of ``_refine`` that are of X-rays; all rows if none is."""
    methods = refine.get("pdbx_refine_id", [])
    return _rows(refine, [(method or "").upper() == "X-RAY DIFFRACTION" for method in methods])


def measured_with_xrays(
    reflns: Mapping[str, Column], radiation: Mapping[str, Column]
) -> Mapping[str, Column]:
    """The rows of ``_reflns`` that are of X-rays, by ``_diffrn_radiation``; all rows if none is."""
    ids, types = radiation.get("diffrn_id", []), radiation.get("pdbx_scattering_type", [])
    of_xrays = {i for i, t in zip(ids, types, strict=False) if (t or "").lower() == "x-ray"}
    data_sets = reflns.get("pdbx_diffrn_id", [])
    return _rows(reflns, [not of_xrays.isdisjoint((d or "").split(",")) for d in data_sets])


def _rows(columns: Mapping[str, Column], chosen: list[bool]) -> Mapping[str, Column]:
    if not any(chosen) or all(chosen):
        return columns

    def of_chosen(column: Column) -> Column:
        return [v for v, is_chosen in zip(column, chosen, strict=False) if is_chosen]

    return Columns(columns, of_chosen)
