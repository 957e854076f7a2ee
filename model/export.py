"""Writing a network as a small file: that of a checkpoint, or the mean of several.

The mean of the weights of several networks is one network, often better than each of them. They
have to have one beginning, say ways down of the learning rate from one state on other batches
(M. Wortsman et al., "Model soups", 2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from torch import Tensor

from model.checkpoint import CheckpointInfo, NotACheckpoint, load_weights, save_flow
from model.flow.error_scale import ErrorScale
from model.trained_on import TrainedOn

ONLY_OF_TRAINING = ("dropout",)
"""What the networks may differ in."""


def export_flow(
    path: str | Path,
    destination: str | Path,
    *,
    half: bool = False,
    mean_with: Sequence[str | Path] = (),
    metrics: dict[str, float] | None = None,
    error_scale: ErrorScale | None = None,
) -> CheckpointInfo:
    """Write the network of a checkpoint, or the mean of several.

    Parameters
    ----------
    path, destination : str or Path
    half : bool
        Store weights in 16 bits; they are read as 32.
    mean_with : sequence of str or Path
        See `mean_of`.
    metrics : dict, optional
        Added to those of the checkpoint.
    error_scale : ErrorScale, optional
        In place of that of the checkpoint.

    Raises
    ------
    NotACheckpoint
    """
    weights, info = mean_of([path, *mean_with])
    info = replace(
        info,
        metrics={**info.metrics, **(metrics or {})},
        error_scale=error_scale or info.error_scale,
    )
    save_flow(destination, weights, info, half=half)
    return info


def mean_of(paths: Sequence[str | Path]) -> tuple[dict[str, Tensor], CheckpointInfo]:
    """Weights of the mean, and what is to be said of it.

    Parameters
    ----------
    paths : sequence of str or Path
        At least one checkpoint; averaged weights are taken where there are any.

    Returns
    -------
    weights : dict of Tensor
        float32.
    info : CheckpointInfo
        That of the first, with the data that any of them was trained on. A mean of several has
        none of its metrics, and not its scale of errors; ``settings["mean_of"]`` has the steps.

    Raises
    ------
    NotACheckpoint
        A file is none, or two networks have other sizes or choices.
    """
    first, *others = paths
    weights, info = load_weights(first)
    if not others:
        return weights, info
    seen, steps, averaged = TrainedOn.from_plain(info.trained_on), [info.step], info.averaged
    for path in others:
        more, its = load_weights(path)
        mine, theirs = asdict(info.network), asdict(its.network)
        if differ := [n for n in mine if mine[n] != theirs[n] and n not in ONLY_OF_TRAINING]:
            told = ", ".join(f"{n} {theirs[n]} there and {mine[n]} here" for n in differ)
            raise NotACheckpoint(f"{path} is another network than {first}: {told}")
        for name, value in weights.items():
            value += more[name]
        seen |= TrainedOn.from_plain(its.trained_on)
        steps.append(its.step)
        averaged &= its.averaged
    for value in weights.values():
        value /= len(paths)
    return weights, replace(
        info,
        averaged=averaged,
        trained_on=seen.to_plain(),
        metrics={},
        error_scale=ErrorScale(),
        settings={**info.settings, "mean_of": steps},
    )
