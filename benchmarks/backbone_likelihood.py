"""How sure ProteinMPNN is of what it designs for a backbone: a figure for backbones of any make.

It designs `DESIGNS` sequences at T = `TEMPERATURE`, each residue given the backbone and the types
that were drawn before it. The figure of a design is the mean over residues of −log p of the type
that was drawn, p without temperature, in nats. It says nothing of whether the sequence folds into
the backbone.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import peer_sequences
from kept_numbers import KeptNumbers, key_of
from numpy.typing import NDArray
from peer_process import run_script
from peer_sequences import PEER, backbone_alone

from model.metrics import Structure
from pipeline.errors import UsageError

DESIGNS = 4
TEMPERATURE = 0.1


def surprises(
    told: Mapping[str, NDArray[Any]], found: Mapping[str, NDArray[Any]]
) -> NDArray[np.float64]:
    """(designs,) −log p per residue; only residues with N, CA, C and O count."""
    return -np.asarray(found["drawn"], np.float64)[:, told["mask"]].mean(axis=1)


def design_surprises(
    kept: KeptNumbers, python: Path | None, structures: Sequence[Structure]
) -> list[list[float]]:
    """Of each structure the figures of its designs; the peer is asked for what is not kept.

    Parameters
    ----------
    kept : KeptNumbers
    python : Path or None
        Of the peer's environment.
    structures : sequence of Structure
        Only N, CA, C and O are read, and which residues follow each other.

    Raises
    ------
    UsageError
        Something is not kept, and there is no Python.
    SystemExit
        The peer ends with an error.
    """
    keys, questions = [], {}
    for structure in structures:
        alone = backbone_alone(structure, "", ())
        names = ("backbone", "mask", "residue_index", "chain_index")
        key = key_of(*(alone[name] for name in names), DESIGNS, TEMPERATURE)
        keys.append(key)
        if key not in kept.numbers:
            # Draws are a function of the backbone, whatever it is called.
            questions[key] = backbone_alone(structure, key, [TEMPERATURE] * DESIGNS)
    if questions and python is None:
        raise UsageError(
            f"{len(questions)} of {len(keys)} backbones have no answer of {PEER}: --peer-python "
            "PYTHON asks for them"
        )

    done = 0

    def finished(key: str, found: dict[str, NDArray[Any]], seconds: float) -> None:
        nonlocal done
        kept.keep(key, surprises(questions[key], found).tolist())
        done += 1
        if done % 10 == 0 or done == len(questions):
            print(f"{PEER}: {done} of {len(questions)} backbones", file=sys.stderr, flush=True)

    if questions and python is not None:
        run_script(python, peer_sequences.SCRIPT, questions, finished)
    return [kept.numbers[key] for key in keys]
