"""What a step of training costs: processor time, and what is kept for the backward pass.

    python benchmarks/training_step.py DATASET [--config packing|design] [--residues 512]
        [--length 128] [--markdown]

One batch of chains of a dataset that have about the length, cropped to it; the network and the
optimizer of `packing.yaml` or `design.yaml`, and this task; one thread, time of the process. A step
is as many passes as training draws on average, the last of them with gradients, and one of the
optimizer. *Without neighbours* leaves out the pair features of
neighbours (`model.network.neighbours`), which is what they cost. *Trained* has the weights of the
package, whose attention knows where to look: numbers are smaller there, and small ones can cost
more.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import yaml
from build_speed import describe_machine, format_table
from torch import Tensor, nn
from torch.optim import Optimizer

from model.checkpoint import load_flow
from model.flow import (
    TASKS,
    Flow,
    NoisyProtein,
    Prediction,
    clean_from_batch,
    draw_noise,
    draw_times,
)
from model.flow.generate import PASSES
from model.flow.product import self_conditioning
from model.flow.target import Target
from model.flow.tasks import held_for
from model.losses import FlowLoss
from model.network import FlowNetwork, NetworkConfig
from model.train.command import COLUMNS
from model.train.optimizer import OptimizerConfig, build_optimizer
from pipeline.batching import collate
from pipeline.dataset import ContiguousCrop, ShardDataset

CONFIGS = Path(__file__).parents[1] / "model" / "configs"


class Nothing(nn.Module):
    """In the place of the neighbours."""

    def forward(self, z: Tensor, noisy: NoisyProtein) -> Tensor:
        return z


def batch_of(
    path: Path, residues: int, length: int, task: str = "packing"
) -> tuple[NoisyProtein, Target]:
    """As many chains as have so many residues together."""
    dataset = ShardDataset(
        path, columns=COLUMNS, where=f"length >= {length}", crop=ContiguousCrop(length), seed=0
    )
    number = max(1, residues // length)
    batch = collate([dataset[k] for k in range(number)])
    clean = clean_from_batch(batch)
    noise = draw_noise(batch["chain_uid"], batch["lengths"], clean.mask.shape[1], 0, 1)
    tasks = torch.full((number,), TASKS.index(task))
    held = held_for(tasks, clean, noise)
    return Flow().corrupt(clean, draw_times(held, noise), noise)


def seconds(work: Callable[[], object], repeats: int) -> float:
    """The least of some times of the process."""
    work()
    found = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found)


def kept_bytes(work: Callable[[], object]) -> int:
    """Of all that autograd keeps for the backward pass, each storage once."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        total = work()
    del total
    return sum(kept.values())


def measure(
    network: FlowNetwork,
    optimizer: Optimizer,
    noisy: NoisyProtein,
    target: Target,
    repeats: int,
    half: bool,
) -> tuple[float, float, float, float, int]:
    """Seconds of a pass, of the last pass with its gradients, of the optimizer, and of a mean step;
    bytes kept."""
    loss = FlowLoss()

    def predicted(given: NoisyProtein) -> Prediction:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            return network(given)

    @torch.no_grad()
    def earlier() -> NoisyProtein:
        return replace(noisy, self_conditioning=self_conditioning(noisy, predicted(noisy)))

    known = earlier()

    def forward() -> Tensor:
        return loss(known, predicted(known), target)[0]

    def step() -> None:
        network.zero_grad()
        forward().backward()

    one, last = seconds(earlier, repeats), seconds(step, repeats)
    kept = kept_bytes(forward)
    update = seconds(optimizer.step, repeats)
    mean = (PASSES - 1) / 2 * one + last + update
    return one, last, update, mean, kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--config", choices=("packing", "design"), default="packing")
    parser.add_argument("--residues", type=int, default=512)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    noisy, target = batch_of(options.dataset, options.residues, options.length, options.config)
    path = CONFIGS / f"{options.config}.yaml"
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))["model"]
    trained, _ = load_flow(options.config)
    rows = []
    for title in (
        "with neighbours",
        "with neighbours, bf16",
        "without neighbours",
        "trained",
    ):
        torch.manual_seed(0)
        network = FlowNetwork(NetworkConfig(**settings["network"]))
        if title == "trained":
            network.load_state_dict(trained.state_dict())
        if title.startswith("without"):
            network.pairs.neighbours = Nothing()  # type: ignore[assignment]
        optimizer, _ = build_optimizer(network, OptimizerConfig(**settings["optimizer"]), 1000)
        half = title.endswith("bf16")
        one, last, update, mean, kept = measure(
            network, optimizer, noisy, target, options.repeats, half
        )
        rows.append(
            (
                title,
                f"{sum(p.numel() for p in network.parameters()):,}",
                f"{one:.3f}",
                f"{last:.3f}",
                f"{update:.3f}",
                f"{mean:.3f}",
                f"{int(noisy.mask.sum()) / mean:.0f}",
                f"{kept / 2**20:.0f}",
            )
        )
    print("\n".join(f"- {line}" for line in describe_machine()))
    print(f"\n{options.config}, {len(noisy.mask)} × {noisy.mask.shape[1]} residues\n")
    header = (
        *("network", "parameters", "a pass, s", "the last, with gradients, s", "optimizer, s"),
        "mean step, s",
        *("residues per s", "kept for gradients, MiB"),
    )
    print(format_table(header, rows, options.markdown))


if __name__ == "__main__":
    main()
