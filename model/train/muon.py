"""Muon for the matrices inside a network, AdamW for the rest, as one optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import AdamW, Optimizer

from pipeline.errors import UsageError


class MuonAndAdamW(Optimizer):
    """Two optimizers of torch that a schedule, a trainer and a checkpoint see as one.

    Muon (K. Jordan et al., 2024) makes the update of a matrix orthogonal; its learning rate is that
    of AdamW, whose root mean square update it matches (J. Liu et al., "Muon is scalable for LLM
    training", 2025).

    Parameters
    ----------
    groups : list of dict
        Groups of parameters as every optimizer takes them; ``muon`` says whose they are.
    lr : float
    betas : tuple of two floats
        Of AdamW.

    Raises
    ------
    UsageError
        This torch has no Muon.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float, betas: tuple[float, float]):
        if not hasattr(torch.optim, "Muon"):
            raise UsageError(
                "Muon comes with torch 2.9: upgrade torch, or take model.optimizer.matrices adamw"
            )
        super().__init__(groups, {"lr": lr})
        of_muon = [group for group in self.param_groups if group["muon"]]
        others = [group for group in self.param_groups if not group["muon"]]
        self.optimizers = (
            torch.optim.Muon(of_muon, lr=lr, adjust_lr_fn="match_rms_adamw"),
            AdamW(others, lr=lr, betas=betas),
        )
        self._share()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        result = None
        if closure is not None:
            with torch.enable_grad():
                result = closure()
        for optimizer in self.optimizers:
            optimizer.step()
        return result

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._share()

    def _share(self) -> None:
        """Both go by what a schedule changes here, and keep their state where it is saved."""
        for muon, optimizer in zip((True, False), self.optimizers, strict=True):
            optimizer.param_groups = [g for g in self.param_groups if g["muon"] == muon]
            optimizer.state = self.state
