"""`Flow`: frames × atoms × sequence, each residue and modality with its own time."""

from __future__ import annotations

import math
from dataclasses import replace

import roma
import torch
from torch import Tensor

from model.flow.atoms import Atoms, rotamers_of
from model.flow.backbone import ideal_backbone, oxygen_torsion
from model.flow.backbone_noise import noised_backbones
from model.flow.clean import Clean
from model.flow.frames import Frames
from model.flow.noise import Noise
from model.flow.sequence import Sequence
from model.flow.slots import existing_slots
from model.flow.state import (
    NoisyProtein,
    Prediction,
    ProteinState,
    SelfConditioning,
    Times,
)
from model.flow.target import Target
from model.flow.type_constraints import TypeConstraints
from model.torsions import chi_angles
from pipeline.residues import MASK, MAX_PEPTIDE_BOND, N_TYPES, UNKNOWN

MAX_SIZE = 1e4
"""Å. No protein reaches it; numbers beyond are what was never a coordinate."""

HELIX_TORSION = math.radians(135.0)
"""N–CA–C–O, half a turn from ψ = −45°."""


class Flow:
    """The product of the three modalities, which is made by hand: origin and slots couple them."""

    def __init__(self) -> None:
        self.frames, self.atoms, self.sequence = Frames(), Atoms(), Sequence()

    def corrupt(
        self,
        clean: Clean,
        times: Times,
        noise: Noise,
        noise_scale: float = 1.0,
        backbone_sd: Tensor | None = None,
    ) -> tuple[NoisyProtein, Target]:
        """x_t, and the answer in the same coordinates.

        What the network gets is a function of what is held (time 1), of x_t, of times and of the
        residue and chain indices. At time 0 nothing of a hidden value is in it, whatever it is, NaN
        included. A hidden value that the file lacks enters as prior noise and carries no loss.

        Parameters
        ----------
        clean : Clean
        times : Times
            1 where a value is held.
        noise : Noise
        noise_scale : float
            Multiplies the standard deviation of the normal prior.
        backbone_sd : (B,) float, optional
            Å; of noise on the backbones that are held. Everything is then a function of the noised
            backbone, but for the torsions to be learned, which are those that were measured.

        Raises
        ------
        ValueError
            A time between 0 and 1 without noise: x_t = t x₁ would be the answer.

        Returns
        -------
        NoisyProtein
            The origin is the mean CA of the residues whose frames are held, or of x_t if there are
            none.
        Target
        """
        if noise_scale == 0 and bool(((times.frames > 0) & (times.frames < 1)).any()):
            raise ValueError("without noise a protein between times 0 and 1 is the answer itself")
        measured = clean
        if backbone_sd is not None:
            clean = noised_backbones(clean, noise.backbone, backbone_sd)
        held_frames = (times.frames == 1) & clean.mask
        # Where frames are held, a residue without one is not there at all.
        mask = clean.mask & ~(held_frames & ~clean.frame_mask)
        held_frames = held_frames & clean.frame_mask
        r1, x1, b1, known = _usable_frames(clean, held_frames)
        r0, x0, b0 = self.frames.sample_prior(noise, noise_scale)
        x0 = torch.where(mask[..., None], x0, 0.0)

        origin = _mean(x1, held_frames)
        anchored = held_frames.any(1)
        x1 = torch.where(anchored[:, None, None], x1 - origin[:, None], x1)
        x0 = torch.where(anchored[:, None, None], x0, x0 - _mean(x0, mask)[:, None])
        r1, x1 = _superposed(r1, x1, x0, known, free=~anchored)

        # What is not known goes the way of noise: prior at every time.
        time = torch.where(known, times.frames, 0.0)
        rotations, translations, backbone = self.frames.interpolate(
            (r0, x0, b0), (r1, x1, b1), time, noise
        )
        centre = torch.where(anchored[:, None], 0.0, _mean(translations, mask))
        translations = torch.where(mask[..., None], translations - centre[:, None], 0.0)
        x1 = x1 - centre[:, None]

        sequence1 = torch.where(clean.mask, clean.sequence, UNKNOWN)
        sequence = self.sequence.interpolate(
            self.sequence.sample_prior(noise), sequence1, times.sequence, noise
        )
        there = mask | (clean.mask & (times.sequence == 1))
        sequence = torch.where(there, sequence, UNKNOWN)
        complete = (
            clean.complete & _finite(clean.atoms) & (clean.atoms.abs() < MAX_SIZE).all(-1).all(-1)
        )
        held_atoms = (times.atoms == 1) & complete
        shown = existing_slots(sequence) & held_atoms[..., None]
        atoms = torch.where(shown[..., None], clean.atoms, 0.0)
        times = replace(times, atoms=held_atoms.to(times.atoms.dtype))

        embedding, given = _embedding(clean, times)
        noisy = NoisyProtein(
            state=ProteinState(rotations, translations, backbone, atoms, sequence),
            times=times.within(mask),
            residue_index=clean.residue_index,
            chain_index=clean.chain_index,
            mask=mask,
            embedding=embedding,
            embedding_given=given,
        )
        hidden = times.map(lambda time: (time < 1) & mask)
        of_file = b1 if measured is clean else _usable_frames(measured, held_frames)[2]
        chi, chi_known = chi_angles(
            of_file, measured.atoms, measured.atoms_mask & known[..., None], sequence1
        )
        told = hidden.atoms & (sequence == sequence1) & clean.placed
        target = Target(
            rotations=r1,
            translations=x1,
            backbone=b1,
            chi=chi,
            sequence=sequence1,
            frame_mask=known,
            oxygen_mask=known & clean.oxygen_mask,
            frames_count=hidden.frames & known,
            oxygen_count=hidden.frames & known & clean.oxygen_mask,
            sequence_count=hidden.sequence & (sequence == MASK) & (sequence1 < N_TYPES),
            chi_count=chi_known & told[..., None],
        )
        return noisy, target

    def loss(
        self, noisy: NoisyProtein, prediction: Prediction, target: Target
    ) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
        """Endpoint errors of all modalities.

        Returns
        -------
        dict
            Name → ((B, N) error of each residue, (B, N) bool whether it counts, (B, N) its time).
        """
        counts = {
            "translation": (target.frames_count, noisy.times.frames),
            "rotation": (target.frames_count, noisy.times.frames),
            "torsion": (target.oxygen_count, noisy.times.frames),
            **dict.fromkeys(
                ("chi", "chi_offset", "chi_of_blocks"),
                # They have no time of their own; how much is told of the frames is what differs.
                (target.chi_count.any(-1), noisy.times.frames),
            ),
            "sequence": (target.sequence_count, noisy.times.sequence),
        }
        errors = {
            **self.frames.loss(noisy, prediction, target),
            **self.atoms.loss(noisy, prediction, target),
            **self.sequence.loss(noisy, prediction, target),
        }
        return {name: (error, *counts[name]) for name, error in errors.items()}

    def step(
        self,
        noisy: NoisyProtein,
        prediction: Prediction,
        next_times: Times,
        draws: Tensor,
        temperature: float = 1.0,
        *,
        constraints: TypeConstraints | None = None,
        fresh: Tensor | None = None,
    ) -> NoisyProtein:
        """One step of the sampler, from ``noisy.times`` to `next_times`.

        Frames and types move; side chains stay hidden until all of these are there.

        Parameters
        ----------
        noisy : NoisyProtein
        prediction : Prediction
            Of the clean state, from `noisy`.
        next_times : Times
            Not before the present ones; equal where a value is held.
        draws : (B, N, 21) float
            Uniform in [0, 1), for the sequence.
        temperature : float
            Of the sequence.
        constraints : TypeConstraints, optional
        fresh : (B, N, 3) float, optional
            Å; noise for a stochastic step of the translations (`Frames.step`). It is centred and
            turned where the protein is.
        """
        options = (noisy.times, next_times, draws, temperature)
        state = noisy.state
        frames = self.frames.to_clean(noisy, prediction)
        sequence = self.sequence.step(state, prediction.logits, *options, constraints=constraints)
        free = None
        if fresh is not None:
            free = ~((noisy.times.frames == 1) & noisy.mask).any(1)
            centre = torch.where(free[:, None], _mean(fresh, noisy.mask), 0.0)
            fresh = fresh - centre[:, None]
        rotations, translations, backbone = self.frames.step(
            state, frames, *options, fresh, free=free
        )
        return replace(
            noisy,
            state=ProteinState(rotations, translations, backbone, state.atoms, sequence),
            times=next_times,
            self_conditioning=self_conditioning(noisy, prediction),
        )


