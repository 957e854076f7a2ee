"""How many threads a run computes with: chosen once, by the load, and kept when it is resumed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from joblib import cpu_count

from model.checkpoint import INFO, read_stored

CHOSEN = "ELLIPSOID_FLOW_THREADS"
"""Where processes that Lightning starts for other devices find what the first one chose."""

FIXED = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""With these in the environment, somebody else has chosen."""

SLACK = 0.25
"""Of a core; a core that is this busy counts as idle."""

LOOK = 0.5
"""Seconds over which the load is measured."""


@dataclass(frozen=True)
class Threads:
    """A number of threads, and where it comes from.

    Attributes
    ----------
    number : int
    reason : str
    """

    number: int
    reason: str

    def __str__(self) -> str:
        return f"threads: {self.number} ({self.reason}); --run.threads gives another number"


def choose_threads(checkpoint: Path | None, processes: int = 1) -> Threads:
    """The number for a run that was not told one.

    Threads that wait for a core which another program has cost more than they gain, and sums over
    another number of threads differ in their last bits.

    Parameters
    ----------
    checkpoint : Path, optional
        Of the run that is resumed: the number is the same again.
    processes : int
        Of the run on this machine, among which idle cores are dealt.
    """
    if chosen := os.environ.get(CHOSEN):
        return Threads(int(chosen), "as the first process")
    if checkpoint is not None and (kept := read_stored(checkpoint)[INFO].get("threads")):
        return Threads(int(kept), "as the run had before")
    for name in FIXED:
        if os.environ.get(name):
            return Threads(torch.get_num_threads(), f"as {name} says")
    cores, busy = cpu_count(), busy_cores()
    number = idle(cores, busy, processes, torch.get_num_threads())
    return Threads(number, f"{min(busy, cores):.1f} of {cores} cores are busy")


def busy_cores() -> float:
    """Cores of this machine that compute something now; this process waits."""
    return psutil.cpu_percent(interval=LOOK) / 100 * (psutil.cpu_count() or 1)


def idle(cores: int, busy: float, processes: int, most: int) -> int:
    """Cores that are idle, for each of so many processes: from 1 to `most`."""
    return max(1, min(most, int(cores - busy + SLACK) // processes))
