"""How wrong a residue is: the error of a prediction, and the error to expect of a sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from model.flow.clean import Clean
from model.flow.noise import draw_noise
from model.flow.product import Flow
from model.flow.slots import existing_slots, swapped
from model.flow.state import Held, Network, NoisyProtein, Prediction, ProteinState
from model.flow.target import Target
from model.torsions import Rotamers, build, free_chi

TIME_OF_FRAMES = 0.5
"""Time to which hidden frames are noised again to ask how wrong they are: the fold must still be
told."""

_STEP = -1
"""Of the noise; sampling uses 0 and up."""


def frame_error(noisy: NoisyProtein, prediction: Prediction, target: Target) -> Tensor:
    """How far a predicted CA is from where it should be, Å, (B, N); 0 where frames are held."""
    squared = (prediction.translations - target.translations).square().sum(-1)
    return torch.where(noisy.times.frames == 1, 0.0, torch.sqrt(squared + 1e-8))


def side_chain_error(
    rotamers: Rotamers, state: ProteinState, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """What to expect of side chains, if they are distributed like this.

    Equivalent atoms may have either name. Side chains without freedom have no error.

    Parameters
    ----------
    rotamers : Rotamers
    state : ProteinState
        With the atoms that were made.
    mask : (B, N) bool

    Returns
    -------
    error : (B, N) float
        RMSD in Å: Σ p(rotamer) · RMSD(rotamer, what was made).
    probability : (B, N) float
        p of the rotamer that was made, or of the nearest one; NaN where nothing is free.
    """
    built = build(rotamers.chi, state.sequence, state.backbone, mask)
    there = existing_slots(state.sequence)
    squared = torch.minimum(
        *(
            (built - atoms[..., None, :, :]).square().sum(-1)
            .mul(there[..., None, :]).sum(-1)
            for atoms in (state.atoms, swapped(state.atoms, state.sequence))
        )
    )  # fmt: skip
    rmsd = torch.sqrt(squared / there.sum(-1)[..., None].clamp(min=1))
    error = torch.where(mask, (rotamers.weight * rmsd).sum(-1), 0.0)
    # A rotamer that is kept for want of others is no rival of one at the same place.
    possible = torch.where(rotamers.weight > 0, rmsd, torch.inf)
    nearest = possible.argmin(-1, keepdim=True)
    free = free_chi(state.sequence)[..., 0] & mask & (rotamers.weight.sum(-1) > 0)
    probability = rotamers.weight.gather(-1, nearest)[..., 0]
    return error, torch.where(free, probability, torch.nan)


@torch.no_grad()
def expected_frame_error(
    network: Network,
    problem: Clean,
    held: Held,
    state: ProteinState,
    uids: Sequence[str],
    seed: int,
) -> Tensor:
    """How wrong each CA of a sample is, by the network's own estimate.

    At the end of sampling nothing is left open, and the estimate of the last step is that of a
    small correction. Therefore frames are noised again, to a middle time, and the network predicts
    from there: m, and the error e of m that it expects. If the truth lies about m with standard
    deviation e, the expected squared error of a sample x is e² + \\|x − m\\|². Types are taken as
    they were made. One evaluation of the network, where any frame is hidden.

    Parameters
    ----------
    network : callable
        `FlowNetwork`, in evaluation mode.
    problem : Clean
        Only what is held is read.
    held : Held
    state : ProteinState
        The sample, in the coordinates of the problem where frames are held.
    uids : sequence of str
    seed : int

    Returns
    -------
    (B, N) float
        Å; zero where the frame is held.
    """
    flow, mask = Flow(), problem.mask
    if not bool((~held.frames & mask).any()):
        return torch.zeros_like(state.translations[..., 0])
    sample = replace(
        problem,
        rotations=state.rotations,
        translations=state.translations,
        backbone=state.backbone,
        atoms=state.atoms,
        sequence=torch.where(mask, state.sequence, problem.sequence),
        frame_mask=torch.where(held.frames, problem.frame_mask, mask),
        oxygen_mask=torch.where(held.frames, problem.oxygen_mask, mask),
        atoms_mask=existing_slots(state.sequence) & mask[..., None],
    )
    noise = draw_noise(uids, mask.sum(1).tolist(), mask.shape[1], seed, _STEP).to(mask.device)
    noisy, target = flow.corrupt(sample, held.times(TIME_OF_FRAMES, 1.0), noise)
    if noisy.embedding_given is not None:
        # A language model has read given sequences, not those that were made.
        given = (held.sequence | ~mask).all(1)
        noisy = replace(noisy, embedding_given=noisy.embedding_given & given)
    prediction = network(noisy)
    own = torch.expm1(prediction.confidence.clamp(min=0.0, max=10.0))
    found = torch.sqrt(own.square() + frame_error(noisy, prediction, target).square())
    return torch.where(held.frames, 0.0, found)
