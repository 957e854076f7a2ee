"""`Ellipsoids`: of residues whose side chains are given, or are taken for something."""

from __future__ import annotations

import torch
from torch import Tensor

from model.flow.slots import existing_slots
from model.flow.state import NoisyProtein
from model.gaussian_rigid import GaussianRigid
from model.torsions import Rotamers, build, free_chi
from model.torsions.angles import N_CHI
from pipeline.geometry.gaussians import rotamer_moments

_EVERYWHERE = (slice(None), slice(None))


class Ellipsoids:
    """Of a noisy protein, for whatever its hidden side chains are taken for.

    What does not depend on that is computed once for all blocks of the network: side chains that
    are given, and those that have no torsions, or no type yet, and so one conformation.

    Parameters
    ----------
    noisy : NoisyProtein
    """

    def __init__(self, noisy: NoisyProtein):
        state, mask = noisy.state, noisy.mask
        self._noisy, self._body = noisy, existing_slots(state.sequence)
        self._hidden = (noisy.times.atoms < 1)[..., None]
        frames = (state.rotations, state.translations)
        self._fixed = GaussianRigid.from_frames(
            *frames, state.backbone, state.atoms, self._body, mask
        )
        # A GPU would have to be waited for to know which residues turn.
        self._turning: tuple[Tensor, ...] | None = None
        if mask.device.type == "cpu":
            turning = free_chi(state.sequence)[..., 0] & self._hidden[..., 0] & mask
            self._turning = turning.nonzero(as_tuple=True)
            one = state.backbone.new_zeros(*mask.shape, 1, N_CHI)
            mean, std = self._moments(_EVERYWHERE, one, torch.ones_like(one[..., 0]))
            self._fixed = self._hide(GaussianRigid.from_moments(*frames, mean, std, mask))

    def of(self, rotations: Tensor, translations: Tensor, rotamers: Rotamers) -> GaussianRigid:
        """In frames (B, N), with what hidden side chains are taken for."""
        rows = _EVERYWHERE if self._turning is None else self._turning
        mean, std = self._moments(rows, rotamers.chi[rows], rotamers.weight[rows])
        of_rows = GaussianRigid.from_moments(
            rotations[rows], translations[rows], mean, std, self._noisy.mask[rows]
        )
        if self._turning is None:
            found = self._hide(of_rows)
            local_mean, log_scale = found.local_mean, found.log_scale
        else:
            local_mean = self._fixed.local_mean.index_put(self._turning, of_rows.local_mean)
            log_scale = self._fixed.log_scale.index_put(self._turning, of_rows.log_scale)
        return GaussianRigid(rotations, translations, local_mean, log_scale)

    def _hide(self, taken: GaussianRigid) -> GaussianRigid:
        """Where side chains are hidden, what they are taken for."""
        return GaussianRigid(
            taken.rotations,
            taken.translations,
            torch.where(self._hidden, taken.local_mean, self._fixed.local_mean),
            torch.where(self._hidden, taken.log_scale, self._fixed.log_scale),
        )

    def _moments(
        self, rows: tuple[Tensor | slice, ...], chi: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (..., 3) of the atoms of some residues, in their frames."""
        state = self._noisy.state
        backbone = state.backbone[rows]
        built = build(chi, state.sequence[rows], backbone, self._noisy.mask[rows])
        return rotamer_moments(backbone, built, self._body[rows], weight)
