"""`Sampler`: load a network, sample, save."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from model.checkpoint import CheckpointInfo
from model.flow.error_scale import UNSCALED, ErrorScale
from model.sample.embedded import embedded
from model.sample.options import check_request
from model.sample.progress import SamplingProgress
from model.sample.run import Drawing, Network, run_problems
from model.sample.samples import Sample, Samples
from model.tasks import TASK_RECORDS, Output, Problem, Request, Task
from model.tasks.inputs import InputError, InputStructure, failures, read_inputs
from model.tasks.kept_residues import first_of
from model.tasks.residue_ranges import remarks
from model.tasks.unconditional import parse_length, unconditional_problem
from model.trained_network import device_named, load_network, load_packer, untrained_for
from pipeline.commands.progress_line import ProgressLine
from pipeline.commands.words import several
from pipeline.errors import UsageError
from pipeline.parsing import read_chains

Report = Callable[[str], None]


class Sampler:
    """Makes proteins with a trained network.

    Parameters
    ----------
    network : FlowNetwork
        It is put into evaluation mode.
    device : str, optional
        ``"cuda"`` where there is one, else ``"cpu"``.
    error_scale : ErrorScale
        Of the checkpoint; without it, predicted errors are what rotamers tell.
    packer : FlowNetwork, optional
        Another network that makes side chains, whose error scale it then is.
    info : CheckpointInfo, optional
        Of the checkpoint: who asks for what the network has never learned is warned.

    Examples
    --------
    >>> flow = Sampler.load("last.ckpt")                              # doctest: +SKIP
    >>> samples = flow.sample(task="packing", input="1ubi.pdb")       # doctest: +SKIP
    >>> samples.save("out/")                                          # doctest: +SKIP
    """

    def __init__(
        self,
        network: torch.nn.Module,
        *,
        device: str | None = None,
        error_scale: ErrorScale = UNSCALED,
        packer: torch.nn.Module | None = None,
        info: CheckpointInfo | None = None,
    ):
        self.error_scale = error_scale
        self._info = info
        self.device = device_named(device)
        self.network: Network = network.eval().to(self.device)
        self.packer: Network | None = None if packer is None else packer.eval().to(self.device)
        self._n_parameters = sum(parameter.numel() for parameter in network.parameters())
        config = getattr(network, "config", None)
        self.c_embedding: int = getattr(config, "c_embedding", 0)

    def __repr__(self) -> str:
        return f"Sampler({several(self._n_parameters, 'parameter')} on {self.device})"

    @classmethod
    def load(cls, path: Path | str | None = None, *, device: str | None = None) -> Sampler:
        """Read a checkpoint of `model.train`, or without a path the packing network of the package.

        ``"design"`` is the package's network for designs. Their side chains are made by the packing
        network, and so are those of a network that has never packed.

        Raises
        ------
        CannotLoad
            There is no such file, or it is none.
        """
        return cls.of(*load_network(path), path=path, device=device)

    @classmethod
    def of(
        cls,
        network: torch.nn.Module,
        info: CheckpointInfo,
        *,
        path: Path | str | None = None,
        device: str | None = None,
    ) -> Sampler:
        """With a network that was read, what its checkpoint says, and where from."""
        packer = load_packer(info, path)
        return cls(
            network,
            device=device,
            error_scale=info.error_scale if packer is None else packer[1].error_scale,
            packer=None if packer is None else packer[0],
            info=info,
        )

    def sample(
        self,
        task: Task,
        *,
        input: Path | str | None = None,
        chains: Sequence[str] | None = None,
        lengths: Sequence[str] | None = None,
        sequence: str | None = None,
        only: str | None = None,
        fixed: str | None = None,
        partial_sequence: str | None = None,
        omit: str | None = None,
        bias: Path | str | None = None,
        tied: str | None = None,
        contigs: str | None = None,
        motifbench: bool = False,
        esm: str | None = None,
        number: int = 1,
        steps: int | None = None,
        seed: int = 0,
        temperature: float | None = None,
        noise_scale: float | None = None,
        step_noise: float | None = None,
        start: float = 0.0,
        no_relax: bool = False,
        best_of: int = 1,
        batch_size: int = 8,
        trajectory: bool = False,
    ) -> Samples:
        """Sample, and keep everything in memory.

        Parameters
        ----------
        task : {"packing", "design", "inpainting", "unconditional"}
        input : path, optional
            A structure file, or a folder, a tar or a list of them. All tasks but the last need it.
        chains : sequence of str, optional
            Author's ids of the chains of the input that are read; all without it.
        lengths : sequence of str, optional
            Unconditional: residues of the proteins to make; ``"80+60"`` has two chains.
        sequence : str, optional
            Packing: pack this sequence; chains are separated by ``":"``.
        only : str, optional
            Packing: residues whose side chains are made, such as ``"A10-40,B5"``; the others stay.
        fixed : str, optional
            Design: residues that keep type and side chain, such as ``"A10-20,A35"``.
        partial_sequence : str, optional
            Design: types that are given; ``"_"`` or X where the type is free.
        omit : str, optional
            Design: types that are made nowhere, such as ``"CM"``.
        bias : path, optional
            Design: a JSON or CSV file of what is added to the logits of types.
        tied : str, optional
            Design: residues of one type, such as ``"A1-50,B1-50"``, or ``"chains"``.
        contigs : str, optional
            Inpainting: what to make, such as ``"10-20/A45-60/15/0 B1-30"``.
        motifbench : bool
            Inpainting: name samples, and save them as PDB files, in the layout of MotifBench.
        esm : str, optional
            Packing: the ESM-2 that the network was trained with, a name at the hub or a folder.
        number : int
            Samples for each input or length.
        steps : int, optional
            Evaluations of the network; 100 without it, 2 for packing.
        seed : int
        temperature : float, optional
            Of residue types, 1 without it; of torsions in packing, 0 without it (the likeliest)
            where a packing is made once, 1 where several are.
        noise_scale : float, optional
            Multiplies the noise that frames start from; 1 without it.
        step_noise : float, optional
            Inpainting and unconditional: variance of the noise that steps bring in, in units of
            what the network learned; without it, steps have none.
        start : float
            Partial diffusion: from the input noised to this time, 0 (noise) to below 1.
        no_relax : bool
            Leave out the last step of packing, in which clashing side chains are settled.
        best_of : int
            Candidates for each sample, of which the one with least predicted error is kept.
        batch_size : int
            Proteins that go through the network together at most.
        trajectory : bool
            Keep the states on the way.

        Notes
        -----
        `Request` tells more of each.

        Raises
        ------
        UsageError
            The options do not go together.
        InputError
            An input cannot be used.
        """
        request = Request(
            task=task,
            input=Path(input) if isinstance(input, str) else input,
            chains=_listed(chains),
            lengths=_listed(lengths),
            sequence=sequence,
            only=only,
            fixed=fixed,
            partial_sequence=partial_sequence,
            omit=omit,
            bias=Path(bias) if isinstance(bias, str) else bias,
            tied=tied,
            contigs=contigs,
            motifbench=motifbench,
            esm=esm,
            number=number,
            steps=steps,
            seed=seed,
            temperature=temperature,
            noise_scale=noise_scale,
            step_noise=step_noise,
            start=start,
            no_relax=no_relax,
            best_of=best_of,
            batch_size=batch_size,
        )
        check_request(request)
        if self._info is not None and (sentence := untrained_for(self._info, task)):
            warnings.warn(sentence, stacklevel=2)
        problems, errors = read_problems(request)
        if failed := failures(errors, len(problems)):
            raise failed[0]
        samples = dict(self.run(request, problems, trajectory=trajectory))
        return Samples(tuple(samples[k] for k in range(len(problems))), request)

    def run(
        self,
        request: Request,
        problems: list[Problem],
        *,
        trajectory: bool = False,
        line: ProgressLine | None = None,
    ) -> Iterator[tuple[int, Sample]]:
        """Pairs of (index of the problem, its sample) as they are finished.

        Parameters
        ----------
        request : Request
        problems : list of Problem
        trajectory : bool
        line : ProgressLine, optional
            Where to show how far it is.

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
        drawing = Drawing.of(request, self.error_scale)
        asked = [problems[k] for k, _ in candidates]
        progress = None
        if line is not None:
            evaluations = drawing.evaluations(TASK_RECORDS[request.task].flows)
            progress = SamplingProgress(line, [len(p) for p in asked], evaluations)
        outputs = run_problems(
            self.network,
            asked,
            uids,
            drawing,
            batch_size=request.batch_size,
            device=self.device,
            with_trajectory=trajectory,
            progress=progress,
            # Who asks a network to pack wants what it makes, whatever it has learned.
            packer=self.packer if TASK_RECORDS[request.task].flows else None,
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


def _listed(names: Sequence[str] | None) -> list[str] | None:
    if isinstance(names, str):
        return [names]
    # What is no sequence is told by `check_request`.
    return list(names) if isinstance(names, Sequence) else names


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
        That `check_request` lets pass.
    report : callable
        Told what somebody should know of an input that is used.

    Raises
    ------
    UsageError
        The options do not fit the only input.
    """
    if request.input is None:
        return _from_nothing(request), []
    record = TASK_RECORDS[request.task]
    ranges = record.ranges(request)
    problems: list[Problem] = []
    errors: list[InputError] = []
    unfit: UsageError | None = None
    read = partial(
        read_chains,
        with_others=record.takes_others or record.tells_others,
        with_unoccupied=record.takes_others,
    )
    for name, structure in read_inputs(request.input, request.chains, read):
        if isinstance(structure, InputError):
            errors.append(structure)
            continue
        notes = list(structure.notes)
        if record.takes_others and structure.beside:
            stays = "comes back in its place, and is in the way"
            notes.append(f"{structure.file}: {stays}: {structure.beside}")
        try:
            notes += remarks(ranges, structure, keeps_types=record.flows)
            made = [
                record.problem(request, one, structure)
                for one in _numbered(name, request.number, first=0 if request.motifbench else 1)
            ]
            notes += record.notes(request, made[0], structure)
            lost: list[str] = []
            if record.takes_whole_input:
                lost, said = _without_backbone(request, made[0], structure)
                notes += said
            problems += [
                replace(one, left_out=", ".join([*filter(None, [one.left_out]), *lost]))
                for one in made
            ]
        except InputError as error:
            errors.append(error)
        except UsageError as error:
            unfit = unfit or error
            errors.append(InputError(f"{name}: {error}"))
        finally:
            for note in notes:
                report(note)
    if request.motifbench and len(cases := {str(problem.source) for problem in problems}) > 1:
        raise UsageError(
            f"--motifbench: a folder of scaffolds is of one case, and --input has {len(cases)}; "
            "sample each into a folder of its own"
        )
    if unfit is not None and len(errors) == 1 and not problems and request.input.is_file():
        raise unfit  # one file was asked for, and not what it has
    return problems, errors


def _without_backbone(
    request: Request, problem: Problem, structure: InputStructure
) -> tuple[list[str], list[str]]:
    """What is left out for that, and what is said of it."""
    partial, lacking = request.only is not None, structure.numbered & ~structure.resolved
    if not partial and problem.untouched is not None:
        lacking &= ~problem.untouched
    rows = np.flatnonzero(lacking).tolist()
    if not rows:
        return [], []
    names = first_of([structure.describe(row) for row in rows])
    what = f"{several(len(rows), 'residue')} without a backbone ({names})"
    return [] if partial else [what], [
        f"{structure.name}: {len(rows)} of {len(lacking)} residues have no backbone (N, CA, C) and "
        f"{'stay as they are' if partial else 'are left out'}: {names}"
    ]


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


def _numbered(stem: str, number: int, first: int = 1) -> list[str]:
    return [f"{stem}_{k}" for k in range(first, first + number)]


def _uid(name: str, candidate: int) -> str:
    """What the noise is drawn for; the first candidate's does not depend on how many follow."""
    return name if candidate == 0 else f"{name} candidate {candidate}"
