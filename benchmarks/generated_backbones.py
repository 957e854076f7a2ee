"""Are generated backbones proteins? Geometry, folds, diversity and novelty, beside native chains.

    python benchmarks/generated_backbones.py DATASET ode=out/new cold=out/cold [--markdown]

Each NAME=FOLDER is a folder of structure files, as `model.sample` leaves it, and a column of the
table. The first column is that of native chains which are not trained on, one for each file of the
first folder, as near as there are in length. README.md says what is measured.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from build_speed import describe_machine, format_table
from numpy.typing import NDArray

from model.metrics import (
    Interval,
    Structure,
    aligned_tm_scores,
    clashes,
    diversity,
    generation_metrics,
    mean_interval,
    pairwise_tm,
)
from model.metrics.backbones import CA_STEP, STEP_TOLERANCE
from model.sample.samples import FASTA, METRICS, OPTIONS, RESIDUES
from model.tasks.inputs import InputError, read_inputs
from model.tasks.motif_bench import SCAFFOLD_INFO
from pipeline.dataset import ShardDataset
from pipeline.errors import Failure, UsageError
from pipeline.geometry.three_di import three_di
from pipeline.residues import MAX_PEPTIDE_BOND
from pipeline.split.mmseqs import MMseqs
from pipeline.split.similar_letters import search_letters

NATIVE = "native chains"
TABLES = (FASTA, METRICS, OPTIONS, RESIDUES, SCAFFOLD_INFO)
"""What `model.sample` leaves beside structures."""

CIS_STEP = 2.95
"""Å between the CA on both sides of a cis peptide."""

BACKBONE = 4
"""Slots of N, CA, C and O."""

ALIKE = 5
"""Native chains, the nearest in length, whose radius of gyration a sample's is compared with."""

CANDIDATES = 10
"""Training chains that TM-align compares with a backbone, those whose 3Di letters align best …"""

AT_LARGE = 20
"""… and of all others so many, evenly spaced among those that are long enough."""

LEAST_SHARE = 0.5
"""Of a backbone's length, a training chain has so many residues, or it cannot be of its fold."""

RESAMPLES = 1000

Trace = NDArray[np.float64]
Columns = dict[str, list[float]]


@dataclass
class Group:
    """Structures of one row of the table.

    Attributes
    ----------
    names : list of str
    structures : list of Structure
    given : dict
        Numbers of these that others have measured: the motif's RMSD, likelihoods.
    """

    names: list[str]
    structures: list[Structure]
    given: Columns = field(default_factory=dict)

    @property
    def lengths(self) -> list[int]:
        return [len(structure) for structure in self.structures]

    @property
    def traces(self) -> list[Trace]:
        return [structure.ca[structure.has_ca] for structure in self.structures]


def read_group(folder: Path, limit: int | None = None) -> Group:
    """The structures of a folder, and the motif RMSD that its ``metrics.csv`` has.

    Raises
    ------
    UsageError
        It is no folder, or has no structures that can be read.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; give NAME=FOLDER, as model.sample leaves it")
    names, structures = [], []
    for name, found in read_inputs(folder):
        if isinstance(found, InputError):
            if not str(found).startswith(TABLES):
                print(f"left out: {found}", file=sys.stderr)
        elif not name.endswith("_trajectory"):
            names.append(name)
            structures.append(found.structure)
    if not names:
        raise UsageError(f"{folder} has no structure files that can be read")
    group = Group(names[:limit], structures[:limit])
    if (folder / METRICS).is_file():
        group.given = of_names(folder / METRICS, group.names, only=("motif_rmsd",))
    return group


def of_names(path: Path, names: Sequence[str], only: Sequence[str] | None = None) -> Columns:
    """Columns of numbers of a table with a column ``name``; NaN where a name has none.

    Raises
    ------
    UsageError
        There is no table, it has no such column, or what should be a number is none.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    if not rows or "name" not in rows[0]:
        raise UsageError(f"{path} has no column 'name', and so no structures that it tells of")
    wanted = [c for c in rows[0] if c != "name" and (only is None or c in only)]
    found: Columns = {}
    for column in wanted:
        try:
            values = {row["name"]: float(row[column] or "nan") for row in rows}
        except (TypeError, ValueError):
            raise UsageError(
                f"{path}: the column {column!r} has values that are no numbers"
            ) from None
        found[column] = [values.get(name, float("nan")) for name in names]
    return found


