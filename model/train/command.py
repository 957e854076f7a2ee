"""``python -m model.train``: Lightning's command line for the flow, and ``export``."""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI

from model.flow.clean import BATCH_KEYS
from model.train.checkpoints import FOLDER, BestCheckpoints, LastCheckpoint, WholeFiles
from model.train.configurations import with_configurations
from model.train.ema import EMA
from model.train.flow_module import FlowModule
from model.train.progress import Progress
from model.train.run_folder import RunFolder, SavedConfig
from model.train.training_log import TrainingLog
from model.visualize.watch import WatchAttention
from pipeline.batching import ProteinDataModule
from pipeline.commands.command_line import as_started
from pipeline.errors import Failure, UsageError

COLUMNS = [*(key for key in BATCH_KEYS if key != "lengths"), "b_factor", "confidence_kind"]

LOGGERS = (
    ("pytorch_lightning.loggers.CSVLogger", "csv"),
    ("pytorch_lightning.loggers.TensorBoardLogger", "tensorboard"),
)


class TrainCLI(LightningCLI):
    """Options: model (`FlowModule`), data (`ProteinDataModule`), trainer, and the callbacks."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_lightning_class_args(RunFolder, "run")
        parser.add_lightning_class_args(EMA, "ema")
        parser.add_lightning_class_args(LastCheckpoint, "last")
        parser.add_lightning_class_args(BestCheckpoints, "best")
        parser.add_lightning_class_args(WatchAttention, "watch")
        # What the flow reads, and no more.
        parser.set_defaults({"data.columns": COLUMNS})

    def before_instantiate_classes(self) -> None:
        config = self.config[self.config.subcommand]
        trainer = config.trainer
        # Processes that Lightning starts for other devices find here what the first one chose.
        folder = config.run.dir or os.environ.setdefault(
            "ELLIPSOID_FLOW_RUN", time.strftime("runs/%Y-%m-%d_%H-%M-%S")
        )
        config.run.dir = trainer.default_root_dir = folder
        if self.config.subcommand == "fit":
            _check_unused(Path(folder), config.get("ckpt_path"))
        if trainer.logger is None or trainer.logger is True:
            trainer.logger = self._loggers(folder)
        elif trainer.logger is not False:
            loggers = trainer.logger if isinstance(trainer.logger, list) else [trainer.logger]
            for logger in loggers:
                options = logger.init_args
                if options.get("save_dir", folder) in (None, ".", ""):
                    options.save_dir = folder

    def _loggers(self, folder: str) -> list[Any]:
        """The default ones, as if they were in the configuration."""
        given = [
            {"class_path": path, "init_args": {"save_dir": folder, "name": name}}
            for path, name in LOGGERS
        ]
        parsed = self._parser(self.subcommand).parse_object(
            {"trainer": {"logger": given}}, self.config[self.config.subcommand], defaults=False
        )
        return parsed.trainer.logger

    def instantiate_trainer(self, **options: Any) -> pl.Trainer:
        config = self.config_init[self.config_init.subcommand].trainer
        plugins = config.get("plugins") or []
        plugins = plugins if isinstance(plugins, list) else [plugins]
        callbacks: list[pl.Callback] = [TrainingLog()]
        if config.get("enable_progress_bar") is not False:
            callbacks.append(Progress())
        self.trainer_defaults = {**self.trainer_defaults, "callbacks": callbacks}
        return super().instantiate_trainer(plugins=[*plugins, WholeFiles()], **options)


def _check_unused(folder: Path, resume_from: Any) -> None:
    if (folder / FOLDER).is_dir() and any((folder / FOLDER).iterdir()) and not resume_from:
        raise SystemExit(
            f"error: {folder} has checkpoints of another run: continue it with --ckpt_path "
            f"{folder / FOLDER / 'last.ckpt'}, or give another --run.dir"
        )


def train(arguments: Sequence[str] | None = None) -> TrainCLI:
    """Run a subcommand of Lightning's command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Defaults to the process's own.
    """
    with warnings.catch_warnings():
        _quiet()
        return TrainCLI(
            FlowModule,
            ProteinDataModule,
            save_config_callback=SavedConfig,
            seed_everything_default=0,
            trainer_defaults={
                "gradient_clip_val": 1.0,
                "log_every_n_steps": 50,
                "num_sanity_val_steps": 0,
                "max_epochs": -1,
                "enable_model_summary": False,
            },
            # It has its own; and the usage would be a page of options.
            auto_configure_optimizers=False,
            parser_kwargs={
                name: {"usage": as_started(f"python -m model.train {name} --config NAME [options]")}
                for name in ("fit", "validate", "test", "predict")
            },
            args=None if arguments is None else list(arguments),
        )


def _quiet() -> None:
    """Advice of Lightning's that is wrong here: it does not know how batches are made."""
    for text in (
        ".*does not have many workers.*",
        ".*The number of training batches.*is smaller than the logging interval.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*LightningCLI's args parameter is intended.*",
        ".*Experiment logs directory .* exists.*",
        ".*You have overridden `on_before_batch_transfer`.*",
        # Lightning calls jsonargparse by its former names.
        "(?s).*JsonargparseDeprecationWarning",
        "(?s).*deprecated in v4",
        ".*isinstance.treespec, LeafSpec.*",
        ".*Total length of `list` across ranks is zero.*",
    ):
        warnings.filterwarnings("ignore", text)
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)


def main(arguments: Sequence[str] | None = None) -> None:
    """``fit``, ``validate``, ``test``, or ``export``."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    if words[:1] == ["export"]:
        from model.train.export import export

        sys.exit(export(words[1:]))
    try:
        train(with_configurations(words))
    except (UsageError, Failure, FileNotFoundError) as error:
        sys.exit(f"error: {error}")
