"""The network to sample with: of a checkpoint, or the one that comes with the package."""

from __future__ import annotations

from pathlib import Path

from model.checkpoint import CheckpointInfo, NotACheckpoint, load_flow
from model.network import FlowNetwork

DEFAULT = Path(__file__).parents[1] / "checkpoints" / "default.ckpt"
"""A small trained network, if this copy of the package has one."""


class CannotLoad(Exception):
    """There is no usable checkpoint; the sentence says why."""


def load_network(path: Path | str | None = None) -> tuple[FlowNetwork, CheckpointInfo]:
    """Read a checkpoint of `model.train`, averaged weights.

    Parameters
    ----------
    path : path, optional
        Without it, `DEFAULT`.

    Raises
    ------
    CannotLoad
    """
    if path is None and not DEFAULT.is_file():
        raise CannotLoad("--ckpt is needed: this copy of the package has no network of its own")
    try:
        return load_flow(DEFAULT if path is None else path)
    except (OSError, NotACheckpoint) as error:
        raise CannotLoad(str(error)) from error