def native_group(datasets: Sequence[ShardDataset], lengths: Sequence[int]) -> Group:
    """A native chain for each length, the nearest that is left; chains without gaps only.

    Raises
    ------
    UsageError
        There are fewer chains than lengths.
    """
    pool = []
    for dataset in datasets:
        index = dataset.index.select(["chain_uid", "length", "n_resolved", "n_breaks"]).to_pylist()
        whole = (r["n_resolved"] == r["length"] and not r["n_breaks"] for r in index)
        pool += [
            (r["length"], r["chain_uid"], dataset, k)
            for k, (r, w) in enumerate(zip(index, whole, strict=True))
            if w
        ]
    if len(pool) < len(lengths):
        raise UsageError(
            f"there are {len(pool)} native chains without gaps for {len(lengths)} samples"
        )
    group = Group([], [])
    for length in lengths:
        best = min(pool, key=lambda one: (abs(one[0] - length), one[1]))
        pool.remove(best)
        group.names.append(best[1])
        group.structures.append(Structure.from_item(best[2][best[3]]))
    return group


# ---- measures of a structure -------------------------------------------------------------------


def measures(structure: Structure) -> dict[str, float]:
    """What a backbone is like on its own."""
    x, mask, n = structure.positions, structure.mask, len(structure)
    found = generation_metrics("", structure)
    both = (np.diff(structure.chain_index) == 0) & mask[1:, 1] & mask[:-1, 1]
    steps = np.linalg.norm(np.diff(structure.ca, axis=0), axis=1)[both]
    bonds = np.linalg.norm(x[1:, 0] - x[:-1, 2], axis=1)[both & mask[1:, 0] & mask[:-1, 2]]
    backbone = structure.with_atoms(x, mask & (np.arange(mask.shape[1]) < BACKBONE))
    pairs = clashes(
        backbone.positions, backbone.mask, structure.aatype, structure.chain_index, backbone=True
    )
    return {
        "trans": share(np.abs(steps - CA_STEP) <= STEP_TOLERANCE),
        "cis": share(np.abs(steps - CIS_STEP) <= STEP_TOLERANCE),
        "breaks": share(bonds > MAX_PEPTIDE_BOND),
        "clashes": 100 * len(pairs.below(0.9)) / n,
        "bumps": 100 * found.n_bumps / n,
        "helix": found.helix,
        "strand": found.strand,
        "radius": found.radius_of_gyration,
    }


def share(which: NDArray[np.bool_]) -> float:
    return float(which.mean()) if which.size else float("nan")


def relative_radii(group: Group, radii: Sequence[float], natives: Columns) -> list[float]:
    """Radius of gyration over the mean of the native chains that are nearest in length."""
    lengths, native = np.array(natives["length"]), np.array(natives["radius"])
    found = []
    for length, radius in zip(group.lengths, radii, strict=True):
        nearest = np.argsort(np.abs(lengths - length), kind="stable")[:ALIKE]
        found.append(radius / float(native[nearest].mean()))
    return found


# ---- measures of sets --------------------------------------------------------------------------


def letters_of(structure: Structure) -> str:
    """3Di of the residues that have a CA."""
    starts = np.flatnonzero(np.diff(structure.chain_index, prepend=-1))
    offsets = np.append(starts, len(structure)).astype(np.int64)
    resolved = structure.mask[:, :3].all(1)
    letters = three_di(structure.positions, structure.mask, resolved, offsets)
    return letters[structure.has_ca].tobytes().decode("ascii")


