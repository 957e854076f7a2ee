"""How much of attention stays near if geometry alone decides, by its strength γ.

    python benchmarks/geometric_attention.py DATASET [--chains 150] [--markdown]

For each residue the softmax of γ z over the residues of its chain, z from the overlap of the
dataset's own ellipsoids: no content, no learned offsets, one Gaussian per residue. Printed is the
mean weight of what lies within 8 Å (CA to CA, the residue itself among them), over residues and
then over chains. γ = 0 is uniform attention.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from build_speed import format_table

from model.attention.gaussians import HeadGaussians
from model.attention.oracle import overlap, row_zscore
from pipeline.dataset import ShardDataset

GAMMAS = (0.0, 0.004, 0.05, 0.4, 2.0, 4.0, 8.0)
NEAR = 8.0
COLUMNS = ["centroid", "covariance", "atom14_positions", "residue_mask"]
CA = 1


def weight_nearby(item: Mapping[str, Any]) -> list[float]:
    """Mean weight within `NEAR` for each of `GAMMAS`."""
    known = item["residue_mask"]
    mean = item["centroid"][known].double().T[:, None, None, None]
    covariance = item["covariance"][known].double().T[:, None, None, None]
    gaussians = HeadGaussians(mean, covariance)
    z = row_zscore(overlap(gaussians, gaussians), torch.ones(1, mean.shape[-1], dtype=torch.bool))
    ca = item["atom14_positions"][known, CA].double()
    near = torch.cdist(ca, ca) <= NEAR
    return [float(((g * z[0, 0]).softmax(-1) * near).sum(-1).mean()) for g in GAMMAS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--chains", type=int, default=150, help="evenly spaced in the dataset")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    dataset = ShardDataset(options.dataset, columns=COLUMNS)
    chosen = np.linspace(0, len(dataset) - 1, min(options.chains, len(dataset))).round().astype(int)
    found = [weight_nearby(dataset[int(k)]) for k in chosen]
    rows = [
        (f"{g:g}", f"{statistics.mean(values):.3f}")
        for g, values in zip(GAMMAS, zip(*found, strict=True), strict=True)
    ]
    print(f"{len(chosen)} chains of {options.dataset.name}\n")
    print(format_table(("γ", "weight within 8 Å"), rows, options.markdown))


if __name__ == "__main__":
    main()
