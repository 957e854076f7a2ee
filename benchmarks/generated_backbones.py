"""Are generated backbones proteins? Geometry, folds, diversity and novelty, beside native chains.

    python benchmarks/generated_backbones.py DATASET ode=out/new cold=out/cold --answers KEPT \
        --peer-python PYTHON [--markdown]

Each NAME=FOLDER is a folder of structure files, as `model.sample` leaves it, and a column of the
table. The first column is that of native chains which are not trained on, one for each file of the
first folder, as near as there are in length; the second one has the same chains with noise on each
atom of the backbone, as a scale. KEPT holds what takes long: a run that was interrupted goes on,
and one with another folder measures only that. PYTHON is that of ProteinMPNN's environment, which
`design_peers.py --help` says how to make. README.md says what is measured.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
from backbone_likelihood import DESIGNS, design_surprises
from backbone_novelty import Known, Trace, novelties, trace_of
from build_speed import describe_machine, format_table
from kept_numbers import KeptNumbers, key_of
from numpy.typing import NDArray

from model.metrics import (
    Interval,
    Structure,
    clashes,
    diversity,
    generation_metrics,
    mean_interval,
    pairwise_tm,
)
from model.metrics.backbones import CA_STEP, STEP_TOLERANCE
from model.metrics.torsions import dihedral
from model.sample.tables import FASTA, METRICS, OPTIONS, RESIDUES
from model.tasks.inputs import InputError, read_inputs
from model.tasks.motif_bench import SCAFFOLD_INFO
from pipeline.dataset import ShardDataset
from pipeline.errors import Failure, UsageError
from pipeline.residues import MAX_PEPTIDE_BOND
from pipeline.split.mmseqs import MMseqs

NATIVE = "native chains"
NOISE = 0.5
"""Å, standard deviation in each coordinate."""

NOISED = f"native, {NOISE:g} Å of noise"
TABLES = (FASTA, METRICS, OPTIONS, RESIDUES, SCAFFOLD_INFO)
"""What `model.sample` leaves beside structures."""

CIS_STEP = 2.95
"""Å between the CA on both sides of a cis peptide."""

MOTIF = "motif_rmsd"
BACKBONE = 4
"""Slots of N, CA, C and O."""

ALIKE = 5
"""Native chains, the nearest in length, whose radius of gyration a sample's is compared with."""

RESAMPLES = 1000

Columns = dict[str, list[float]]


@dataclass
class Group:
    """Structures of one row of the table.

    Attributes
    ----------
    names : list of str
    structures : list of Structure
    given : dict
        Numbers of these that others have measured: the motif's RMSD.
    """

    names: list[str]
    structures: list[Structure]
    given: Columns = field(default_factory=dict)

    @property
    def lengths(self) -> list[int]:
        return [len(structure) for structure in self.structures]

    @property
    def traces(self) -> list[Trace]:
        return [trace_of(structure) for structure in self.structures]


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
        group.given = motif_errors(folder / METRICS, group.names)
    return group


