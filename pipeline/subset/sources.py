"""The datasets that rows are taken from: whether they may be joined, and in which order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.built.built_dataset import BuiltDataset
from pipeline.commands.words import dashed, told
from pipeline.errors import Failure

_STRICT = {
    "base_thickness": "ellipsoids of a dataset have one thickness",
    "shape": "ellipsoids of a dataset have one shape",
}
_MIXABLE = {
    "components_version": "residues are named by different tables",
    "parsing_version": "files became rows by different rules",
    "assembly": "chains of assemblies and of asymmetric units are different things",
}


class SubsetError(Failure):
    """The datasets cannot be joined, or nothing is left of them. One sentence."""


@dataclass(frozen=True, slots=True)
class Source:
    """A dataset, and its index."""

    dataset: BuiltDataset
    index: pa.Table

    @property
    def config(self) -> dict[str, Any]:
        return self.dataset.build["config"]

    def __str__(self) -> str:
        return str(self.dataset.folder)


def open_sources(locations: Sequence[str]) -> list[Source]:
    """Open datasets; their order is that of their content, however they were named.

    Raises
    ------
    UnreadableDataset, BadLocation, StorageError
    """
    datasets = [BuiltDataset.open(location) for location in locations]
    sources = [Source(dataset, dataset.index()) for dataset in datasets]
    return sorted(sources, key=lambda source: _content(source.dataset.build))


def _content(build: dict[str, Any]) -> tuple[str, str, str]:
    shards = json.dumps(build["shards"], sort_keys=True)
    return build["digest"], build["config_hash"], hashlib.sha256(shards.encode()).hexdigest()


def joint_config(sources: Sequence[Source], allow_mixed: bool) -> dict[str, Any]:
    """The configuration of all sources together: null where they differ.

    Raises
    ------
    SubsetError
        Their rows were made in different ways.
    """
    first, *others = sources
    for other in others:
        for key, why in (*_STRICT.items(), *_MIXABLE.items()):
            here, there = first.config.get(key), other.config.get(key)
            if here == there or (key in _MIXABLE and allow_mixed):
                continue
            advice = (
                "--allow-mixed joins them all the same"
                if key in _MIXABLE
                else "build one of them again with the other's"
            )
            option = dashed(key) if not key.endswith("_version") else key
            raise SubsetError(
                f"{first} and {other} were built with different {option} ({told(here)} and "
                f"{told(there)}): {why}; {advice}"
            )
    return _common([source.config for source in sources])


def _common(configs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Key by key what all say, null where they do not agree."""
    common: dict[str, Any] = {}
    for key in dict.fromkeys(key for config in configs for key in config):
        values = [config.get(key) for config in configs]
        dicts = [value for value in values if isinstance(value, dict)]
        if len(dicts) == len(values):
            common[key] = _common(dicts)
        else:
            common[key] = values[0] if all(value == values[0] for value in values) else None
    return common
