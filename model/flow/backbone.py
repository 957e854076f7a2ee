"""The backbone in its own frame: ideal N, CA and C, and O by one torsion about CA–C."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from model.on_device import Constant

# Bond lengths and angles of R. A. Engh and R. Huber, Acta Cryst. A47, 392 (1991): N–CA 1.458 Å,
# CA–C 1.525 Å, C–O 1.231 Å, N–CA–C 111.2°, CA–C–O 120.8°.
_N_CA_C = math.radians(111.2)
_CA_C_O = math.radians(120.8)
IDEAL_N = (1.458 * math.cos(_N_CA_C), 1.458 * math.sin(_N_CA_C), 0.0)
IDEAL_C = (1.525, 0.0, 0.0)
_IDEAL = Constant(torch.tensor([IDEAL_N, IDEAL_C], dtype=torch.float64))
_O_ALONG = 1.525 - 1.231 * math.cos(_CA_C_O)
_O_ASIDE = 1.231 * math.sin(_CA_C_O)


def ideal_backbone(sin: Tensor, cos: Tensor) -> Tensor:
    """N, CA, C and O in the frame, of ideal geometry.

    Parameters
    ----------
    sin, cos : (...) float
        Of the torsion N–CA–C–O (IUPAC sign); a unit vector.

    Returns
    -------
    (..., 4, 3) float
        Å.
    """
    oxygen = torch.stack([torch.full_like(sin, _O_ALONG), _O_ASIDE * cos, _O_ASIDE * sin], dim=-1)
    n, c = (atom.expand_as(oxygen) for atom in _IDEAL.like(oxygen))
    return torch.stack([n, torch.zeros_like(oxygen), c, oxygen], dim=-2)


def oxygen_torsion(backbone: Tensor) -> Tensor:
    """Torsion N–CA–C–O of local backbones, in radians.

    CA–C is the x axis and N lies in the xy plane at y > 0: the torsion is the angle of O about x.

    Parameters
    ----------
    backbone : (..., 4, 3) float

    Returns
    -------
    (...) float
        In (−π, π].
    """
    return torch.atan2(backbone[..., 3, 2], backbone[..., 3, 1])
