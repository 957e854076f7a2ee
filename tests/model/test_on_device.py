"""The model where `pytest --device` says, and that its steps wait for no device.

Without the option that is the CPU. Tests about GPUs alone are skipped there and say so. What a step
would ask a GPU is told on a CPU as well: by a whole step on a device without numbers
(`tests.support.stand_in_device`), and by the calls in its sources.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from model.attention import describe
from model.flow import Flow, NoisyProtein, clean_from_batch, draw_noise, draw_times
from model.flow.target import Target
from model.flow.tasks import held_for
from model.losses import FlowLoss, LossTerm
from model.network import FlowNetwork, NetworkConfig
from model.on_device import Constant, sent
from model.train import FlowModule, late_checks
from model.train.ema import EMA
from model.train.loss_sums import LossSums
from model.train.optimizer import OptimizerConfig, build_optimizer
from tests.support.attention_inputs import largest, layer, random_inputs
from tests.support.devices import DEVICE, on_gpu
from tests.support.flow_batches import UIDS, batch_of, three_proteins
from tests.support.places import ROOT
from tests.support.stand_in_device import STAND_IN, listing_waits, without_autocast_there

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


# ---- tables -------------------------------------------------------------------------------------


def test_a_constant_is_copied_to_a_device_once_for_each_precision() -> None:
    table = Constant(torch.arange(6.0).view(3, 2))
    there, rows = torch.device("meta"), torch.zeros(4, dtype=torch.int64, device="meta")
    assert table.on(there) is table.on(there)
    assert table.on(there, torch.float64) is table.on(there, torch.float64)
    assert table.on(there, torch.float64).dtype == torch.float64
    assert table.of(rows).shape == (4, 2)
    assert table.of(rows).device == there
    assert table.like(torch.zeros(1)) is table.on(torch.device("cpu"))


def test_a_constant_that_was_first_used_in_inference_serves_training() -> None:
    table, weight = Constant(torch.ones(2)), torch.ones(2, dtype=torch.float64, requires_grad=True)
    with torch.inference_mode():
        table.like(weight)
    (weight * table.like(weight)).sum().backward()
    assert torch.equal(weight.grad, torch.ones(2, dtype=torch.float64))


# ---- waiting ------------------------------------------------------------------------------------


def test_terms_of_many_steps_are_fetched_in_three_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    copies, cpu = [], Tensor.cpu
    monkeypatch.setattr(Tensor, "cpu", lambda x: copies.append(x) or cpu(x))
    sums = LossSums()
    for value in (1.0, 2.0, 6.0):
        values = torch.tensor([value, 0.0], device=DEVICE)
        count, time = torch.tensor([[4, 0], [0.1, 0.0]], device=DEVICE)
        term = LossTerm(values, count.long(), time)
        sums.add({"chi": term, "sequence": term})
    totals = sums.totals()
    assert len(copies) == 3
    assert totals == dict.fromkeys(("chi", "chi@0", "sequence", "sequence@0"), (9.0, 3))


class _Step:
    """A step of training as Lightning does it, by hand."""

    def __init__(self, device: torch.device, folder: Path):
        torch.manual_seed(0)
        self.device, self.module = device, FlowModule(CONFIG).to(device)
        self.module.trainer = SimpleNamespace(precision="32-true", default_root_dir=str(folder))
        matrices: Any = "muon" if hasattr(torch.optim, "Muon") else "adamw"
        options = OptimizerConfig(schedule="constant", matrices=matrices)
        self.optimizer, self.schedule = build_optimizer(self.module.network, options, 10)
        self.average = EMA()
        self.average.on_fit_start(self.module.trainer, self.module)

    def __call__(self) -> None:
        module = self.module
        batch = module.on_before_batch_transfer(batch_of(*three_proteins()), 0)
        batch["b_factor"] = torch.zeros(batch["aatype"].shape)
        batch = {k: sent(v, self.device) if isinstance(v, Tensor) else v for k, v in batch.items()}
        module.on_train_batch_start(batch, 0)
        out = module.training_step(batch, 0)
        self.optimizer.zero_grad()
        out["loss"].backward()
        module.configure_gradient_clipping(self.optimizer, 1.0, "norm")
        self.optimizer.step()
        self.schedule.step()
        module.trainer.global_step = module.batches
        self.average.on_train_batch_end(module.trainer, module, out, batch, 0)


class _NeverComes:
    """The answer of a device that is never done."""

    def __init__(self, value: Tensor):
        self.value = value

    def has_come(self) -> bool:
        return False


def _passes_of(module: FlowModule, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(module, "_passes", lambda step: number)


@pytest.mark.parametrize("passes", [1, 2])
def test_a_step_of_training_asks_its_device_for_nothing(
    passes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_autocast_there(monkeypatch)
    monkeypatch.setattr(late_checks, "ask", _NeverComes)
    step = _Step(STAND_IN, tmp_path)
    _passes_of(step.module, monkeypatch, passes)
    step()  # tables are sent
    with listing_waits() as waits:
        step()
    assert not waits
    assert step.module.batches == 2


@pytest.mark.parametrize(
    ("ask", "refusal"),
    [
        (lambda x: bool(x.any()), "cannot be called on meta"),
        (lambda x: x.tolist(), "no data"),
        (lambda x: x[x > 0], "nonzero"),
        (lambda x: x[[0]], None),
        (lambda x: x.new_tensor([1.0]), None),
        (lambda x: torch.zeros(3).to(x.device), None),
        (lambda x: torch.zeros(3)[x.long()], None),
    ],
)
def test_a_device_without_numbers_tells_what_asks_for_them(
    ask: Callable[[Tensor], Any], refusal: str | None
) -> None:
    x = torch.ones(2, device=STAND_IN)
    with listing_waits() as waits:
        if refusal is None:
            ask(x)
        else:
            with pytest.raises((RuntimeError, NotImplementedError), match=refusal):
                ask(x)
    assert len(waits) == (refusal is None)
    assert all(place.startswith("tests/model/test_on_device.py:") for place in waits)


@on_gpu
@pytest.mark.parametrize("passes", [1, 2])
def test_a_step_of_training_on_a_gpu_waits_for_nothing(
    passes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = _Step(DEVICE, tmp_path)
    _passes_of(step.module, monkeypatch, passes)
    step()  # kernels are compiled, and tables are sent
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    waits = [f"{w.message} {w.filename}:{w.lineno}" for w in seen if "synchron" in str(w.message)]
    assert not waits
    step.module.checks.settle()


IN_A_STEP = (
    *("model/attention", "model/losses", "model/network", "model/gaussian_rigid.py"),
    *("model/flow/clean.py", "model/flow/noise.py", "model/flow/product.py", "model/flow/tasks.py"),
    *("model/flow/frames.py", "model/flow/backbone.py", "model/flow/atoms.py"),
    *("model/flow/sequence.py", "model/flow/slots.py", "model/flow/state.py"),
    *("model/flow/target.py", "model/torsions/angles.py", "model/torsions/bins.py"),
    *("model/torsions/distribution.py", "model/torsions/rotamers.py", "model/train/ema.py"),
    *("model/train/flow_module.py", "model/train/check_loss.py", "model/train/late_checks.py"),
    *("model/train/muon.py", "model/tensor_record.py", "model/on_device.py"),
    *("pipeline/geometry/frames.py", "pipeline/residues/side_chains.py"),
)
METHODS = (
    *("item", "tolist", "cpu", "numpy", "is_nonzero", "equal", "allclose", "synchronize"),
    # Their results have sizes that only the device knows.
    *("nonzero", "argwhere", "unique", "unique_consecutive", "masked_select", "bincount"),
    "repeat_interleave",
    # Numbers of Python become tensors on the CPU first; `model.on_device` keeps and sends them.
    *("new_tensor", "tensor", "as_tensor", "asarray", "from_numpy"),
)
CALLS = ("bool", "float", "int", "print")

ASKS: dict[str, set[str]] = {
    # An answer that has come, or from a CPU; and what is said when it is no.
    "model/train/late_checks.py": {"__init__", "is_yes"},
    "model/train/check_loss.py": {"check_loss"},
    "model/train/flow_module.py": {
        # Nothing of these is on a device: lengths before the batch moves, the number of passes.
        *("corrupted", "on_before_batch_transfer", "_passes", "_backbone_sd"),
        # At the end of a run, of a validation, or at a checkpoint.
        *("_stop_at_gradient", "configure_optimizers", "on_save_checkpoint"),
        "configure_gradient_clipping",  # a number of the options
    },
    # On the CPU.
    "model/flow/noise.py": {"draw_noise"},
    "model/flow/tasks.py": {"draw_tasks"},
    "model/flow/clean.py": {"well_placed"},
    "model/attention/tiled.py": {"__init__"},
    "model/losses/structure.py": {"pair_distances"},
    "model/network/ellipsoids.py": {"__init__"},
    "model/network/network.py": {"forward"},
    "model/network/neighbours.py": {"_side_chains"},
    "model/flow/product.py": {"corrupt"},  # only without noise, which training never is
    "model/losses/flow_loss.py": {"is_empty", "binned"},  # where logs are written
    # Once for each network, or for each device.
    "model/network/embed.py": {"__init__"},
    "pipeline/residues/side_chains.py": {"_rows", "_rows_on"},
    "pipeline/geometry/frames.py": {"frame_components", "_spanned"},  # numbers of the source
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
