"""A trained network, where it runs, and the dataset that it is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from model.checkpoint import CheckpointInfo, NotACheckpoint, load_flow, own_name, own_networks
from model.errors import CannotLoad
from model.network import FlowNetwork
from pipeline.commands.termination import say
from pipeline.dataset import ShardDataset
from pipeline.errors import UsageError
from pipeline.files.storage import Location

DEFAULT = "packing"
"""The network of the package that is taken if none is given."""


def default_for(task: str | None = None) -> str:
    """The network of the package for a task: one of its name, or else `DEFAULT`."""
    return task if task in own_networks() else DEFAULT


def load_network(
    path: Path | str | None = None, task: str | None = None
) -> tuple[FlowNetwork, CheckpointInfo]:
    """Read a checkpoint of `model.train`, averaged weights.

    Parameters
    ----------
    path : path, optional
        A file, or the name of a network of the package. Without it, `default_for` the task.
    task : str, optional

    Raises
    ------
    CannotLoad
    """
    if not isinstance(path, (str, Path, type(None))):
        raise CannotLoad(f"a checkpoint is a path, or a name as a text; found {path!r}")
    name = default_for(task) if path is None else path
    if path is None and name not in own_networks():
        raise CannotLoad("--ckpt is needed: this copy of the package has no network of its own")
    try:
        return load_flow(name)
    except NotACheckpoint as error:
        raise CannotLoad(str(error)) from error


def load_packer(
    info: CheckpointInfo, path: Path | str | None = None
) -> tuple[FlowNetwork, CheckpointInfo] | None:
    """The packing network of the package, for what another one has designed.

    None where the network packs itself, or the package has none. A network that has learned to pack
    does so; but the design network of the package leaves it to the better one.

    Parameters
    ----------
    info : CheckpointInfo
    path : path, optional
        What the network was read from.
    """
    better = path is not None and own_name(path) == "design"
    if "packing" not in own_networks() or not (better or untrained_for(info, "packing")):
        return None
    return load_network("packing")


def untrained_for(info: CheckpointInfo, task: str) -> str | None:
    """What somebody should know who asks a network for a task it has never seen."""
    weights = info.settings.get("tasks")
    if not isinstance(weights, dict) or weights.get(task, 1) > 0:
        return None
    known = " and ".join(name for name, weight in weights.items() if weight > 0)
    return (
        f"this network was trained for {known}, never for {task}: what it makes is not to be "
        "trusted; train one, or give another --ckpt"
    )


def device_named(name: str | None) -> torch.device:
    """The device of this name; without one, a GPU if there is any.

    Raises
    ------
    UsageError
        There is no such device here.
    """
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter from a torch without CUDA
        reason = str(error).partition("\n")[0]
        raise UsageError(f"--device {name} cannot be used here: {reason}") from error
    return device


def open_dataset(
    path: Location, embedding: str | None, c_embedding: int, **options: Any
) -> ShardDataset:
    """A dataset for a network, with the embeddings that it was trained with.

    Parameters
    ----------
    path : path
    embedding : str, optional
        Name of the dataset's embeddings.
    c_embedding : int
        Channels of embeddings that the network takes; 0 for none.
    **options
        Of `ShardDataset`.

    Raises
    ------
    UsageError
        Nothing is chosen, or the embeddings are not those of the network.
    UnreadableDataset, DamagedShard, StorageError
    """
    try:
        dataset = ShardDataset(path, embedding=embedding, **options)
    except ValueError as error:  # a wrong condition, or nothing fulfils it
        raise UsageError(str(error)) from error
    stored = 0 if dataset.embeddings is None else dataset.embeddings.dimension
    if stored and stored != c_embedding:
        trained = f"with {c_embedding}" if c_embedding else "without embeddings"
        raise UsageError(
            f"--embedding has {stored} numbers per residue, and the network was trained {trained}"
        )
    if c_embedding and not stored:
        say("note: the network was trained with embeddings, which --embedding NAME gives")
    return dataset
