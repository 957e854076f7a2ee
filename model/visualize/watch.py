"""`WatchAttention`: figures, lines and scalars of attention while a network is trained."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from tqdm import tqdm

from model.flow import MODALITIES, TASKS, NoisyProtein
from model.visualize.look import LayerView, check_choice, look
from model.visualize.statistics import console_line
from pipeline.errors import UsageError

FOLDER = "attention"


class WatchAttention(pl.Callback):
    """Every `vis_interval` steps, looks at one protein of the batch that was just trained on.

    It leaves three PNGs per layer and head in ``RUN/attention/step_XXXXXX/``, a line per layer in
    the console, and the line's numbers as scalars ``attention/layerL/…`` in the loggers. The
    network sees the noisy protein of that step, without self-conditioning, with the weights after
    the step. Other steps cost a division.

    Training never depends on it: no random number is drawn, and an error in looking or drawing is
    a warning.

    Parameters
    ----------
    vis_interval : int
        Steps of the optimizer between two looks; 0 for none.
    vis_heads : sequence of int
        Of each layer.
    item : int
        Which protein of the batch.
    layers : sequence of int, optional
        Numbers from 0; all of them without it.

    Raises
    ------
    ValueError
        An option is wrong; of heads and layers that the network lacks, when training begins.
    """

    def __init__(
        self,
        vis_interval: int = 100,
        vis_heads: Sequence[int] = (0,),
        item: int = 0,
        layers: Sequence[int] | None = None,
    ):
        if vis_interval < 0:
            raise UsageError(f"vis_interval is a number of steps, or 0, found {vis_interval}")
        if not vis_heads or min(vis_heads) < 0:
            raise UsageError(f"vis_heads are numbers of heads from 0, found {list(vis_heads)}")
        if item < 0:
            raise UsageError(f"item is a number from 0, found {item}")
        self.vis_interval, self.item = vis_interval, item
        self.vis_heads = tuple(dict.fromkeys(vis_heads))
        self.layers = None if layers is None else tuple(layers)
        self._seen = -1
        self._warned = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit" and self.vis_interval:
            check_choice(_network_of(pl_module), self.layers, self.vis_heads)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # A resumed run has looked at the step that it begins with.
        self._seen = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        step = trainer.global_step
        # Of accumulated batches, the one that completed the step.
        if not self.vis_interval or step % self.vis_interval or step == self._seen:
            return
        self._seen = step
        if not trainer.is_global_zero:
            return
        try:
            self._watch(trainer, pl_module, batch, step)
        except Exception as error:
            # Figures are for people; the run is worth more than they are.
            if not self._warned:
                warnings.warn(
                    f"attention is not drawn at step {step}, and perhaps later: "
                    f"{type(error).__name__}: {error}",
                    stacklevel=2,
                )
            self._warned = True

    def _watch(
        self, trainer: pl.Trainer, pl_module: Any, batch: Mapping[str, Any], step: int
    ) -> None:
        # Not before it is needed: matplotlib takes a second to load.
        from model.visualize.draw import save_figures

        noisy, _, tasks = pl_module.corrupted(batch, pl_module.batches)
        size = len(noisy.mask)
        if self.item >= size:
            raise IndexError(f"there is no item {self.item} in a batch of {size}")
        folder = Path(trainer.default_root_dir) / FOLDER / f"step_{step:06d}"
        about = f"step {step}  ·  {_described(batch, noisy, tasks, self.item)}"
        metrics: dict[str, float] = {}
        with trainer.precision_plugin.forward_context():
            layers = look(
                _network_of(pl_module),
                noisy,
                item=self.item,
                heads=self.vis_heads,
                layers=self.layers,
            )
            for layer in layers:
                line = console_line(layer.layer, step, layer.statistics, layer.kind)
                # Past a progress bar, if there is one.
                tqdm.write(line, file=sys.stdout)
                sys.stdout.flush()
                metrics.update(scalars(layer))
                save_figures(layer, folder, about)
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=step)
            logger.save()


def scalars(layer: LayerView) -> dict[str, float]:
    """Statistics of a layer by name; of each head as well, if there are several."""
    prefix = f"attention/layer{layer.layer}"
    found = layer.statistics.as_metrics(prefix)
    if len(layer.heads) > 1:
        for head, statistics in zip(layer.heads, layer.of_heads, strict=True):
            found |= statistics.as_metrics(f"{prefix}/head{head}")
    return found


def _described(batch: Mapping[str, Any], noisy: NoisyProtein, tasks: Any, item: int) -> str:
    """A protein, its task, and how far along what is hidden is."""
    uid = batch.get("chain_uid", batch.get("chain_uids"))
    name = "" if uid is None else f"{'+'.join(map(str, _listed(uid[item])))}, "
    mask = noisy.mask[item]
    times = []
    for modality in MODALITIES:
        # What is hidden shares a time; what is held is at 1.
        of_residues = getattr(noisy.times, modality)[item][mask]
        if len(of_residues) and float(of_residues.min()) < 1:
            times.append(f"{modality} at {float(of_residues.min()):.2f}")
    return f"{name}{TASKS[int(tasks[item])]}: {', '.join(times) or 'all clean'}"


def _listed(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) else list(value)


def _network_of(pl_module: Any) -> Any:
    return pl_module.network
