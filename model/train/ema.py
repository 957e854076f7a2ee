"""An exponential moving average of the weights."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from model.checkpoint import EMA_KEY, PREFIX
from pipeline.errors import UsageError


class EMA(pl.Callback):
    """Averages the network's weights; validation and tests are done with the average.

    After n steps of the optimizer the decay is min(decay, (1 + n)/(10 + n)): an average over 1,000
    steps would else be mostly of the first ones for thousands of steps.

    Parameters
    ----------
    decay : float
        0 for no average: validation is then done with the weights themselves.
    """

    state_key = EMA_KEY

    def __init__(self, decay: float = 0.999):
        if not 0 <= decay < 1:
            raise UsageError(f"decay is from 0 to below 1, found {decay}")
        self.decay = decay
        self.updates = 0
        self._weights: dict[str, Tensor] = {}
        self._aside: dict[str, Tensor] = {}

    def weights(self) -> dict[str, Tensor]:
        """Name in the network → average."""
        return self._weights

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.decay and not self._weights:
            self._weights = {k: v.detach().clone() for k, v in _named(pl_module).items()}
        self._weights = {k: v.to(pl_module.device) for k, v in self._weights.items()}

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        # While gradients accumulate, the weights stay and are not averaged again.
        if not self.decay or trainer.global_step == self.updates:
            return
        self.updates = trainer.global_step
        n = self.updates
        now = _named(pl_module)
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self._weights.values()),
                [now[name].detach() for name in self._weights],
                1 - min(self.decay, (1 + n) / (10 + n)),
            )

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._swap_in(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._swap_out(pl_module)

    on_test_start = on_validation_start
    on_test_end = on_validation_end

    def on_exception(self, *arguments: Any) -> None:
        self._swap_out(arguments[1])

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates, "weights": self._weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.updates = state_dict["updates"]
        self._weights = state_dict["weights"] if self.decay else {}

    @torch.no_grad()
    def _swap_in(self, module: pl.LightningModule) -> None:
        if self._weights and not self._aside:
            now = _named(module)
            self._aside = {name: now[name].detach().clone() for name in self._weights}
            for name, average in self._weights.items():
                now[name].copy_(average)

    @torch.no_grad()
    def _swap_out(self, module: pl.LightningModule) -> None:
        now = _named(module)
        for name, value in self._aside.items():
            now[name].copy_(value)
        self._aside = {}


def _named(module: pl.LightningModule) -> dict[str, Tensor]:
    return {
        name.removeprefix(PREFIX): parameter
        for name, parameter in module.named_parameters()
        if name.startswith(PREFIX)
    }
