"""What the command can be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

from model.tasks import TASK_RECORDS, Request
from model.tasks.motif_bench import check_files
from pipeline.commands.checks import check_at_least
from pipeline.commands.words import dashed
from pipeline.errors import UsageError


@dataclass(frozen=True)
class SampleOptions:
    """Sample proteins, and write them.

    Parameters
    ----------
    ckpt
        Checkpoint of model.train, or packing or design, the small networks that come with the
        package; without it, the one for the task.
    out_dir
        Folder for a structure file per sample, sequences.fasta, metrics.csv, residues.csv
        and options.yaml.
    format
        mmCIF or PDB. B-factors are the predicted errors of residues in Å.
    trajectory
        Write NAME_trajectory files as well, with a model for each step.
    overwrite
        Replace files of the same names in a folder that is not empty.
    resume
        Go on with a run that was stopped: samples that are finished in the folder are kept. The
        options have to be those of that run, and its inputs as they were. A folder without a run
        begins one.
    device
        Where the network runs: cpu, cuda, cuda:1 …; without it, cuda if there is one.
    quiet
        Say nothing but what went wrong.
    """

    out_dir: Path
    ckpt: Path | None = None
    format: Literal["cif", "pdb"] = "cif"
    trajectory: bool = False
    overwrite: bool = False
    resume: bool = False
    device: str | None = None
    quiet: bool = False
    request: Request = field(
        default_factory=lambda: Request("unconditional"), metadata={"flatten": True}
    )

    def check(self) -> None:
        """See that the options go together.

        Raises
        ------
        UsageError
        """
        check_request(self.request)
        if self.resume and self.overwrite:
            raise UsageError(
                "--resume keeps what is in the folder and --overwrite replaces it: give one of them"
            )
        if self.request.motifbench:
            check_files(self.format, self.trajectory)


def check_step_noise(request: Request) -> None:
    """See that a noise of steps has something to do, and does not undo another option."""
    if request.step_noise is None:
        return
    if not TASK_RECORDS[request.task].hides_frames:
        makers = " and ".join(
            f"--task {t}" for t, record in TASK_RECORDS.items() if record.hides_frames
        )
        raise UsageError(
            f"--step-noise moves residues, and --task {request.task} is given where they are; "
            f"it is for {makers}"
        )
    if request.noise_scale is not None:
        raise UsageError(
            "--noise-scale is for the noise that residues start from, which --step-noise replaces "
            "step by step: give one of them"
        )


def check_request(request: Request) -> None:
    """See that the options go together.

    Raises
    ------
    UsageError
    """
    check_kinds(request)
    if request.task not in TASK_RECORDS:
        known = ", ".join(TASK_RECORDS)
        raise UsageError(f"--task is one of {known}, found {request.task!r}")
    check_at_least(request, number=1, steps=1, best_of=1, batch_size=1)
    for name in ("temperature", "noise_scale", "step_noise"):
        value = getattr(request, name)
        if value is not None and not 0 <= value < float("inf"):
            raise UsageError(f"{dashed(name)} is a number from 0, found {value}")
    if not 0 <= request.start < 1:
        raise UsageError(f"--start is a time from 0 to below 1, found {request.start}")
    if request.start > 0 and request.noise_scale == 0:
        raise UsageError("--start noises the input: with --noise-scale 0 it would stay as it is")
    check_step_noise(request)
    for task, record in TASK_RECORDS.items():
        for name in record.options:
            if getattr(request, name) not in (None, False) and request.task != task:
                raise UsageError(f"{dashed(name)} is for --task {task}, not for {request.task}")
    TASK_RECORDS[request.task].check(request)
    if request.chains is not None and request.input is None:
        raise UsageError("--chains is for --input, which is not given")


_KINDS = {str: "a text", Path: "a path", int: "a whole number", float: "a number", bool: "a bool"}


def check_kinds(request: Request) -> None:
    """See that values are of the kinds that `Request` says: in Python anything may be given.

    Raises
    ------
    UsageError
    """
    for name, hint in get_type_hints(Request).items():
        value, kinds = getattr(request, name), get_args(hint) or (hint,)
        if name == "task" or (value is None and type(None) in kinds):
            continue
        wanted = kinds[0]
        if get_origin(wanted) is list:
            if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
                raise UsageError(f"{name} is a list of texts, found {value!r}")
        elif not _is_a(value, wanted):
            raise UsageError(f"{name} is {_KINDS[wanted]}, found {value!r}")


def _is_a(value: object, kind: type[object]) -> bool:
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    numbers = {int: Integral, float: Real}
    return isinstance(value, numbers.get(kind, kind))
