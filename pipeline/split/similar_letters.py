"""Pairs of chains whose letters of 3Di align: MMseqs2 with the alphabet's substitution matrix."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.geometry.three_di import ALPHABET
from pipeline.split.mmseqs import Hits, MMseqs, no_room


@dataclass(frozen=True, slots=True)
class LetterSearch:
    """How closely to look for letters that align.

    Attributes
    ----------
    sensitivity : float
        How many pairs MMseqs2 aligns, of those that share words.
    max_e_value : float
    coverage : float
        Of both chains by the alignment of their letters.
    without_words : bool
        Align every pair without gaps first, words or not; `sensitivity` means nothing then. It
        takes time of the square of the number of chains.
    most : int
        Partners of each chain that are aligned with gaps, the most similar ones.
    """

    sensitivity: float = 7.5
    max_e_value: float = 10.0
    coverage: float = 0.5
    without_words: bool = False
    most: int = 1000

    def arguments(self) -> list[str]:
        """Of ``easy-search``."""
        words = ["--prefilter-mode", "1"] if self.without_words else ["-s", f"{self.sensitivity:g}"]
        limits = ["-e", f"{self.max_e_value:g}", "-c", f"{self.coverage:g}", "--cov-mode", "0"]
        return [*words, *limits, "--max-seqs", str(self.most)]


FOR_CLUSTERS = LetterSearch()
"""Less coverage cannot be half of the longer chain."""

CLOSE_LOOK = LetterSearch(max_e_value=1e6, coverage=0.0, without_words=True, most=100)
"""For neighbours, of which the best few are compared, whatever their E-values are."""

MOST_CELLS = 1e14
"""Of the alignments of all pairs: an hour or two of one core."""


def for_neighbours(queries: Sequence[str], targets: Sequence[str]) -> LetterSearch:
    """How to look for neighbours: all pairs, unless there are too many of them."""
    cells = float(sum(map(len, queries))) * sum(map(len, targets))
    return CLOSE_LOOK if cells <= MOST_CELLS else FOR_CLUSTERS


def similar_letters(
    mmseqs: MMseqs, letters: Sequence[str], threads: int, how: LetterSearch = FOR_CLUSTERS
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Candidates for one fold.

    Parameters
    ----------
    mmseqs : MMseqs
    letters : sequence of str
        3Di of each chain.
    threads : int
        Have no influence on the result.
    how : LetterSearch

    Returns
    -------
    pairs : (p, 2) int64
        Positions in `letters`, the smaller first; the most similar pairs before others.
    e_values : (p,) float64

    Raises
    ------
    MMseqsError
    """
    found = search_letters(mmseqs, letters, letters, threads, how)
    best: dict[tuple[int, int], float] = {}
    for (query, target), e_value in zip(found.pairs.tolist(), found.values.tolist(), strict=True):
        pair = min(query, target), max(query, target)
        if query != target:
            best[pair] = min(best.get(pair, np.inf), e_value)
    ordered = sorted(best, key=lambda pair: (best[pair], pair))
    pairs = np.array(ordered, np.int64).reshape(-1, 2)
    return pairs, np.array([best[pair] for pair in ordered])


def search_letters(
    mmseqs: MMseqs,
    queries: Sequence[str],
    targets: Sequence[str],
    threads: int,
    how: LetterSearch = FOR_CLUSTERS,
) -> Hits:
    """Chains whose letters align, each of the queries with each of the targets.

    Returns
    -------
    Hits
        With E-values, the smallest first.

    Raises
    ------
    MMseqsError
    """
    with tempfile.TemporaryDirectory(prefix="pipeline-split-") as folder:
        try:
            matrix = Path(folder, "3di.out")
            matrix.write_text(substitution_matrix(), encoding="ascii")
        except OSError as error:
            raise no_room(folder, error) from None
        found = mmseqs.search(
            [text.strip("X") for text in queries],
            [text.strip("X") for text in targets],
            "evalue",
            *("--sub-mat", str(matrix), "--seed-sub-mat", str(matrix)),
            # Without correction and mask, helices alone would make most pairs candidates.
            *("--gap-open", "10", "--gap-extend", "1", "--comp-bias-corr", "1", "--mask", "1"),
            *(*how.arguments(), "--threads", str(threads)),
        )
    order = np.lexsort((found.pairs[:, 1], found.pairs[:, 0], found.values))
    return Hits(found.pairs[order], found.values[order])


def substitution_matrix() -> str:
    """The matrix of 3Di (van Kempen et al. 2024), as MMseqs2 reads matrices.

    Unscaled: MMseqs2 finds the scale of the scores itself, and gives up on multiples of them. X
    is worth nothing against any letter.
    """
    # Imported here: biotite costs 0.4 s.
    from biotite.sequence.align import SubstitutionMatrix

    scores = np.zeros((21, 21), int)
    scores[:20, :20] = SubstitutionMatrix.std_3di_matrix().score_matrix()
    letters = f"{ALPHABET}X"
    rows = [
        f"{a} " + "".join(f"{s:4d}" for s in row) for a, row in zip(letters, scores, strict=True)
    ]
    return "\n".join(["# 3Di", "  " + "".join(f"{letter:>4}" for letter in letters), *rows, ""])
