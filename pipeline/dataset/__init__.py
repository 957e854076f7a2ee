"""Reading shards as tensors: `ShardDataset` by number, `ShardStream` in a shuffled order."""

from pipeline.extras import explained

try:
    from pipeline.built.built_dataset import UnreadableDataset
    from pipeline.dataset.cache import CacheError
    from pipeline.dataset.complexes import AlphaFold3Weights, ComplexDataset
    from pipeline.dataset.crops import (
        ContiguousCrop,
        Crop,
        CropShares,
        InterfaceCrop,
        MixedCrop,
        SpatialCrop,
        around,
    )
    from pipeline.dataset.dataset import ShardDataset
    from pipeline.dataset.labels import Labels
    from pipeline.dataset.stream import ShardStream
    from pipeline.selection.fields import DEFAULT_FIELDS, FIELDS
    from pipeline.shards import DamagedShard
except ModuleNotFoundError as error:
    raise explained(error, "pipeline.dataset") or error from None

__all__ = [
    "DEFAULT_FIELDS",
    "FIELDS",
    "AlphaFold3Weights",
    "CacheError",
    "ComplexDataset",
    "ContiguousCrop",
    "Crop",
    "CropShares",
    "DamagedShard",
    "InterfaceCrop",
    "Labels",
    "MixedCrop",
    "ShardDataset",
    "ShardStream",
    "SpatialCrop",
    "UnreadableDataset",
    "around",
]
