"""What follows from a request and its task, before any network or file is read."""

from __future__ import annotations

from model.tasks import TASK_RECORDS, Request
from pipeline.commands.words import dashed
from pipeline.errors import UsageError


def check_request(request: Request) -> None:
    """See that the options go together.

    Raises
    ------
    UsageError
    """
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
