"""Chains as a web page that needs no network: cartoon and ellipsoids, drawn by 3Dmol.js.

3Dmol (Rego and Koes 2015, Bioinformatics 31, 1322) has no ellipsoids of its own; the page makes
triangles of them. ``viewer/`` holds the script of the npm package ``3dmol``, as it is, and the
licences of all that is in it, which go into every page.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from pipeline.built.stored_chains import StoredChain
from pipeline.export.atoms import insertion_codes, residue_names
from pipeline.export.errors import ExportError
from pipeline.export.mmcif import mmcif_text

VIEWER = "3dmol@2.5.5/build/3Dmol-min.js"
"""Package, version and file of npm."""

VIEWER_SHA256 = "f7cc78921ae72e7623e89cdd111434f58c2efddd2ffda1cd212644b406fb8016"


def bundled_viewer() -> str:
    """The text of the viewer's script that comes with this package.

    Raises
    ------
    ExportError
        It is missing, or not the one that was packed.
    """
    script = files("pipeline.export").joinpath("viewer", "3Dmol-min.js")
    try:
        content = script.read_bytes()
    except OSError as error:
        raise ExportError(f"{script}: {error.strerror}; install the package again") from None
    if hashlib.sha256(content).hexdigest() != VIEWER_SHA256:
        raise ExportError(
            f"{script} is not the script of npm's {VIEWER}, byte for byte; install the package "
            "again, or give a script with --viewer-script"
        )
    return content.decode("utf-8")


def web_page(scenes: Sequence[Sequence[StoredChain]], viewer_script: str | None = None) -> str:
    """The page, whole.

    Parameters
    ----------
    scenes : sequence of sequence of StoredChain
        What is shown together: chains of one entry and model, each with an id of its own, see
        `chain_ids`. Of several scenes, the page shows the one whose first ``chain_uid`` follows
        ``#`` in its address, and lets the reader choose.
    viewer_script : str, optional
        The text of another ``3Dmol-min.js`` than the bundled one.

    Raises
    ------
    ExportError
        See `bundled_viewer`.
    """
    here = files("pipeline.export")

    def resource(*name: str) -> str:
        return here.joinpath(*name).read_text(encoding="utf-8")

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    script = bundled_viewer() if viewer_script is None else viewer_script
    data = json.dumps([_scene(chains) for chains in scenes], separators=(",", ":"))
    page = environment.from_string(resource("page.html.jinja")).render(
        title=scenes[0][0].chain.entry_id,
        style=Markup(resource("page.css")),
        script=Markup(resource("page.js")),
        licences=Markup(resource("viewer", "LICENCES.txt")),
        # A script ends at "</script", wherever it stands; in JSON "<" may be written as \u003c, and
        # in JavaScript the two characters "</" occur in texts and patterns only.
        data=Markup(data.replace("<", "\\u003c")),
        viewer_script=Markup(script.replace("</script", "<\\/script")),
    )
    return page.encode("utf-8", "backslashreplace").decode("utf-8")


def _scene(chains: Sequence[StoredChain]) -> dict[str, Any]:
    """What the page knows of chains that it shows together."""
    first = chains[0].chain
    about = first.metadata
    names = [stored.chain.auth_asym_id for stored in chains]
    residues: list[dict[str, Any]] = []
    for number, stored in enumerate(chains):
        residues += _residues(stored, number, len(residues))
    b_factors = [r["b"] for r in residues if r["there"]]
    is_plddt = about.confidence_kind == "plddt"
    told = [" ".join((about.title or "").split()), (about.method or "").lower()]
    if about.resolution is not None:
        told.append(f"{about.resolution:.2f} Å")
    told.append(f"chain{'s' if len(names) > 1 else ''} {', '.join(names)}")
    return {
        "name": first.uid,
        "title": first.entry_id,
        "subtitle": " · ".join(filter(None, told)),
        "structure": mmcif_text([stored.chain for stored in chains]),
        "chains": names,
        "residues": residues,
        "b_range": [0, 100] if is_plddt else [min(b_factors), max(b_factors)],
        "b_name": "pLDDT" if is_plddt else "B-factor",
        "b_unit": "" if is_plddt else " Å²",
    }


def _residues(stored: StoredChain, chain: int, begin: int) -> list[dict[str, Any]]:
    """What the page knows of each row; unresolved ones have no centre."""
    found = []
    names, codes = residue_names(stored.chain), insertion_codes(stored.chain)
    axes = _semi_axes(stored.covariance)
    for k in range(len(stored.chain)):
        residue = {
            "row": begin + k,
            "chain": chain,
            "name": names[k],
            "number": int(stored.chain.auth_seq_id[k]),
            "code": codes[k],
            "there": bool(stored.chain.atom14_mask[k]),
            "sse": int(stored.sse[k]),
            "b": round(float(stored.chain.b_factor[k]), 2),
        }
        if stored.chain.resolved[k]:
            residue["centre"] = _rounded(stored.centroid[k])
            residue["covariance"] = _rounded(stored.covariance[k])
            residue["axes"] = _rounded(axes[k])
        found.append(residue)
    return found


def _semi_axes(covariance: NDArray[np.float32]) -> NDArray[np.float64]:
    """(L, 3) Å, the longest first: standard deviations along the axes of (L, 6) covariances."""
    matrices = covariance[:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(-1, 3, 3).astype(np.float64)
    return np.sqrt(np.maximum(np.linalg.eigvalsh(matrices), 0))[:, ::-1]


def _rounded(values: NDArray[np.floating[Any]]) -> list[float]:
    return [round(float(v), 4) for v in values]
