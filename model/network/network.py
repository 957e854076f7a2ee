"""`FlowNetwork`: embeddings, blocks of attention that move the protein, heads."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.attention import build_attention
from model.attention.gaussian_attention import Implementation
from model.attention.precision import linear_in_full
from model.flow.frames import MAX_AMPLIFIED_TIME
from model.flow.state import NoisyProtein, Prediction
from model.gaussian_rigid import GaussianRigid
from model.network.config import NetworkConfig
from model.network.ellipsoids import Ellipsoids
from model.network.embed import NodeEmbedding, PairEmbedding
from model.torsions import (
    N_BINS,
    ChiDistribution,
    ChiHead,
    independent,
    library_rotamers,
)
from model.torsions.angles import N_CHI
from pipeline.residues import N_TYPES

STEP = 3.0
"""Å: the translation of a block's update of frames is in units of this."""


@dataclass(frozen=True)
class BlockInput:
    """What the attention of a block is given, in the order of its arguments."""

    s: Tensor
    z: Tensor
    rigid: GaussianRigid
    mask: Tensor


class Transition(nn.Module):
    """Gated feed-forward (N. Shazeer, "GLU variants improve transformer", 2020)."""

    def __init__(self, c: int):
        super().__init__()
        self.norm = nn.LayerNorm(c)
        self.gate_and_value = nn.Linear(c, 4 * c)
        self.out = nn.Linear(2 * c, c)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, s: Tensor) -> Tensor:
        gate, value = self.gate_and_value(self.norm(s)).chunk(2, -1)
        return self.out(nn.functional.silu(gate) * value)


class Block(nn.Module):
    """Attention, transition, an update of frames, and what it takes the side chains for."""

    def __init__(self, config: NetworkConfig, implementation: Implementation):
        super().__init__()
        self.norm = nn.LayerNorm(config.c_s)
        self.attention = build_attention(
            config.attention,
            c_s=config.c_s,
            c_z=config.c_z,
            n_heads=config.n_heads,
            c_hidden=config.c_hidden,
            n_gaussians=config.n_gaussians,
            n_points=config.n_points,
            gamma=config.gamma,
            gamma_init=config.gamma_init,
            geometry_norm=config.geometry_norm,
            implementation=implementation,
        )
        self.transition = Transition(config.c_s)
        self.dropout = nn.Dropout(config.dropout)
        self.update_norm = nn.LayerNorm(config.c_s)
        self.update_frames = _zero(nn.Linear(config.c_s, 6))
        self.torsions = _zero(nn.Linear(config.c_s, N_CHI * N_BINS))

    def forward(self, s: Tensor, z: Tensor, rigid: GaussianRigid, mask: Tensor) -> Tensor:
        s = s + self.dropout(self.attention(self.norm(s), z, rigid, mask))
        return s + self.dropout(self.transition(s))