def self_conditioning(noisy: NoisyProtein, prediction: Prediction) -> SelfConditioning:
    """A prediction as input of the next one (T. Chen et al., "Analog bits", 2022)."""
    prediction = prediction.detach()
    mask = noisy.mask[..., None]
    return SelfConditioning(
        translations=torch.where(mask, prediction.translations, 0.0),
        sequence=torch.where(mask, prediction.logits.float().softmax(-1), 0.0),
        rotamers=rotamers_of(noisy, prediction),
        given=torch.ones(len(mask), dtype=torch.bool, device=mask.device),
    )


def _usable_frames(clean: Clean, held: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(rotations, translations, backbone, whether they are known), harmless where they are not."""
    known = clean.frame_mask & clean.mask & _finite(clean.rotations) & _finite(clean.translations)
    known = known & _finite(clean.backbone)
    # A measured frame without its O gets one, which is not scored.
    angle = _opposite_of_next(clean, known & held)
    ideal = ideal_backbone(torch.sin(angle), torch.cos(angle))
    oxygen = torch.where(clean.oxygen_mask[..., None], clean.backbone[:, :, 3], ideal[:, :, 3])
    backbone = torch.cat([clean.backbone[:, :, :3], oxygen[:, :, None]], 2)
    identity = torch.eye(3, dtype=clean.rotations.dtype, device=clean.rotations.device)
    return (
        torch.where(known[..., None, None], clean.rotations, identity),
        torch.where(known[..., None], clean.translations, 0.0),
        torch.where(known[..., None, None], backbone, 0.0),
        known,
    )


def _opposite_of_next(clean: Clean, held: Tensor) -> Tensor:
    """(B, N) torsion N–CA–C–O: O lies across C from the N that is bonded to it, or where it would
    lie in a helix if there is none. It must not tell of an N that is hidden."""
    nitrogen = clean.backbone[:, 1:, 0]
    place = (clean.rotations[:, 1:] @ nitrogen[..., None])[..., 0] + clean.translations[:, 1:]
    away = place - clean.translations[:, :-1]
    local = (clean.rotations[:, :-1].transpose(-1, -2) @ away[..., None])[..., 0]
    distance = (local - clean.backbone[:, :-1, 2]).norm(dim=-1)
    same = clean.chain_index[:, 1:] == clean.chain_index[:, :-1]
    bonded = held[:, 1:] & held[:, :-1] & same & (distance < MAX_PEPTIDE_BOND)
    three = clean.backbone[:, :-1, :3]
    psi = oxygen_torsion(torch.cat([three, local[:, :, None]], 2))
    angle = torch.full_like(clean.translations[..., 0], HELIX_TORSION)
    return torch.cat([torch.where(bonded, psi + math.pi, angle[:, :-1]), angle[:, -1:]], 1)


def _superposed(
    rotations: Tensor, x1: Tensor, x0: Tensor, known: Tensor, free: Tensor
) -> tuple[Tensor, Tensor]:
    """The proteins, with those that are free (nothing of them is held) centred, and turned onto
    their prior (W. Kabsch 1976)."""
    centred = torch.where(known[..., None], x1 - _mean(x1, known)[:, None], 0.0)
    start = torch.where(known[..., None], x0, 0.0)
    turn = roma.special_procrustes(start.transpose(1, 2) @ centred)
    identity = torch.eye(3, dtype=turn.dtype, device=turn.device)
    turn = torch.where(_finite(turn[:, None])[:, 0, None, None], turn, identity)
    r = torch.where(free[:, None, None, None], turn[:, None] @ rotations, rotations)
    x = torch.where(free[:, None, None], centred @ turn.transpose(1, 2), x1)
    return r, x


def _embedding(clean: Clean, times: Times) -> tuple[Tensor | None, Tensor | None]:
    """The embeddings of the proteins whose types are all given, and which proteins these are.

    A language model puts the types of neighbours into the embedding of a residue. So a protein of
    which one type is hidden gets no embedding at all.
    """
    if clean.embedding is None:
        return None, None
    given = ((times.sequence == 1) | ~clean.mask).all(1)
    usable = given[:, None] & clean.mask
    embedding = torch.where(usable[..., None], clean.embedding, torch.zeros_like(clean.embedding))
    return embedding, given


def _mean(points: Tensor, mask: Tensor) -> Tensor:
    """(B, 3) mean of (B, N, 3) under a mask; zero where it is empty."""
    weight = mask.to(points.dtype)[..., None]
    return (torch.where(mask[..., None], points, 0.0)).sum(1) / weight.sum(1).clamp(min=1.0)


def _finite(values: Tensor) -> Tensor:
    """(B, N) bool: everything of the residue is finite."""
    return torch.isfinite(values).flatten(2).all(-1)
