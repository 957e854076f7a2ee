"""`generate`: from noise, and what is held clean, to proteins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from model.flow.alternatives import N_DRAWS, drawn_in_rounds
from model.flow.atoms import settled
from model.flow.clean import Clean
from model.flow.error_scale import UNSCALED, ErrorScale
from model.flow.frames import PRIOR_STD
from model.flow.noise import draw_noise, generator
from model.flow.product import Flow, self_conditioning
from model.flow.residue_error import expected_frame_error, side_chain_error
from model.flow.slots import existing_slots
from model.flow.state import Held, Network, NoisyProtein, ProteinState, Times
from model.flow.type_constraints import TypeConstraints
from model.torsions import library_rotamers
from model.torsions.angles import N_CHI
from model.torsions.obstacles import Obstacles
from pipeline.residues import N_TYPES, UNKNOWN

SEQUENCE_LEAD = 0.8
"""Share of the steps after which all types are revealed, so that the last frames move for known
types."""

PASSES = 2
"""Of a packing, as many as the network has seen in training."""

_TORSIONS = -2
"""Step of the numbers that torsions are drawn with; steps of the sampler are 0 and up."""

_FRESH = -3
"""Step of the noise of the first stochastic step; those of the others lie below."""


@dataclass(frozen=True)
class Generated:
    """What the sampler made, B proteins of N residues.

    Attributes
    ----------
    state : ProteinState
        At time 1, in the coordinates of the problem where frames are held, about the origin
        elsewhere.
    atoms_mask : (B, N, 10) bool
        Slots that the types have.
    mask : (B, N) bool
        False at padding, and where frames are held but the problem has none.
    expected_error : (B, N) float
        Of each residue, Å; see `model.flow.residue_error`.
    rotamer_probability : (B, N) float
        Of each side chain that was made, by the last pass; NaN where nothing was free.
    logits : (B, N, 20) float
        Of the last prediction made while the residue's type was MASK; zeros where it never was.
    drawn : (B, N) bool
        Residues whose type was drawn: what is hidden, but for the types that partial diffusion
        begins with.
    """

    state: ProteinState
    atoms_mask: Tensor
    mask: Tensor
    expected_error: Tensor
    rotamer_probability: Tensor
    logits: Tensor
    drawn: Tensor


def hidden_removed(clean: Clean, held: Held) -> Clean:
    """The problem without its answer: hidden values are zeros, X and false masks.

    Parameters
    ----------
    clean : Clean
    held : Held
    """
    frames = held.frames & clean.frame_mask
    atoms = held.atoms & frames
    identity = torch.eye(3, dtype=clean.rotations.dtype, device=clean.rotations.device)
    whole = (held.sequence | ~clean.mask).all(1)
    embedding = clean.embedding
    if embedding is not None:
        embedding = torch.where(whole[:, None, None], embedding, torch.zeros_like(embedding))
    return replace(
        clean,
        rotations=torch.where(frames[..., None, None], clean.rotations, identity),
        translations=torch.where(frames[..., None], clean.translations, 0.0),
        backbone=torch.where(frames[..., None, None], clean.backbone, 0.0),
        atoms=torch.where(atoms[..., None, None], clean.atoms, 0.0),
        sequence=torch.where(held.sequence, clean.sequence, UNKNOWN),
        frame_mask=frames,
        oxygen_mask=clean.oxygen_mask & frames,
        atoms_mask=clean.atoms_mask & atoms[..., None],
        placed=clean.mask,
        embedding=embedding,
    )


@torch.no_grad()
def generate(
    network: Network,
    problem: Clean,
    held: Held,
    uids: Sequence[str],
    *,
    steps: int = 100,
    passes: int = PASSES,
    seed: int = 0,
    temperature: float = 1.0,
    chi_temperature: float = 0.0,
    relax: bool = True,
    noise_scale: float = 1.0,
    step_noise: float | None = None,
    error_scale: ErrorScale = UNSCALED,
    start: float = 0.0,
    obstacles: Obstacles | None = None,
    constraints: TypeConstraints | None = None,
    packer: Network | None = None,
    trajectory: list[NoisyProtein] | None = None,
) -> Generated:
    """Sample the hidden part of a problem, given the held part.

    Hidden frames and types first: they flow from noise. Then the side chains, all that are not held
    at once: the network sees its own prediction of the pass before.

    Parameters
    ----------
    network : callable
        `FlowNetwork`, in evaluation mode.
    problem : Clean
        Hidden values are read only if `start` is above 0, side chains never.
    held : Held
    uids : sequence of str
        Name of each sample. A sample is a pure function of the network, its held values, its name,
        the seed and the options, whatever else is in the batch.
    steps : int
        Evaluations of the network from time 0 to 1, where any frame or type is hidden; one more is
        for the expected error of frames.
    passes : int
        Evaluations of the network for the side chains.
    seed : int
    temperature : float
        Of types: logits are divided by it, 0 takes the likeliest.
    chi_temperature : float
        Of torsions; 0 takes the likeliest rotamers. Above 0 they are drawn in rounds, each with one
        more evaluation of the network (`model.flow.alternatives`).
    relax : bool
        The likeliest that do not clash (`model.torsions.settle`), or draws that do not.
    noise_scale : float
        Multiplies the standard deviation of the normal prior of translations; below 1 samples are
        less diverse.
    step_noise : float, optional
        γ of a stochastic step for translations (`model.flow.frames.Frames.step`): 1 draws from what
        the network learned, below 1 is a low temperature, 0 brings in no noise. Without it the
        steps are deterministic. What frames started from is forgotten in the first step, if
        `start` is 0.
    error_scale : ErrorScale
        Of side chains that are made, and have torsions.
    start : float
        Partial diffusion: hidden frames and types are noised to this time, and sampled from there.
    obstacles : Obstacles, optional
        What side chains do not overlap with, in the coordinates of the problem. The network does
        not see it.
    constraints : TypeConstraints, optional
        On the types that are drawn.
    packer : callable, optional
        The network that makes side chains, if it is another one.
    trajectory : list, optional
        Filled with what the network is given at each step, hidden side chains as it took them for.

    Raises
    ------
    ValueError
        An option outside its range, or a start above 0 without noise.
    """
    if steps < 1 or passes < 1:
        raise ValueError(f"steps and passes are at least 1, found {steps} and {passes}")
    if not 0 <= start < 1:
        raise ValueError(f"start is a time from 0 to below 1, found {start}")
    if min(temperature, chi_temperature, noise_scale, step_noise or 0.0) < 0:
        raise ValueError(
            "temperature, chi_temperature, noise_scale and step_noise are not negative"
        )
    # Side chains that are not all there cannot be held: they are made.
    held = replace(held, atoms=held.atoms & problem.complete)
    if start == 0:
        problem = hidden_removed(problem, held)
    flow, device = Flow(), problem.mask.device
    size = problem.mask.shape[1]
    lengths = problem.mask.sum(1).tolist()
    noise = draw_noise(uids, lengths, size, seed, 0).to(device)
    noisy, _ = flow.corrupt(problem, _times(held, start, 0.0), noise, noise_scale)
    drawn = (noisy.state.sequence > UNKNOWN) & noisy.mask
    logits = torch.zeros(*noisy.mask.shape, N_TYPES, device=device)
    flowing = bool(((noisy.times.frames < 1) | (noisy.times.sequence < 1)).any())
    for k in range(steps if flowing else 0):
        if trajectory is not None:
            trajectory.append(_shown(noisy))
        prediction = network(noisy)
        masked = (noisy.state.sequence > UNKNOWN) & noisy.mask
        logits = torch.where(masked[..., None], prediction.logits, logits)
        next_times = _times(held, start, (k + 1) / steps).within(noisy.mask)
        draws = _draws(uids, lengths, (size, N_TYPES + 1), seed, k + 1).to(device)
        fresh = None
        if step_noise is not None:
            fresh = _normal(uids, lengths, size, seed, _FRESH - k).to(device)
            fresh = fresh * (PRIOR_STD * math.sqrt(step_noise))
        noisy = flow.step(
            noisy,
            prediction,
            next_times,
            draws,
            temperature,
            constraints=constraints,
            fresh=fresh,
        )
    # Whatever the protein comes from, it is now one to be packed.
    noisy = replace(noisy, self_conditioning=None)
    packer = packer or network
    for _ in range(passes):
        if trajectory is not None:
            trajectory.append(_shown(noisy))
        prediction = packer(noisy)
        noisy = replace(noisy, self_conditioning=self_conditioning(noisy, prediction))
    assert noisy.self_conditioning is not None
    rotamers = noisy.self_conditioning.rotamers
    if obstacles is not None:
        origin = _held_centre(problem, held)[0]
        obstacles = replace(obstacles, positions=obstacles.positions - origin[:, None])
    if chi_temperature > 0:
        atoms = drawn_in_rounds(
            packer,
            noisy,
            prediction,
            _draws(uids, lengths, (size, N_DRAWS, N_CHI), seed, _TORSIONS).to(device),
            chi_temperature,
            relax=relax,
            obstacles=obstacles,
            show=None if trajectory is None else lambda noisy: trajectory.append(_shown(noisy)),
        )
    else:
        chi = settled(noisy, rotamers, obstacles) if relax else rotamers.likeliest()
        atoms = flow.atoms.placed(noisy, chi)
    packed = replace(noisy.state, atoms=atoms)
    state = _in_place(replace(noisy, state=packed), problem, held)
    frames = expected_frame_error(network, problem, held, state, uids, seed)
    side_chains, probability = side_chain_error(rotamers, state, noisy.mask)
    free = ~torch.isnan(probability)
    side_chains = torch.where(free, error_scale(side_chains), side_chains)
    return Generated(
        state=state,
        atoms_mask=existing_slots(state.sequence) & noisy.mask[..., None],
        mask=noisy.mask,
        expected_error=torch.sqrt(frames.square() + side_chains.square()),
        rotamer_probability=probability,
        logits=logits,
        drawn=drawn,
    )


def _shown(noisy: NoisyProtein) -> NoisyProtein:
    """With hidden side chains as the network took them for, at first as their types have them."""
    rotamers = library_rotamers(noisy.state.sequence, noisy.state.backbone.dtype)
    if noisy.self_conditioning is not None:
        rotamers = noisy.self_conditioning.rotamers.or_else(rotamers)
    atoms = Flow().atoms.placed(noisy, rotamers.likeliest())
    return replace(noisy, state=replace(noisy.state, atoms=atoms))


def _times(held: Held, start: float, share: float) -> Times:
    """Times when this share of the way from `start` to 1 is done; types are ahead."""
    time = start + (1 - start) * share if share < 1 else 1.0
    sequence = start + (1 - start) * share / SEQUENCE_LEAD if share < SEQUENCE_LEAD else 1.0
    return held.times(time, sequence)


def _draws(
    uids: Sequence[str], lengths: Sequence[int], shape: tuple[int, ...], seed: int, step: int
) -> Tensor:
    """(B, *shape) uniform numbers, a protein's independent of its batch; N comes first in shape."""
    draws = torch.zeros(len(uids), *shape)
    for row, uid, length in zip(draws, uids, lengths, strict=True):
        row[:length] = torch.rand(length, *shape[1:], generator=generator(seed, step, uid))
    return draws


