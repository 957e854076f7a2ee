"""The model where `pytest --device` says, and what its steps wait for.

Without the option that is the CPU. Tests about GPUs alone are skipped there and say so.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from model.attention import describe
from model.flow import Flow, NoisyProtein, clean_from_batch, draw_noise, draw_times
from model.flow.target import Target
from model.flow.tasks import held_for
from model.losses import FlowLoss
from model.network import FlowNetwork, NetworkConfig
from tests.support.attention_inputs import largest, layer, random_inputs
from tests.support.devices import DEVICE, on_gpu
from tests.support.flow_batches import UIDS, batch_of, three_proteins
from tests.support.places import ROOT

CONFIG = NetworkConfig(n_blocks=2, c_s=16, c_z=4, n_heads=2, c_hidden=4, n_gaussians=2, n_points=2)


def _corrupted(device: torch.device) -> tuple[NoisyProtein, Target]:
    batch = batch_of(*three_proteins())
    lengths = batch["lengths"].tolist()
    moved = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}
    clean = clean_from_batch(moved)
    noise = draw_noise(UIDS, lengths, clean.mask.shape[1], 0, 1).to(device)
    held = held_for(torch.tensor([0, 1, 0]), clean, noise)
    return Flow().corrupt(clean, draw_times(held, noise), noise)


def _step(network: nn.Module, noisy: NoisyProtein, target: Target) -> Tensor:
    network.zero_grad()
    total, _ = FlowLoss()(noisy, network(noisy), target)
    total.backward()
    return total


def _network(device: torch.device) -> FlowNetwork:
    torch.manual_seed(0)
    return FlowNetwork(CONFIG).to(device)


# ---- the same numbers ---------------------------------------------------------------------------


def test_equal_inputs_give_attention_of_equal_bits() -> None:
    inputs = random_inputs(n=70, c_z=0, dtype=torch.float32)
    inputs = replace(inputs.map(lambda x: x.to(DEVICE)), mask=inputs.mask.to(DEVICE))
    attention = layer(c_z=0, dtype=torch.float32).to(DEVICE)
    found = []
    for _ in range(2):
        leaves = inputs.with_gradients()
        attention.zero_grad()
        attention(*leaves).square().sum().backward()
        gradients = [p.grad.clone() for p in attention.parameters()]
        found.append([*gradients, *(x.grad for x in leaves.leaves().values())])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@on_gpu
def test_a_step_on_a_gpu_has_the_numbers_of_the_cpu() -> None:
    found = []
    for device in (torch.device("cpu"), DEVICE):
        network = _network(device)
        total = _step(network, *_corrupted(device))
        found.append([total.detach(), *(p.grad for p in network.parameters())])
    for here, there in zip(*found, strict=True):
        if here is not None:
            assert largest(here - there.cpu()) < 1e-3 * max(largest(here), 1.0)


@on_gpu
def test_a_gpu_computes_attention_with_triton() -> None:
    assert describe(DEVICE).startswith("Triton on ")


# ---- waiting ------------------------------------------------------------------------------------

IN_A_STEP = (
    *("model/attention", "model/losses", "model/network", "model/gaussian_rigid.py"),
    *("model/flow/clean.py", "model/flow/noise.py", "model/flow/product.py", "model/flow/tasks.py"),
    *("model/flow/frames.py", "model/flow/backbone.py", "model/flow/atoms.py"),
    *("model/flow/sequence.py", "model/flow/slots.py", "model/flow/state.py"),
    *("model/flow/target.py", "model/torsions/angles.py", "model/torsions/bins.py"),
    *("model/torsions/distribution.py", "model/torsions/rotamers.py", "model/train/ema.py"),
    *("model/train/flow_module.py", "model/train/check_loss.py", "model/tensor_record.py"),
)
METHODS = ("item", "tolist", "cpu", "nonzero", "unique", "numpy", "masked_select")
CALLS = ("bool", "float", "int")

ASKS: dict[str, set[str]] = {
    # What has to be known before the weights change: is the loss finite, is its gradient?
    "model/train/check_loss.py": {"check_loss"},
    "model/train/flow_module.py": {
        "configure_gradient_clipping",
        # Nothing of these is on a device: lengths before the batch moves, the number of passes.
        *("corrupted", "on_before_batch_transfer", "_passes"),
        # At the end of a run, of a validation, or at a checkpoint.
        *("_stop_at_gradient", "configure_optimizers", "on_save_checkpoint"),
    },
    "model/flow/noise.py": {"draw_noise"},  # on the CPU
    "model/flow/product.py": {"corrupt"},  # only without noise, which training never is
    "model/losses/flow_loss.py": {"is_empty", "binned"},  # where logs are written
    # Is any side chain given? Only in the first of the passes through the network.
    "model/network/neighbours.py": {"_side_chains"},
    "model/attention/tiled.py": {"__init__"},  # on a CPU
}
"""Functions that ask a device, or look as if, by file."""


def _asking(path: Path) -> Iterator[str]:
    """Names of functions in which a tensor may be read from its device."""
    for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in ast.walk(function):
            if not isinstance(node, ast.Call):
                continue
            of_tensor = isinstance(node.func, ast.Attribute) and node.func.attr in METHODS
            of_value = isinstance(node.func, ast.Name) and node.func.id in CALLS
            if of_tensor or (of_value and not isinstance(node.args[0], ast.Constant)):
                yield function.name


def test_what_a_step_asks_of_its_device_is_known() -> None:
    found: dict[str, set[str]] = {}
    for place in IN_A_STEP:
        path = ROOT / place
        assert path.exists(), place
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            if names := set(_asking(file)):
                found[file.relative_to(ROOT).as_posix()] = names
    assert found == ASKS


@on_gpu
def test_a_step_waits_for_nothing_but_its_own_checks() -> None:
    noisy, target = _corrupted(DEVICE)
    network = _network(DEVICE)
    _step(network, noisy, target)  # kernels are compiled
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            _step(network, noisy, target)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    waits = [str(w.message) + f" {w.filename}:{w.lineno}" for w in seen if "synchron" in str(w)]
    # `neighbours._side_chains`, in the first of the passes.
    assert len(waits) <= 1, waits
