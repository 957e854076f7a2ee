"""`Sampler`: load a network, sample, save."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from model.sample.embedded import embedded
from model.sample.request import check_request
from model.sample.run import Drawing, Network, run_problems
from model.sample.samples import Sample, Samples
from model.tasks import TASK_RECORDS, Output, Problem, Request, Task
from model.tasks.inputs import InputError, read_inputs
from model.tasks.residue_ranges import remarks
from model.tasks.unconditional import parse_length, unconditional_problem
from model.trained_network import device_named, load_network
from pipeline.errors import UsageError

Report = Callable[[str], None]


class Sampler:
    """Makes proteins with a trained network.

    Parameters
    ----------
    network : FlowNetwork
        It is put into evaluation mode.
    device : str, optional
        ``"cuda"`` where there is one, else ``"cpu"``.

    Examples
    --------
    >>> flow = Sampler.load("last.ckpt")                              # doctest: +SKIP
    >>> samples = flow.sample(task="packing", input="1ubi.pdb")       # doctest: +SKIP
    >>> samples.save("out/")                                          # doctest: +SKIP
    """

    def __init__(self, network: torch.nn.Module, *, device: str | None = None):
        self.device = device_named(device)
        self.network: Network = network.eval().to(self.device)
        config = getattr(network, "config", None)
        self.c_embedding: int = getattr(config, "c_embedding", 0)

    @classmethod
    def load(cls, path: Path | str | None = None, *, device: str | None = None) -> Sampler:
        """Read a checkpoint of `model.train`, or without a path the one of the package.

        Raises
        ------
        CannotLoad
            There is no such file, or it is none.
        """
        return cls(load_network(path)[0], device=device)

    def sample(
        self,
        task: Task,
        *,
        input: Path | str | None = None,
        trajectory: bool = False,
        **options: Any,
    ) -> Samples:
        """Sample, and keep everything in memory.

        Parameters
        ----------
        task : {"packing", "design", "inpainting", "unconditional"}
        input : path, optional
        trajectory : bool
            Keep the states on the way.
        **options
            The other fields of `Request`: ``lengths=["80"]``, ``number=4``, ``seed=1`` …

        Raises
        ------
        UsageError
            The options do not go together.
        InputError
            An input cannot be used.
        """
        place = None if input is None else Path(input)
        request = Request(task=task, input=place, **options)
        problems, errors = read_problems(request)
        if errors:
            raise errors[0]
        samples = dict(self.run(request, problems, trajectory=trajectory))
        return Samples(tuple(samples[k] for k in range(len(problems))), request)

    def run(
        self, request: Request, problems: list[Problem], *, trajectory: bool = False
    ) -> Iterator[tuple[int, Sample]]:
        """Pairs of (index of the problem, its sample) as they are finished.

        Raises
        ------
        UsageError
            The language model is not the one that the network was trained with.
        ModelError
        """
        if request.esm is not None:
            problems = embedded(problems, request.esm, self.c_embedding)
        candidates = [(k, c) for k in range(len(problems)) for c in range(request.best_of)]
        uids = [_uid(problems[k].name, c) for k, c in candidates]
        best: dict[int, _Best] = {}
        left = dict.fromkeys(range(len(problems)), request.best_of)
        drawing = Drawing.of(
            TASK_RECORDS[request.task].flows,
            steps=request.steps,
            seed=request.seed,
            temperature=request.temperature,
            noise_scale=request.noise_scale,
            start=request.start,
            relax=not request.no_relax,
            alternatives=request.number * request.best_of > 1,
        )
        outputs = run_problems(
            self.network,
            [problems[k] for k, _ in candidates],
            uids,
            drawing,
            batch_size=request.batch_size,
            device=self.device,
            with_trajectory=trajectory,
        )
        for number, output in outputs:
            k, c = candidates[number]
            found = _Best(output.mean_error(problems[k]), c, output)
            # The first of equals is kept, whichever comes first.
            if k not in best or found.key < best[k].key:
                best[k] = found
            left[k] -= 1
            if left[k] == 0:
                winner = best.pop(k)
                yield k, Sample(problems[k], winner.output, winner.candidate)


@dataclass(frozen=True)
class _Best:
    error: float
    candidate: int
    output: Output

    @property
    def key(self) -> tuple[bool, float, int]:
        # An error that is not a number is worse than any.
        unknown = self.error != self.error
        return unknown, 0.0 if unknown else self.error, self.candidate


def read_problems(
    request: Request, report: Report = lambda sentence: None
) -> tuple[list[Problem], list[InputError]]:
    """What is to be sampled, and which inputs cannot be used.

    Parameters
    ----------
    request : Request
    report : callable
        Told what somebody should know of an input that is used.

    Raises
    ------
    UsageError
        The options do not go together, or do not fit the only input.
    """
    check_request(request)
    if request.input is None:
        return _from_nothing(request), []
    record = TASK_RECORDS[request.task]
    ranges = record.ranges(request)
    problems: list[Problem] = []
    errors: list[InputError] = []
    unfit: UsageError | None = None
    read = read_inputs(request.input, request.chains, with_others=record.takes_others)
    for name, structure in read:
        if isinstance(structure, InputError):
            errors.append(structure)
            continue
        notes = list(structure.notes)
        try:
            notes += remarks(ranges, structure)
            problems += [
                record.problem(request, one, structure) for one in _numbered(name, request.number)
            ]
        except InputError as error:
            errors.append(error)
        except UsageError as error:
            unfit = unfit or error
            errors.append(InputError(f"{name}: {error}"))
        else:
            missing = int((~structure.resolved).sum())
            if missing and record.takes_whole_input:
                partial = request.only is not None
                notes.append(
                    f"{name}: {missing} of {len(structure.resolved)} residues have no backbone "
                    f"(N, CA, C) and {'stay as they are' if partial else 'are left out'}"
                )
        finally:
            for note in notes:
                report(note)
    if unfit is not None and len(errors) == 1 and not problems and request.input.is_file():
        raise unfit  # one file was asked for, and not what it has
    return problems, errors


def _from_nothing(request: Request) -> list[Problem]:
    assert request.lengths is not None
    problems = []
    # A length that is given twice is one length, with as many samples as both have.
    asked: dict[str, int] = {}
    for text in request.lengths:
        asked[text] = asked.get(text, 0) + request.number
    for text, number in asked.items():
        lengths = parse_length(text)
        problems += [
            unconditional_problem(name, lengths) for name in _numbered(f"new_{text}", number)
        ]
    return problems


def _numbered(stem: str, number: int) -> list[str]:
    return [f"{stem}_{k}" for k in range(1, number + 1)]


def _uid(name: str, candidate: int) -> str:
    """What the noise is drawn for; the first candidate's does not depend on how many follow."""
    return name if candidate == 0 else f"{name} candidate {candidate}"
