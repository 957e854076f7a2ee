"""``python -m model.train export``: a small checkpoint for sampling."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from model.export import export_flow
from model.flow.error_scale import ErrorScale
from pipeline.commands.checks import check_no_folder
from pipeline.commands.command_line import parse_options
from pipeline.commands.termination import status_of
from pipeline.errors import Failure


class NoEvaluation(Failure):
    """The folder holds no evaluation; the sentence says what is wrong."""


@dataclass(frozen=True)
class ExportOptions:
    """Write a network without what only training needs.

    Parameters
    ----------
    checkpoint
        A checkpoint of training; as the first word, it needs no option.
    output
        The file to write.
    half
        Store weights in 16 bits, for half the size; they are read as 32.
    mean_with
        Checkpoints of other networks of the same beginning, ways down on other batches, say: the
        file gets the mean of all weights.
    evaluation
        Folder of model.evaluate, of the same checkpoint: its means become part of the file.
    calibration
        Folder of model.evaluate of the same checkpoint, with --split val: predicted errors of side
        chains become what was found there, on average.
    """

    checkpoint: Path
    output: Path
    half: bool = False
    mean_with: list[Path] = field(default_factory=list)
    evaluation: Path | None = None
    calibration: Path | None = None


def export(arguments: Sequence[str]) -> int:
    """The command's status."""
    # `export FROM TO` reads as `cp`: the second word needs no option either.
    words = list(arguments)
    if len(words) >= 2 and not any(word.startswith("-") for word in words[:2]):
        words[1:2] = ["--output", words[1]]
    options = parse_options(
        ExportOptions,
        "python -m model.train export",
        "Write the network of a checkpoint, averaged weights where there are any, without the "
        "state of the optimizer.",
        words,
        first="checkpoint",
    )
    return status_of(
        lambda: _export(options), interrupted=f"{options.output} is as it was, or whole"
    )


def _export(options: ExportOptions) -> None:
    check_no_folder("output", options.output)
    metrics = {} if options.evaluation is None else _means(options.evaluation)
    scale = None if options.calibration is None else _error_scale(options.calibration)
    info = export_flow(
        options.checkpoint,
        options.output,
        half=options.half,
        mean_with=options.mean_with,
        metrics=metrics,
        error_scale=scale,
    )
    size = options.output.stat().st_size / 1e6
    kind = "averaged weights" if info.averaged else "weights"
    steps = " and ".join(f"{step:,}" for step in info.settings.get("mean_of", [info.step]))
    mean = "mean of the " if options.mean_with else ""
    print(f"{options.output}: {mean}{kind} of step {steps}, {size:.1f} MB")


def _error_scale(folder: Path) -> ErrorScale:
    """That an evaluation of validation chains has found.

    Raises
    ------
    NoEvaluation
        There is none, or it is damaged, or of other chains.
    """
    path = folder / "summary.json"
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        split, found = summary["split"], summary.get("calibration")
        scale = None if found is None else found["error_scale"]
        made = None if scale is None else ErrorScale(float(scale["offset"]), float(scale["slope"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NoEvaluation(f"{path}: is no summary of model.evaluate ({error})") from error
    if split != "val":
        raise NoEvaluation(
            f"{path}: is of the split {split!r}; --calibration takes chains of validation, so that "
            "a test stays a test: run model.evaluate with --split val"
        )
    if made is None:
        raise NoEvaluation(
            f"{path}: has no scale of errors: run model.evaluate with --tasks packing, on more "
            "chains"
        )
    return made


def _means(folder: Path) -> dict[str, float]:
    """``test/packing.chi1_recovery`` … of an evaluation.

    Raises
    ------
    NoEvaluation
    """
    path = folder / "summary.json"
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        return {
            f"{summary['split']}/{task}.{name}": float(found["mean"])
            for task, metrics in summary["tasks"].items()
            for name, found in metrics.items()
        }
    except OSError as error:
        raise NoEvaluation(
            f"--evaluation {folder} is no folder of model.evaluate: {error}"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NoEvaluation(f"{path} is no summary of model.evaluate ({error})") from error
