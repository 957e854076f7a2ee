"""What is asked of a sampler, and the checks that need neither a network nor a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from model.flow.tasks import Task
from pipeline.commands.words import dashed
from pipeline.errors import UsageError


def usual_noise(task: Task) -> float:
    """Scale of the noise from which one sample of a task is made.

    For packing 0: on held-out chains χ1 is then right clearly more often than from noise of scale 1
    (docs/results.md).
    """
    return 0.0 if task == "packing" else 1.0


@dataclass(frozen=True)
class Request:
    """What to sample, and how.

    Parameters
    ----------
    task
        Side chains for a backbone and its sequence (packing), sequences with side chains for a
        backbone (design), a protein around parts of another (inpainting), or one from nothing.
    input
        A structure file or a folder of them: PDB, mmCIF or BinaryCIF, also compressed. For packing
        and design, a backbone is enough.
    chains
        Author's ids of the chains of the input that are read, such as A B; all of them without it.
        Of several chains with one id, A is the first and A.2 the second.
    lengths
        Residues of the proteins to make from nothing; 80+60 is a protein of two chains.
    sequence
        Packing: pack this sequence instead of the residue names of the input. Chains are separated
        by ":".
    fixed
        Design: residues that keep their type and side chain, such as A10-20,A35,A52A, by the
        author's chain ids, numbers and insertion codes; 1:10-20 for a chain whose id is not of
        letters.
    partial_sequence
        Design: types that are given, one letter per residue and "_" or X where the type is free;
        chains are separated by ":".
    contigs
        Inpainting: what to make, in RFdiffusion's notation. "10-20/A45-60/15/0 B1-30" is 10 to 20
        new residues, residues 45 to 60 of chain A of the input, 15 new residues; then a second
        chain, residues 1 to 30 of chain B.
    esm
        Packing with a network that was trained with embeddings: the same ESM-2, as a name at the
        hub or a folder. Its last layer is taken.
    number
        Samples for each input or length.
    steps
        Evaluations of the network from noise to protein.
    seed
        A sample is a function of the network, what is asked for, its name and this.
    temperature
        Of residue types: the network's logits are divided by it. 1 draws types as the network
        learned them, below 1 likelier ones, 0 the likeliest.
    noise_scale
        Multiplies the standard deviation of the noise that atoms and frames start from. 1 is what
        the network learned; below 1 proteins are more alike and often better formed. Without it,
        1, but 0 where a packing is made once: that gives one answer, near the likeliest, and 1
        draws side chains in proportion to how likely they are.
    start
        Partial diffusion: what is hidden starts from the input noised to this time, from 0 (all
        noise) to below 1 (hardly any). With --task unconditional, a whole input is varied.
    best_of
        Make so many candidates for each sample and keep the one whose predicted error is least.
    batch_size
        Proteins that go through the network together at most. No sample depends on it.
    """

    task: Task
    input: Path | None = None
    chains: list[str] | None = None
    lengths: list[str] | None = None
    sequence: str | None = None
    fixed: str | None = None
    partial_sequence: str | None = None
    contigs: str | None = None
    esm: str | None = None
    number: int = 1
    steps: int = 100
    seed: int = 0
    temperature: float = 1.0
    noise_scale: float | None = None
    start: float = 0.0
    best_of: int = 1
    batch_size: int = 8

    @property
    def noise(self) -> float:
        """`noise_scale`, or what is taken without it."""
        if self.noise_scale is not None:
            return self.noise_scale
        return usual_noise(self.task) if self.number == self.best_of == 1 else 1.0

    def check(self) -> None:
        """See that the options go together.

        Raises
        ------
        UsageError
        """
        for name in ("number", "steps", "best_of", "batch_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"{dashed(name)} is at least 1, found {getattr(self, name)}")
        for name in ("temperature", "noise_scale"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise UsageError(f"{dashed(name)} is a number from 0, found {value}")
        if not 0 <= self.start < 1:
            raise UsageError(f"--start is a time from 0 to below 1, found {self.start}")
        belongs = {
            "sequence": "packing",
            "esm": "packing",
            "fixed": "design",
            "partial_sequence": "design",
            "contigs": "inpainting",
            "lengths": "unconditional",
        }
        for name, task in belongs.items():
            if getattr(self, name) is not None and self.task != task:
                raise UsageError(f"{dashed(name)} is for --task {task}, not for {self.task}")
        if self.task == "unconditional":
            self._check_unconditional()
        elif self.input is None:
            raise UsageError(f"--task {self.task} needs --input: a structure file or a folder")
        if self.task == "inpainting" and self.contigs is None:
            raise UsageError('--task inpainting needs --contigs, such as "10-20/A45-60/15"')
        if self.chains is not None and self.input is None:
            raise UsageError("--chains is for --input, which is not given")

    def _check_unconditional(self) -> None:
        if self.start > 0:
            if self.input is None:
                raise UsageError("--start noises an input: give --input")
            if self.lengths is not None:
                raise UsageError("--start takes the length of its input; leave out --lengths")
        elif self.input is not None:
            raise UsageError(
                "--task unconditional reads no --input, unless --start says how far to noise it"
            )
        elif self.lengths is None:
            raise UsageError("--task unconditional needs --lengths, such as 80 120 80+60")


def parse_length(text: str) -> tuple[int, ...]:
    """Residues of each chain of ``80`` or ``80+60``.

    Raises
    ------
    UsageError
    """
    parts = text.split("+")
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise UsageError(
            f"--lengths {text!r}: expected a number of residues, or one for each chain as in 80+60"
        )
    return tuple(int(part) for part in parts)
