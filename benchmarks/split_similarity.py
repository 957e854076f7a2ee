"""How many similar sequences the clusters of `pipeline.split` part.

    python benchmarks/split_similarity.py DATASET [--min-identity 0.3] [--coverage 0.8] [--markdown]

MMseqs2 looks for all similar pairs among the distinct sequences of a dataset (sensitivity 7.5,
E ≤ 0.001). For each way of clustering: how many of these pairs lie in different clusters, how alike
the most alike of them are, and the seconds that clustering took on one core.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
from build_speed import format_table
from numpy.typing import NDArray

from pipeline.built.built_dataset import BuiltDataset
from pipeline.split.chains import Chains, read_chains
from pipeline.split.mmseqs import MMseqs
from pipeline.split.options import SplitOptions


def similar_pairs(
    mmseqs: MMseqs, chains: Chains, options: SplitOptions
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(n, 2) numbers of sequences, the smaller first, and the identity of each pair."""
    numbers = np.unique(chains.keys[:, 1])
    with tempfile.TemporaryDirectory() as folder:
        fasta, found = Path(folder, "sequences.fasta"), Path(folder, "found.tsv")
        fasta.write_text("".join(f">{k}\n{chains.sequences[k]}\n" for k in numbers))
        command = [
            *(str(mmseqs.path), "easy-search", str(fasta), str(fasta), str(found), folder + "/tmp"),
            *("--min-seq-id", str(options.min_identity), "-c", str(options.coverage)),
            *("--cov-mode", "0", "-s", "7.5", "-e", "0.001", "--threads", "1", "-v", "1"),
            *("--max-seqs", str(len(numbers)), "--dbtype", "1"),
            *("--format-output", "query,target,fident"),
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        lines = [line.split("\t") for line in found.read_text().splitlines()]
    best: dict[tuple[int, int], float] = {}
    for query, target, identity in lines:
        pair = (min(int(query), int(target)), max(int(query), int(target)))
        if pair[0] != pair[1]:
            best[pair] = max(best.get(pair, 0.0), float(identity))
    return np.array(list(best), np.int64).reshape(-1, 2), np.array(list(best.values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--min-identity", type=float, default=0.3)
    parser.add_argument("--coverage", type=float, default=0.8)
    parser.add_argument("--markdown", action="store_true")
    given = parser.parse_args()
    chains = read_chains(BuiltDataset.open(given.dataset))
    mmseqs = MMseqs.find()
    rows = []
    for clustering in get_args(get_type_hints(SplitOptions)["clustering"]):
        options = SplitOptions(
            given.dataset,
            clustering=clustering,
            min_identity=given.min_identity,
            coverage=given.coverage,
        )
        if not rows:
            pairs, identity = similar_pairs(mmseqs, chains, options)
        began = time.perf_counter()
        clusters = mmseqs.similar_sequences(chains, options, threads=1)
        seconds = time.perf_counter() - began
        cluster = np.arange(len(chains.sequences))
        cluster[clusters[:, 1]] = clusters[:, 0]
        parted = cluster[pairs[:, 0]] != cluster[pairs[:, 1]]
        alike = f"{identity[parted].max():.0%}" if parted.any() else "none"
        rows.append((clustering, f"{parted.sum():,}", alike, f"{seconds:.1f}"))
    n = len(np.unique(chains.keys[:, 1]))
    least = f"{given.min_identity:.0%}"
    print(f"{n:,} sequences, {len(pairs):,} pairs with at least {least} identity\n")
    header = ("--clustering", "pairs parted", "most alike of them", "seconds")
    print(format_table(header, rows, given.markdown))


if __name__ == "__main__":
    main()
