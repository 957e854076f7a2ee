"""The residues as ellipsoids: one of each type, and their sizes."""

from __future__ import annotations

from typing import Any

from pipeline.commands.words import several
from pipeline.report.ellipsoid_charts import (
    SMALLEST,
    by_volume,
    common_window,
    ellipsoid_drawing,
    size_chart,
)
from pipeline.report.gather import Chains, Numbers
from pipeline.report.scan_shards import Scan
from pipeline.report.sections.elements import Figure
from pipeline.report.wording import count, plain
from pipeline.residues import RESTYPES


def ellipsoids(numbers: Numbers) -> dict[str, Any]:
    """A drawing for each residue type, and the distribution of sizes."""
    scan, config = numbers.scan, numbers.build.config
    order = by_volume(scan.all_atoms)
    if not order:
        return {"ellipsoids": [], "size_figures": [], "ellipsoid_note": "", "ellipsoid_rows": []}
    base = float(config.get("base_thickness", 0))
    window = common_window(order, scan.all_atoms, scan.side_chain)
    figures = [
        Figure(
            name,
            size_chart(
                order,
                scan.all_atoms.scale[a],
                scan.side_chain.scale[a],
                "scale / Å",
                " Å",
                f"Scale along {axis} by residue type",
                base,
            ),
            "",
        )
        for a, (axis, name) in enumerate(
            (
                ("x", "Along x, towards C"),
                ("y", "Along y, towards N"),
                ("z", "Along z, off their plane"),
            )
        )
    ]
    figures.append(
        Figure(
            "Volume",
            size_chart(
                order,
                scan.all_atoms.volume,
                scan.side_chain.volume,
                "volume / Å³",
                " Å³",
                "Volume by residue type",
                None,
            ),
            "",
        )
    )
    return {
        "ellipsoids": [
            {
                "name": RESTYPES[k].capitalize(),
                "marked": RESTYPES[k] in SMALLEST,
                "drawing": ellipsoid_drawing(k, scan.all_atoms, scan.side_chain, window),
                "volumes": f"{scan.all_atoms.volume.median[k]:.1f} / "
                f"{scan.side_chain.volume.median[k]:.1f} Å³",
            }
            for k in order
        ],
        "size_figures": figures,
        "ellipsoid_note": _sampling(scan, numbers.chains, config),
        "ellipsoid_rows": [_ellipsoid_row(k, scan) for k in order],
        "smallest_sentence": _smallest(scan, base),
        "base_thickness": plain(base),
        "is_full": config.get("shape") == "full",
    }


def _sampling(scan: Scan, chains: Chains, config: dict[str, Any]) -> str:
    measured = several(int(scan.n_types.sum()), "complete residue")
    shape = "true second moments" if config.get("shape") == "full" else "axis-aligned ellipsoids"
    if scan.measured_residues < chains.n_residues:
        part = (
            f"a sample, evenly spread over the shards: {count(scan.measured_residues)} of "
            f"{count(chains.n_residues)} residues"
        )
        return f"Medians over {measured} ({shape}) of {part}."
    return f"Medians over all {measured} ({shape})."


def _smallest(scan: Scan, base: float) -> str:
    known = [k for k in (RESTYPES.index(n) for n in SMALLEST) if scan.n_types[k]]
    if not known:
        return ""
    volumes = "; ".join(
        f"{RESTYPES[k].capitalize()} {scan.side_chain.volume.median[k]:.2f} Å³ against "
        f"{scan.all_atoms.volume.median[k]:.2f} Å³"
        for k in known
    )
    return (
        "Why all atoms: a side chain of no atom (Gly) or one (Ala) has no extent, so its ellipsoid "
        f"collapses to a ball of the base thickness, {plain(base)} Å, that overlaps hardly "
        f"anything; with the backbone they have a body like the others ({volumes})."
    )


def _ellipsoid_row(k: int, scan: Scan) -> dict[str, Any]:
    whole, alone = scan.all_atoms, scan.side_chain
    return {
        "name": RESTYPES[k].capitalize(),
        "marked": RESTYPES[k] in SMALLEST,
        "n": int(scan.n_types[k]),
        "whole": [
            *(f"{s.median[k]:.2f}" for s in whole.scale),
            f"{whole.volume.median[k]:.1f}",
        ],
        "alone": [
            *(f"{s.median[k]:.2f}" for s in alone.scale),
            f"{alone.volume.median[k]:.1f}",
        ],
    }
