"""Trained networks as files: reading them, and writing them without what only training needs.

Files are read with ``weights_only=True``: a checkpoint from elsewhere cannot run code.
"""

from __future__ import annotations

import dataclasses
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.attention.gaussian_attention import Implementation
from model.flow.error_scale import ErrorScale
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

OWN = Path(__file__).parent / "checkpoints"
"""Where the networks are that come with the package."""

LAST = Path("checkpoints") / "last.ckpt"
"""In a run folder: what to resume from."""

_WANTED = "give one that model.train has written, such as RUN/checkpoints/last.ckpt"
_LFS = b"version https://git-lfs"

PREFIX = "network."
"""Of the network's weights in a checkpoint of training."""


class NotACheckpoint(Failure, ValueError):
    """The file holds no network that this version can read."""


class NoCheckpoint(NotACheckpoint, FileNotFoundError):
    """There is no such file."""


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
    trained_on : dict
        See `model.trained_on.TrainedOn`; empty if it is unknown.
    metrics : dict
        Name → value, the last of validation; and of an evaluation, if `export` was given one.
    error_scale : ErrorScale
        Of the predicted errors of side chains, if `export` was given an evaluation for it.
    """

    network: NetworkConfig
    step: int = 0
    averaged: bool = False
    dataset_digest: str | None = None
    notes: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    trained_on: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    error_scale: ErrorScale = field(default_factory=ErrorScale)

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
        A file, or the name of a network of the package (``"packing"``).
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
    NotACheckpoint
        Also if there is no such file (`NoCheckpoint`).
    """
    weights, info = load_weights(path, averaged=averaged)
    network = FlowNetwork(info.network, implementation)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise NotACheckpoint(f"{path}: its weights are of another network: {error}") from error
    return network.eval(), info


def own_networks() -> list[str]:
    """Names of the networks that come with the package."""
    return sorted(path.stem for path in OWN.glob("*.ckpt"))


def checkpoint_named(name: str | Path) -> Path:
    """A file of this name, or else a network of the package."""
    path = Path(name)
    return OWN / f"{name}.ckpt" if str(name) in own_networks() and not path.exists() else path


def own_name(name: str | Path) -> str | None:
    """Which network of the package it is, if it is one."""
    path = checkpoint_named(name).resolve()
    return path.stem if path.parent == OWN.resolve() else None


def load_weights(
    path: str | Path, *, averaged: bool = True
) -> tuple[dict[str, Tensor], CheckpointInfo]:
    """Weights by their names in `FlowNetwork`, float32, and what the file says of itself.

    Parameters, errors: as for `load_flow`.
    """
    path = checkpoint_named(path)
    stored = read_stored(path)
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


def read_stored(path: Path) -> dict[str, Any]:
    """What a checkpoint holds, as it was written.

    Raises
    ------
    NoCheckpoint
    NotACheckpoint
        It is something else, which is said; or it was not written by `model.train`.
    """
    if path.is_dir():
        last = path / LAST
        such = f", such as {last}" if last.is_file() else f" such as {LAST.name}"
        raise NoCheckpoint(f"{path} is a folder; give a checkpoint{such}")
    if not path.is_file():
        ours = f"; the package has {' and '.join(own_networks())}" if own_networks() else ""
        raise NoCheckpoint(f"there is no checkpoint {path}{ours}")
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise NotACheckpoint(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # torch raises whatever its unpickler meets, and advises trust
        raise NotACheckpoint(f"{path} {_what_it_is(path)}; {_WANTED}") from error
    if not isinstance(stored, dict) or not isinstance(stored.get(INFO), dict):
        raise NotACheckpoint(f"{path} is no checkpoint of model.train: it has no {INFO!r}")
    return stored


def _what_it_is(path: Path) -> str:
    """Of a file that cannot be read as a checkpoint."""
    with path.open("rb") as file:
        head = file.read(len(_LFS))
    if not head:
        return "is empty"
    if head == _LFS:
        return "stands for a file in Git LFS, which `git lfs pull` fetches"
    if not head.startswith(b"PK"):
        return "is no checkpoint"
    if not zipfile.is_zipfile(path):
        return "is a checkpoint that is cut off or damaged"
    with zipfile.ZipFile(path) as archive:
        if any(name.endswith("data.pkl") for name in archive.namelist()):
            return "is damaged, or holds more than weights and plain values and is not trusted"
    return "is an archive, no checkpoint"


def save_flow(
    destination: str | Path, weights: dict[str, Tensor], info: CheckpointInfo, *, half: bool = False
) -> None:
    """Write a network without the state of an optimizer; the file appears whole or not at all.

    Parameters
    ----------
    destination : str or Path
    weights : dict of Tensor
    info : CheckpointInfo
    half : bool
        Store weights in 16 bits; they are read as 32.
    """
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
    if "error_scale" in rest:
        rest["error_scale"] = ErrorScale(**rest["error_scale"])
    return CheckpointInfo(network=NetworkConfig(**network), **rest)
