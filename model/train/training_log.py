"""What training writes down, every `log_every_n_steps` steps and never more often."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from model.flow import TASKS
from model.train.flow_module import FlowModule
from model.train.loss_sums import LossSums, means
from model.train.optimizer import GAMMA


class TrainingLog(pl.Callback):
    """Means since the last time: loss, terms, terms by time, tasks; γ, gradient, learning rate.

    Steps in between are only collected, on the device. A loss that is no number stops training
    before it is written.

    Attributes
    ----------
    latest : dict
        Metrics that were last written.
    """

    def __init__(self) -> None:
        self.latest: dict[str, float] = {}
        self._sums = LossSums()
        self._losses: list[Tensor] = []
        self._tasks: list[Tensor] = []
        self._residues: list[Tensor] = []
        self._since = 0.0
        self._logged = -1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._since = time.monotonic()
        self._logged = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        assert isinstance(pl_module, FlowModule)
        self._losses.append(outputs["batch_loss"])
        self._sums.add(outputs["terms"])
        self._tasks.append(outputs["tasks"])
        self._residues.append(outputs["residues"])
        step, every = trainer.global_step, getattr(trainer, "log_every_n_steps", 50)
        if step != self._logged and every and step % every == 0:
            self._logged = step
            self._write(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        self._gather()
        return {"sums": self._sums.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._sums.load_state_dict(state_dict["sums"])

    def _gather(self) -> None:
        for name, collected in (("loss", self._losses), ("residues#", self._residues)):
            for value in torch.stack(collected).tolist() if collected else ():
                self._sums.add_value(name, float(value))
        for tasks in self._tasks:
            for number in tasks.tolist():
                self._sums.add_value(f"task#{TASKS[number]}", 1.0)
        self._losses, self._tasks, self._residues = [], [], []

    def _write(self, trainer: pl.Trainer, module: FlowModule) -> None:
        module.checks.settle()
        self._gather()
        totals = self._sums.totals()
        self._sums.clear()
        counts = {name: value for name, (value, _) in totals.items() if "#" in name}
        metrics = means({k: v for k, v in totals.items() if k not in counts}, "train")
        for task in TASKS:
            metrics[f"tasks/{task}"] = counts.get(f"task#{task}", 0.0)
        now = time.monotonic()
        residues = counts.get("residues#", 0.0)
        metrics["residues_per_second"] = residues / max(now - self._since, 1e-9)
        self._since = now
        optimizer: Any = trainer.optimizers[0]
        metrics["lr"] = optimizer.param_groups[0]["lr"]
        if module.grad_norm is not None:
            metrics["grad_norm"] = float(module.grad_norm)
        metrics.update(gammas(module))
        metrics["epoch"] = float(trainer.current_epoch)
        self.latest = metrics
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=trainer.global_step)
            if hasattr(logger, "save"):
                logger.save()


def gammas(module: FlowModule) -> dict[str, float]:
    """Mean γ of all blocks, and of each; nothing where attention has none."""
    found = {}
    for k, block in enumerate(module.network.blocks):
        attention: Any = block.attention
        if getattr(attention, GAMMA, None) is not None:
            with torch.no_grad():
                found[f"gamma/block{k}"] = float(attention.geometry_weight().mean())
    if found:
        found["gamma/mean"] = sum(found.values()) / len(found)
    return found
