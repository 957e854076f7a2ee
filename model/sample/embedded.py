"""Language-model embeddings of the sequences of problems, as `pipeline.embed` makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from model.tasks import Problem
from pipeline.embed.chain_sequences import ChainSequence, chain_sequence
from pipeline.embed.language_model import load
from pipeline.errors import UsageError
from pipeline.residues import sequence_string


def embedded(problems: Sequence[Problem], model: str, width: int) -> list[Problem]:
    """The problems with embeddings of their sequences, each sequence embedded once.

    Parameters
    ----------
    problems : sequence of Problem
        Whose sequences are held.
    model : str
        A folder, or a name at the hub.
    width : int
        Of the embeddings that the network was trained with; 0 without.

    Raises
    ------
    UsageError
        The network was trained with none, or with others.
    ModelError
    """
    if not width:
        raise UsageError("--esm: the network was trained without embeddings; leave it out")
    language_model = load(model)
    if language_model.dimension != width:
        raise UsageError(
            f"--esm: {model} gives {language_model.dimension} numbers per residue, and the "
            f"network was trained with {width}"
        )
    chains = [_chains_of(problem) for problem in problems]
    sequences = list(dict.fromkeys(c.sequence for some in chains for c in some))
    states = dict(zip(sequences, language_model.embed(sequences), strict=True))
    return [
        replace(problem, embedding=np.concatenate([states[c.sequence][c.rows] for c in some]))
        for problem, some in zip(problems, chains, strict=True)
    ]


def _chains_of(problem: Problem) -> list[ChainSequence]:
    given = problem.given
    found = []
    for number, labels in enumerate(problem.labels):
        rows = given.chain_index == number
        found.append(
            chain_sequence(
                problem.name,
                sequence_string(given.aatype[rows]),
                labels.entity_sequence,
                0,
                given.residue_index[rows].astype(np.int32),
            )
        )
    return found
