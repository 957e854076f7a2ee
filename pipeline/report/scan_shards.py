"""Shards → composition, ellipsoids, gaps and bytes, one row group after another: memory is flat."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.features import atom14_positions, unpack_mask
from pipeline.files.storage import Folder
from pipeline.geometry.frames import backbone_frames
from pipeline.geometry.gaussians import from_rigid_and_sidechain, local_mean_and_scale
from pipeline.geometry.moments import Shape
from pipeline.report.extremes import Extreme, ExtremeFinder
from pipeline.report.missing import MissingCounter, MissingMap
from pipeline.report.ramachandran import RamachandranCounter
from pipeline.residues import ATOM14_EXISTS, N_TYPES, UNKNOWN
from pipeline.shards import Rows, open_shard, read_rows

SAMPLE_RESIDUES = 1_000_000
"""Of a larger dataset some row groups are looked at, of about so many residues."""

ELLIPSOID_RESIDUES = 100_000
"""Of more residues in these row groups, the ellipsoids of some are measured, about so many: a
median over the rarest type's thousand of them stands to 0.01 Å."""

_BLOCK = 1 << 12
"""Residues that are measured together: their atoms fit into a processor's cache."""

_BIN = 0.005
_LOW, _HIGH = -10.0, 14.0
"""Range of the counted values: Å, or the logarithm of Å³."""

AXES = 3


@dataclass(frozen=True)
class Spread:
    """Quartiles over residues, for each of the twenty types.

    Attributes
    ----------
    lower, median, upper : (20,) float64
        NaN where there is no residue of the type.
    """

    lower: NDArray[np.float64]
    median: NDArray[np.float64]
    upper: NDArray[np.float64]


@dataclass(frozen=True)
class EllipsoidSizes:
    """Sizes of one kind of ellipsoid.

    Attributes
    ----------
    scale, local_mean : three Spread
        Along x, y and z of the residue's frame, Å.
    volume : Spread
        4/3 π times the product of the three scales, Å³.
    """

    scale: tuple[Spread, Spread, Spread]
    local_mean: tuple[Spread, Spread, Spread]
    volume: Spread


@dataclass(frozen=True)
class Scan:
    """What only the shards know.

    Attributes
    ----------
    composition : (21,) int64
        Rows of each residue type, X last.
    n_types : (20,) int64
        Complete residues whose ellipsoids were measured.
    measured_residues : int
        Those that were looked at for it, incomplete ones among them.
    all_atoms, side_chain : EllipsoidSizes
        As stored; and of the side chain alone, computed from the coordinates.
    missing : MissingMap
    ramachandran : (3, 72, 72) int64
        Residues by φ and ψ, see `RamachandranCounter`.
    extremes : tuple of Extreme
        Some of the `n_extreme` chains with ellipsoids that are too large.
    sampled_chains, sampled_residues : int
        Read for all of that; fewer than there are if `is_sample`.
    column_bytes : dict
        Column → compressed bytes in all shards.
    shard_bytes, shard_residues : (n_shards,) int
    n_row_groups : int
    """

    composition: NDArray[np.int64]
    n_types: NDArray[np.int64]
    measured_residues: int
    all_atoms: EllipsoidSizes
    side_chain: EllipsoidSizes
    missing: MissingMap
    ramachandran: NDArray[np.int64]
    extremes: tuple[Extreme, ...]
    n_extreme: int
    sampled_chains: int
    sampled_residues: int
    is_sample: bool
    column_bytes: dict[str, int]
    shard_bytes: tuple[int, ...]
    shard_residues: tuple[int, ...]
    n_row_groups: int