class FlowNetwork(nn.Module):
    """Predicts the clean state of a noisy protein, for every task.

    Each block sees the ellipsoids of the protein as the blocks before have made it, starting from
    x_t. What is held clean is not changed. The ellipsoid of a hidden side chain is that of a
    distribution over rotamers: its type's, then the earlier prediction's, then the blocks'.

    Parameters
    ----------
    config : NetworkConfig
    implementation : {"auto", "tiled", "triton", "oracle"}
        Of Gaussian attention. The weights are the same; "oracle" keeps everything of size
        N² · heads · Gaussians, for tests.
    """

    def __init__(self, config: NetworkConfig, implementation: Implementation = "auto"):
        super().__init__()
        self.config = config
        self.nodes = NodeEmbedding(config)
        self.pairs = PairEmbedding(config)
        self.blocks = nn.ModuleList(Block(config, implementation) for _ in range(config.n_blocks))
        # What the last block takes side chains for is the prediction itself.
        del self.blocks[-1].torsions
        self.norm = nn.LayerNorm(config.c_s)
        self.dropout = nn.Dropout(config.dropout)
        self.torsion = nn.Linear(config.c_s, 2)
        self.chi = ChiHead(config.c_s, config.c_torsion)
        self.types = _zero(nn.Linear(config.c_s, N_TYPES))
        self.confidence = nn.Sequential(
            nn.Linear(config.c_s, config.c_s // 2), nn.SiLU(), nn.Linear(config.c_s // 2, 1)
        )

    def forward(self, noisy: NoisyProtein, capture: list[BlockInput] | None = None) -> Prediction:
        """Predict.

        Parameters
        ----------
        noisy : NoisyProtein
        capture : list, optional
            Filled with what the attention of each block is given, for those who want to look.
        """
        state, times, mask = noisy.state, noisy.times, noisy.mask
        frames_hidden = (times.frames < 1)[..., None]
        # Geometry stays in float32 (or float64), whatever autocast makes of the rest, and so do the
        # layers that coordinates come from: 16 bits are 0.03 Å of a step of 10 Å.
        dtype = state.rotations.dtype
        # Where all frames are held (packing, design), attention need not find out what would move
        # them. A GPU would have to be waited for to know.
        all_held = mask.device.type == "cpu" and not bool(frames_hidden.any())
        reach = (1 - times.frames.clamp(max=MAX_AMPLIFIED_TIME))[..., None]
        rotations, translations = state.rotations, state.translations
        rotamers = library_rotamers(state.sequence, dtype)
        if noisy.self_conditioning is not None:
            rotamers = noisy.self_conditioning.rotamers.or_else(rotamers)
        ellipsoids = Ellipsoids(noisy)
        rigid = ellipsoids.of(rotations, translations, rotamers)
        s = self.nodes(noisy, rigid)
        z = self.pairs(noisy)
        chi_of_blocks: list[Tensor] = []
        for block in self.blocks:
            assert isinstance(block, Block)
            if capture is not None:
                capture.append(BlockInput(block.norm(s), z, rigid, mask))
            s = block(s, z, rigid, mask)
            features = block.update_norm(s)
            step = linear_in_full(block.update_frames, features, dtype) * reach
            step = torch.cat([step[..., :3], STEP * step[..., 3:]], -1)
            new = rigid.update_frame(step)
            rotations = torch.where(frames_hidden[..., None], new.rotations, rotations)
            translations = torch.where(frames_hidden, new.translations, translations)
            if len(chi_of_blocks) + 1 < len(self.blocks):
                logits = block.torsions(features).to(dtype).unflatten(-1, (N_CHI, N_BINS))
                chi_of_blocks.append(logits)
                taken = ChiDistribution(logits.detach(), state.sequence, independent, dtype)
                places = (rotations, translations)
                if all_held:
                    places = (state.rotations, state.translations)
                rigid = ellipsoids.of(*places, taken.rotamers())
        s = self.dropout(self.norm(s))
        none = s.new_zeros(*mask.shape, 0, N_CHI, N_BINS, dtype=dtype)
        return Prediction(
            rotations=rotations,
            translations=translations,
            torsion=linear_in_full(self.torsion, s, dtype),
            chi=ChiDistribution(s, state.sequence, self.chi, dtype),
            chi_of_blocks=torch.stack(chi_of_blocks, 2) if chi_of_blocks else none,
            logits=self.types(s).to(dtype),
            # It learns how wrong the prediction is, and must not make it easier to tell.
            confidence=self.confidence(s.detach())[..., 0].to(dtype),
        )

    def output_layers(self) -> list[nn.Module]:
        """Those whose results are logits, angles or steps, and not features of another layer."""
        last = {"update_frames", "torsions"}
        of_blocks = [m for b in self.blocks for name, m in b.named_children() if name in last]
        return [self.torsion, self.chi.out, self.types, self.confidence, *of_blocks]


def _zero(linear: nn.Linear) -> nn.Linear:
    """Begins by predicting nothing, so that the first step is not thrown by chance."""
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