def nearest_tm(
    traces: Sequence[Trace], known: Sequence[Trace], candidates: Sequence[Sequence[int]]
) -> list[float]:
    """TM-score by a backbone's own length to the nearest of its candidates and of some others.

    Parameters
    ----------
    traces, known : sequence of (L, 3) float
        CA of backbones, and of training chains.
    candidates : sequence of sequence of int
        For each backbone, training chains that may be like it.
    """
    lengths = np.array([len(trace) for trace in known])
    found = []
    for trace, likely in zip(traces, candidates, strict=True):
        long = np.flatnonzero(lengths >= LEAST_SHARE * len(trace))
        spread = long[
            np.unique(np.linspace(0, len(long) - 1, min(AT_LARGE, len(long))).astype(int))
        ]
        tried = dict.fromkeys([*likely, *spread.tolist()])
        found.append(max((aligned_tm_scores(trace, known[k])[0] for k in tried), default=np.nan))
    return found


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
            known.traces.append(structure.ca[structure.has_ca])
            known.letters.append(letters_of(structure))
        return known


def candidates_of(letters: Sequence[str], known: Known, mmseqs: MMseqs) -> list[list[int]]:
    """For each text the training chains whose letters align best with it."""
    hits = search_letters(mmseqs, letters, known.letters, threads=1)
    found: list[list[int]] = [[] for _ in letters]
    for query, target in hits.pairs.tolist():
        if len(found[query]) < CANDIDATES:
            found[query].append(target)
    return found


def pair_interval(scores: NDArray[np.float64], seed: int = 0) -> Interval:
    """Mean TM-score of pairs; structures are resampled, and a structure is no pair with itself."""
    n = len(scores)
    if n < 2:
        return Interval(float("nan"), float("nan"), float("nan"), n)
    random = np.random.default_rng(seed)
    means = []
    for _ in range(RESAMPLES):
        chosen = random.integers(0, n, n)
        others = chosen[:, None] != chosen[None]
        if others.any():
            means.append(scores[np.ix_(chosen, chosen)][others].mean())
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(scores[~np.eye(n, dtype=bool)].mean()), float(low), float(high), n)


# ---- the table ---------------------------------------------------------------------------------


def columns_of(group: Group) -> Columns:
    rows = [measures(structure) for structure in group.structures]
    columns: Columns = {name: [row[name] for row in rows] for name in rows[0]}
    return columns | {"length": [float(n) for n in group.lengths]} | group.given


SHOWN: dict[str, tuple[str, int]] = {
    "length": ("residues", 0),
    "trans": ("CA–CA 3.8 ± 0.1 Å", 3),
    "cis": ("CA–CA 2.95 ± 0.1 Å (cis)", 3),
    "breaks": ("C–N over 2.5 Å", 3),
    "bumps": ("CA pairs below 3.6 Å, per 100 residues", 1),
    "clashes": ("backbone clashes at 90 %, per 100 residues", 1),
    "helix": ("helix", 2),
    "strand": ("strand", 2),
    "radius": ("radius of gyration, Å", 1),
    "relative": ("over native", 2),
    "novelty": ("TM to nearest training chain", 2),
    "known": ("with 3Di candidates", 2),
    "motif_rmsd": ("motif RMSD, Å", 2),
}


def said(interval: Interval, digits: int) -> str:
    if not interval.n:
        return ""
    numbers = [f"{value:.{digits}f}" for value in (interval.mean, interval.low, interval.high)]
    return f"{numbers[0]} ({numbers[1]}–{numbers[2]})"


