"""Join datasets to train on, and keep what resembles held-out chains out of training.

    python benchmarks/joined_chains.py OUT --held CATH --more DOMAINS --exclude UIDS.txt
    python benchmarks/joined_chains.py OUT2 --held OUT --more MAIN PAIRS EDGE --only-unlike
        --like DOMAINS --exclude UIDS.txt
        --where "method like '%X-RAY%' and resolution <= 3 and length >= 20 and model = 1"

--held has a split. All chains are joined by `pipeline.subset`, without those that a file names, and
clustered by `pipeline.split` (30 % identity of 80 % of both). The first line keeps the held-out
chains where they are and puts all that shares a cluster with one beside it (test before val); the
rest is to train on. It is for domains among domains.

A whole chain that holds a held-out domain shares no cluster with it. So the second line leaves
every validation and test chain where it is, and takes of the new chains those that share no cluster
with one of them and that MMseqs2 does not find by one (sensitivity 7.5, E ≤ 0.01, any coverage),
nor by an excluded chain, whose sequence is read from --like.

OUT has the joined dataset with its splits; the counts are printed. `docs/results.md` says what the
networks of the package were trained on.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from pipeline.built.built_dataset import BuiltDataset
from pipeline.split.chains import read_chains
from pipeline.split.command import main as split
from pipeline.split.mmseqs import MMseqs
from pipeline.subset.command import main as subset
from pipeline.where import parse_where

MAX_E_VALUE = 0.01


def uids_of(dataset: Path, where: str | None) -> list[str]:
    index = BuiltDataset.open(dataset).index()
    kept = index.filter(parse_where(where, index.schema)) if where else index
    found: list[str] = kept["chain_uid"].to_pylist()
    return found


def column_of_splits(dataset: Path, name: str) -> dict[str, str]:
    table = pq.read_table(dataset / "splits.parquet", columns=["chain_uid", name]).to_pydict()
    return dict(zip(table["chain_uid"], table[name], strict=True))


def sequences_of(dataset: Path, uids: Iterable[str]) -> list[str]:
    chains = read_chains(BuiltDataset.open(dataset))
    number = {uid: int(key) for uid, key in zip(chains.uids, chains.keys[:, 0], strict=True)}
    return [chains.sequences[number[uid]] for uid in uids if uid in number]


def joined(sources: Sequence[Path], uids: Iterable[str], out: Path, folder: Path) -> None:
    chosen = folder / "uids.txt"
    chosen.write_text("".join(f"{uid}\n" for uid in uids))
    more = ["--list", str(chosen), "--allow-mixed", "--report", "false"]
    run(subset, [*map(str, sources), "--out-dir", str(out), *more])


def run(command: object, arguments: list[str]) -> None:
    if status := command(arguments):  # type: ignore[operator]
        sys.exit(status)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--held", type=Path, required=True)
    parser.add_argument("--more", type=Path, nargs="+", required=True)
    parser.add_argument("--where", help="which chains of --more")
    parser.add_argument("--exclude", type=Path, help="chain_uids, a line each")
    parser.add_argument("--only-unlike", action="store_true")
    parser.add_argument("--like", type=Path, help="dataset that has the excluded chains")
    options = parser.parse_args()
    excluded = set(options.exclude.read_text().split()) if options.exclude else set()
    own = column_of_splits(options.held, "split")
    new = [uid for one in options.more for uid in uids_of(one, options.where) if uid not in own]
    new = [uid for uid in dict.fromkeys(new) if uid not in excluded]
    kept = [uid for uid in own if uid not in excluded]
    sources = [options.held, *options.more]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        together = folder / "together"
        joined(sources, [*kept, *new], together, folder)
        run(split, [str(together), "--method", "cluster"])
        cluster = column_of_splits(together, "cluster")
        held: dict[str, str] = {}
        for uid in kept:
            if own[uid] == "test" or (own[uid] == "val" and cluster[uid] not in held):
                held[cluster[uid]] = own[uid]
        if options.only_unlike:
            queries = sequences_of(together, [uid for uid in kept if own[uid] != "train"])
            queries += sequences_of(options.like, excluded) if options.like else []
            hits = MMseqs.find().search(
                queries, sequences_of(together, new), "evalue",
                *("-s", "7.5", "-e", str(MAX_E_VALUE), "--max-seqs", "5000", "--threads", "1"),
            )  # fmt: skip
            alike = {new[k] for k in hits.pairs[:, 1]}
            unlike = [uid for uid in new if uid not in alike and cluster[uid] not in held]
            print(f"{len(new):,} new chains, {len(new) - len(unlike):,} like held-out ones")
            placed = {uid: own[uid] for uid in kept} | dict.fromkeys(unlike, "train")
        else:
            placed = {uid: held.get(cluster[uid], "train") for uid in [*kept, *new]}
        joined([together], placed, options.out, folder)
        listed = folder / "list.csv"
        with listed.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["chain_uid", "split"])
            writer.writerows(sorted(placed.items()))
        by_list = ["--method", "list", "--split-list", str(listed), "--leak", "cluster"]
        run(split, [str(options.out), *by_list, "--overwrite"])
    print(dict(Counter(placed.values())))


if __name__ == "__main__":
    main()
