"""Problems → outputs, in batches of similar length; no output depends on its batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.flow.clean import Clean, clean_from_batch
from model.flow.error_scale import UNSCALED, ErrorScale
from model.flow.generate import PASSES, Generated, generate, global_atoms
from model.flow.likelihood import backbone_alone
from model.flow.state import MODALITIES, Held, Network, NoisyProtein, ProteinState
from model.flow.type_constraints import TypeConstraints
from model.metrics import Structure, superpose
from model.sample.progress import SamplingProgress
from model.tasks import TASK_RECORDS, Output, Problem, Request
from model.torsions.obstacles import Obstacles
from pipeline.batching import collate
from pipeline.errors import Failure
from pipeline.geometry.frames import backbone_frames
from pipeline.residues import ATOM14_EXISTS, N_TYPES, UNKNOWN

MAX_PAIRS = 1_000_000
"""Residues² of a batch: what bounds the memory of the pair representation."""


MIN_SHARE = 0.8
"""Of the longest of a batch, a protein has so many residues at least: padding costs as they do."""


class Diverged(Failure):
    """The network's coordinates are no numbers; the sentence names the sample."""


@dataclass(frozen=True)
class Drawing:
    """How to sample: options of `model.flow.generate.generate`, by their names there."""

    steps: int = 100
    passes: int = PASSES
    seed: int = 0
    temperature: float = 1.0
    chi_temperature: float = 0.0
    relax: bool = True
    noise_scale: float = 1.0
    step_noise: float | None = None
    start: float = 0.0
    error_scale: ErrorScale = UNSCALED

    def evaluations(self, flows: bool) -> int:
        """Of the network, for a batch; the last one of a task that flows asks for errors."""
        return self.steps + self.passes + 1 if flows else self.passes

    @classmethod
    def of(cls, request: Request, error_scale: ErrorScale = UNSCALED) -> Drawing:
        """What a request means for its task; what it leaves open is as usual.

        Parameters
        ----------
        request : Request
        error_scale : ErrorScale
            Of the network; see `model.checkpoint.CheckpointInfo`.
        """
        drawing = cls(seed=request.seed, relax=not request.no_relax, error_scale=error_scale)
        if not TASK_RECORDS[request.task].flows:
            # Several packings of one backbone are drawn, so that they differ.
            usual = 1.0 if request.number * request.best_of > 1 else 0.0
            return replace(
                drawing,
                passes=PASSES if request.steps is None else request.steps,
                chi_temperature=usual if request.temperature is None else request.temperature,
            )
        names = ("steps", "temperature", "noise_scale", "step_noise")
        given = {name: v for name in names if (v := getattr(request, name)) is not None}
        return replace(drawing, start=request.start, **given)


def run_problems(
    network: Network,
    problems: Sequence[Problem],
    uids: Sequence[str],
    drawing: Drawing,
    *,
    batch_size: int = 8,
    device: torch.device | str = "cpu",
    with_trajectory: bool = False,
    progress: SamplingProgress | None = None,
    packer: Network | None = None,
) -> Iterator[tuple[int, Output]]:
    """Sample the problems; pairs of (index of the problem, output), longest first.

    Parameters
    ----------
    network : callable
        In evaluation mode, on the device.
    problems : sequence of Problem
    uids : sequence of str
        What the noise of each is a function of, with the seed.
    drawing : Drawing
    batch_size : int
    device : torch.device or str
    with_trajectory : bool
    progress : SamplingProgress, optional
        Told of each batch and of each evaluation of the network.
    packer : callable, optional
        The network that makes side chains, if it is another one.
    """
    if progress is not None:
        network = progress.watched(network)
        packer = None if packer is None else progress.watched(packer)
    for batch in batches([len(problem) for problem in problems], batch_size):
        if progress is not None:
            progress.begin(batch)
        chosen = [problems[k] for k in batch]
        outputs = _run_batch(
            (network, packer),
            chosen,
            [uids[k] for k in batch],
            drawing,
            device,
            with_trajectory,
        )
        yield from zip(batch, outputs, strict=True)


