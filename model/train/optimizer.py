"""The optimizer, its groups of parameters, and the schedule of its learning rate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from model.network import FlowNetwork
from model.train.muon import MuonAndAdamW
from pipeline.errors import UsageError

GAMMA = "gamma_weight"
"""Name of the parameters that set how much geometry weighs."""

NARROWEST = 16
"""Rows and columns of a matrix that Muon is given."""


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW (I. Loshchilov and F. Hutter, 2019), and Muon beside it.

    Attributes
    ----------
    matrices : {"adamw", "muon"}
        What the matrices between the first layer and the last learn by
        (`model.train.muon.MuonAndAdamW`).
    lr : float
        After the warm-up.
    weight_decay : float
        Of matrices; biases, norms and γ have none.
    betas : tuple of two floats
    warmup_steps : int
        The learning rate rises linearly to `lr`.
    stable_steps : int
        Steps at `lr` before a cosine begins to fall (S. Hu et al., "MiniCPM", 2024). Resuming may
        change it, so that a run without an end can be given one.
    schedule : {"constant", "cosine"}
    decay_steps : int, optional
        Steps at which a cosine has come down to `final_lr` · lr; by default trainer.max_steps.
    final_lr : float
        Share of `lr` that remains.
    gamma_lr_multiplier : float
        Of the parameters of γ, which otherwise hardly move from where they begin.
    """

    matrices: Literal["adamw", "muon"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)
    warmup_steps: int = 100
    stable_steps: int = 0
    schedule: Literal["constant", "cosine"] = "cosine"
    decay_steps: int | None = None
    final_lr: float = 0.05
    gamma_lr_multiplier: float = 10.0

    def __post_init__(self) -> None:
        if self.lr <= 0 or min(self.warmup_steps, self.stable_steps, self.weight_decay) < 0:
            raise UsageError("lr is above 0; warmup_steps, stable_steps, weight_decay not below")


def parameter_groups(network: FlowNetwork, config: OptimizerConfig) -> list[dict[str, Any]]:
    """Matrices (those inside by themselves), vectors (without decay), γ (faster, without decay)."""
    inside = {id(p) for p in _inside(network)} if config.matrices == "muon" else set()
    groups: dict[str, list[nn.Parameter]]
    groups = {"inside": [], "matrices": [], "vectors": [], "gamma": []}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        if name.rpartition(".")[2] == GAMMA:
            groups["gamma"].append(parameter)
        elif id(parameter) in inside:
            groups["inside"].append(parameter)
        else:
            groups["matrices" if parameter.ndim >= 2 else "vectors"].append(parameter)
    options: dict[str, dict[str, float]] = {
        "inside": {"weight_decay": config.weight_decay},
        "matrices": {"weight_decay": config.weight_decay},
        "vectors": {"weight_decay": 0.0},
        "gamma": {"weight_decay": 0.0, "lr": config.lr * config.gamma_lr_multiplier},
    }
    return [
        {"name": name, "params": parameters, "muon": name == "inside", **options[name]}
        for name, parameters in groups.items()
        if parameters
    ]


def _inside(network: FlowNetwork) -> list[Tensor]:
    """Matrices that take features and give features; an orthogonal update of few rows is none."""
    ends = {id(p) for layer in network.output_layers() for p in layer.parameters()}
    return [
        layer.weight
        for layer in network.modules()
        if isinstance(layer, nn.Linear)
        and id(layer.weight) not in ends
        and min(layer.weight.shape) >= NARROWEST
    ]


def build_optimizer(
    network: FlowNetwork, config: OptimizerConfig, max_steps: int
) -> tuple[Optimizer, LambdaLR]:
    """The optimizer and its schedule, to be stepped once per step of the optimizer.

    Raises
    ------
    UsageError
        A cosine without an end; Muon without a torch that has it.
    """
    end = config.decay_steps or max_steps
    if config.schedule == "cosine" and end <= 0:
        raise UsageError(
            "a cosine schedule has to know its end: give trainer.max_steps, "
            "model.optimizer.decay_steps, or model.optimizer.schedule=constant"
        )
    groups = parameter_groups(network, config)
    kind = MuonAndAdamW if config.matrices == "muon" else AdamW
    optimizer = kind(groups, lr=config.lr, betas=config.betas)
    return optimizer, LambdaLR(optimizer, partial(factor, config=config, end=end))


def factor(step: int, *, config: OptimizerConfig, end: int) -> float:
    """Share of the learning rate at a step, counted from 0."""
    warm = min(1.0, (step + 1) / (config.warmup_steps + 1))
    if config.schedule == "constant":
        return warm
    begin = config.warmup_steps + config.stable_steps
    done = (step - begin) / max(1, end - begin)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, done))))
    return warm * (config.final_lr + (1 - config.final_lr) * cosine)
