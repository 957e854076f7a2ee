"""Side chains: distributions over torsions, which do not flow.

A side chain is given, or hidden whole. Of a hidden one the network predicts p(χ), and sees its own
earlier prediction; nothing of the answer is mixed with noise. While a residue's type is hidden it
has a CB and no side chain.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.flow.slots import existing_slots
from model.flow.state import NoisyProtein, Prediction
from model.flow.target import Target
from model.torsions import Rotamers, build, smoothed
from model.torsions.angles import periodic_chi
from model.torsions.distribution import ChiDistribution, independent
from model.torsions.obstacles import Obstacles
from model.torsions.settle import settle
from pipeline.geometry.frames import to_global


class Atoms:
    """The modality of side chains, (B, N, 10, 3) in the frames."""

    def to_clean(self, noisy: NoisyProtein, prediction: Prediction) -> Tensor:
        """The likeliest rotamers; what is given stays as it is."""
        return self.placed(noisy, prediction.chi.rotamers().likeliest())

    def placed(self, noisy: NoisyProtein, chi: Tensor) -> Tensor:
        """Side chains of these torsions where they are hidden.

        Parameters
        ----------
        noisy : NoisyProtein
        chi : (B, N, 4) float
            Radians. Where they are no numbers, neither are the atoms.
        """
        state = noisy.state
        built = build(chi, state.sequence, state.backbone, noisy.mask)
        # The builder takes what is no number for an ideal torsion.
        built = torch.where(torch.isfinite(chi).all(-1)[..., None, None], built, torch.nan)
        hidden = (noisy.times.atoms < 1) & noisy.mask
        shown = existing_slots(state.sequence) & noisy.mask[..., None]
        atoms = torch.where(hidden[..., None, None], built, state.atoms)
        return torch.where(shown[..., None], atoms, 0.0)

    def loss(
        self, noisy: NoisyProtein, prediction: Prediction, target: Target
    ) -> dict[str, Tensor]:
        """Of each residue the sum over its torsions that count.

        ``chi``: cross-entropy in nats of the smoothed bins, each χ given the true ones before it.
        ``chi_offset``: Huber, in bins, of the offset within these bins. ``chi_of_blocks``: the
        cross-entropy of what the blocks took the side chain for, each χ by itself, their mean.
        """
        counted = target.chi_count
        periodic = periodic_chi(noisy.state.sequence)
        wanted, away = smoothed(target.chi, periodic)
        log_p, offsets = prediction.chi.given(target.chi)
        offset = torch.nn.functional.huber_loss(offsets, away, reduction="none")
        found = {
            "chi": _cross_entropy(wanted, log_p),
            # What a bin that is nearly never right would be moved by is not asked.
            "chi_offset": torch.where(wanted > 1e-3, wanted * offset, 0.0).sum(-1),
        }
        blocks = prediction.chi_of_blocks.unbind(2)
        each = [
            ChiDistribution(logits, noisy.state.sequence, independent, log_p.dtype)
            for logits in blocks
        ]
        entropies = [_cross_entropy(wanted, one.given(target.chi)[0]) for one in each]
        found["chi_of_blocks"] = sum(entropies, torch.zeros_like(found["chi"])) / max(
            len(entropies), 1
        )
        return {name: torch.where(counted, error, 0.0).sum(-1) for name, error in found.items()}


def rotamers_of(noisy: NoisyProtein, prediction: Prediction) -> Rotamers:
    """What a prediction makes of the hidden side chains; weights of 0 where there is none."""
    found = prediction.detach().chi.rotamers()
    hidden = (noisy.times.atoms < 1) & noisy.mask
    return found.map(
        lambda value: torch.where(hidden[(...,) + (None,) * (value.ndim - 2)], value, 0.0)
    )


def settled(noisy: NoisyProtein, rotamers: Rotamers, obstacles: Obstacles | None = None) -> Tensor:
    """(B, N, 4) the torsions that `settle` chooses, around the side chains that are given.

    `obstacles` are in the coordinates of `noisy`.
    """
    state = noisy.state
    built = build(rotamers.chi, state.sequence, state.backbone, noisy.mask)
    hidden = (rotamers.weight.sum(-1) > 0)[..., None]
    local = torch.where(hidden[..., None, None], built, state.atoms[:, :, None])
    first = torch.zeros_like(rotamers.weight)
    first[..., 0] = 1.0
    chosen = settle(
        torch.where(hidden, rotamers.weight, first),
        to_global(state.rotations, state.translations, local),
        to_global(state.rotations, state.translations, state.backbone),
        state.sequence,
        noisy.mask,
        obstacles,
    )
    of_residue = chosen[..., None, None].expand(*chosen.shape, 1, rotamers.chi.shape[-1])
    chi = rotamers.chi.gather(-2, of_residue)[..., 0, :]
    return chi + 0.0 * rotamers.weight.sum(-1, keepdim=True)


def _cross_entropy(wanted: Tensor, log_p: Tensor) -> Tensor:
    # Bins that a π-periodic torsion does not have: 0 · −∞.
    return -(wanted * torch.where(wanted > 0, log_p, 0.0)).sum(-1)
