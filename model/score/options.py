"""What the command can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from model.flow.likelihood import ORDERS
from pipeline.commands.checks import check_at_least


@dataclass(frozen=True)
class ScoreOptions:
    """Score sequences on structures.

    Parameters
    ----------
    input
        A structure file, or a folder, a tar or a list of them: PDB, mmCIF or BinaryCIF, also
        compressed. A list is a text file (.txt, .list) of a path in each line, relative to it.
    out_dir
        Folder for scores.csv, for two tables and a heat map of each structure, and for
        options.yaml.
    ckpt
        Checkpoint of model.train, trained for design; without it, the design network of the
        package.
    chains
        Author's ids of the chains that are read, such as A B; all of them without it. Of several
        chains with one id, A is the first and A.2 the second; one without an id is _.
    sequence
        Another sequence that is scored on the same backbone, beside the one of the file. Chains are
        separated by ":"; what is X is not scored.
    fasta
        A file of such sequences. Chains of a record are separated by ":" or "/"; records of one
        sample, as model.sample writes them, are put together.
    orders
        Random orders of decoding whose mean the likelihood is.
    steps
        Evaluations of the network for each order. Without it there is one for each residue, which
        is exact; with fewer the likelihood is estimated, that of a whole sequence better than that
        of a residue.
    no_mutations
        Leave out the table and the heat map of all single mutations.
    seed
        Orders are a function of this and of the structure's name.
    batch_size
        Evaluations of the network that are made together at most. No score depends on it.
    device
        Where the network runs: cpu, cuda, cuda:1 …; without it, cuda if there is one.
    overwrite
        Replace files of the same names in a folder that is not empty.
    quiet
        Say nothing but what went wrong.
    """

    input: Path
    out_dir: Path
    ckpt: Path | None = None
    chains: list[str] | None = None
    sequence: str | None = None
    fasta: Path | None = None
    orders: int = ORDERS
    steps: int | None = None
    no_mutations: bool = False
    seed: int = 0
    batch_size: int = 8
    device: str | None = None
    overwrite: bool = False
    quiet: bool = False

    def check(self) -> None:
        """See that numbers make sense.

        Raises
        ------
        UsageError
        """
        check_at_least(self, orders=1, steps=1, batch_size=1)
