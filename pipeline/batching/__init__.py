"""From items to batches: sampling by length, padding, a loader that resumes, Lightning's module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.extras import explained

try:
    from pipeline.batching.collate import PER_RESIDUE, collate
    from pipeline.batching.loader import ResumableLoader
    from pipeline.batching.mixture import Mixture, MixturePart
    from pipeline.batching.sampler import LengthBatchSampler, OtherInputs
except ModuleNotFoundError as error:
    raise explained(error, "pipeline.batching") or error from None

if TYPE_CHECKING:
    from pipeline.batching.data_module import ProteinDataModule

__all__ = [
    "PER_RESIDUE",
    "LengthBatchSampler",
    "Mixture",
    "MixturePart",
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
        raise explained(error, "ProteinDataModule") or error from None
    return ProteinDataModule
