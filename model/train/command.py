"""``python -m model.train``: Lightning's command line for the flow, and ``export``."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from model.checkpoint import INFO, read_stored
from model.export import ONLY_OF_TRAINING
from model.flow.clean import BATCH_KEYS
from model.train.checkpoints import FOLDER, BestCheckpoints, LastCheckpoint, WholeFiles
from model.train.configurations import with_configurations
from model.train.ema import EMA
from model.train.flow_module import FlowModule
from model.train.help import TrainParser
from model.train.interruption import Interruption
from model.train.progress import Progress
from model.train.run_folder import RunFolder, SavedConfig, removed_unless_begun
from model.train.threads import CHOSEN, choose_threads
from model.train.training_log import TrainingLog
from model.train.what_next import what_next
from model.visualize.watch import WatchAttention
from pipeline.batching import ProteinDataModule
from pipeline.commands.checks import check_no_file
from pipeline.commands.command_line import options_file
from pipeline.commands.termination import status_of
from pipeline.errors import UsageError

_log = logging.getLogger(__name__)

OF_NO_WEIGHT = (*ONLY_OF_TRAINING, "gamma_init")
"""Settings of a network that may be others where a run goes on: what begins with them is read."""

COLUMNS = [*(key for key in BATCH_KEYS if key != "lengths"), "b_factor", "confidence_kind"]

LOGGERS = (
    ("pytorch_lightning.loggers.CSVLogger", "csv"),
    ("pytorch_lightning.loggers.TensorBoardLogger", "tensorboard"),
)


class TrainCLI(LightningCLI):
    """Options: model (`FlowModule`), data (`ProteinDataModule`), trainer, and the callbacks."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """All of Lightning's but ``predict``, for which there is `model.sample`."""
        found = LightningCLI.subcommands()
        del found["predict"]
        return found

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_lightning_class_args(RunFolder, "run")
        parser.add_lightning_class_args(EMA, "ema")
        parser.add_lightning_class_args(LastCheckpoint, "last")
        parser.add_lightning_class_args(BestCheckpoints, "best")
        parser.add_lightning_class_args(WatchAttention, "watch")
        # What the flow reads, and no more.
        parser.set_defaults({"data.columns": COLUMNS})

    def _parse_ckpt_path(self) -> None:
        """See that this network can go on from it; Lightning would read it here, and take what is
        in it."""
        config = self.config[self.config.subcommand]
        path = config.get("ckpt_path")
        if not path or "://" in str(path):
            return
        stored = read_stored(Path(path))
        if "optimizer_states" not in stored:
            raise UsageError(
                f"--ckpt_path {path} was exported: nothing can be resumed from it. Begin with its "
                f"weights: --model.init_from {path}"
            )
        before, now = stored[INFO]["network"], config.model.network.as_dict()
        others = [
            f"--model.network.{name} is {before[name]} there and {now[name]} here"
            for name in now
            if name in before and name not in OF_NO_WEIGHT and before[name] != now[name]
        ]
        if others:
            raise UsageError(
                f"--ckpt_path {path} is of another network: {'; '.join(others)}. Go on with that "
                f"one, or begin with what fits of its weights: --model.init_from {path}"
            )

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
            if config.run.threads is None:
                config.run.threads = self._choose_threads(config)
        if trainer.logger is None or trainer.logger is True:
            trainer.logger = self._loggers(folder)
        elif trainer.logger is not False:
            loggers = trainer.logger if isinstance(trainer.logger, list) else [trainer.logger]
            for logger in loggers:
                options = logger.init_args
                if options.get("save_dir", folder) in (None, ".", ""):
                    options.save_dir = folder

    def _choose_threads(self, config: Any) -> int:
        checkpoint = config.get("ckpt_path")
        devices = str(config.trainer.devices)
        chosen = choose_threads(
            None if checkpoint is None or "://" in str(checkpoint) else Path(checkpoint),
            processes=int(devices) if devices.isdecimal() and int(devices) > 0 else 1,
        )
        if getattr(rank_zero_only, "rank", 0) == 0:
            _log.info("%s", chosen)
        if devices not in ("auto", "1"):
            os.environ[CHOSEN] = str(chosen.number)
        return chosen.number

    def fit(self, **options: Any) -> None:
        """Train; a run that cannot begin leaves nothing, and one that ends says what comes next."""
        folder = Path(self.trainer.default_root_dir)
        self._begin_once()
        with removed_unless_begun(folder, self.trainer.is_global_zero):
            self.datamodule.setup("fit")
            self.trainer.fit(**options)
        if self.trainer.is_global_zero:
            print(what_next(folder, self.trainer.global_step, self.model.task_weights))

    def validate(self, **options: Any) -> None:
        """The loss on the split for validation, if there is one."""
        self._check_chosen("val")
        self._check_trained()
        self.trainer.validate(**options)

    def test(self, **options: Any) -> None:
        """The loss on the split for tests, if there is one."""
        self._check_chosen("test")
        self._check_trained()
        self.trainer.test(**options)

    def _check_chosen(self, name: str) -> None:
        if not self.datamodule.is_chosen(name):
            raise UsageError(
                f"no chains are chosen: give --data.{name}_split or --data.{name}_where"
            )

    def _begin_once(self) -> bool:
        """What a run began with is not read again; whether there is a checkpoint to go on from."""
        if self.config[self.config.subcommand].get("ckpt_path"):
            self.model.init_from = None
            return True
        return False

    def _check_trained(self) -> None:
        if not self._begin_once() and self.model.init_from is None:
            raise UsageError(
                f"{self.config.subcommand} of which network? Give --ckpt_path "
                f"RUN/{FOLDER}/last.ckpt, or --model.init_from with an exported one"
            )

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
        callbacks.append(Interruption())
        self.trainer_defaults = {**self.trainer_defaults, "callbacks": callbacks}
        return super().instantiate_trainer(plugins=[*plugins, WholeFiles()], **options)