def motif_errors(path: Path, names: Sequence[str]) -> Columns:
    """The motif's RMSD of samples, NaN where a name has none; nothing where the table has none.

    Raises
    ------
    UsageError
        There is no table, or what should be a number is none.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        if not rows or not {"name", MOTIF} <= set(rows[0]):
            return {}
        values = {row["name"]: float(row[MOTIF] or "nan") for row in rows}
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except (TypeError, ValueError):
        raise UsageError(f"{path}: the column {MOTIF!r} has values that are no numbers") from None
    return {MOTIF: [values.get(name, float("nan")) for name in names]}


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


def noised(group: Group, seed: int = 0) -> Group:
    """The same backbones with normal noise of `NOISE` on each coordinate."""
    random = np.random.default_rng(seed)
    return Group(
        group.names,
        [
            structure.with_atoms(
                structure.positions + NOISE * random.normal(size=structure.positions.shape),
                structure.mask,
            )
            for structure in group.structures
        ],
    )


# ---- measures of a structure -------------------------------------------------------------------


def measures(structure: Structure) -> dict[str, float]:
    """What a backbone is like on its own."""
    x, mask, n = structure.positions, structure.mask, len(structure)
    found = generation_metrics("", structure)
    both = (np.diff(structure.chain_index) == 0) & mask[1:, 1] & mask[:-1, 1]
    steps = np.linalg.norm(np.diff(structure.ca, axis=0), axis=1)[both]
    bonds = np.linalg.norm(x[1:, 0] - x[:-1, 2], axis=1)[both & mask[1:, 0] & mask[:-1, 2]]
    backbone = structure.with_atoms(x, mask & (np.arange(mask.shape[1]) < BACKBONE))
    phi = dihedral(x[:-1, 2], x[1:, 0], x[1:, 1], x[1:, 2])[
        both & mask[1:, :3].all(1) & mask[:-1, 2]
    ]
    pairs = clashes(
        backbone.positions, backbone.mask, structure.aatype, structure.chain_index, backbone=True
    )
    return {
        "trans": share(np.abs(steps - CA_STEP) <= STEP_TOLERANCE),
        "cis": share(np.abs(steps - CIS_STEP) <= STEP_TOLERANCE),
        "breaks": share(bonds > MAX_PEPTIDE_BOND),
        "phi": share(phi < 0),
        "clashes": 100 * len(pairs.below(0.9)) / n,
        "bumps": 100 * found.n_bumps / n,
        "helix": found.helix,
        "strand": found.strand,
        "coil": found.coil,
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


def compared_pairs(kept: KeptNumbers, traces: Sequence[Trace]) -> NDArray[np.float64]:
    """`pairwise_tm`."""
    n = len(traces)
    key = key_of(*traces)
    return np.array(kept.of(key, lambda: pairwise_tm(traces).ravel().tolist())).reshape(n, n)


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
    "phi": ("φ below 0°", 3),
    "bumps": ("CA pairs below 3.6 Å, per 100 residues", 1),
    "clashes": ("backbone clashes at 90 %, per 100 residues", 1),
    "helix": ("helix", 2),
    "strand": ("strand", 2),
    "coil": ("neither", 2),
    "radius": ("radius of gyration, Å", 1),
    "relative": ("over native", 2),
    "novelty": ("TM-score to the nearest training chain", 2),
    "surprise": (f"ProteinMPNN's −log p of its {DESIGNS} designs, per residue, mean", 2),
    "least": ("the same of the likeliest design", 2),
    MOTIF: ("motif RMSD, Å", 2),
}


def said(interval: Interval, digits: int) -> str:
    if not interval.n:
        return ""
    numbers = [f"{value:.{digits}f}" for value in (interval.mean, interval.low, interval.high)]
    return f"{numbers[0]} ({numbers[1]}–{numbers[2]})"


def table(
    groups: dict[str, Group],
    columns: dict[str, Columns],
    pairs: dict[str, NDArray[np.float64]],
) -> tuple[list[str], list[list[str]]]:
    """Header and rows: a measure each, a column for each group."""
    rows = [["structures", *(str(len(group.names)) for group in groups.values())]]
    for name, (label, digits) in SHOWN.items():
        if any(name in of for of in columns.values()):
            cells = [said(mean_interval(of.get(name, [])), digits) for of in columns.values()]
            rows.append([label, *cells])
    of_pairs, clusters = ["TM-score of pairs"], ["clusters at TM-score 0.5"]
    for group in groups:
        scores = pairs.get(group)
        found = None if scores is None else diversity(scores)
        of_pairs.append("" if scores is None else said(pair_interval(scores), 2))
        clusters.append("" if found is None else f"{found.n_clusters} of {found.n}")
    return ["", *groups], [*rows, of_pairs, clusters]


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path, help="with splits")
    parser.add_argument("groups", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--splits", nargs="+", default=["test", "val"], help="of native chains")
    parser.add_argument("--train", default="train", help="split that novelty is measured against")
    parser.add_argument("--no-novelty", action="store_true", help="leave it out: no MMseqs2, no TM")
    parser.add_argument("--answers", type=Path, help="a folder that keeps what takes long")
    parser.add_argument(
        "--peer-python", type=Path, help="asks ProteinMPNN what --answers has no answer to"
    )
    parser.add_argument("--limit", type=int, help="structures of each folder")
    parser.add_argument("--compared", type=int, default=100, help="structures in pairs, at most")
    parser.add_argument("--markdown", action="store_true")
    given = parser.parse_args(arguments)
    for name in ("limit", "compared"):
        if getattr(given, name) is not None and getattr(given, name) < 1:
            raise UsageError(f"--{name} is at least 1, found {getattr(given, name)}")
    if given.peer_python is not None:
        if not os.access(given.peer_python, os.X_OK):
            raise UsageError(f"--peer-python {given.peer_python} cannot be run")
        # The folder that the peer runs in is another.
        given.peer_python = given.peer_python.absolute()
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


def tell(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def print_table(given: argparse.Namespace) -> None:
    made = read_groups(given.groups, given.limit)
    held_out = [opened(given.dataset, split) for split in given.splits]
    native = native_group(held_out, next(iter(made.values())).lengths)
    groups = {NATIVE: native, NOISED: noised(native), **made}
    columns = {name: columns_of(group) for name, group in groups.items()}
    for name, group in groups.items():
        radii = columns[name]["radius"]
        columns[name]["relative"] = relative_radii(group, radii, columns[NATIVE])
    kept = {
        what: KeptNumbers.opened(given.answers, f"{what}.json")
        for what in ("proteinmpnn", "nearest", "pairs")
    }
    if given.peer_python is not None or kept["proteinmpnn"].numbers:
        tell("asking ProteinMPNN for designs")
        structures = [structure for group in groups.values() for structure in group.structures]
        found = iter(design_surprises(kept["proteinmpnn"], given.peer_python, structures))
        for name, group in groups.items():
            of_group = list(islice(found, len(group.structures)))
            columns[name]["surprise"] = [float(np.mean(of)) for of in of_group]
            columns[name]["least"] = [min(of) for of in of_group]
    # With noise they are the same folds.
    of_sets = {name: group for name, group in groups.items() if name != NOISED}
    if not given.no_novelty:
        mmseqs, trained = MMseqs.find(), opened(given.dataset, given.train)

        @cache
        def known() -> Known:
            tell(f"reading {len(trained):,} training chains")
            return Known.of(trained)

        about = f"{trained.digest} {given.train}"
        for name, group in of_sets.items():
            tell(f"comparing {name} with training chains")
            columns[name]["novelty"] = novelties(
                kept["nearest"], group.structures, about, known, mmseqs
            )
    pairs = {}
    for name, group in of_sets.items():
        tell(f"comparing {name} with each other")
        pairs[name] = compared_pairs(kept["pairs"], group.traces[: given.compared])
    header, rows = table(groups, columns, pairs)
    print("\n".join(f"{'- ' if given.markdown else ''}{line}" for line in describe_machine()))
    print(f"\n{format_table(header, rows, given.markdown)}")


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        print_table(parsed(arguments))
    except KeyboardInterrupt:
        tell("interrupted: what --answers holds is kept")
        return 130
    except (UsageError, Failure) as error:
        tell(f"error: {error}")
        return 2 if isinstance(error, UsageError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
