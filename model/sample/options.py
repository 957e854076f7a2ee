"""What the command can be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

from model.tasks import TASK_RECORDS, Request
from pipeline.commands.words import dashed
from pipeline.errors import UsageError


@dataclass(frozen=True)
class SampleOptions:
    """Sample proteins, and write them.

    Parameters
    ----------
    ckpt
        Checkpoint of model.train; without it, the small one that comes with the package.
    out_dir
        Folder for a structure file per sample, sequences.fasta, metrics.csv, residues.csv
        and options.yaml.
    format
        mmCIF or PDB. B-factors are the predicted errors of residues in Å.
    trajectory
        Write NAME_trajectory files as well, with a model for each step.
    overwrite
        Replace files of the same names in a folder that is not empty.
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
    for name in ("number", "steps", "best_of", "batch_size"):
        value = getattr(request, name)
        if value is not None and value < 1:
            raise UsageError(f"{dashed(name)} is at least 1, found {value}")
    for name in ("temperature", "noise_scale"):
        value = getattr(request, name)
        if value is not None and not 0 <= value < float("inf"):
            raise UsageError(f"{dashed(name)} is a number from 0, found {value}")
    if not 0 <= request.start < 1:
        raise UsageError(f"--start is a time from 0 to below 1, found {request.start}")
    if request.start > 0 and request.noise_scale == 0:
        raise UsageError("--start noises the input: with --noise-scale 0 it would stay as it is")
    for task, record in TASK_RECORDS.items():
        for name in record.options:
            if getattr(request, name) is not None and request.task != task:
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