def table(
    groups: dict[str, Group],
    columns: dict[str, Columns],
    compared: int,
    tell: Callable[[str], None] = lambda sentence: None,
) -> tuple[list[str], list[list[str]]]:
    """Header and rows: a measure each, a column for each group."""
    shown = {name: SHOWN.get(name, (name, 2)) for c in columns.values() for name in c}
    order = [name for name in SHOWN if name in shown] + [n for n in shown if n not in SHOWN]
    rows = [["structures", *(str(len(group.names)) for group in groups.values())]]
    for name in order:
        label, digits = shown[name]
        cells = [said(mean_interval(c.get(name, [])), digits) for c in columns.values()]
        rows.append([label, *cells])
    pairs, clusters = ["TM-score of pairs"], ["clusters at TM-score 0.5"]
    for label, group in groups.items():
        tell(f"comparing {label} with each other")
        scores = pairwise_tm(group.traces[:compared])
        found = diversity(scores)
        pairs.append(said(pair_interval(scores), 2))
        clusters.append(f"{found.n_clusters} of {found.n}")
    return ["", *groups], [*rows, pairs, clusters]


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path, help="with splits")
    parser.add_argument("groups", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--splits", nargs="+", default=["test", "val"], help="of native chains")
    parser.add_argument("--train", default="train", help="split that novelty is measured against")
    parser.add_argument("--no-novelty", action="store_true", help="leave it out: no MMseqs2, no TM")
    parser.add_argument(
        "--likelihoods",
        type=Path,
        help="a CSV file with the column name and columns of numbers, such as ProteinMPNN's "
        "log-likelihood of each backbone's sequences; a row of the table for each column",
    )
    parser.add_argument("--limit", type=int, help="structures of each folder")
    parser.add_argument("--compared", type=int, default=100, help="structures in pairs, at most")
    parser.add_argument("--markdown", action="store_true")
    given = parser.parse_args(arguments)
    for name in ("limit", "compared"):
        if getattr(given, name) is not None and getattr(given, name) < 1:
            raise UsageError(f"--{name} is at least 1, found {getattr(given, name)}")
    return given


def opened(folder: Path, split: str) -> ShardDataset:
    try:
        return ShardDataset(folder, split=split)
    except ValueError as error:  # it names the splits that there are
        raise UsageError(str(error)) from None


def read_groups(words: Sequence[str], limit: int | None) -> dict[str, Group]:
    folders: dict[str, Path] = {}
    for word in words:
        name, equals, folder = word.partition("=")
        if not (name and equals and folder) or name in {*folders, NATIVE}:
            raise UsageError(f"{word!r}: give each folder a name of its own, as in cold=out/cold")
        folders[name] = Path(folder)
    return {name: read_group(folder, limit) for name, folder in folders.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    given = parsed(arguments)

    def tell(sentence: str) -> None:
        print(sentence, file=sys.stderr, flush=True)

    made = read_groups(given.groups, given.limit)
    held_out = [opened(given.dataset, split) for split in given.splits]
    first = next(iter(made.values()))
    groups = {NATIVE: native_group(held_out, first.lengths), **made}
    columns = {name: columns_of(group) for name, group in groups.items()}
    for name, group in groups.items():
        radii = columns[name]["radius"]
        columns[name]["relative"] = relative_radii(group, radii, columns[NATIVE])
        if given.likelihoods is not None:
            columns[name] |= of_names(given.likelihoods, group.names)
    if not given.no_novelty:
        mmseqs, trained = MMseqs.find(), opened(given.dataset, given.train)
        tell(f"reading {len(trained):,} training chains")
        known = Known.of(trained)
        for name, group in groups.items():
            tell(f"comparing {name} with training chains")
            likely = candidates_of([letters_of(s) for s in group.structures], known, mmseqs)
            columns[name]["novelty"] = nearest_tm(group.traces, known.traces, likely)
            columns[name]["known"] = [float(bool(some)) for some in likely]
    header, rows = table(groups, columns, given.compared, tell)
    print("\n".join(describe_machine()))
    print(f"\n{format_table(header, rows, given.markdown)}")


if __name__ == "__main__":
    try:
        main()
    except (UsageError, Failure) as error:
        sys.exit(f"error: {error}")
