"""What a network is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from model.attention import ATTENTIONS, Kind
from model.attention.gaussian_attention import GAMMA_INIT
from pipeline.errors import UsageError


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes and choices of `FlowNetwork`.

    Attributes
    ----------
    attention : {"iga", "ipa"}
        Invariant Gaussian Attention, or Invariant Point Attention of AlphaFold 2 in its place.
    n_blocks : int
    c_s, c_z : int
        Channels of the single and the pair representation.
    n_heads, c_hidden : int
        Attention heads, and channels of a head's queries, keys and values.
    n_gaussians : int
        Query and key Gaussians of a head (IGA); its query and key points (IPA).
    n_points : int
        Value points of a head.
    gamma : {"softplus", "bounded"}
        How the strength of the geometric bias is kept positive.
    gamma_init : float
        Its first value.
    geometry_norm : {"zscore", "affine"}
        How the overlap becomes a bias.
    n_neighbours : int
        Residues whose atoms' distances enter the pair representation, for each residue.
    c_torsion : int
        Channels of the head that predicts χ.
    c_embedding : int
        Channels of language-model embeddings; 0 without.
    dropout : float
        Share of the numbers that attention, transitions and the input of the heads lose in
        training.
    """

    attention: Kind = "iga"
    n_blocks: int = 4
    c_s: int = 128
    c_z: int = 32
    n_heads: int = 4
    c_hidden: int = 16
    n_gaussians: int = 4
    n_points: int = 8
    gamma: Literal["softplus", "bounded"] = "softplus"
    gamma_init: float = GAMMA_INIT
    geometry_norm: Literal["zscore", "affine"] = "affine"
    n_neighbours: int = 32
    c_torsion: int = 128
    c_embedding: int = 0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.attention not in ATTENTIONS:
            known = ", ".join(ATTENTIONS)
            raise UsageError(f"attention is one of {known}, found {self.attention!r}")
        sizes = ("n_blocks", "c_s", "c_z", "n_heads", "c_hidden", "n_gaussians", "n_points")
        for name in (*sizes, "n_neighbours", "c_torsion"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is at least 1, found {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout is at least 0 and below 1, found {self.dropout}")
