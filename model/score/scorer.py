"""`Scorer`: load a network, score sequences on structures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.checkpoint import CheckpointInfo
from model.errors import CannotLoad
from model.flow.likelihood import ORDERS, conditionals, estimated
from model.flow.state import Network
from model.sample.run import backbone_of
from model.score.given_sequences import GivenSequence, sequences_on
from model.score.sequence_score import OWN, SequenceScore
from model.tasks import TASK_RECORDS, Request, Task
from model.tasks.inputs import InputError, InputStructure, failures, read_inputs
from model.trained_network import default_for, device_named, load_network, untrained_for
from pipeline.errors import UsageError
from pipeline.parsing import read_chains

TASK: Task = "design"
"""What a network must have been trained for."""

AS_DESIGN = partial(read_chains, with_unoccupied=True)
"""Reads the chains that design does."""


class Scorer:
    """Scores sequences with a network that was trained for design.

    Parameters
    ----------
    network : FlowNetwork
        It is put into evaluation mode.
    about : str
        What is said of the network.
    device : str, optional
        ``"cuda"`` where there is one, else ``"cpu"``.

    Examples
    --------
    >>> scorer = Scorer.load("runs/design/checkpoints/last.ckpt")     # doctest: +SKIP
    >>> (score,) = scorer.score("1ubi.pdb")                           # doctest: +SKIP
    >>> score.total, score.perplexity                                 # doctest: +SKIP
    """

    def __init__(self, network: torch.nn.Module, about: str = "", *, device: str | None = None):
        self.device = device_named(device)
        self.network: Network = network.eval().to(self.device)
        self.about = about

    def __repr__(self) -> str:
        return f"Scorer({self.about} on {self.device})"

    @classmethod
    def load(cls, path: Path | str | None = None, *, device: str | None = None) -> Scorer:
        """Read a checkpoint, or without a path the design network of the package.

        Raises
        ------
        CannotLoad
            There is no such file, it is none, or it was never trained for design.
        """
        network, info = load_network(path, TASK)
        name = str(default_for(TASK) if path is None else path)
        if untrained_for(info, TASK) is not None:
            train = "train one (python -m model.train fit --config design)"
            which, advice = (
                ("this copy of the package has no network for design", f"{train}; --ckpt takes it")
                if path is None
                else (
                    f"{name} was never trained for design",
                    f"leave --ckpt out for the package's design network, or {train}",
                )
            )
            raise CannotLoad(
                f"{which}, and the likelihoods of another network mean nothing; {advice}"
            )
        return cls(network, _told(name, info), device=device)

    def score(
        self,
        input: Path | str,
        *,
        chains: list[str] | None = None,
        sequences: Mapping[str, str] | None = None,
        orders: int = ORDERS,
        steps: int | None = None,
        seed: int = 0,
        mutations: bool = True,
    ) -> list[SequenceScore]:
        """Score what is in a file, or in all those of a folder.

        Parameters
        ----------
        input : path
            A structure file, or a folder, a tar or a list of them.
        chains : list of str, optional
            Author's ids of the chains that are read; all without it.
        sequences : mapping, optional
            Name → another sequence on the same backbone, chains separated by ``":"``. The name
            ``"input"`` is that of the sequence of the file.
        orders : int
        steps : int, optional
            Evaluations of the network for each order; all without it.
        seed : int
        mutations : bool
            Ask for the types of each residue given all others.

        Raises
        ------
        UsageError
            A sequence has the name that that of the file has.
        InputError
        """
        if OWN in (sequences or {}):
            raise UsageError(
                f"{OWN!r} is what the sequence of the file is called; give yours another name"
            )
        others, found = [GivenSequence.of(k, k, text) for k, text in (sequences or {}).items()], []
        structures, errors = [], []
        for _, structure in read_inputs(Path(input), chains, AS_DESIGN):
            if isinstance(structure, InputError):
                errors.append(structure)
            else:
                structures.append(structure)
        if failed := failures(errors, len(structures)):
            raise failed[0]
        for structure in structures:
            for name, aatype in sequences_on(structure, others):
                if isinstance(aatype, InputError):
                    raise aatype
                found.append(
                    self.of(
                        structure,
                        name,
                        aatype,
                        orders=orders,
                        steps=steps,
                        seed=seed,
                        mutations=mutations,
                    )
                )
        return found

    def of(
        self,
        structure: InputStructure,
        sequence_name: str,
        aatype: NDArray[np.int64],
        *,
        orders: int = ORDERS,
        steps: int | None = None,
        seed: int = 0,
        mutations: bool = True,
        batch_size: int = 8,
        watched: Callable[[Network], Network] = lambda network: network,
    ) -> SequenceScore:
        """Score one sequence on one structure.

        Parameters
        ----------
        structure : InputStructure
        sequence_name : str
        aatype : (L,) int64
        orders, steps, seed, mutations
            As `score`.
        batch_size : int
        watched : callable
            What is told of each evaluation of the network.
        """
        problem = TASK_RECORDS[TASK].problem(Request(TASK), structure.name, structure)
        network, types = watched(self.network), torch.from_numpy(aatype)
        backbone = backbone_of(problem, self.device)
        log_p, weights = estimated(
            network,
            backbone,
            types,
            structure.name,
            steps=len(aatype) if steps is None else steps,
            orders=orders,
            seed=seed,
            batch_size=batch_size,
        )
        given = conditionals(network, backbone, types, batch_size=batch_size) if mutations else None
        return SequenceScore(
            structure=structure,
            sequence_name=sequence_name,
            aatype=aatype,
            of_orders=log_p.double().numpy(),
            weights=weights.double().numpy(),
            conditional=None if given is None else given.double().numpy(),
        )


def _told(name: str, info: CheckpointInfo) -> str:
    weights = info.settings.get("tasks")
    tasks = [t for t, weight in weights.items() if weight > 0] if isinstance(weights, dict) else []
    trained = f" for {' and '.join(tasks)}" if tasks else ""
    return f"{name}, trained{trained} in {info.step:,} steps"
