"""One entry as a web page: cartoon and ellipsoids, drawn by 3Dmol.js.

3Dmol (Rego and Koes 2015, Bioinformatics 31, 1322) has no ellipsoids of its own; the page makes
triangles of them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from pipeline.built.stored_chains import StoredChain
from pipeline.export.atoms import insertion_codes, residue_names
from pipeline.export.mmcif import mmcif_text

VIEWER_URL = "https://cdn.jsdelivr.net/npm/3dmol@2.5.5/build/3Dmol-min.js"
VIEWER_INTEGRITY = "sha384-OsczYbldvrHgslr9fFp/i4GiLSeuw9l+QIlv99ITw8soOwXcoGeflFMLg+CU/X1d"
"""The browser runs the script only if it is this one, byte for byte."""


def web_page(entry: Sequence[StoredChain], viewer_script: str | None = None) -> str:
    """The page, whole.

    Parameters
    ----------
    entry : sequence of StoredChain
        Of one entry and model; each chain with an id of its own, see `chain_ids`.
    viewer_script : str, optional
        The text of ``3Dmol-min.js``, to be put into the page; without it, the page loads the
        script from the network.
    """
    first = entry[0].chain
    about = first.metadata
    chains = [stored.chain.auth_asym_id for stored in entry]
    residues: list[dict[str, Any]] = []
    for number, stored in enumerate(entry):
        residues += _residues(stored, number, len(residues))
    b_factors = [r["b"] for r in residues if r["there"]]
    is_plddt = about.confidence_kind == "plddt"
    data = {
        "structure": mmcif_text([stored.chain for stored in entry]),
        "chains": chains,
        "residues": residues,
        "b_range": [0, 100] if is_plddt else [min(b_factors), max(b_factors)],
    }
    told = [" ".join((about.title or "").split()), (about.method or "").lower()]
    if about.resolution is not None:
        told.append(f"{about.resolution:.2f} Å")
    told.append(f"chain{'s' if len(chains) > 1 else ''} {', '.join(chains)}")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(
        Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    )
    return template.render(
        title=first.entry_id,
        subtitle=" · ".join(filter(None, told)),
        b_name="pLDDT" if is_plddt else "B-factor",
        # A script ends at "</script", wherever it stands; in JSON "<" may be written as \u003c, and
        # in JavaScript the two characters "</" occur in texts and patterns only.
        data=Markup(json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")),
        viewer_script=Markup(viewer_script.replace("</script", "<\\/script"))
        if viewer_script
        else None,
        viewer_url=VIEWER_URL,
        viewer_integrity=VIEWER_INTEGRITY,
    )


def _residues(stored: StoredChain, chain: int, begin: int) -> list[dict[str, Any]]:
    """What the page knows of each row; unresolved ones have no centre."""
    found = []
    names, codes = residue_names(stored.chain), insertion_codes(stored.chain)
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
        found.append(residue)
    return found


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(v), 4) for v in values]