def _normal(uids: Sequence[str], lengths: Sequence[int], size: int, seed: int, step: int) -> Tensor:
    """(B, N, 3) standard normal numbers, a protein's independent of its batch."""
    numbers = torch.zeros(len(uids), size, 3)
    for row, uid, length in zip(numbers, uids, lengths, strict=True):
        row[:length] = torch.randn(length, 3, generator=generator(seed, step, uid))
    return numbers


def _in_place(noisy: NoisyProtein, problem: Clean, held: Held) -> ProteinState:
    """The state in the problem's own coordinates, with what is held exactly as it was given."""
    state = noisy.state
    shift, frames = _held_centre(problem, held)
    translations = torch.where(noisy.mask[..., None], state.translations + shift[:, None], 0.0)
    return replace(
        state, translations=torch.where(frames[..., None], problem.translations, translations)
    )


def _held_centre(problem: Clean, held: Held) -> tuple[Tensor, Tensor]:
    """(B, 3) mean CA of the residues whose frames are held, 0 if there are none; (B, N) which."""
    frames = held.frames & problem.frame_mask & problem.mask
    weight = frames.to(problem.translations.dtype)[..., None]
    return (problem.translations * weight).sum(1) / weight.sum(1).clamp(min=1.0), frames


def global_atoms(state: ProteinState, atoms_mask: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """atom14 positions of a state, and which atoms there are.

    Returns
    -------
    positions : (B, N, 14, 3) float
        Å, zeros where absent.
    present : (B, N, 14) bool
    """
    local = torch.cat([state.backbone, state.atoms], -2)
    rotated = (state.rotations[:, :, None] * local[..., None, :]).sum(-1)
    present = torch.cat([mask[..., None].expand(*mask.shape, 4), atoms_mask & mask[..., None]], -1)
    return torch.where(present[..., None], rotated + state.translations[:, :, None], 0.0), present
