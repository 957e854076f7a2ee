"""Threads of a small training, on idle cores and beside other programs: seconds of a step.

    python benchmarks/training_threads.py DATASET [--busy 0 1 2] [--threads 1 2] [--steps 20]

The network of `model/configs/tiny.yaml` and one packing of chains that are cropped as there.
*Busy* is the number of processes that compute beside it. Each pair of numbers takes turns, three
times, and the median counts, so that what the machine does otherwise falls on all of them.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import yaml
from build_speed import describe_machine, format_table
from training_step import batch_of

from model.flow import NoisyProtein
from model.flow.target import Target
from model.losses import FlowLoss
from model.network import FlowNetwork, NetworkConfig
from model.train.threads import busy_cores

CONFIG = Path(__file__).parents[1] / "model" / "configs" / "tiny.yaml"
ROUNDS = 3


@contextmanager
def beside(processes: int) -> Iterator[None]:
    """So many processes compute within the block."""
    running = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)
    ]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def seconds_of_a_step(
    network: FlowNetwork, noisy: NoisyProtein, target: Target, threads: int, steps: int
) -> float:
    """Wall time of a pass with its gradients."""
    torch.set_num_threads(threads)
    loss = FlowLoss()
    began = time.perf_counter()
    for _ in range(steps):
        network.zero_grad()
        loss(noisy, network(noisy), target)[0].backward()
    return (time.perf_counter() - began) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    settings = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    noisy, target = batch_of(options.dataset, 256, settings["data"]["crop_size"])
    torch.manual_seed(0)
    network = FlowNetwork(NetworkConfig(**settings["model"]["network"]))
    load = busy_cores()
    found: dict[tuple[int, int], list[float]] = {}
    seconds_of_a_step(network, noisy, target, 1, 2)
    for _ in range(ROUNDS):
        for busy in options.busy:
            with beside(busy):
                for threads in options.threads:
                    took = seconds_of_a_step(network, noisy, target, threads, options.steps)
                    found.setdefault((busy, threads), []).append(took)
    rows = [
        (f"{busy}", *(f"{statistics.median(found[busy, n]):.3f}" for n in options.threads))
        for busy in options.busy
    ]
    print("\n".join(f"- {line}" for line in describe_machine()))
    print(f"- {load:.1f} cores were busy before\n")
    header = ("other programs", *(f"{n} threads, s" for n in options.threads))
    print(format_table(header, rows, options.markdown))


if __name__ == "__main__":
    main()
