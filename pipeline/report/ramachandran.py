"""φ and ψ of the residues, counted in squares; and the drawing of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from pipeline.features import (
    atom14_positions,
    backbone_angles,
    bonded_on_both_sides,
    unpack_mask,
)
from pipeline.report.svg import Frame, element, picture
from pipeline.residues import UNKNOWN
from pipeline.residues.ramachandran import (
    ALLOWED,
    FAVOURED,
    KIND_OF,
    KINDS,
    N_STEPS,
    square_of,
)
from pipeline.residues.ramachandran import REGIONS as TABLE
from pipeline.shards import Rows

LEVELS = (0.0, 0.02, 0.08, 0.25, 0.6)
"""Shares of the fullest square from which on a square is of the next darker class; there is a
drawing of any number of residues in five paths."""

WIDTH = 300.0


class RamachandranCounter:
    """Counts over row groups."""

    columns = ("aatype", "atom14_mask", "x", "y", "z", "covariance")

    def __init__(self) -> None:
        self.counts = np.zeros((len(KINDS), N_STEPS, N_STEPS), np.int64)
        """By kind, by φ and by ψ, both from −180° upwards."""

    def add(self, rows: Rows) -> None:
        """Count the residues of a row group that have both angles, but X."""
        mask = unpack_mask(rows.lists["atom14_mask"])
        positions = atom14_positions(mask, np.stack([rows.lists[a] for a in "xyz"], axis=-1))
        resolved = rows.lists["covariance"][:, 0] > 0  # as the build left it
        at = bonded_on_both_sides(positions, resolved, rows.residues)
        aatype = rows.lists["aatype"]
        at = at[(aatype[at] >= 0) & (aatype[at] < UNKNOWN)]
        phi, psi = backbone_angles(positions, at)
        place = (KIND_OF[aatype[at]].astype(np.int64), square_of(phi), square_of(psi))
        flat = np.ravel_multi_index(place, self.counts.shape)
        self.counts += np.bincount(flat, minlength=self.counts.size).reshape(self.counts.shape)


def in_regions(counts: NDArray[np.int64], kind: int) -> tuple[int, int, int]:
    """Residues that are outliers, allowed and favoured."""
    of_region = np.bincount(TABLE[kind].ravel(), counts[kind].ravel(), minlength=3)
    return int(of_region[0]), int(of_region[1]), int(of_region[2])


def ramachandran_plot(counts: NDArray[np.int64], kind: int, label: str) -> Markup:
    """Residues of one kind by φ (horizontal) and ψ, with the regions' borders."""
    frame = Frame(WIDTH, WIDTH, (-180, 180), (-180, 180), (18, 8, 38, 40))
    marks = [(float(t), f"{t}°".replace("-", "−")) for t in (-180, -90, 0, 90, 180)]
    parts = [frame.y_axis(marks, "ψ")]
    shown = counts[kind] / max(1, counts[kind].max())
    level = np.searchsorted(LEVELS, shown, side="left")  # 0: nobody is there
    inner = []
    for k in range(1, len(LEVELS) + 1):
        # Rows of squares as lines: of ψ k the line is half a square up.
        lines = [f"M{p0} {q}.5h{p1 - p0}" for q, p0, p1 in _runs((level == k).T)]
        if lines:
            inner.append(element("path", class_=f"density d{k}", d="".join(lines)))
    for region, name in ((ALLOWED, "allowed"), (FAVOURED, "favoured")):
        inside = TABLE[kind] >= region
        lines = [f"M{k + 1} {a}v{b - a}" for k, a, b in _runs(np.diff(inside, axis=0))]
        lines += [f"M{a} {k + 1}h{b - a}" for k, a, b in _runs(np.diff(inside.T, axis=0))]
        inner.append(element("path", class_=f"border {name}", d="".join(lines)))
    # Inside, a square is one by one, from the lower left corner up.
    wide, high = (frame.right - frame.left) / N_STEPS, (frame.bottom - frame.top) / N_STEPS
    place = f"translate({frame.left:g} {frame.bottom:g}) scale({wide:.4f} {-high:.4f})"
    parts.append(element("g", *inner, transform=place))
    parts.append(frame.x_axis(marks, "φ"))
    return picture(WIDTH, WIDTH, label, parts, "ramachandran")


def _runs(chosen: NDArray[np.bool_]) -> Iterator[tuple[int, int, int]]:
    """(row, from, to) of what stands side by side."""
    for k, row in enumerate(chosen):
        edges = np.flatnonzero(np.diff(np.concatenate(([0], row.astype(np.int8), [0]))))
        for begin, end in edges.reshape(-1, 2).tolist():
            yield k, begin, end
