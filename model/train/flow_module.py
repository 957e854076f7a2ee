"""`FlowModule`: a step of training, as PyTorch Lightning wants it."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from model.attention import describe
from model.checkpoint import INFO, CheckpointInfo, load_weights
from model.flow import (
    Flow,
    NoisyProtein,
    TaskWeights,
    clean_from_batch,
    draw_noise,
    draw_tasks,
    draw_times,
)
from model.flow.backbone_noise import BackboneNoise
from model.flow.generate import PASSES
from model.flow.noise import generator
from model.flow.product import self_conditioning
from model.flow.target import Target
from model.flow.tasks import TASKS, held_for
from model.losses import FlowLoss, LossWeights
from model.network import FlowNetwork, NetworkConfig
from model.on_device import sent
from model.tasks import TASK_RECORDS
from model.train.check_batch import check_batch, check_embedding, names, once_each
from model.train.check_loss import BadLoss, check_loss
from model.train.late_checks import LateChecks
from model.train.loss_sums import LossSums, means, weighted
from model.train.optimizer import OptimizerConfig, build_optimizer
from pipeline.dataset.crops import looks_at_places
from pipeline.errors import UsageError

_log = logging.getLogger(__name__)

_IN = "the batch is in {}; model.dump_bad_batches"

LENGTHS = "lengths_on_cpu"
"""What a batch carries along, so that the noise need not ask the device for its size."""

VALIDATION_STEP = 0
"""Step of the noise of validation; training begins with 1."""


class FlowModule(pl.LightningModule):
    """The flow's network and its training.

    Parameters
    ----------
    network : NetworkConfig
    loss : LossWeights
        Weight of each term.
    tasks : TaskWeights
        How often a protein is of each task.
    optimizer : OptimizerConfig
    backbone_noise : BackboneNoise
        On the backbones that samples of design and packing are given.
    max_passes : int
        Passes through the network, from 1 to so many for each batch: each is given the prediction
        of the one before (T. Chen et al., "Analog bits", 2022), and the last is trained.
    seed : int
        Of noise, times and tasks, which are a pure function of it, of the number of batches so far
        and of the name of the chain.
    init_from : str, optional
        Fine-tuning: begin with the weights of this checkpoint. Those that do not fit are named and
        left as they were initialised.
    dump_bad_batches : bool
        Write a batch that stops training into the run folder.

    Attributes
    ----------
    batches : int
        Batches trained on, accumulated ones too. It is saved, so that a resumed run draws the noise
        that it would have drawn.
    checks : LateChecks
        Whether losses and gradients are finite. On a GPU a step may be over before that is known;
        whoever keeps or shows what came of it lets `checks` settle first.
    """

    def __init__(
        self,
        network: NetworkConfig = NetworkConfig(),  # noqa: B008 - frozen
        *,
        loss: LossWeights = LossWeights(),  # noqa: B008
        tasks: TaskWeights = TaskWeights(),  # noqa: B008
        optimizer: OptimizerConfig = OptimizerConfig(),  # noqa: B008
        backbone_noise: BackboneNoise = BackboneNoise(),  # noqa: B008
        max_passes: int = PASSES,
        seed: int = 0,
        init_from: str | None = None,
        dump_bad_batches: bool = True,
    ):
        super().__init__()
        if max_passes < 1:
            raise UsageError(f"max_passes is at least 1, found {max_passes}")
        self.network = FlowNetwork(network)
        self.task_weights, self.optimizer_config = tasks, optimizer
        self.backbone_noise = backbone_noise
        self.max_passes, self.seed = max_passes, seed
        self.init_from, self.dump_bad_batches = init_from, dump_bad_batches
        self.batches = 0
        self._accumulated: list[Mapping[str, Any]] = []
        self.grad_norm: Tensor | None = None
        """Of the last step, before clipping."""
        self.checks = LateChecks()
        self._flow, self._loss = Flow(), FlowLoss(loss)
        self._validation = LossSums()
        self._has_begun = False
        self.initial: CheckpointInfo | None = None
        """What is known of the network whose weights were taken."""

    @property
    def loss_weights(self) -> LossWeights:
        return self._loss.weights

    def on_fit_start(self) -> None:
        self.checks.clear()
        if self.network.config.attention == "iga":
            _log.info("attention is computed by %s", describe(self.device))

    # ---- a step

    def corrupted(self, batch: Mapping[str, Any], step: int) -> tuple[NoisyProtein, Target, Tensor]:
        """x_t of a batch, the answer, and the task of each protein ((B,), numbers of `TASKS`)."""
        # Rotations would not stay rotations in 16 bits.
        with torch.autocast(self.device.type, enabled=False):
            clean = clean_from_batch(batch)
            size = clean.mask.shape[1]
            lengths = batch[LENGTHS] if LENGTHS in batch else batch["lengths"].tolist()
            drawn = draw_noise(once_each(names(batch)), lengths, size, self.seed, step)
            tasks = draw_tasks(self.task_weights, drawn)
            noise = drawn.to(self.device)
            held = held_for(tasks, clean, noise)
            noisy, target = self._flow.corrupt(
                clean, draw_times(held, noise), noise, backbone_sd=self._backbone_sd(tasks, step)
            )
        return noisy, target, tasks

    def _backbone_sd(self, tasks: Tensor, step: int) -> Tensor | None:
        """(B,) Å; None where nothing is noised, as in validation."""
        if step == VALIDATION_STEP:
            return None
        sd = self.backbone_noise.of([TASKS[k] for k in tasks.tolist()])
        return sent(sd, self.device) if bool(sd.any()) else None

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        step = self.batches + 1
        noisy, target, tasks = self.corrupted(batch, step)
        if self.network.config.dropout:
            # Like all noise: a resumed run draws what it would have drawn.
            torch.manual_seed(generator(self.seed, step, names(batch)[0]).initial_seed())
        noisy = self._conditioned(noisy, self._passes(step) - 1)
        prediction = self.network(noisy)
        with torch.autocast(self.device.type, enabled=False):
            total, terms = self._loss(noisy, prediction, target)
        apart = {name: term.detach() for name, term in terms.items()}
        known = (total.detach(), apart, self.loss_weights, names(batch), step)
        self.checks.expect(
            torch.isfinite(total.detach()), partial(self._or_dump, batch, step, check_loss, *known)
        )
        self.batches = step
        return {
            "loss": total,
            # Lightning divides `loss` by the number of accumulated batches.
            "batch_loss": total.detach(),
            "terms": terms,
            "tasks": tasks,
            "residues": noisy.mask.sum(),
        }

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self._accumulated.append(batch)

    def on_before_zero_grad(self, optimizer: Any) -> None:
        # Between the first forward pass of a step and its backward pass.
        self._accumulated = self._accumulated[-1:]

    def _passes(self, step: int) -> int:
        """Of the whole batch, so that few cost little; and of the same batches on all ranks, so
        that they finish together."""
        drawn = torch.rand((), generator=generator(self.seed, step, "passes"))
        return 1 + int(drawn * self.max_passes)

    @torch.no_grad()
    def _conditioned(self, noisy: NoisyProtein, passes: int) -> NoisyProtein:
        """The same, with what the network made of it in so many passes."""
        for _ in range(passes):
            prediction = self.network(noisy)
            noisy = replace(noisy, self_conditioning=self_conditioning(noisy, prediction))
        # Autocast keeps 16-bit copies of the weights that it made without gradients, and would use
        # them in the pass that needs gradients.
        torch.clear_autocast_cache()
        return noisy

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        # Here, while the batch is still on the CPU, looking at it keeps no device waiting.
        self._or_dump(batch, self.batches + 1, check_batch, batch)
        check_embedding(batch, self.network.config.c_embedding)
        return {**batch, LENGTHS: batch["lengths"].tolist()}

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | int | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        gradients = {n: p.grad for n, p in self.network.named_parameters() if p.grad is not None}
        norms = torch.stack(torch._foreach_norm(list(gradients.values())))
        self.grad_norm = norm = torch.linalg.vector_norm(norms)
        # With 16-mixed precision the gradient scaler looks for these and skips the step.
        if self.trainer.precision != "16-mixed":
            of_step = (list(gradients), norms, list(self._accumulated), self.batches)
            self.checks.expect(torch.isfinite(norm), partial(self._stop_at_gradient, *of_step))
        if gradient_clip_val and gradient_clip_algorithm in (None, "norm"):
            torch.nn.utils.clip_grads_with_norm_(
                self.network.parameters(), float(gradient_clip_val), norm
            )
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def _stop_at_gradient(
        self,
        parameters: Sequence[str],
        norms: Tensor,
        accumulated: Sequence[Mapping[str, Any]],
        last: int,
    ) -> None:
        each = zip(parameters, norms.tolist(), strict=True)
        wrong = [name for name, norm in each if not math.isfinite(norm)] or ["all together"]
        uids = [uid for batch in accumulated for uid in names(batch)]
        sentence = (
            f"batch {last}: the loss is finite and its gradient is not, for "
            f"{', '.join(uids)}; of {', '.join(wrong[:5])}{' …' if len(wrong) > 5 else ''}"
        )
        if self.dump_bad_batches:
            first = last - len(accumulated) + 1
            paths = [str(self._dump(b, first + k)) for k, b in enumerate(accumulated)]
            sentence += f" ({_IN.format(', '.join(paths))})"
        raise BadLoss(sentence)

    def _or_dump(self, batch: Any, number: int, check: Any, *arguments: Any) -> None:
        try:
            check(*arguments)
        except (ValueError, RuntimeError) as error:
            if not self.dump_bad_batches or not isinstance(batch, Mapping):
                raise
            path = self._dump(batch, number)
            raise type(error)(f"{error} ({_IN.format(path)})") from None

    def _dump(self, batch: Mapping[str, Any], number: int) -> Path:
        folder = Path(self.trainer.default_root_dir)
        path = folder / f"bad_batch_{number}_rank{self.global_rank}.pt"
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(dict(batch), path)
        return path

    # ---- validation

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """The loss with the same noise, times and tasks in every validation."""
        noisy, target, _ = self.corrupted(batch, VALIDATION_STEP)
        noisy = self._conditioned(noisy, self.max_passes - 1)
        prediction = self.network(noisy)
        with torch.autocast(self.device.type, enabled=False):
            self._validation.add(self._loss.terms(noisy, prediction, target))

    def on_train_end(self) -> None:
        self.checks.settle()

    def on_validation_epoch_start(self) -> None:
        self.checks.settle()
        self._validation.clear()

    def on_validation_epoch_end(self) -> None:
        self._log_validation("val")

    test_step = validation_step
    on_test_epoch_start = on_validation_epoch_start

    def on_test_epoch_end(self) -> None:
        self._log_validation("test")

    def _log_validation(self, prefix: str) -> None:
        totals = self._validation.totals()
        self._validation.clear()
        metrics = {**means(totals, prefix), f"{prefix}/loss": weighted(totals, self.loss_weights)}
        self.log_dict(metrics, rank_zero_only=False, sync_dist=False)

    # ---- what Lightning asks for

    def setup(self, stage: str) -> None:
        if stage == "fit":
            self._check_crop()
        # Validation after training is of what was trained.
        if self.init_from and not self._has_begun:
            self.load_initial(self.init_from)
        self._has_begun = True

    def _check_crop(self) -> None:
        """Which residues are near each other tells of hidden frames."""
        data: Any = getattr(self.trainer, "datamodule", None)
        hiding = [
            task
            for task, record in TASK_RECORDS.items()
            if record.hides_frames and getattr(self.task_weights, task) > 0
        ]
        crops = getattr(data, "crops", {})
        if hiding and (kinds := [name for name, crop in crops.items() if looks_at_places(crop)]):
            raise UsageError(
                f"{kinds[0]}: which residues are left tells where the others are, so it is for "
                "tasks that give all frames. Take data.crop contiguous, or set to 0 "
                + " and ".join(f"model.tasks.{task}" for task in hiding)
            )

    def configure_optimizers(self) -> Any:
        steps = self.trainer.max_steps
        if steps < 0 and self.optimizer_config.schedule == "cosine":
            found = self.trainer.estimated_stepping_batches
            steps = int(found) if found != float("inf") else -1
        optimizer, schedule = build_optimizer(self.network, self.optimizer_config, steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step", "frequency": 1},
        }

    def load_initial(self, path: str) -> None:
        """Take the weights of a checkpoint where names and shapes agree; say which do not.

        Raises
        ------
        NotACheckpoint
        UsageError
            None agrees.
        """
        given, self.initial = load_weights(path)
        mine = self.network.state_dict()
        fitting = {k: v for k, v in given.items() if k in mine and v.shape == mine[k].shape}
        if not fitting:
            raise UsageError(f"{path} has no weight that fits this network")
        others = [
            f"{name} is {tuple(given[name].shape)} there and {tuple(mine[name].shape)} here"
            if name in given and name in mine
            else f"{name} is not {'there' if name in mine else 'here'}"
            for name in sorted(mine.keys() | given.keys())
            if name not in fitting
        ]
        self.network.load_state_dict(fitting, strict=False)
        _log.info("%d of %d weights are those of %s", len(fitting), len(mine), path)
        if others:
            _log.warning("left as initialised: %s", "; ".join(others))

    def settings(self) -> dict[str, Any]:
        """What training was told, as plain values."""
        return {
            "loss": asdict(self.loss_weights),
            "tasks": asdict(self.task_weights),
            "optimizer": asdict(self.optimizer_config),
            "backbone_noise": asdict(self.backbone_noise),
            "max_passes": self.max_passes,
            "seed": self.seed,
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # Nothing is written of weights that may have met a number that is none.
        self.checks.settle()
        checkpoint["batches"] = self.batches
        metrics = {
            name: float(value)
            for name, value in self.trainer.callback_metrics.items()
            if name.startswith("val/")
        }
        info = CheckpointInfo(
            network=self.network.config,
            step=self.trainer.global_step,
            settings=self.settings(),
            metrics=metrics,
        )
        checkpoint[INFO] = {**info.to_plain(), **checkpoint.get(INFO, {})}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.batches = checkpoint["batches"]
