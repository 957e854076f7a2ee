"""What training draws from: one dataset, its chains and interfaces, or a mixture of datasets."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa
from numpy.typing import NDArray

from pipeline.batching.mixture import Mixture, MixturePart
from pipeline.dataset import (
    AlphaFold3Weights,
    ComplexDataset,
    ContiguousCrop,
    Crop,
    CropShares,
    InterfaceCrop,
    MixedCrop,
    ShardDataset,
    SpatialCrop,
)
from pipeline.errors import UsageError
from pipeline.where import WhereError

CropKind = Literal["contiguous", "spatial", "interface", "mixed"]

ALPHAFOLD3 = "alphafold3"
"""In place of a column of weights: `AlphaFold3Weights` of chains and interfaces."""


class UnusableOptions(UsageError):
    """Options that mean nothing for this dataset; the sentence says which."""


@contextmanager
def options_fit() -> Iterator[None]:
    """What a value does not fit is said as an error of usage."""
    try:
        yield
    except ValueError as error:
        # Subclasses tell of other things, such as damaged files.
        if type(error) not in (ValueError, WhereError):
            raise
        raise UnusableOptions(str(error)) from error


@dataclass(frozen=True)
class MixedDataset:
    """A further dataset of a mixture, of which only training samples are drawn.

    Attributes
    ----------
    path : str
        The build's output folder, or its URI.
    probability : float
        That a sample is of this dataset.
    name : str, optional
        What its items have as ``dataset``. By default the path.
    split : str, optional
        Name in ``splits.parquet``; null for all chains.
    where, entry_where : str, optional
        Conditions; see `ShardDataset`.
    unit : {"chain", "entry"}, optional
    crop_size : int, optional
    crop : {"contiguous", "spatial", "interface", "mixed"}, optional
        By default these three are those of the first dataset.
    clusters, weights : str, optional
        As for the first dataset, but of this one alone.
    """

    path: str
    probability: float
    name: str | None = None
    split: str | None = None
    where: str | None = None
    entry_where: str | None = None
    unit: Literal["chain", "entry"] | None = None
    crop_size: int | None = None
    crop: CropKind | None = None
    clusters: str | None = None
    weights: str | None = None

    @property
    def title(self) -> str:
        return self.name or self.path


@dataclass(frozen=True)
class TrainingItems:
    """Items, and how they are drawn.

    Attributes
    ----------
    dataset : ShardDataset, ComplexDataset or Mixture
    sampling : dict
        Of `LengthBatchSampler`: clusters, weights, parts.
    sources : tuple of ShardDataset
        Where they come from.
    """

    dataset: ShardDataset | ComplexDataset | Mixture
    sampling: dict[str, Any] = field(repr=False)
    sources: tuple[ShardDataset, ...]

    def identity(self) -> dict[str, str]:
        """Which datasets, and which of their items, in a few words that a checkpoint keeps."""
        names = "\n".join(self.dataset.chain_uids).encode()
        found = {
            "dataset": self.sources[0].digest,
            "chains": hashlib.sha256(names).hexdigest()[:32],
        }
        if isinstance(self.dataset, Mixture):
            found["mixture"] = " ".join(source.digest for source in self.sources[1:])
        return found


def training_items(parts: Sequence[MixturePart]) -> TrainingItems:
    """Of one dataset or of several."""
    sources = tuple(part.source for part in parts)
    if len(parts) == 1:
        part = parts[0]
        columns = {"clusters": part.clusters, "weights": part.weights}
        sampling = {name: values for name, values in columns.items() if values is not None}
        return TrainingItems(part.dataset, sampling, sources)
    mixture = Mixture(parts)
    return TrainingItems(mixture, mixture.sampling, sources)


def drawn_from(
    name: str,
    dataset: ShardDataset,
    probability: float,
    *,
    clusters: str | None,
    weights: str | None,
    alphafold3: AlphaFold3Weights,
) -> MixturePart:
    """A dataset, drawn by columns of its index or splits.

    Raises
    ------
    ValueError
        There is no such column, or it does not say something of every item; or weights of chains
        and interfaces are asked for where items are no entries.
    """
    if weights != ALPHAFOLD3:
        columns = {"clusters": clusters, "weights": weights}
        values = {
            what: None if column is None else _column(dataset.index, column)
            for what, column in columns.items()
        }
        return MixturePart(name, dataset, probability, **values)
    if dataset.unit != "entry":
        raise ValueError(
            f'weights "{ALPHAFOLD3}" are of the chains and interfaces of entries: give unit "entry"'
        )
    complexes = ComplexDataset(dataset)
    return MixturePart(
        name, complexes, probability, weights=complexes.weights(alphafold3, clusters)
    )


def rest_of(mixture: Sequence[MixedDataset]) -> float:
    """The probability of the first dataset.

    Raises
    ------
    ValueError
        Nothing is left for it, or a probability is none.
    """
    for one in mixture:
        if not 0 < one.probability < 1:
            raise ValueError(
                f"the probability of {one.title} is between 0 and 1, not {one.probability}"
            )
    rest = 1.0 - math.fsum(one.probability for one in mixture)
    if rest < 1e-9:
        raise ValueError(
            f"the datasets of the mixture have {1 - rest:g} of the samples, and nothing is left "
            "for the first one, which path names; they are to have less than 1 together"
        )
    return rest


def crop_of(kind: str, size: int | None, shares: CropShares) -> Crop | None:
    """How items are shortened; None if they are not."""
    if kind not in ("contiguous", "spatial", "interface", "mixed"):
        raise ValueError(f'crop is "contiguous", "spatial", "interface" or "mixed", not {kind!r}')
    if size is None:
        return None
    if kind == "contiguous":
        return ContiguousCrop(size)
    if kind == "spatial":
        return SpatialCrop(size)
    return InterfaceCrop(size) if kind == "interface" else MixedCrop(size, shares)


def _column(index: pa.Table, name: str) -> pa.ChunkedArray | NDArray[Any]:
    if name not in index.column_names:
        raise ValueError(
            f"no column {name!r} in the index or the splits; there are "
            f"{', '.join(index.column_names)}"
        )
    column = index[name]
    if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
        if column.null_count:
            raise ValueError(f"{column.null_count} of {len(column)} items have no {name}")
        return column.to_numpy()
    return column
