"""How near a backbone is to its nearest training chain, by TM-score.

TM-align is too slow for all pairs. All are aligned by their letters of 3Di, and the best of these
by TM-align, so that what is found is a lower bound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from kept_numbers import KeptNumbers, key_of
from numpy.typing import NDArray

from model.metrics import Structure, aligned_tm_scores
from pipeline.dataset import ShardDataset
from pipeline.geometry.three_di import three_di
from pipeline.split.mmseqs import MMseqs
from pipeline.split.similar_letters import for_neighbours, search_letters

CANDIDATES = 20
"""Training chains that TM-align compares with a backbone, those whose 3Di letters align best …"""

AT_LARGE = 10
"""… and of all others so many, evenly spaced among those that are long enough."""

LEAST_SHARE = 0.5
"""Of a backbone's length, a training chain has so many residues, or it cannot be of its fold."""

Trace = NDArray[np.float64]


def trace_of(structure: Structure) -> Trace:
    """(L, 3) CA that are there."""
    return structure.ca[structure.has_ca]


def letters_of(structure: Structure) -> str:
    """3Di of the residues that have a CA."""
    starts = np.flatnonzero(np.diff(structure.chain_index, prepend=-1))
    offsets = np.append(starts, len(structure)).astype(np.int64)
    resolved = structure.mask[:, :3].all(1)
    letters = three_di(structure.positions, structure.mask, resolved, offsets)
    return letters[structure.has_ca].tobytes().decode("ascii")


def nearest_tm(trace: Trace, known: Sequence[Trace], candidates: Sequence[int]) -> float:
    """TM-score by a backbone's own length to the nearest of its candidates and of some others.

    Parameters
    ----------
    trace : (L, 3) float
        CA of the backbone.
    known : sequence of (L, 3) float
        Of the training chains.
    candidates : sequence of int
        Training chains that may be like it; of these the first ones that are long enough.
    """
    lengths = np.array([len(trace) for trace in known])
    long = np.flatnonzero(lengths >= LEAST_SHARE * len(trace))
    likely = [k for k in candidates if lengths[k] >= LEAST_SHARE * len(trace)][:CANDIDATES]
    spread = long[np.unique(np.linspace(0, len(long) - 1, min(AT_LARGE, len(long))).astype(int))]
    tried = dict.fromkeys([*likely, *spread.tolist()])
    return max((aligned_tm_scores(trace, known[k])[0] for k in tried), default=float("nan"))


@dataclass
class Known:
    """Training chains: CA in Å, and letters of 3Di."""

    traces: list[Trace] = field(default_factory=list)
    letters: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, dataset: ShardDataset) -> Known:
        """Letters are made here, so that datasets from before there were any can be asked, too."""
        known = cls()
        for k in range(len(dataset)):
            structure = Structure.from_item(dataset[k])
            known.traces.append(trace_of(structure))
            known.letters.append(letters_of(structure))
        return known


def candidates_of(letters: Sequence[str], known: Known, mmseqs: MMseqs) -> list[list[int]]:
    """For each text the training chains whose letters align with it, the best ones first.

    All of them are aligned, at first without gaps, unless they are very many; see
    `pipeline.split.similar_letters.for_neighbours`.
    """
    how = for_neighbours(letters, known.letters)
    found: list[list[int]] = [[] for _ in letters]
    for query, target in search_letters(mmseqs, letters, known.letters, 1, how).pairs.tolist():
        found[query].append(target)
    return found


def novelties(
    kept: KeptNumbers,
    structures: Sequence[Structure],
    about: str,
    known: Callable[[], Known],
    mmseqs: MMseqs,
) -> list[float]:
    """`nearest_tm` of structures; what is kept is not looked for again.

    Parameters
    ----------
    kept : KeptNumbers
    structures : sequence of Structure
    about : str
        What the training chains are.
    known : callable
        These; called if they are needed.
    mmseqs : MMseqs
    """
    traces = [trace_of(structure) for structure in structures]
    keys = [key_of(trace, about, CANDIDATES, AT_LARGE) for trace in traces]
    open_ones = [k for k, key in enumerate(keys) if key not in kept.numbers]
    if open_ones:
        letters = [letters_of(structures[k]) for k in open_ones]
        likely = candidates_of(letters, known(), mmseqs)
        for k, some in zip(open_ones, likely, strict=True):
            kept.keep(keys[k], [nearest_tm(traces[k], known().traces, some)])
    return [kept.numbers[key][0] for key in keys]