def _check_unused(folder: Path, resume_from: Any) -> None:
    check_no_file("run.dir", folder)
    if (folder / FOLDER).is_dir() and any((folder / FOLDER).iterdir()) and not resume_from:
        raise UsageError(
            f"{folder} has checkpoints of another run: continue it with --ckpt_path "
            f"{folder / FOLDER / 'last.ckpt'}, or give another --run.dir"
        )


def train(arguments: Sequence[str] | None = None) -> TrainCLI:
    """Run a subcommand of Lightning's command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Defaults to the process's own.

    Raises
    ------
    UsageError, Failure
        What is wrong is in the sentence.
    SystemExit
        Status 2 for options that cannot be read, 0 for help.
    """
    words = with_configurations(sys.argv[1:] if arguments is None else arguments)
    for path in _configs(words):
        options_file(path)
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
            # It has its own.
            auto_configure_optimizers=False,
            parser_class=TrainParser,
            args=words,
        )


def _configs(words: list[str]) -> Iterator[str]:
    """The files of options in this machine's folders."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        option, equals, value = word.partition("=")
        path = value if equals else following
        if option in ("-c", "--config") and path and "://" not in path:
            yield path


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


def main(arguments: Sequence[str] | None = None) -> int:
    """``fit``, ``validate``, ``test``, or ``export``; the exit status.

    0: it is done. 1: a file cannot be used, or training cannot go on. 2: wrong usage.
    130: interrupted; of training there is a checkpoint.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    if words[:1] == ["export"]:
        from model.train.export import export

        return export(words[1:])
    return status_of(
        lambda: _train(None if arguments is None else words),
        interrupted="what is written is whole",
    )


def _train(arguments: Sequence[str] | None) -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        train(arguments)
    except SystemExit as end:
        # Lightning ends the process itself, with another status, once it has put all away; until
        # then it is deaf to Ctrl-C, and may stay so.
        if isinstance(end.__context__, KeyboardInterrupt):
            signal.signal(signal.SIGINT, before)
            raise end.__context__ from None
        raise
