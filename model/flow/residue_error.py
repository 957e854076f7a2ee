"""How wrong a residue is: the error of a prediction, and the error to expect of a sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from model.flow.atoms import nearer_labels
from model.flow.clean import Clean
from model.flow.noise import draw_noise
from model.flow.product import Flow
from model.flow.slots import existing_slots
from model.flow.state import Held, Network, NoisyProtein, Prediction, ProteinState
from model.flow.target import Target

TIME_OF_ATOMS = 0.1
"""Time to which side chains are noised, with noise of scale 0, to ask how wrong they are. Nearly
all is still open then, so that the estimate says how well the rest of the protein determines them.
docs/results.md has what other times and noise give."""

TIME_OF_FRAMES = 0.5
"""The same where frames are hidden, with noise of scale 1: the fold must still be told."""

_STEP = -1
"""Of the noise; sampling uses 0 and up."""


def residue_error(noisy: NoisyProtein, prediction: Prediction, target: Target) -> Tensor:
    """How wrong the prediction of a residue is: RMSD of CA and side chain, Å, (B, N)."""
    held = noisy.times.frames == 1
    shift = (prediction.translations - target.translations).square().sum(-1)
    local = (prediction.atoms - target.atoms).square().sum(-1)
    slots = target.atoms_mask & existing_slots(target.sequence)
    total = torch.where(slots, local, 0.0).sum(-1)
    count = slots.sum(-1)
    frames = torch.where(held, 0.0, shift)
    return torch.sqrt(frames + total / count.clamp(min=1) + 1e-8)


@torch.no_grad()
def expected_error(
    network: Network,
    problem: Clean,
    held: Held,
    state: ProteinState,
    uids: Sequence[str],
    seed: int,
    *,
    time: float | None = None,
    noise_scale: float | None = None,
) -> Tensor:
    """How wrong each residue of a sample is, by the network's own estimate.

    At the end of sampling nothing is left open, and the estimate of the last step is that of a
    small correction. Therefore the sample is noised again, to an early time, and the network
    predicts from there: m, and the error e of m that it expects. If the truth lies about m with
    standard deviation e, the expected squared error of a sample x is e² + \\|x − m\\|². Types are
    taken as they were made. One evaluation of the network.

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
    time, noise_scale : float, optional
        Another time and noise than those above.

    Returns
    -------
    (B, N) float
        Å; zero where frame and side chain are held.
    """
    flow, mask = Flow(), problem.mask
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
    # Per protein, as all of it: no number depends on what else is in the batch.
    open_frames = (~held.frames & mask).any(1)
    if time is None:
        at = torch.where(open_frames, TIME_OF_FRAMES, TIME_OF_ATOMS)[:, None]
    else:
        at = torch.full_like(mask, time, dtype=torch.float32)
    times = held.times(at, at, 1.0)
    noise = draw_noise(uids, mask.sum(1).tolist(), mask.shape[1], seed, _STEP).to(mask.device)
    if noise_scale is None:
        scale = open_frames.to(noise.atoms.dtype)[:, None, None]
    else:
        scale = torch.tensor(noise_scale, device=mask.device)
    noise = replace(
        noise, translations=noise.translations * scale, atoms=noise.atoms * scale[..., None]
    )
    noisy, target = flow.corrupt(sample, times, noise)
    if noisy.embedding_given is not None:
        # A language model has read given sequences, not those that were made.
        given = (held.sequence | ~mask).all(1)
        noisy = replace(noisy, embedding_given=noisy.embedding_given & given)
    prediction = network(noisy)
    named = nearer_labels(prediction.atoms, target.atoms, target.sequence)
    target = replace(target, atoms=named)
    error = torch.expm1(prediction.confidence.clamp(min=0.0, max=10.0))
    found = torch.sqrt(error.square() + residue_error(noisy, prediction, target).square())
    return torch.where(held.frames & held.atoms, 0.0, found)
