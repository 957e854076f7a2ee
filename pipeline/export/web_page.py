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
from pipeline.export.atoms import RESIDUE_NAMES, insertion_codes
from pipeline.export.errors import ExportError
from pipeline.residues import AATYPE_OF_LETTER, ATOM14_NAMES, sequence_string

VIEWER = "3dmol@2.5.5/build/3Dmol-min.js"
"""Package, version and file of npm."""

VIEWER_SHA256 = "f7cc78921ae72e7623e89cdd111434f58c2efddd2ffda1cd212644b406fb8016"

_TYPES = {
    letter: [RESIDUE_NAMES[k], *filter(None, ATOM14_NAMES[k])]
    for letter, k in AATYPE_OF_LETTER.items()
}
"""Letter → name of the residue, and of its atoms in the order of the bits of ``atom14_mask``."""

_WHOLE = [(1 << sum(map(bool, names))) - 1 for names in ATOM14_NAMES]
"""By ``aatype``, the mask of all of its atoms."""


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
    content = {"types": _TYPES, "scenes": [_scene(chains) for chains in scenes]}
    data = json.dumps(content, separators=(",", ":"))
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
    """What the page knows of chains that it shows together: texts, and residues in columns.

    Numbers are integers in the unit that ``page.js`` names, those of places less the place before.
    What hardly a residue has is told by its row alone.
    """
    first = chains[0].chain
    about = first.metadata
    names = [stored.chain.auth_asym_id for stored in chains]
    chain = [stored.chain for stored in chains]
    aatype = np.concatenate([c.aatype for c in chain])
    mask = np.concatenate([c.atom14_mask for c in chain])
    resolved = np.concatenate([c.resolved for c in chain])
    number = np.concatenate([c.auth_seq_id for c in chain])
    b_factor = np.concatenate([c.b_factor for c in chain]).astype(np.float64)
    centre = np.concatenate([stored.centroid for stored in chains])[resolved]
    covariance = np.concatenate([stored.covariance for stored in chains])[resolved]
    codes = [code for c in chain for code in insertion_codes(c)]
    whole = np.array(_WHOLE, np.uint16)[aatype]
    there = b_factor[mask > 0].round(2)
    is_plddt = about.confidence_kind == "plddt"
    told = [" ".join((about.title or "").split()), (about.method or "").lower()]
    if about.resolution is not None:
        told.append(f"{about.resolution:.2f} Å")
    told.append(f"chain{'s' if len(names) > 1 else ''} {', '.join(names)}")
    return {
        "name": first.uid,
        "title": first.entry_id,
        "subtitle": " · ".join(filter(None, told)),
        "chains": names,
        "n_residues": [len(c) for c in chain],
        "types": sequence_string(aatype),
        "sse": "".join(map(str, np.concatenate([stored.sse for stored in chains]).tolist())),
        "numbers": _steps(number.astype(np.int64)),
        "codes": {k: code for k, code in enumerate(codes) if code},
        "masks": {k: int(mask[k]) for k in np.flatnonzero(mask != whole).tolist()},
        "unresolved": np.flatnonzero(~resolved).tolist(),
        "b": _integers(b_factor, 10),
        "atoms": _steps(_rounded(np.concatenate([c.coords for c in chain]), 0.1)),
        "centres": _steps(_rounded(centre, 10_000)),
        "covariances": _integers(covariance, 10_000),
        "axes": _integers(_semi_axes(covariance), 100),
        "b_range": [0, 100] if is_plddt else [there.min(), there.max()],
        "b_name": "pLDDT" if is_plddt else "B-factor",
        "b_unit": "" if is_plddt else " Å²",
    }


def _semi_axes(covariance: NDArray[np.float32]) -> NDArray[np.float64]:
    """(L, 3) Å, the longest first: standard deviations along the axes of (L, 6) covariances."""
    matrices = covariance[:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(-1, 3, 3).astype(np.float64)
    return np.sqrt(np.maximum(np.linalg.eigvalsh(matrices), 0))[:, ::-1]


def _rounded(values: NDArray[Any], times: float) -> NDArray[np.int64]:
    return np.rint(values.astype(np.float64) * times).astype(np.int64)


def _integers(values: NDArray[Any], times: float) -> list[int]:
    return _rounded(values, times).ravel().tolist()


def _steps(values: NDArray[np.int64]) -> list[int]:
    """Each row less the one before, the first as it is: fewer digits."""
    return np.diff(values, axis=0, prepend=np.zeros_like(values[:1])).ravel().tolist()
