"""Where the atoms of near residues are: edges of the pair representation.

Distances as radial basis functions, and the relative orientation, are what the networks that pack
side chains best go by (PIPPack, N. Z. Randolph and B. Kuhlman, 2024; ProteinMPNN, J. Dauparas et
al., 2022). They are computed for the nearest residues alone and added into the dense
representation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.flow.state import NoisyProtein
from model.network.radial import N_BASES, radial_product
from model.on_device import Constant
from model.torsions import build
from model.torsions.angles import N_CHI
from pipeline.geometry.frames import to_global, to_local
from pipeline.residues import MASK, UNKNOWN
from pipeline.residues.geometry import GROUP

N_POINTS = 5
"""N, CA, C, O and a virtual CB; of glycine as well, since a real one would tell the type."""

OUT_OF_REACH = 1e5
"""Å, a coordinate."""

C_ORIENTATION = 9 + 3

_in_group = torch.zeros(MASK + 1, N_CHI, 10)
_in_group[: UNKNOWN + 1, :, 1:] = (
    torch.from_numpy(GROUP.astype("int64"))[:, None] == torch.arange(N_CHI)[:, None]
).float()
_IN_GROUP = Constant(_in_group)


class NeighbourEdges(nn.Module):
    """Features of the edges to the nearest residues, (B, N, K, c_z), and which they are.

    Parameters
    ----------
    c_z : int
    n_neighbours : int
        Residues whose virtual CB are nearest, the residue itself among them.
    """

    def __init__(self, c_z: int, n_neighbours: int):
        super().__init__()
        self.n_neighbours = n_neighbours
        self.orientation = nn.Linear(C_ORIENTATION, c_z)
        self.backbone = nn.Linear(N_POINTS * N_POINTS * N_BASES, c_z, bias=False)
        # What is earlier may not be there: no bias.
        self.side_chain = nn.Linear(N_POINTS * N_CHI * N_BASES, c_z, bias=False)

    # Geometry without gradients is not what a compiler speeds up.
    @torch.compiler.disable
    def forward(self, z: Tensor, noisy: NoisyProtein) -> Tensor:
        """`z` (B, N, N, c_z) with the features of near pairs added in place."""
        state, mask = noisy.state, noisy.mask
        nothing = state.backbone.new_zeros(*mask.shape, N_CHI)
        unknown = torch.full_like(state.sequence, UNKNOWN)
        cb = build(nothing, unknown, state.backbone, mask)[:, :, :1]
        local = torch.cat([state.backbone, cb], 2)
        points = to_global(state.rotations, state.translations, local)
        neighbours, there = _nearest(points[:, :, 4], mask, self.n_neighbours)
        of_others = _take(points, neighbours)
        rotations = _take(state.rotations, neighbours)
        turned = (state.rotations[:, :, None, :, :, None] * rotations[..., None, :]).sum(-3)
        way = to_local(state.rotations, state.translations, of_others[:, :, :, 1])
        away = torch.sqrt(way.square().sum(-1, keepdim=True) + 1e-4)
        edges = self.orientation(torch.cat([turned.flatten(-2), way / away], -1))
        edges = edges + radial_product(points, of_others, self.backbone.weight)
        side_chains = self._side_chains(noisy)
        if side_chains is not None:
            of_others = _take(side_chains, neighbours)
            edges = edges + radial_product(points, of_others, self.side_chain.weight)
        else:
            # Nothing, of which the layer is nevertheless a part: on several devices every weight
            # must have its gradient in every step.
            nothing_there = edges.new_zeros(1, 1, 1, self.side_chain.in_features)
            edges = edges + self.side_chain(nothing_there)
        edges = torch.where(there[..., None], edges, 0.0).to(z.dtype)
        return z.scatter_add_(2, neighbours[..., None].expand_as(edges), edges)

    def _side_chains(self, noisy: NoisyProtein) -> Tensor | None:
        """Centres (B, N, 4, 3) of what each χ turns, given or earlier; out of reach without atoms.

        None: no side chain is given, and there is no earlier prediction. A GPU would have to be
        waited for to know that none is given; it computes their features, which are zeros.
        """
        state, given = noisy.state, (noisy.times.atoms == 1) & noisy.mask
        atoms, known = state.atoms, given
        if noisy.self_conditioning is not None:
            rotamers = noisy.self_conditioning.rotamers
            built = build(rotamers.likeliest(), state.sequence, state.backbone, noisy.mask)
            atoms = torch.where(given[..., None, None], atoms, built)
            known = given | (rotamers.weight.sum(-1) > 0)
        elif given.device.type == "cpu" and not bool(given.any()):
            return None
        weight = _IN_GROUP.like(atoms)[state.sequence] * known[..., None, None]
        count = weight.sum(-1)
        local = (weight @ atoms) / count.clamp(min=1)[..., None]
        centres = to_global(state.rotations, state.translations, local)
        return torch.where((count > 0)[..., None], centres, OUT_OF_REACH)


def _nearest(points: Tensor, mask: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """(B, N, K) numbers of the nearest of points (B, N, 3), and whether there are so many."""
    squared = _squared(points[:, :, None], points[:, None])
    both = mask[:, :, None] & mask[:, None, :]
    far = squared.masked_fill(~both, torch.inf)
    nearest, which = far.topk(min(number, far.shape[-1]), largest=False)
    return which, torch.isfinite(nearest)


def _squared(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances of points (..., 3), component by component: arrays of 3 are slow."""
    x, y, z = ((a[..., k] - b[..., k]).square_() for k in range(3))
    return x.add_(y).add_(z)


def _take(values: Tensor, which: Tensor) -> Tensor:
    """(B, N, K, …) of values (B, N, …)."""
    batch = torch.arange(len(which), device=which.device)[:, None, None]
    return values[batch, which]
