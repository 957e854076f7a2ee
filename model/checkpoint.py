"""Trained networks as files: reading them, and writing them without what only training needs.

Files are read with ``weights_only=True``: a checkpoint from elsewhere cannot run code.
"""

from __future__ import annotations

import dataclasses
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.attention.gaussian_attention import Implementation
from model.network import FlowNetwork, NetworkConfig
from pipeline.errors import Failure
from pipeline.files.atomic import appears_whole

FORMAT = 2
READ_BY = {1: "the versions before 2026-11-29, in which side chains were regressed atoms"}
"""Format → who reads files of it."""

INFO = "flow"
"""Key of a checkpoint under which `CheckpointInfo` is."""

EMA_KEY = "EMA"
"""Key of Lightning's ``callbacks`` under which the averaged weights are."""

PREFIX = "network."
"""Of the network's weights in a checkpoint of training."""


class NotACheckpoint(Failure, ValueError):
    """The file holds no network that this version can read."""


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says of itself; all of it plain values.

    Attributes
    ----------
    network : NetworkConfig
    step : int
        Steps of the optimizer.
    averaged : bool
        The weights are the exponential moving average.
    dataset_digest : str or None
        Of the dataset that was trained on.
    notes : str
    versions : dict
        Software → version.
    settings : dict
        The other settings of training, as in its YAML.
    metrics : dict
        Name → value, the last of validation; and of an evaluation, if `export` was given one.
    """

    network: NetworkConfig
    step: int = 0
    averaged: bool = False
    dataset_digest: str | None = None
    notes: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)

    def to_plain(self) -> dict[str, Any]:
        """As it is stored."""
        return {"format": FORMAT, **asdict(self)}


def load_flow(
    path: str | Path, *, averaged: bool = True, implementation: Implementation = "auto"
) -> tuple[FlowNetwork, CheckpointInfo]:
    """Read a network from a checkpoint of training, or from an exported one.

    Parameters
    ----------
    path : str or Path
    averaged : bool
        Take the exponential moving average of the weights, if there is one.
    implementation : {"auto", "tiled", "triton", "oracle"}
        Of attention; a file says nothing of it.

    Returns
    -------
    network : FlowNetwork
        In evaluation mode, on the CPU, float32.
    info : CheckpointInfo

    Raises
    ------
    FileNotFoundError
    NotACheckpoint
    """
    weights, info = load_weights(path, averaged=averaged)
    network = FlowNetwork(info.network, implementation)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise NotACheckpoint(f"{path}: its weights are of another network: {error}") from error
    return network.eval(), info


def load_weights(
    path: str | Path, *, averaged: bool = True
) -> tuple[dict[str, Tensor], CheckpointInfo]:
    """Weights by their names in `FlowNetwork`, float32, and what the file says of itself.

    Parameters, errors: as for `load_flow`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its unpickler meets
        raise NotACheckpoint(f"{path} cannot be read as a checkpoint: {error}") from error
    if not isinstance(stored, dict) or not isinstance(stored.get(INFO), dict):
        raise NotACheckpoint(f"{path} is no checkpoint of model.train: it has no {INFO!r}")
    info = _info(path, dict(stored[INFO]))
    if "weights" in stored:
        weights = stored["weights"]
    else:
        weights = {
            name.removeprefix(PREFIX): value
            for name, value in stored["state_dict"].items()
            if name.startswith(PREFIX)
        }
        ema = stored.get("callbacks", {}).get(EMA_KEY)
        if averaged and ema and ema["weights"]:
            weights = {**weights, **ema["weights"]}
            info = dataclasses.replace(info, averaged=True)
    return {name: value.float() for name, value in weights.items()}, info


def export_flow(
    path: str | Path,
    destination: str | Path,
    *,
    half: bool = False,
    metrics: dict[str, float] | None = None,
) -> CheckpointInfo:
    """Write the network of a checkpoint without the state of the optimizer.

    Parameters
    ----------
    path, destination : str or Path
    half : bool
        Store weights in 16 bits; they are read as 32.
    metrics : dict, optional
        Added to those of the checkpoint.
    """
    weights, info = load_weights(path)
    info = dataclasses.replace(info, metrics={**info.metrics, **(metrics or {})})
    save_flow(destination, weights, info, half=half)
    return info


def save_flow(
    destination: str | Path, weights: dict[str, Tensor], info: CheckpointInfo, *, half: bool = False
) -> None:
    """Write a network; the file appears whole or not at all. See `export_flow`."""
    destination = Path(destination)
    if half:
        weights = {name: value.half() for name, value in weights.items()}
    # A copy, because a view would be written with all that it is a view of.
    weights = {name: value.detach().cpu().clone() for name, value in weights.items()}
    destination.parent.mkdir(parents=True, exist_ok=True)
    with appears_whole(destination, destination.parent) as temporary:
        torch.save({INFO: info.to_plain(), "weights": weights}, temporary)


def _info(path: Path, plain: dict[str, Any]) -> CheckpointInfo:
    if (found := plain.pop("format", None)) != FORMAT:
        other = READ_BY.get(found, "another version")
        raise NotACheckpoint(
            f"{path} has format {found}, which is read by {other}; this version reads {FORMAT}"
        )
    known = {f.name for f in dataclasses.fields(CheckpointInfo)}
    network = plain.pop("network")
    strange = set(network) - {f.name for f in dataclasses.fields(NetworkConfig)}
    if strange:
        raise NotACheckpoint(
            f"{path}: its network has {', '.join(sorted(strange))}, unknown to this version"
        )
    rest = {key: value for key, value in plain.items() if key in known}
    return CheckpointInfo(network=NetworkConfig(**network), **rest)
