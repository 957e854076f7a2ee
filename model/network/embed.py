"""What the network is given, as node and pair features.

Both kinds of attention get the same: a comparison of them compares the attention.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from model.attention.precision import linear_in_full
from model.flow.backbone import oxygen_torsion
from model.flow.slots import N_SIDECHAIN, existing_slots
from model.flow.state import NoisyProtein
from model.gaussian_rigid import GaussianRigid
from model.network.config import NetworkConfig
from model.network.neighbours import NeighbourEdges
from model.on_device import Constant
from model.torsions import N_BINS
from model.torsions.angles import N_CHI, dihedral
from pipeline.geometry.frames import to_global
from pipeline.residues import MASK, N_TYPES

N_STATES = MASK + 1
C_TIME = 16
C_INDEX = 16
MAX_CHAINS = 8
C_BACKBONE = 8
ATOM_UNIT = 3.0
"""Å: local coordinates are given in units of this, about the length of a side chain."""

MAX_RELATIVE = 32
"""Residues apart beyond which all distances along the chain are one."""

DISTANCE_EDGES = (3.0, 4.5, 6.0, 7.5, 9.0, 11.0, 13.0, 15.0, 18.0, 21.0, 25.0, 30.0, 40.0)
"""Å, between the bins of Cα distances."""

_HELD = Constant(torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
"""Whether the frames of both, and of either residue are held: of none, of one, of both."""


class NodeEmbedding(nn.Module):
    """Node features → (B, N, c_s)."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.residue_type = nn.Embedding(N_STATES, config.c_s)
        atoms = 3 * N_SIDECHAIN
        body = atoms + N_SIDECHAIN + 3 + 3 + 2 + C_BACKBONE
        self.body = nn.Linear(body, config.c_s)
        self.context = nn.Linear(2 * C_TIME + 3 + C_INDEX + MAX_CHAINS, config.c_s)
        self.earlier = nn.Linear(N_CHI * N_BINS + N_TYPES + 1, config.c_s, bias=False)
        self.language: nn.Sequential | None = None
        if config.c_embedding:
            self.language = nn.Sequential(
                nn.LayerNorm(config.c_embedding), nn.Linear(config.c_embedding, config.c_s)
            )
            self.no_language = nn.Parameter(torch.zeros(config.c_s))
        self.mix = nn.Sequential(
            nn.LayerNorm(config.c_s),
            nn.Linear(config.c_s, 2 * config.c_s),
            nn.SiLU(),
            nn.Linear(2 * config.c_s, config.c_s),
        )

    def forward(self, noisy: NoisyProtein, rigid: GaussianRigid) -> Tensor:
        state, times = noisy.state, noisy.times
        exists = existing_slots(state.sequence)
        atoms = state.atoms / ATOM_UNIT
        angle = oxygen_torsion(state.backbone)
        body = [
            atoms.flatten(-2),
            exists.to(atoms.dtype),
            rigid.local_mean / ATOM_UNIT,
            rigid.log_scale,
            torch.stack([torch.sin(angle), torch.cos(angle)], -1),
            backbone_torsions(noisy),
        ]
        s = self.residue_type(state.sequence) + self.body(torch.cat(body, -1))
        modalities = torch.stack([times.frames, times.sequence, times.atoms], -1)
        context = [
            # Side chains have no time: they are given or not.
            time_features(modalities[..., :2]).flatten(-2),
            (modalities < 1).to(atoms.dtype),
            index_features(noisy),
            nn.functional.one_hot(noisy.chain_index.clamp(0, MAX_CHAINS - 1), MAX_CHAINS).to(
                atoms.dtype
            ),
        ]
        s = s + self.context(torch.cat(context, -1))
        earlier = noisy.self_conditioning
        if earlier is not None:
            given = earlier.given[:, None, None].to(atoms.dtype).expand(*atoms.shape[:2], 1)
            known = [earlier.rotamers.marginal.flatten(-2), earlier.sequence]
            s = s + self.earlier(torch.cat([*known, given], -1) * given)
        else:
            # Zeros through the same layer, which change nothing: on several devices, every weight
            # must have a gradient in every step.
            s = s + self.earlier(s.new_zeros(1, 1, self.earlier.in_features))
        if self.language is not None:
            s = s + self._language(noisy, s)
        return s + self.mix(s)

    def _language(self, noisy: NoisyProtein, s: Tensor) -> Tensor:
        assert self.language is not None
        if noisy.embedding is None or noisy.embedding_given is None:
            return self.no_language.expand_as(s)
        embedded = self.language(noisy.embedding.to(s.dtype))
        return torch.where(noisy.embedding_given[:, None, None], embedded, self.no_language)


