"""What the command line of training says: its own options first, and of unknown ones the nearest.

Lightning's parser does the work.
"""

from __future__ import annotations

import argparse
import re
import sys
from types import SimpleNamespace
from typing import Any, NoReturn

from pytorch_lightning.cli import LightningArgumentParser

from pipeline.commands.command_line import Help, as_started, expected_of, metavar_of
from pipeline.commands.words import no_such_option

PROGRAM = "python -m model.train"

COMMANDS = ("fit", "validate", "test", "export")
"""The last one is ours alone."""

TITLES = {
    "run": "the run",
    "data": "data",
    "data.crop_shares": "how often a mixed crop is of each kind",
    "data.alphafold3": "weights of chains and interfaces",
    "model": "training",
    "model.network": "the network",
    "model.loss": "weights of the terms of the loss",
    "model.tasks": "how often a protein is of each task",
    "model.optimizer": "the optimizer",
    "last": "the checkpoint to resume from",
    "best": "the best checkpoints",
    "ema": "the average of the weights",
    "watch": "looking at what attention looks at",
    "trainer": "Lightning's trainer",
}
"""Prefixes of options in the order of the help; what has none comes before."""

USUAL = {
    f"trainer.{name}"
    for name in (
        "max_steps",
        "accelerator",
        "devices",
        "strategy",
        "precision",
        "gradient_clip_val",
        "accumulate_grad_batches",
        "val_check_interval",
        "limit_val_batches",
        "log_every_n_steps",
        "logger",
    )
}
"""Of the trainer, what ``--help`` shows; ``--help-all`` shows the others, too."""


HELP = {
    "config": "tiny, packing, design, generation, finetune, base or large, or a YAML file of "
    "options; the command line wins over it.",
    "print_config": "Print the options, all others applied, as YAML for --config, and stop.",
    "seed_everything": "Of what the network begins with.",
    "ckpt_path": "Checkpoint that a run is continued from, such as RUN/checkpoints/last.ckpt.",
}
"""Of options that are Lightning's."""

LEFT_OUT = ("weights_only",)
"""Checkpoints are never read otherwise."""


class TrainParser(LightningArgumentParser):
    """Lightning's, with a help that begins with what is ours, and errors of one line."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, allow_abbrev=False, formatter_class=_Lines, **options)
        self._shows_all = False
        self.add_argument(
            "--help-all",
            action=_HelpAll,
            nargs=0,
            dest=argparse.SUPPRESS,
            default=argparse.SUPPRESS,
            help="Show all of Lightning's options as well, and stop.",
        )

    def format_help(self, formatter: Any = None) -> str:
        given = () if formatter is None else (formatter,)  # by later versions of Python
        if self._subcommands_action is not None:
            self.usage = f"{as_started(PROGRAM)} {{{','.join(COMMANDS)}}} [options]"
            self.description = "Train a network, and write it without what only training needs."
            self.epilog = "export: Write the network of a checkpoint to a small file."
            return super().format_help(*given)
        self.usage = f"{self._name()} --config FILE [options]"
        groups, self._action_groups = self._action_groups, self._sections()  # type: ignore[assignment]
        try:
            return super().format_help(*given)
        finally:
            self._action_groups = groups

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:
            raise argparse.ArgumentError(None, message) from ex
        parser: Any = getattr(ex, "subcommand_parser", None) or self
        sys.stderr.write(
            f"error: {parser.explain(message)}\n"
            f"tip: {parser._name()} --help lists the options, --help-all Lightning's as well\n"
        )
        sys.exit(2)

    def explain(self, message: str) -> str:
        """What Lightning's parser says of an option, as our commands say it."""
        known = [word for word in self._option_string_actions if word.startswith("--")]
        if stray := re.match(r"[Uu]nrecognized arguments: (\S+)", message):
            option = stray[1].partition("=")[0]
            if option.startswith("-"):
                return no_such_option(option, known)
            return f"unexpected {option!r}: every value follows its option"
        if strange := re.match(r"(\w+) '(.*?)' does not accept option '(.*?)'", message):
            prefix = f"{strange[2]}." if strange[1] == "Group" else ""
            return no_such_option(f"--{prefix}{strange[3]}", known)
        if "subcommand" in message:
            wrong = re.search(r"invalid choice: '(.*?)'", message)
            given = f"there is no command {wrong[1]}; " if wrong else ""
            return f"{given}give one of {', '.join(COMMANDS)}"
        if lacking := re.match(r"the following arguments are required: (\w+)\.([\w.]+)", message):
            return f"--{lacking[2]} is required"
        if wrong := re.match(r'(?s)Parser key "([\w.]+)":.*Got value: (.*)', message):
            hint = getattr(self._option_string_actions.get(f"--{wrong[1]}"), "_typehint", None)
            if hint is not None:
                return f"--{wrong[1]} {wrong[2]}: expected {expected_of(hint)}"
        within = re.match(
            r"""(?s)Parser key "([\w.]+)":.* given class_path '[\w.]+':\s+(.*?)\s+- Expected""",
            message,
        )
        if within:  # of a list of records
            return f"--{within[1]}: {' '.join(within[2].split())}"
        return " ".join(re.sub(r'^Parser key "([\w.]+)":', r"--\1:", message).split())

    def _name(self) -> str:
        return " ".join([as_started(PROGRAM), *filter(None, [getattr(self, "subcommand", None)])])

    def _sections(self) -> list[SimpleNamespace]:
        """Options by their prefixes; without Lightning's unless all are shown."""
        parts: dict[str, list[argparse.Action]] = {"": [], **{prefix: [] for prefix in TITLES}}
        for action in self._actions:
            option = max(action.option_strings, key=len, default="").removeprefix("--")
            action.help = HELP.get(option, action.help)
            if self._shows_all or self._is_own(action, option):
                parts.setdefault(option.rpartition(".")[0], []).append(action)
        titles = {"": "options", **TITLES}
        return [
            SimpleNamespace(title=titles.get(prefix, prefix), description=None, _group_actions=part)
            for prefix, part in parts.items()
            if part
        ]

    def _is_own(self, action: argparse.Action, option: str) -> bool:
        prefix, _, last = option.rpartition(".")
        if option.startswith("trainer"):
            return option in USUAL
        if not prefix:  # a prefix alone takes a file
            return option not in (*TITLES, *LEFT_OUT)
        return option not in TITLES and last != "help" and prefix in TITLES


class _HelpAll(argparse.Action):
    def __call__(
        self, parser: Any, namespace: Any, values: Any, option_string: str | None = None
    ) -> None:
        parser._shows_all = True
        parser.print_help()
        parser.exit()


class _Lines(Help):
    """Values as in the help of the other commands."""

    def _get_help_string(self, action: argparse.Action) -> str:
        if getattr(action, "_jsonargparse_preexpanded_help", False):
            return action.help or ""  # of an option without a description, it is made already
        return super()._get_help_string(action)

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        hint = getattr(action, "_typehint", None)
        return metavar_of(hint) or "VALUE" if hint is not None else "FILE"