def batches(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Indices in batches of similar length, the longest first."""
    order = sorted(range(len(lengths)), key=lambda k: (-lengths[k], k))
    made: list[list[int]] = []
    for k in order:
        if made:
            longest = lengths[made[-1][0]]
            alike = lengths[k] >= MIN_SHARE * longest
            if alike and len(made[-1]) < min(batch_size, MAX_PAIRS // max(longest, 1) ** 2):
                made[-1].append(k)
                continue
        made.append([k])
    return made


def _run_batch(
    networks: tuple[Network, Network | None],
    problems: Sequence[Problem],
    uids: Sequence[str],
    drawing: Drawing,
    device: torch.device | str,
    with_trajectory: bool,
) -> list[Output]:
    origins = [origin_of(problem, drawing.start) for problem in problems]
    clean = clean_of(problems, origins).to(device)
    held = _held(problems, clean)
    states: list[NoisyProtein] | None = [] if with_trajectory else None
    obstacles = _obstacles(problems, origins, device)
    network, packer = networks
    generated = generate(
        network,
        clean,
        held,
        uids,
        **vars(drawing),
        obstacles=obstacles,
        constraints=_constraints(problems, clean),
        packer=packer,
        trajectory=states,
    )
    trajectory = [_positions(noisy, generated, clean, held) for noisy in states or ()]
    state, there = generated.state.to("cpu"), generated.mask.cpu()
    positions, present = global_atoms(_double(state), generated.atoms_mask.cpu(), there)
    logits, errors = generated.logits.cpu().double(), generated.expected_error.cpu().double()
    probabilities = generated.rotamer_probability.cpu().double()
    outputs = []
    for b, (problem, origin) in enumerate(zip(problems, origins, strict=True)):
        n = len(problem)
        mask = there[b, :n].numpy()
        rotation, shift = _onto_input(problem, positions[b, :n].numpy(), mask)
        shift = shift + origin
        structure = _finished(
            problem,
            positions[b, :n].numpy() @ rotation.T + shift,
            present[b, :n].numpy(),
            state.sequence[b, :n].numpy(),
            mask,
        )
        drawn = generated.drawn[b, :n].cpu().numpy()
        log_p = np.where(drawn[:, None], logits[b, :n].log_softmax(-1).numpy(), 0.0)
        error, probability = errors[b, :n].numpy(), probabilities[b, :n].numpy()
        if problem.untouched is not None:
            error = np.where(problem.untouched, 0.0, error)
            probability = np.where(problem.untouched, np.nan, probability)
            mask = mask | problem.untouched
        outputs.append(
            Output(
                structure=structure,
                predicted_error=np.where(mask, error, np.nan),
                rotamer_probability=probability,
                log_probabilities=None if problem.held_sequence.all() else log_p,
                drawn=drawn,
                trajectory=[
                    _on_the_way(problem, structure, x[b, :n] @ rotation.T + shift)
                    for x in trajectory
                ],
            )
        )
    return outputs


def clean_of(problems: Sequence[Problem], origins: Sequence[NDArray[np.float64]]) -> Clean:
    """What is given of problems, as a batch on the CPU, counted from an origin (3,) of each."""
    items = [_item(problem, o) for problem, o in zip(problems, origins, strict=True)]
    return clean_from_batch(collate(items, per_residue=["embedding"]))


def backbone_of(problem: Problem, device: torch.device | str = "cpu") -> NoisyProtein:
    """The backbone of a problem, as `model.flow.likelihood` asks for it."""
    return backbone_alone(clean_of([problem], [origin_of(problem)]).to(device))


def _constraints(problems: Sequence[Problem], clean: Clean) -> TypeConstraints | None:
    """What is wanted of types, in a batch; None if of no problem anything is."""
    if all(problem.bias is None and problem.ties is None for problem in problems):
        return None
    size = clean.mask.shape[1]
    bias = torch.zeros(len(problems), size, N_TYPES)
    ties = torch.arange(size).repeat(len(problems), 1)
    for b, problem in enumerate(problems):
        if problem.bias is not None:
            bias[b, : len(problem)] = torch.from_numpy(problem.bias).float()
        if problem.ties is not None:
            ties[b, : len(problem)] = torch.from_numpy(problem.ties)
    return TypeConstraints(bias, ties).to(clean.mask.device)


def _obstacles(
    problems: Sequence[Problem],
    origins: Sequence[NDArray[np.float64]],
    device: torch.device | str,
) -> Obstacles | None:
    """What is beside the proteins, in the coordinates of the batch."""
    atoms: list[tuple[Tensor, list[str]]] = []
    for problem, origin in zip(problems, origins, strict=True):
        x, elements = problem.beside()
        atoms.append((torch.from_numpy(x - origin).float(), elements))
    found = Obstacles.of(atoms)
    return None if found is None else found.to(device)


def origin_of(problem: Problem, start: float = 0.0) -> NDArray[np.float64]:
    """(3,) What coordinates are counted from, so that float32 is as good far from zero as near.

    A function of what is held alone, unless what is hidden is asked for.
    """
    counted = problem.anchor
    if not counted.any() and start > 0:
        counted = problem.has_frame
    if not counted.any():
        return np.zeros(3)
    # Whole thousandths: the sum with a coordinate of a file is then rounded to what it was.
    return np.round(problem.given.ca[counted].mean(0), 3)


def _onto_input(
    problem: Problem, positions: NDArray[np.float64], mask: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How to lay a result on its input, counted from the origin: as it is if frames are held.

    A protein of which no frame is held has no place of its own; a variation of an input is put
    where the input is.
    """
    both = problem.has_frame & mask
    if problem.anchor.any() or both.sum() < 3 or not np.isfinite(positions[both]).all():
        return np.eye(3), np.zeros(3)
    target = problem.given.ca[both]
    centre = np.round(problem.given.ca[problem.has_frame].mean(0), 3)
    return superpose(positions[both, 1], target - centre)


def _item(problem: Problem, origin: NDArray[np.float64]) -> dict[str, object]:
    given, frame = problem.given, problem.has_frame
    mask = given.mask & ATOM14_EXISTS[given.aatype]
    x = np.where(mask[..., None], given.positions - origin, 0.0)
    rotations, translations = backbone_frames(x[:, 0], x[:, 1], x[:, 2], frame)
    item: dict[str, object] = {
        "chain_uid": problem.name,
        "aatype": torch.from_numpy(given.aatype),
        "residue_index": torch.from_numpy(given.residue_index),
        "chain_index": torch.from_numpy(given.chain_index),
        "atom14_positions": torch.from_numpy(x).float(),
        "atom14_mask": torch.from_numpy(mask),
        "rotmats": torch.from_numpy(rotations).float(),
        "trans": torch.from_numpy(translations).float(),
        "residue_mask": torch.from_numpy(frame),
    }
    if problem.embedding is not None:
        item["embedding"] = torch.from_numpy(problem.embedding).float()
    return item


def _held(problems: Sequence[Problem], clean: Clean) -> Held:
    masks = {}
    for name in MODALITIES:
        padded = torch.zeros_like(clean.mask)
        for row, problem in zip(padded, problems, strict=True):
            row[: len(problem)] = torch.from_numpy(getattr(problem, f"held_{name}"))
        masks[name] = padded
    return Held(**masks)


def _finished(
    problem: Problem,
    positions: NDArray[np.float64],
    present: NDArray[np.bool_],
    aatype: NDArray[np.int64],
    mask: NDArray[np.bool_],
) -> Structure:
    """The structure of a file: rounded as a file rounds, and held atoms exactly as they came."""
    if not np.isfinite(positions[present]).all() or np.abs(positions[present]).max(initial=0) > 1e6:
        raise Diverged(
            f"{problem.name}: the network's coordinates are out of bounds; its checkpoint is "
            "damaged or was not trained for this task"
        )
    given = problem.given
    kept = np.zeros_like(present)
    kept[:, :4] = (problem.anchor & mask)[:, None]
    lacks = ATOM14_EXISTS[given.aatype] & ~given.mask
    # What a side chain has in part was made anew; CB alone is where the rest was made on.
    in_part = lacks[:, 4:].any(1) & given.mask[:, 5:].any(1)
    kept[:, 4:] = (problem.anchor & problem.held_atoms & ~in_part & mask)[:, None]
    kept &= given.mask & present
    if problem.untouched is not None:
        untouched = problem.untouched[:, None]
        kept = np.where(untouched, given.mask & ATOM14_EXISTS[given.aatype], kept)
        present = np.where(untouched, kept, present)
    x = np.where(kept[..., None], given.positions, np.round(positions, 3))
    return Structure(
        positions=np.where(present[..., None], x, 0.0),
        mask=present,
        # A residue whose type nobody knows or says is X.
        aatype=np.minimum(aatype, UNKNOWN),
        residue_index=given.residue_index,
        chain_index=given.chain_index,
    )


def _on_the_way(
    problem: Problem, result: Structure, positions: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Positions of the atoms of the result in a state before it."""
    if problem.untouched is not None:
        positions = np.where(problem.untouched[:, None, None], result.positions, positions)
    return np.where(result.mask[..., None], positions, 0.0)


def _positions(
    noisy: NoisyProtein, generated: Generated, clean: Clean, held: Held
) -> NDArray[np.float64]:
    """(B, N, 14, 3) of a state on the way, in the coordinates of the result."""
    frames = held.frames & clean.frame_mask & clean.mask
    weight = frames.to(clean.translations.dtype)[..., None]
    n_held = weight.sum(1)
    # The network's coordinates have their origin at the mean of what is held.
    difference = ((clean.translations - noisy.state.translations) * weight).sum(1)
    shift = torch.where(n_held > 0, difference / n_held.clamp(min=1.0), 0.0)
    state = replace(noisy.state, translations=noisy.state.translations + shift[:, None])
    state = _double(state.to("cpu"))
    return global_atoms(state, generated.atoms_mask.cpu(), generated.mask.cpu())[0].numpy()


def _double(state: ProteinState) -> ProteinState:
    return state.map(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)
