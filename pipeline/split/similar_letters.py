"""Pairs of chains whose letters of 3Di align: MMseqs2 with the alphabet's substitution matrix."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.geometry.three_di import ALPHABET
from pipeline.split.mmseqs import MMseqs, MMseqsError

COVERAGE = 0.5
"""Of both chains by the alignment of their letters: less cannot be half of the longer one."""

MAX_E_VALUE = 10.0
SENSITIVITY = 7.5
MAX_PARTNERS = 1000
"""What MMseqs2 hands on for each chain, the most similar first."""


def similar_letters(
    mmseqs: MMseqs, letters: Sequence[str], threads: int, sensitivity: float = SENSITIVITY
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Candidates for one fold.

    Parameters
    ----------
    mmseqs : MMseqs
    letters : sequence of str
        3Di of each chain.
    threads : int
        Have no influence on the result.
    sensitivity : float
        How much MMseqs2 looks at.

    Returns
    -------
    pairs : (p, 2) int64
        Positions in `letters`, the smaller first; the most similar pairs before others.
    e_values : (p,) float64

    Raises
    ------
    MMseqsError
    """
    with tempfile.TemporaryDirectory(prefix="pipeline-split-") as folder:
        try:
            return _search(mmseqs, Path(folder), letters, threads, sensitivity)
        except OSError as error:
            raise MMseqsError(
                f"working files of MMseqs2 cannot be written to {folder}: {error.strerror}; set "
                "TMPDIR to a folder with room"
            ) from None


def _search(
    mmseqs: MMseqs, folder: Path, letters: Sequence[str], threads: int, sensitivity: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    fasta, matrix, table = (folder / name for name in ("letters.fasta", "3di.out", "pairs.tsv"))
    known = [(k, text.strip("X")) for k, text in enumerate(letters)]
    with open(fasta, "w", encoding="ascii", newline="\n") as file:
        file.writelines(f">{k}\n{text}\n" for k, text in known if text)
    matrix.write_text(substitution_matrix(), encoding="ascii")
    mmseqs.run(
        folder,
        "easy-search",
        *(str(fasta), str(fasta), str(table), str(folder / "scratch")),
        *("--sub-mat", str(matrix), "--seed-sub-mat", str(matrix), "--dbtype", "1"),
        # Without correction and mask, helices alone would make most pairs candidates.
        *("--gap-open", "10", "--gap-extend", "1", "--comp-bias-corr", "1", "--mask", "1"),
        *("-s", str(sensitivity), "-e", str(MAX_E_VALUE), "--max-seqs", str(MAX_PARTNERS)),
        *("-c", str(COVERAGE), "--cov-mode", "0", "--threads", str(threads), "-v", "1"),
        *("--format-output", "query,target,evalue"),
    )
    best: dict[tuple[int, int], float] = {}
    try:
        for line in table.read_text(encoding="ascii").splitlines():
            query, target, e_value = line.split("\t")
            pair = min(int(query), int(target)), max(int(query), int(target))
            if not 0 <= pair[0] <= pair[1] < len(letters):
                raise ValueError(line)
            if pair[0] != pair[1]:
                best[pair] = min(best.get(pair, np.inf), float(e_value))
    except ValueError:
        raise MMseqsError(f"{mmseqs.path} wrote pairs that do not fit what it was given") from None
    ordered = sorted(best, key=lambda pair: (best[pair], pair))
    pairs = np.array(ordered, np.int64).reshape(-1, 2)
    return pairs, np.array([best[pair] for pair in ordered])


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
