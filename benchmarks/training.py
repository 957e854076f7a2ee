"""What training costs: residues per second, memory, and how long it waits for data.

    python benchmarks/training.py DATASET [--device cuda] [--configs tiny base large] [--markdown]
    python benchmarks/training.py DATASET --configs tiny --steps 4 --residues 128   # a quick look

The command's own module and data, without Lightning: batches of the loader, the loss, its
gradients, clipping and AdamW, `--steps` of them after `--warm-up`, in float32 and in bf16. *Waiting
for data* is the share of the time in which the loader had no batch ready. *Memory* is the most that
torch had allocated on a GPU; on a CPU the resident memory beyond that before the first step, the
mmap cache included. Each row is a process of its own. `training_step.py` takes a step apart on a
CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import yaml

CONFIGS = Path(__file__).parents[1] / "model" / "configs"
PRECISIONS = {"float32": None, "bf16": torch.bfloat16}


def resident(field: str) -> int:
    """VmRSS or VmHWM of this process, bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise ValueError(field)


def prepare(job: dict[str, Any]) -> tuple[Any, Any]:
    """The module on its device, and the loader of training."""
    from model.network import NetworkConfig
    from model.train import FlowModule
    from model.train.command import COLUMNS
    from pipeline.batching import ProteinDataModule

    settings = yaml.safe_load((CONFIGS / f"{job['config']}.yaml").read_text(encoding="utf-8"))
    module = FlowModule(NetworkConfig(**settings["model"]["network"]), dump_bad_batches=False)
    options = {k: v for k, v in settings["data"].items() if k in ("crop_size", "where")}
    data = ProteinDataModule(
        job["dataset"],
        columns=COLUMNS,
        num_workers=job["workers"],
        cache="mmap",
        val_split=None,
        test_split=None,
        train_split=None,
        budget=job["residues"] * options["crop_size"],
        **options,
    )
    data.setup("fit")
    return module.to(job["device"]), data.train_dataloader()


def measure(job: dict[str, Any]) -> dict[str, float]:
    """Residues and steps per second, share of waiting, bytes of memory."""
    from model.train.optimizer import OptimizerConfig, build_optimizer

    torch.manual_seed(0)
    module, loader = prepare(job)
    device, low = torch.device(job["device"]), PRECISIONS[job["precision"]]
    optimizer, _ = build_optimizer(module.network, OptimizerConfig(), job["steps"])
    before = resident("VmRSS")
    waited, residues, done = 0.0, 0, 0
    last = job["warm_up"] + job["steps"]

    def finish() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    batches = iter(())
    began = time.perf_counter()
    while done < last:
        if done == job["warm_up"]:
            finish()
            began, waited, residues = time.perf_counter(), 0.0, 0
        asked = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            batches = iter(loader)
            batch = next(batches)
        waited += time.perf_counter() - asked
        residues += int(batch["residue_mask"].sum())
        batch = module.on_before_batch_transfer(batch, 0)
        batch = {
            k: v.to(device, non_blocking=True) if isinstance(v, torch.Tensor) else v
            for k, v in batch.items()
        }
        optimizer.zero_grad()
        with torch.autocast(device.type, dtype=low, enabled=low is not None):
            loss = module.training_step(batch, done)["loss"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.network.parameters(), 1.0)
        optimizer.step()
        done += 1
    finish()
    seconds = time.perf_counter() - began
    if device.type == "cuda":
        memory = torch.cuda.max_memory_allocated()
    else:
        memory = resident("VmHWM") - before
    return {
        "residues": residues / seconds,
        "step": seconds / job["steps"],
        "waited": waited / seconds,
        "memory": memory,
    }


def measure_apart(job: dict[str, Any]) -> dict[str, float] | None:
    """`measure` in a process of its own; None where memory did not suffice."""
    done = subprocess.run(
        [sys.executable, __file__, job["dataset"], "--job", json.dumps(job)],
        capture_output=True,
        text=True,
    )
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    if done.returncode < 0 or "out of memory" in done.stderr:
        return None
    raise SystemExit(done.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--configs", nargs="+", default=["tiny", "base", "large"])
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=PRECISIONS)
    parser.add_argument("--residues", type=int, default=4096, help="of a batch, about")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--workers", type=int, help="of the loader; by default 4 for a GPU, else 0")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        print(json.dumps(measure(json.loads(options.job))))
        return
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch finds no GPU here")
    unknown = [name for name in options.configs if not (CONFIGS / f"{name}.yaml").is_file()]
    if unknown:
        parser.error(f"--configs: no {', '.join(unknown)} in {CONFIGS}")
    if not (options.dataset / "build.json").is_file():
        parser.error(f"{options.dataset} is no dataset: it has no build.json")
    # Here, because the processes that measure need nothing of what this imports.
    from build_speed import describe_machine, format_table

    from model.attention import describe

    workers = options.workers
    if workers is None:
        workers = 4 if options.device == "cuda" else 0
    rows = []
    for config in options.configs:
        for precision in options.precisions:
            job = {
                **{"dataset": str(options.dataset), "config": config, "precision": precision},
                **{"device": options.device, "workers": workers, "residues": options.residues},
                **{"steps": options.steps, "warm_up": options.warm_up},
            }
            found = measure_apart(job)
            cells = ["out of memory", "", "", ""]
            if found is not None:
                cells = [
                    f"{found['residues']:,.0f}",
                    f"{1e3 * found['step']:,.0f}",
                    f"{found['memory'] / 2**20:,.0f}",
                    f"{found['waited']:.0%}",
                ]
            rows.append((config, precision, *cells))
    for line in (*describe_machine(), describe(torch.device(options.device))):
        print(f"- {line}")
    print(f"\n{options.steps} steps of about {options.residues} residues\n")
    header = (
        "network",
        "precision",
        "residues per s",
        "step, ms",
        "memory, MiB",
        "waiting for data",
    )
    print(format_table(header, rows, options.markdown))


if __name__ == "__main__":
    main()
