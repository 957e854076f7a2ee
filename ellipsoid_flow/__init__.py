"""Protein structure files → Gaussian-ellipsoid Parquet shards → a flow model: the Python interface.

Each name is imported when it is asked for, so that building needs no torch::

    from ellipsoid_flow import BuildOptions, ShardDataset, build
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ellipsoid_flow.own_packages import check_ours

if TYPE_CHECKING:
    from model.attention import GaussianAttention, InvariantPointAttention
    from model.checkpoint import CheckpointInfo, load_flow
    from model.export import export_flow
    from model.flow import Flow
    from model.gaussian_rigid import GaussianRigid
    from model.network import FlowNetwork, NetworkConfig
    from model.sample import Request, Sample, Sampler, Samples
    from model.score import Scorer, SequenceScore
    from model.train import FlowModule
    from model.visualize import look
    from pipeline.batching import (
        LengthBatchSampler,
        Mixture,
        MixturePart,
        ProteinDataModule,
        ResumableLoader,
        collate,
    )
    from pipeline.build.command import build
    from pipeline.build.options import BuildOptions
    from pipeline.built.built_dataset import UnreadableDataset
    from pipeline.built.reading import Reading
    from pipeline.dataset import (
        AlphaFold3Weights,
        ComplexDataset,
        ContiguousCrop,
        CropShares,
        InterfaceCrop,
        Labels,
        MixedCrop,
        ShardDataset,
        ShardStream,
        SpatialCrop,
    )
    from pipeline.errors import Failure, UsageError
    from pipeline.filters import Filters
    from pipeline.geometry.gaussians import (
        Gaussians,
        from_all_atoms,
        from_backbone_atoms,
        residue_gaussians,
    )
    from pipeline.report import write_report
    from pipeline.selection import interfaces, residue_batches, residues
    from pipeline.shards import DamagedShard

__all__ = [
    "AlphaFold3Weights",
    "BuildOptions",
    "CheckpointInfo",
    "ComplexDataset",
    "ContiguousCrop",
    "CropShares",
    "DamagedShard",
    "Failure",
    "Filters",
    "Flow",
    "FlowModule",
    "FlowNetwork",
    "GaussianAttention",
    "GaussianRigid",
    "Gaussians",
    "InterfaceCrop",
    "InvariantPointAttention",
    "Labels",
    "LengthBatchSampler",
    "MixedCrop",
    "Mixture",
    "MixturePart",
    "NetworkConfig",
    "ProteinDataModule",
    "Reading",
    "Request",
    "ResumableLoader",
    "Sample",
    "Sampler",
    "Samples",
    "Scorer",
    "SequenceScore",
    "ShardDataset",
    "ShardStream",
    "SpatialCrop",
    "UnreadableDataset",
    "UsageError",
    "build",
    "collate",
    "export_flow",
    "from_all_atoms",
    "from_backbone_atoms",
    "interfaces",
    "load_flow",
    "look",
    "residue_batches",
    "residue_gaussians",
    "residues",
    "write_report",
]

_HOMES = {
    "model.attention": ("GaussianAttention", "InvariantPointAttention"),
    "model.checkpoint": ("CheckpointInfo", "load_flow"),
    "model.export": ("export_flow",),
    "model.flow": ("Flow",),
    "model.gaussian_rigid": ("GaussianRigid",),
    "model.network": ("FlowNetwork", "NetworkConfig"),
    "model.sample": ("Request", "Sample", "Sampler", "Samples"),
    "model.score": ("Scorer", "SequenceScore"),
    "model.train": ("FlowModule",),
    "model.visualize": ("look",),
    "pipeline.batching": (
        "LengthBatchSampler",
        "Mixture",
        "MixturePart",
        "ProteinDataModule",
        "ResumableLoader",
        "collate",
    ),
    "pipeline.build.command": ("build",),
    "pipeline.build.options": ("BuildOptions",),
    "pipeline.built.built_dataset": ("UnreadableDataset",),
    "pipeline.built.reading": ("Reading",),
    "pipeline.dataset": (
        "AlphaFold3Weights",
        "ComplexDataset",
        "ContiguousCrop",
        "CropShares",
        "InterfaceCrop",
        "Labels",
        "MixedCrop",
        "ShardDataset",
        "ShardStream",
        "SpatialCrop",
    ),
    "pipeline.errors": ("Failure", "UsageError"),
    "pipeline.filters": ("Filters",),
    "pipeline.geometry.gaussians": (
        "Gaussians",
        "from_all_atoms",
        "from_backbone_atoms",
        "residue_gaussians",
    ),
    "pipeline.report": ("write_report",),
    "pipeline.selection": ("interfaces", "residue_batches", "residues"),
    "pipeline.shards": ("DamagedShard",),
}
"""Module → what is imported of it; a test holds it to the imports above, which are for tools."""

_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    for package in ("pipeline", _HOME_OF[name].partition(".")[0]):
        check_ours(package)
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def home_of(name: str) -> str:
    """The module that a public name is imported from."""
    return _HOME_OF[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
