"""`Request`: what is asked of a sampler."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from model.flow.tasks import Task
from pipeline.errors import UsageError


@dataclass(frozen=True)
class Request:
    """What to sample, and how.

    Parameters
    ----------
    task
        Side chains for a backbone and its sequence (packing), sequences with side chains for a
        backbone (design), a protein around parts of another (inpainting), or one from nothing.
    input
        A structure file, or a folder, a tar or a list of them: PDB, mmCIF or BinaryCIF, also
        compressed. A list is a text file (.txt, .list) of a path in each line, relative to it. For
        packing and design, a backbone is enough.
    chains
        Author's ids of the chains of the input that are read, such as A B; all of them without it.
        Of several chains with one id, A is the first and A.2 the second; one without an id is _.
    lengths
        Residues of the proteins to make from nothing; 80+60 is a protein of two chains.
    sequence
        Packing: pack this sequence instead of the residue names of the input. Chains are separated
        by ":".
    only
        Packing: residues that get a new side chain, such as A10-40,B5, written as those of --fixed.
        All other residues stay as they are in the file and are seen.
    fixed
        Design: residues that keep their type and side chain, such as A10-20,A35,A52A, by the
        author's chain ids, numbers and insertion codes; 1:10-20 for a chain whose id is not of
        letters, _10-20 for one without an id. A chain alone, such as B or 1:, is all of it.
    partial_sequence
        Design: types that are given, one letter per residue and "_" or X where the type is free;
        chains are separated by ":".
    omit
        Design: types that are made nowhere, such as CM.
    bias
        Design: a file of what is added to the network's logits of types, residue by residue: JSON
        in LigandMPNN's manner, {"A12": {"G": -0.3, "C": "-inf"}, "A20-30": {"L": 1.5}, "*": {"M":
        -1}}, or CSV, residues,type,bias. Residues are written as those of --fixed, * is all of
        them; -inf leaves a type out, inf takes it.
    tied
        Design: residues that get the same type, for homo-oligomers. "A1-50,B1-50|A60,B60" ties A1
        to B1, A2 to B2 …, and A60 to B60; "A,B" ties residues of one number in these chains, and
        "chains" in all of them, which then have to be one protein.
    contigs
        Inpainting: what to make, in RFdiffusion's notation. "10-20/A45-60/15/0 B1-30" is 10 to 20
        new residues, residues 45 to 60 of chain A of the input, 15 new residues; then a second
        chain, residues 1 to 30 of chain B. B alone is all of chain B.
    motifbench
        Inpainting: leave what MotifBench scores. Each chain of the input, such as 01_1LDB.pdb, is a
        segment of the motif and is kept whole; samples are 01_1LDB_0, 01_1LDB_1, …, and
        scaffold_info.csv says where their segments are. With --format pdb.
    esm
        Packing with a network that was trained with embeddings: the same ESM-2, as a name at the
        hub or a folder. Its last layer is taken.
    number
        Samples for each input or length.
    steps
        Evaluations of the network from noise to protein, 100 without it. For packing, passes
        through the network, of which each sees the one before; 2 without it.
    seed
        A sample is a function of the network, what is asked for, its name and this.
    temperature
        Of residue types: the network's logits are divided by it. 1, as without it, draws types as
        the network learned them, below 1 likelier ones, 0 the likeliest. For packing, of torsions:
        without it 0, which is the likeliest rotamers, where a packing is made once, and 1 where
        several are.
    noise_scale
        Multiplies the standard deviation of the noise that frames start from. 1, as without it, is
        what the network learned; below 1 proteins are more alike and often better formed.
    step_noise
        Inpainting and unconditional: the temperature of places. In each step a part of the noise
        that CA positions still have is replaced by fresh noise, whose variance is multiplied by
        this. 1 draws proteins as the network learned them, below 1 likelier and less diverse ones,
        0 brings in no noise. Without it, steps have no noise and all depends on what frames start
        from.
    start
        Partial diffusion: hidden frames and types start from the input noised to this time, from 0
        (all noise) to below 1 (hardly any). With --task unconditional, a whole input is varied.
    no_relax
        Leave out the last step, in which each side chain takes, of the rotamers that the network
        holds likely, or of those that were drawn, one that does not clash with its neighbours.
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
    only: str | None = None
    fixed: str | None = None
    partial_sequence: str | None = None
    omit: str | None = None
    bias: Path | None = None
    tied: str | None = None
    contigs: str | None = None
    motifbench: bool = False
    esm: str | None = None
    number: int = 1
    steps: int | None = None
    seed: int = 0
    temperature: float | None = None
    noise_scale: float | None = None
    step_noise: float | None = None
    start: float = 0.0
    no_relax: bool = False
    best_of: int = 1
    batch_size: int = 8


def check_input(request: Request) -> None:
    """See that there is an input, which all tasks but one need."""
    if request.input is None:
        raise UsageError(f"--task {request.task} needs --input: a structure file or a folder")
