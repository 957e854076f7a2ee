"""What a verification found: problems by file, and what was looked at."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Remedy = Literal["rebuild", "rewrite", "by-hand", "other-version", "upgrade", "none"]
"""What helps: ``rebuild`` a shard from its inputs, ``rewrite`` a table from shards and records
(``--repair`` does both), a decision ``by-hand``, another version of the program,
`pipeline.upgrade`, or nothing."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with one file.

    Attributes
    ----------
    file : str
        Below the dataset's folder.
    check : str
        Stable code: ``missing``, ``size``, ``sha256``, ``unreadable``, ``schema-version``,
        ``schema``, ``pages``, ``lists``, ``values``, ``identity``, ``row-sha256``, ``gaussians``,
        ``derived``, ``counts``, ``index``, ``digest``, ``config``, ``statistics``, ``plan``,
        ``stray``, ``leftover``, ``options``, ``embeddings``.
    message : str
        For people; does not repeat the file.
    remedy : Remedy
    damage : bool
        False for a remark that makes no reader read anything wrong.
    """

    file: str
    check: str
    message: str
    remedy: Remedy
    damage: bool = True

    def __str__(self) -> str:
        return f"{self.file}: {self.message}"


@dataclass(frozen=True, slots=True)
class Expected:
    """What is known of a shard: a line of ``build.json``, or a part's record.

    Attributes
    ----------
    name : str
        Below ``shards/``.
    source : str
        The file that says so, for messages.
    """

    name: str
    sha256: str
    n_bytes: int
    n_chains: int
    n_residues: int
    source: str = "build.json"

    @property
    def file(self) -> str:
        return f"shards/{self.name}"


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that one verification found.

    Attributes
    ----------
    dataset : str
        Its folder, as a person knows it.
    problems : list of Problem
    n_files : int
        Files that were looked at.
    n_shards, n_chains, n_residues : int
        Shards that were looked at, and the rows that were read in them (all rows, or with
        ``--quick`` as many as the shards' footers declare).
    n_recomputed : int
        Chains whose Gaussians and other derived columns were computed again.
    digest : str or None
        Of the dataset, as ``build.json`` has it.
    recomputed_digest : str or None
        From the rows' digests; None where not all of them could be read.
    seconds : float
    expected : list of Expected
        The shards that should be there.
    sha256 : dict
        Shard → its SHA-256 as it is; of those that could be read.
    """

    dataset: str
    problems: list[Problem]
    n_files: int = 0
    n_shards: int = 0
    n_chains: int = 0
    n_residues: int = 0
    n_recomputed: int = 0
    digest: str | None = None
    recomputed_digest: str | None = None
    seconds: float = 0.0
    expected: list[Expected] = field(default_factory=list)
    sha256: dict[str, str] = field(default_factory=dict)

    @property
    def damage(self) -> list[Problem]:
        return [p for p in self.problems if p.damage]

    def files_for(self, remedy: Remedy) -> list[str]:
        """Files whose damage this remedy mends."""
        return list(dict.fromkeys(p.file for p in self.damage if p.remedy == remedy))

    @property
    def is_whole(self) -> bool:
        return not self.damage

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` writes it."""
        return {
            "dataset": self.dataset,
            "whole": self.is_whole,
            "problems": [asdict(p) for p in self.problems],
            "files": self.n_files,
            "shards": self.n_shards,
            "chains": self.n_chains,
            "residues": self.n_residues,
            "recomputed_chains": self.n_recomputed,
            "digest": self.digest,
            "recomputed_digest": self.recomputed_digest,
            "seconds": round(self.seconds, 3),
        }
