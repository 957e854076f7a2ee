"""Residues whose ellipsoid is larger than any that good coordinates give."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

from pipeline.report.outliers import MOST_NAMED
from pipeline.residues import RESTYPES
from pipeline.shards import Rows

LONGEST = 3.0
"""Å. Atoms of an arginine, the longest residue, stretched out as far as it goes, have a standard
deviation of 2.9 along it."""


@dataclass(frozen=True, order=True)
class Extreme:
    """The largest ellipsoid of a chain.

    Attributes
    ----------
    semi_axis : float
        The longest, Å.
    chain_uid : str
    residue : str
        Its name, and its ``residue_index``.
    """

    semi_axis: float
    chain_uid: str
    residue: str


class ExtremeFinder:
    """Looks through row groups; keeps the most extreme chains.

    Parameters
    ----------
    base_thickness : float
        Å; ellipsoids are larger by it.
    """

    columns = ("chain_uid", "aatype", "residue_index", "covariance")

    def __init__(self, base_thickness: float):
        self._least = LONGEST + base_thickness
        self._found: list[Extreme] = []
        self.n_chains = 0

    def add(self, rows: Rows) -> None:
        """Look through the residues of a row group."""
        sigma = rows.lists["covariance"]
        # The largest eigenvalue is at most the trace, which is there for nothing.
        at = np.flatnonzero(sigma[:, 0] + sigma[:, 3] + sigma[:, 5] > self._least**2)
        matrices = sigma[at][:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(-1, 3, 3).astype(np.float64)
        longest = np.sqrt(np.maximum(np.linalg.eigvalsh(matrices)[:, 2], 0))
        at, longest = at[longest > self._least], longest[longest > self._least]
        chains = np.searchsorted(rows.residues, at, side="right") - 1
        for chain in np.unique(chains):
            mine = np.flatnonzero(chains == chain)
            k = at[mine[np.argmax(longest[mine])]]
            name = (*RESTYPES, "UNK")[min(int(rows.lists["aatype"][k]), len(RESTYPES))]
            found = Extreme(
                float(longest[mine].max()),
                rows.scalars["chain_uid"][int(chain)].as_py(),
                f"{name.capitalize()} {rows.lists['residue_index'][k]}",
            )
            self._found = heapq.nlargest(MOST_NAMED, [*self._found, found])
            self.n_chains += 1

    def extremes(self) -> tuple[Extreme, ...]:
        """The most extreme, the largest first."""
        return tuple(self._found)