class PairEmbedding(nn.Module):
    """Pair features → (B, N, N, c_z): place along the chain, Cα distances, atoms of neighbours."""

    edges: Tensor

    def __init__(self, config: NetworkConfig):
        super().__init__()
        n_bins = len(DISTANCE_EDGES) + 1
        self.relative = nn.Embedding(2 * (MAX_RELATIVE + 1) + 2, config.c_z)
        self.distance = nn.Embedding(n_bins, config.c_z)
        # The first row is for "no earlier prediction" and stays zero.
        self.earlier = nn.Embedding(n_bins + 1, config.c_z, padding_idx=0)
        self.held = nn.Linear(2, config.c_z, bias=False)
        self.neighbours = NeighbourEdges(config.c_z, config.n_neighbours)
        self.norm = nn.LayerNorm(config.c_z)
        self.register_buffer("edges", torch.tensor(DISTANCE_EDGES), persistent=False)

    def forward(self, noisy: NoisyProtein) -> Tensor:
        index, chain = noisy.residue_index, noisy.chain_index
        apart = index[:, :, None] - index[:, None, :]
        same = chain[:, :, None] == chain[:, None, :]
        beyond = MAX_RELATIVE + 1
        # 0 is for residues of other chains, which have no place along this one.
        relative = torch.where(same, apart.clamp(-beyond, beyond) + beyond + 1, 0)
        z = self.relative(relative)
        z.add_(nn.functional.embedding(self._kinds(noisy), self._table()))
        return self.norm(self.neighbours(z, noisy))

    def _kinds(self, noisy: NoisyProtein) -> Tensor:
        """(B, N, N) rows of `_table`."""
        kinds = self._bins(noisy.state.translations) * self.earlier.num_embeddings
        earlier = noisy.self_conditioning
        if earlier is not None:
            bins = self._bins(earlier.translations) + 1
            kinds = kinds + torch.where(earlier.given[:, None, None], bins, 0)
        # Whether a distance is measured or noise depends on the frames of both residues.
        held = (noisy.times.frames == 1).long()
        return kinds * len(_HELD) + (held[:, :, None] + held[:, None, :])

    def _table(self) -> Tensor:
        """(14 · 15 · 3, c_z) sums of what distance, earlier distance and held frames tell.

        An array of all pairs is written and read many times slower than this table is made.
        """
        distance = self.distance.weight
        numbers = torch.arange(self.earlier.num_embeddings, device=distance.device)
        held = linear_in_full(self.held, _HELD.like(distance), distance.dtype)
        return (distance[:, None, None] + self.earlier(numbers)[:, None] + held).flatten(0, 2)

    def _bins(self, points: Tensor) -> Tensor:
        squared = sum((points[:, :, None, k] - points[:, None, :, k]).square() for k in range(3))
        assert isinstance(squared, Tensor)
        return torch.bucketize(squared, self.edges.square())


# Compiled with a size that varies, torch 2.13 looks up residues that are not there.
@torch.compiler.disable
def backbone_torsions(noisy: NoisyProtein) -> Tensor:
    """(B, N, 8) sines and cosines of φ, ψ and ω; then whether there is a residue before, and after.

    ω is that of the bond to the residue before. A residue is next to another by its index.
    """
    state, index, chain = noisy.state, noisy.residue_index, noisy.chain_index
    both = noisy.mask[:, :, None] & noisy.mask[:, None, :]
    both = both & (chain[:, :, None] == chain[:, None, :])
    apart = index[:, :, None] - index[:, None, :]
    points = to_global(state.rotations, state.translations, state.backbone)
    n, ca, c, _ = points.unbind(2)
    found = []
    present = []
    for step in (1, -1):
        there = both & (apart == step)
        which = there.to(torch.uint8).argmax(-1)[..., None].expand_as(n)
        other = [x.gather(1, which) for x in (n, ca, c)]
        found += (
            [dihedral(other[2], n, ca, c), dihedral(other[1], other[2], n, ca)]
            if step == 1
            else [dihedral(n, ca, c, other[0])]
        )
        present += [there.any(-1)] * (2 if step == 1 else 1)
    angles = torch.stack(found, -1)
    known = torch.stack(present, -1)
    waves = torch.stack([torch.sin(angles), torch.cos(angles)], -1)
    waves = torch.where(known[..., None], waves, 0.0).flatten(-2)
    return torch.cat([waves, known[..., 1:].to(waves.dtype)], -1)


def time_features(time: Tensor) -> Tensor:
    """(..., 16) sines and cosines of a time in [0, 1]."""
    half = C_TIME // 2
    frequency = torch.exp(torch.arange(half, device=time.device) * (math.log(100.0) / (half - 1)))
    angle = time[..., None] * frequency
    return torch.cat([torch.sin(angle), torch.cos(angle)], -1)


def index_features(noisy: NoisyProtein) -> Tensor:
    """(B, N, 16) sines and cosines of the place along the chain, counted from its first residue."""
    index, chain = noisy.residue_index, noisy.chain_index
    same = (chain[:, :, None] == chain[:, None, :]) & noisy.mask[:, None, :]
    far = torch.iinfo(index.dtype).max
    first = torch.where(same, index[:, None, :], far).amin(-1)
    place = torch.where(first == far, 0, index - first).to(noisy.state.translations.dtype)
    half = C_INDEX // 2
    frequency = torch.exp(
        torch.arange(half, device=place.device) * (-math.log(1000.0) / (half - 1))
    )
    angle = place[..., None] * frequency
    return torch.cat([torch.sin(angle), torch.cos(angle)], -1)