def scan_shards(
    folder: Folder,
    names: Sequence[str],
    n_residues: int,
    base_thickness: float,
    shape: Shape,
    sample: int = SAMPLE_RESIDUES,
) -> Scan:
    """Read shards once.

    Parameters
    ----------
    names : sequence of str
        Below ``shards/``.
    n_residues : int
        Of the dataset. If there are more than `sample`, every so-many-th row group is measured.
    base_thickness, shape
        Of the dataset.

    Raises
    ------
    DamagedShard, StorageError
    """
    every = max(1, -(-n_residues // sample))
    composition = np.zeros(N_TYPES + 1, np.int64)
    looked_at = -(-n_residues // every)
    measured = _Measured(base_thickness, shape, max(1, -(-looked_at // ELLIPSOID_RESIDUES)))
    missing, extremes = MissingCounter(), ExtremeFinder(base_thickness)
    angles = RamachandranCounter()
    column_bytes: Counter[str] = Counter()
    shard_bytes, shard_residues = [], []
    n_groups = sampled_chains = sampled_residues = 0
    sizes = folder.sizes("shards")
    for name in names:
        path = folder.join("shards", name)
        shown = folder.describe(f"shards/{name}")
        with open_shard(path, folder.filesystem) as shard:
            _count_bytes(shard.metadata, column_bytes)
            inside = 0
            for group in range(shard.num_row_groups):
                chosen = n_groups % every == 0
                n_groups += 1
                columns = _MEASURED_COLUMNS if chosen else ("aatype",)
                rows = read_rows(shard, shown, [group], columns)
                aatype = rows.lists["aatype"]
                inside += len(aatype)
                composition += np.bincount(
                    np.clip(aatype, 0, UNKNOWN), minlength=N_TYPES + 1
                ).astype(np.int64)
                if chosen:
                    sampled_chains += len(rows)
                    sampled_residues += len(aatype)
                    measured.add(rows)
                    missing.add(rows)
                    angles.add(rows)
                    extremes.add(rows)
        shard_bytes.append(sizes.get(name, 0))
        shard_residues.append(inside)
    return Scan(
        composition=composition,
        n_types=measured.n_types(),
        measured_residues=measured.n_residues,
        all_atoms=measured.sizes(0),
        side_chain=measured.sizes(1),
        missing=missing.map(),
        ramachandran=angles.counts,
        extremes=extremes.extremes(),
        n_extreme=extremes.n_chains,
        sampled_chains=sampled_chains,
        sampled_residues=sampled_residues,
        is_sample=every > 1,
        column_bytes=dict(column_bytes),
        shard_bytes=tuple(shard_bytes),
        shard_residues=tuple(shard_residues),
        n_row_groups=n_groups,
    )


def _count_bytes(metadata: pq.FileMetaData, column_bytes: Counter[str]) -> None:
    names = [metadata.schema.column(k).path.split(".")[0] for k in range(metadata.num_columns)]
    for g in range(metadata.num_row_groups):
        group = metadata.row_group(g)
        for k, name in enumerate(names):
            column_bytes[name] += group.column(k).total_compressed_size


_MEASURED_COLUMNS = {
    *("aatype", "atom14_mask", "x", "y", "z", "centroid", "covariance"),
    *MissingCounter.columns,
    *RamachandranCounter.columns,
    *ExtremeFinder.columns,
}


class _Measured:
    """Counts that give quartiles by residue type, to a bin of 0.005.

    They count scales without the base thickness, means, and logarithms of the volume, for both
    kinds of ellipsoid. Counts in bins need no memory for the values, and no order of them.
    """

    def __init__(self, base_thickness: float, shape: Shape, every: int):
        self._base, self._shape, self._every = base_thickness, shape, every
        self._n_seen = self.n_residues = 0
        self._n_bins = round((_HIGH - _LOW) / _BIN) + 1
        self._counts = np.zeros((2, 2 * AXES + 1, N_TYPES, self._n_bins), np.int64)

    def add(self, rows: Rows) -> None:
        """Measure the complete residues of a row group, or of one in so many of its blocks."""
        lists = rows.lists
        assert rows.atoms is not None
        atoms_before = np.concatenate(
            ([0], np.cumsum(np.bitwise_count(lists["atom14_mask"]).astype(np.int64)))
        )
        for start in range(0, len(lists["aatype"]), _BLOCK):
            end = min(start + _BLOCK, len(lists["aatype"]))
            is_due = self.n_residues * self._every <= self._n_seen
            self._n_seen += end - start
            if not is_due:
                continue
            self.n_residues += end - start
            here = slice(start, end)
            atoms = slice(atoms_before[start], atoms_before[end])
            coords = np.stack([lists[axis][atoms] for axis in "xyz"], axis=-1)
            self._add(
                lists["aatype"][here],
                unpack_mask(lists["atom14_mask"][here]),
                coords,
                lists["centroid"][here],
                lists["covariance"][here],
            )

    def _add(
        self,
        aatype: NDArray[np.int8],
        mask: NDArray[np.bool_],
        coords: NDArray[np.int32],
        centroid: NDArray[np.float32],
        covariance: NDArray[np.float32],
    ) -> None:
        types = np.clip(aatype, 0, UNKNOWN)
        complete = (mask == ATOM14_EXISTS[types]).all(axis=1) & (types < UNKNOWN)
        positions = atom14_positions(mask, coords)[complete]
        framed = covariance[complete][:, 0] > 0  # as the build left it
        positions, types = positions[framed], types[complete][framed].astype(np.int64)
        mu = centroid[complete][framed].astype(np.float64)
        sigma = covariance[complete][framed].astype(np.float64)
        n, ca, c = (positions[:, slot] for slot in range(3))
        rotations, translations = backbone_frames(n, ca, c)
        mean, log_scale = local_mean_and_scale(rotations, translations, mu, sigma)
        self._count(0, types, mean, np.exp(log_scale))
        alone = from_rigid_and_sidechain(
            n, ca, c, positions[:, 4:], mask[complete][framed][:, 4:], self._base, shape=self._shape
        )
        scale = alone.scale
        if alone.local_covariance is not None:
            scale = np.sqrt(np.diagonal(alone.local_covariance, axis1=-2, axis2=-1))
        self._count(1, types, alone.local_mean, scale)

    def _count(
        self,
        kind: int,
        types: NDArray[np.int64],
        mean: NDArray[np.float64],
        scale: NDArray[np.float64],
    ) -> None:
        volume = 4 / 3 * np.pi * scale[:, 0] * scale[:, 1] * scale[:, 2]
        log_volume = np.log(np.maximum(volume, np.exp(_LOW)))
        values = np.stack([*(scale - self._base).T, *mean.T, log_volume])
        bins = np.rint((np.clip(values, _LOW, _HIGH) - _LOW) / _BIN).astype(np.int64)
        bins += (np.arange(len(values))[:, None] * N_TYPES + types) * self._n_bins
        np.add.at(self._counts[kind].reshape(-1), bins.ravel(), 1)

    def n_types(self) -> NDArray[np.int64]:
        return self._counts[0, 0].sum(axis=1)

    def sizes(self, kind: int) -> EllipsoidSizes:
        spreads = [self._spread(counts) for counts in self._counts[kind]]
        scale = [
            Spread(*(q + self._base for q in (s.lower, s.median, s.upper))) for s in spreads[:AXES]
        ]
        logs = spreads[2 * AXES]
        return EllipsoidSizes(
            scale=(scale[0], scale[1], scale[2]),
            local_mean=(spreads[3], spreads[4], spreads[5]),
            volume=Spread(np.exp(logs.lower), np.exp(logs.median), np.exp(logs.upper)),
        )

    def _spread(self, counts: NDArray[np.int64]) -> Spread:
        total = counts.sum(axis=1)
        cumulated = np.cumsum(counts, axis=1)
        quartiles = []
        for quantile in (0.25, 0.5, 0.75):
            place = np.argmax(cumulated >= np.maximum(1, quantile * total)[:, None], axis=1)
            quartiles.append(np.where(total > 0, _LOW + place * _BIN, np.nan))
        return Spread(*quartiles)
