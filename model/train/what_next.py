"""What is said at the end of a training: where the network is, and what can be done with it."""

from __future__ import annotations

from pathlib import Path

from model.checkpoint import LAST
from model.flow import TASKS, TaskWeights
from pipeline.commands.command_line import as_started
from pipeline.commands.words import several

REQUESTS = {
    "packing": "--input STRUCTURE",
    "design": "--input STRUCTURE",
    "inpainting": "--input STRUCTURE --contigs CONTIGS",
    "unconditional": "--lengths 80",
}
"""What `model.sample` wants to know, by task; the one that was trained most is named."""


def what_next(folder: Path, step: int, tasks: TaskWeights) -> str:
    """Lines for the end of a run.

    Parameters
    ----------
    folder : Path
        The run folder.
    step : int
        The last one.
    tasks : TaskWeights
        What was trained.
    """
    last = folder / LAST
    if not last.is_file():
        return f"{folder}: {several(step, 'step')}, no checkpoint"
    task = max(TASKS, key=lambda task: getattr(tasks, task))
    request = REQUESTS.get(task, "")
    command = as_started(f"python -m model.sample --task {task}")
    return (
        f"{last}: the network after {several(step, 'step')}\n"
        f"sample it with\n"
        f"{command} --ckpt {last} {request} --out-dir out/{task}"
    )
