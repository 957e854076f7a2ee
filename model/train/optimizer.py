"""AdamW, its groups of parameters, and the schedule of its learning rate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from pipeline.errors import UsageError

GAMMA = "gamma_weight"
"""Name of the parameters that set how much geometry weighs."""


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW (I. Loshchilov and F. Hutter, 2019).

    Attributes
    ----------
    lr : float
        After the warm-up.
    weight_decay : float
        Of matrices; biases, norms and γ have none.
    betas : tuple of two floats
    warmup_steps : int
        The learning rate rises linearly to `lr`.
    schedule : {"constant", "cosine"}
    decay_steps : int, optional
        Steps at which a cosine has come down to `final_lr` · lr; by default trainer.max_steps.
    final_lr : float
        Share of `lr` that remains.
    gamma_lr_multiplier : float
        Of the parameters of γ, which otherwise hardly move from where they begin.
    """

    lr: float = 1e-3
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)
    warmup_steps: int = 100
    schedule: Literal["constant", "cosine"] = "cosine"
    decay_steps: int | None = None
    final_lr: float = 0.05
    gamma_lr_multiplier: float = 10.0

    def __post_init__(self) -> None:
        if self.lr <= 0 or self.warmup_steps < 0 or self.weight_decay < 0:
            raise UsageError("lr is above 0, warmup_steps and weight_decay not below")


def parameter_groups(module: nn.Module, config: OptimizerConfig) -> list[dict[str, Any]]:
    """Matrices, vectors (without decay) and γ (faster, without decay)."""
    groups: dict[str, list[nn.Parameter]] = {"matrices": [], "vectors": [], "gamma": []}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        if name.rpartition(".")[2] == GAMMA:
            groups["gamma"].append(parameter)
        else:
            groups["matrices" if parameter.ndim >= 2 else "vectors"].append(parameter)
    options: dict[str, dict[str, float]] = {
        "matrices": {"weight_decay": config.weight_decay},
        "vectors": {"weight_decay": 0.0},
        "gamma": {"weight_decay": 0.0, "lr": config.lr * config.gamma_lr_multiplier},
    }
    return [
        {"name": name, "params": parameters, **options[name]}
        for name, parameters in groups.items()
        if parameters
    ]


def build_optimizer(
    module: nn.Module, config: OptimizerConfig, max_steps: int
) -> tuple[AdamW, LambdaLR]:
    """The optimizer and its schedule, to be stepped once per step of the optimizer.

    Raises
    ------
    UsageError
        A cosine without an end.
    """
    end = config.decay_steps or max_steps
    if config.schedule == "cosine" and end <= 0:
        raise UsageError(
            "a cosine schedule has to know its end: give trainer.max_steps, "
            "model.optimizer.decay_steps, or model.optimizer.schedule=constant"
        )
    optimizer = AdamW(parameter_groups(module, config), lr=config.lr, betas=config.betas)
    return optimizer, LambdaLR(optimizer, partial(factor, config=config, end=end))


def factor(step: int, *, config: OptimizerConfig, end: int) -> float:
    """Share of the learning rate at a step, counted from 0."""
    warm = min(1.0, (step + 1) / (config.warmup_steps + 1))
    if config.schedule == "constant":
        return warm
    done = (step - config.warmup_steps) / max(1, end - config.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, done))))
    return warm * (config.final_lr + (1 - config.final_lr) * cosine)
