"""How much the predicted error tells, by the time and the noise at which the network is asked.

    python benchmarks/predicted_error.py DATASET [--ckpt FILE] [--split val] [--chains 24]

Packs chains of a split, once from no noise and several times from noise of scale 1, and compares
the RMSD of each side chain with what `model.flow.residue_error.expected_error` says at several
times and noises, and with what the last step of sampling said.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from build_speed import format_table
from numpy.typing import NDArray
from scipy.stats import spearmanr

from model.evaluate.held_out import COLUMNS, items_of
from model.flow import Clean, Held, NoisyProtein, Prediction, clean_from_batch
from model.flow.atoms import nearer_labels
from model.flow.generate import generate
from model.flow.residue_error import expected_error
from model.flow.slots import existing_slots
from model.network import FlowNetwork
from model.trained_network import load_network, open_dataset
from pipeline.batching import collate

Floats = NDArray[np.float64]
LAST_STEP = "last step of sampling"
TIMES, NOISES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5), (0.0, 1.0)


@dataclass(frozen=True)
class Packed:
    """One packing of a chain: by residue the RMSD, and what each way of asking expected."""

    uid: str
    found: Floats
    expected: dict[str, Floats]


def ways() -> dict[str, tuple[float, float]]:
    return {f"time {t:g}, noise {s:g}": (t, s) for t in TIMES for s in NOISES}


class Listening:
    """A network that remembers the errors it predicted."""

    def __init__(self, network: FlowNetwork):
        self.network = network
        self.errors: list[torch.Tensor] = []

    def __call__(self, noisy: NoisyProtein) -> Prediction:
        prediction: Prediction = self.network(noisy)
        self.errors.append(torch.expm1(prediction.confidence.clamp(0.0, 10.0)))
        return prediction


def pack(
    network: FlowNetwork, uid: str, clean: Clean, name: str, steps: int, noise: float
) -> Packed:
    """Pack one chain, and ask how wrong it is."""
    held = Held(clean.mask, torch.zeros_like(clean.mask), clean.mask)
    listening = Listening(network)
    made = generate(listening, clean, held, [name], steps=steps, noise_scale=noise)
    truth = nearer_labels(made.state.atoms, clean.atoms, clean.sequence)
    slots = existing_slots(clean.sequence)
    squared = torch.where(slots, (made.state.atoms - truth).square().sum(-1), 0.0)
    rmsd = (squared.sum(-1) / slots.sum(-1).clamp(min=1)).sqrt()
    counted = (clean.complete & clean.mask & slots.any(-1))[0]
    answers = {LAST_STEP: listening.errors[steps - 1]}
    for title, (time, scale) in ways().items():
        answers[title] = expected_error(
            network, clean, held, made.state, [name], 0, time=time, noise_scale=scale
        )
    chosen = {title: answer[0][counted].double().numpy() for title, answer in answers.items()}
    return Packed(uid, rmsd[0][counted].double().numpy(), chosen)


def correlation(a: Sequence[float] | Floats, b: Sequence[float] | Floats) -> float:
    return float(spearmanr(a, b).statistic) if len(a) > 2 and np.ptp(a) and np.ptp(b) else np.nan


def row_of(title: str, packed: Sequence[Packed]) -> tuple[str, ...]:
    found = np.concatenate([p.found for p in packed])
    expected = np.concatenate([p.expected[title] for p in packed])
    means = [(p.uid, float(p.found.mean()), float(p.expected[title].mean())) for p in packed]
    within, gain = [], []
    for uid in sorted({p.uid for p in packed}):
        real, guess = (np.array([m[k] for m in means if m[0] == uid]) for k in (1, 2))
        if len(real) > 2:
            within.append(correlation(real, guess))
            gain.append(real.mean() - real[guess.argmin()])
    return (
        title,
        f"{expected.mean():.2f}",
        f"{found.mean():.2f}",
        f"{correlation(found, expected):.3f}",
        f"{correlation([m[1] for m in means], [m[2] for m in means]):.3f}",
        f"{np.nanmean(within):.2f}" if within else "",
        f"{np.mean(gain):+.3f}" if gain else "",
    )


HEADER = (
    *("asked at", "expected, Å", "found, Å", "ρ residues", "ρ chains"),
    *("ρ packings of a chain", "gained by the best, Å"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--ckpt", type=Path, help="that of the package if not given")
    parser.add_argument("--split", default="val")
    parser.add_argument("--chains", type=int, default=24)
    parser.add_argument("--packings", type=int, default=5, help="of each chain, from noise")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    network, info = load_network(options.ckpt)
    dataset = open_dataset(
        options.dataset, None, info.network.c_embedding, columns=COLUMNS, split=options.split
    )
    items = items_of(dataset, options.chains)
    for noise, number in ((0.0, 1), (1.0, options.packings)):
        packed = []
        for item in items:
            clean = clean_from_batch(collate([item]))
            for k in range(number):
                name = f"{item['chain_uid']} packing {k}"
                packed.append(pack(network, item["chain_uid"], clean, name, options.steps, noise))
        rows = [row_of(title, packed) for title in (LAST_STEP, *ways())]
        print(f"\n{len(items)} chains, sampled from noise of scale {noise:g}, {number} each\n")
        print(format_table(HEADER, rows, options.markdown), flush=True)


if __name__ == "__main__":
    main()
