"""A small untrained network for the tests of sampling, and inputs made of a real entry."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from model.checkpoint import CheckpointInfo, save_flow
from model.network import FlowNetwork, NetworkConfig
from pipeline.sources import decompress
from tests.support.places import EXAMPLES

UBIQUITIN = EXAMPLES / "1ubi.pdb.zst"

CONFIG = NetworkConfig(n_blocks=1, c_s=16, c_z=8, n_heads=2, c_hidden=4, n_gaussians=2, n_points=2)


def small_network() -> FlowNetwork:
    """Its heads are not zero, so that every output depends on every input."""
    torch.manual_seed(7)
    network = FlowNetwork(CONFIG)
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.05)
        network.confidence[-1].bias.fill_(1.0)
    return network.eval()


def save_small_network(path: Path) -> Path:
    assert asdict(CONFIG)
    save_flow(path, small_network().state_dict(), CheckpointInfo(CONFIG))
    return path


def ubiquitin_lines() -> list[str]:
    text = decompress(UBIQUITIN.read_bytes(), 1 << 24).decode()
    return [line for line in text.splitlines() if line.startswith("ATOM  ")]


def first(n: int) -> list[str]:
    """Lines of the first residues of ubiquitin."""
    return [line for line in ubiquitin_lines() if int(line[22:26]) <= n]


def number_of(line: str) -> str:
    return line[22:26].strip()


def named(lines: list[str], number: str, comp: str) -> list[str]:
    """The lines, one residue of which has another name."""
    return [
        f"HETATM{line[6:17]}{comp}{line[20:]}" if number_of(line) == number else line
        for line in lines
    ]


def is_backbone(line: str) -> bool:
    return line[12:16].strip() in ("N", "CA", "C", "O", "OXT")


def with_other_side_chains(lines: list[str]) -> list[str]:
    """Side-chain atoms far from where they are."""
    random = np.random.default_rng(3)
    changed = []
    for line in lines:
        if not is_backbone(line):
            x, y, z = random.uniform(-90, 90, 3)
            line = f"{line[:30]}{x:8.3f}{y:8.3f}{z:8.3f}{line[54:]}"
        changed.append(line)
    return changed


def with_other_types(lines: list[str]) -> list[str]:
    """The backbone alone, all its residues alanine."""
    return [f"{line[:17]}ALA{line[20:]}" for line in lines if is_backbone(line)]


def write_pdb(path: Path, lines: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, "END", ""]))
    return path
