"""All single mutations as a picture."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from model.score.sequence_score import SequenceScore
from pipeline.residues import N_TYPES, ONE_LETTER

TYPES = "GPAVLIMCFYWHKRQNEDST"
"""Rows: alike ones are neighbours."""

WIDTH = 80
"""Residues side by side."""

MOST = 8.0
"""Nats, at which colours end."""

TICK = 5


def heat_map(score: SequenceScore) -> Figure:
    """log p of each type less that of the residue's own, given all others; dots are its own.

    Parameters
    ----------
    score : SequenceScore
        With `conditional`.
    """
    assert score.conditional is not None
    rows = np.array([ONE_LETTER.index(letter) for letter in TYPES])
    known = np.flatnonzero(score.scored)
    own = score.aatype[known]
    difference = score.conditional[known] - score.conditional[known, own][:, None]
    lines = [slice(k, k + WIDTH) for k in range(0, len(known), WIDTH)]
    wide = min(WIDTH, len(known))
    figure = Figure(figsize=(2.5 + 0.14 * wide, 0.8 + 2.9 * len(lines)), layout="constrained")
    place = np.argsort(rows)
    image = None
    for axes, line in zip(figure.subplots(len(lines), 1, squeeze=False)[:, 0], lines, strict=True):
        shown = difference[line][:, rows].T
        image = axes.imshow(shown, cmap="RdBu", vmin=-MOST, vmax=MOST, aspect="auto")
        axes.plot(np.arange(shown.shape[1]), place[own[line]], ".", color="black", markersize=3)
        axes.set_xlim(-0.5, wide - 0.5)
        axes.set_yticks(range(N_TYPES), list(TYPES), fontsize=6)
        at = np.arange(0, shown.shape[1], TICK)
        names = [score.structure.describe(row) for row in known[line][at]]
        axes.set_xticks(at, names, fontsize=6, rotation=90)
    figure.suptitle(f"{score.name}, sequence {score.sequence_name}", fontsize=9)
    assert image is not None
    figure.colorbar(
        image, ax=figure.axes, label="log p(mutant) − log p(own type), nats", shrink=0.8
    )
    return figure
