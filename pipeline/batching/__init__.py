"""From items to batches: sampling by length, padding, a loader that resumes, Lightning's module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.batching.collate import PER_RESIDUE, collate
from pipeline.batching.loader import ResumableLoader
from pipeline.batching.sampler import LengthBatchSampler, OtherInputs

if TYPE_CHECKING:
    from pipeline.batching.data_module import ProteinDataModule

__all__ = [
    "PER_RESIDUE",
    "LengthBatchSampler",
    "OtherInputs",
    "ProteinDataModule",
    "ResumableLoader",
    "collate",
]


def __getattr__(name: str) -> Any:
    # Lightning takes seconds to import and is not needed by the rest.
    if name != "ProteinDataModule":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from pipeline.batching.data_module import ProteinDataModule
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("pytorch_lightning"):
            raise
        raise ImportError(
            "ProteinDataModule needs PyTorch Lightning, which is not installed: "
            'pip install "ellipsoid-flow[train]"'
        ) from None
    return ProteinDataModule
