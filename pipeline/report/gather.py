"""A dataset → the numbers of its report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.built.build_summary import BuildSummary
from pipeline.built.built_dataset import BuiltDataset, UnreadableDataset
from pipeline.files.storage import Folder, StorageError
from pipeline.geometry.gaussians import BASE_THICKNESS
from pipeline.interfaces import FILE_NAME as INTERFACES
from pipeline.report.gallery import Gallery, gallery
from pipeline.report.gyration import Gyration, gyration
from pipeline.report.histogram import Histogram, histogram, size_classes
from pipeline.report.nearest import Nearest, nearest_of
from pipeline.report.outliers import OUTLIER_COLUMNS, Oddity, find_outliers, zero_b_factors
from pipeline.report.quality import QUALITY_COLUMNS, Measure, distributions
from pipeline.report.scan_shards import SAMPLE_RESIDUES, Scan, scan_shards

EXAMPLES = 3
"""Files named for each reason."""

FIRST_YEAR, LAST_YEAR = 1950, 2199
"""Other years are slips of the pen: the first structures are of 1958."""

SSE_BINS = 20


@dataclass(frozen=True)
class Example:
    """A file, and what was said about it."""

    input: str
    message: str


@dataclass(frozen=True)
class Reason:
    """How many files or chains have one fate."""

    reason: str
    n: int
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True)
class Files:
    """``inputs.parquet``."""

    found: int
    ok: int
    skipped: tuple[Reason, ...]
    failed: tuple[Reason, ...]
    formats: tuple[tuple[str, int], ...]
    flags: tuple[tuple[str, int], ...]
    n_bytes: int

    @property
    def n_failed(self) -> int:
        return sum(r.n for r in self.failed)


@dataclass(frozen=True)
class Confidence:
    """B-factors, or what else stands in their place: means over chains."""

    kind: str | None
    chains: int
    residues: int
    means: Histogram
    n_zero: int
    """Chains whose B-factors are all zero, which are not in `means`."""


@dataclass(frozen=True)
class Chains:
    """``index.parquet``."""

    n: int
    n_residues: int
    n_resolved: int
    n_entries: int
    length: Histogram
    radius_of_gyration: Histogram
    gyration: Gyration
    completeness: Histogram
    n_whole: int
    confidence: tuple[Confidence, ...]
    helix_strand: NDArray[np.int64]
    """(20, 20): chains by helix fraction (first axis) and strand fraction."""
    secondary: tuple[float, float, float]
    """Shares of helix, strand and coil, chains weighted by their resolved residues."""
    methods: tuple[tuple[str, int], ...]
    """Entries; an entry without method is ``""``."""
    resolution: Histogram
    years: dict[int, int]
    """Entries by year of release."""
    n_undated: int
    sources: tuple[tuple[str, int], ...]
    chains_per_entry: tuple[tuple[int, int, int], ...]
    organisms: tuple[tuple[int, int], ...]
    """Numbers of the NCBI's taxonomy, and chains of each."""
    n_without_organism: int
    ligands: tuple[tuple[int, int, int], ...]
    """Entries that have ligands by how many, in classes."""
    n_with_nucleic: int
    """Entries that have nucleotides."""
    quality: tuple[tuple[Measure, Histogram], ...] = ()


@dataclass(frozen=True)
class Split:
    """One of the parts that a dataset is divided into; ``None`` is no part."""

    name: str | None
    chains: int
    residues: int
    entries: int
    clusters: int
    reasons: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Splits:
    """``splits.parquet``."""

    splits: tuple[Split, ...]
    n_clusters: int | None
    n_components: int | None
    cluster_sizes: tuple[tuple[int, int, int], ...]
    largest_cluster: int
    largest_component: int
    method: str | None
    n_unknown: int
    """Chains of the file that the dataset does not have."""
    n_unlisted: int
    """Chains of the dataset that the file does not have."""
    is_of_other_data: bool
    nearest: tuple[Nearest, ...]


@dataclass(frozen=True)
class Numbers:
    """All that the page shows."""

    name: str
    build: BuildSummary
    files: Files | None
    drops: tuple[Reason, ...] | None
    chains: Chains
    scan: Scan
    outliers: tuple[Oddity, ...]
    gallery: Gallery
    splits: Splits | str | None
    """A text says why there is a file but nothing to show of it."""
    interfaces: pa.Table | None
    """Pairs of chains in contact; datasets of older versions have no such table."""
    has_options: bool
    """Whether the file that makes the dataset again is there."""


def gather(dataset: BuiltDataset, sample: int = SAMPLE_RESIDUES) -> Numbers:
    """Read the tables, and the shards once.

    Parameters
    ----------
    dataset : BuiltDataset
    sample : int
        Ellipsoids are measured on about so many residues.

    Raises
    ------
    UnreadableDataset, DamagedShard, StorageError
    """
    folder, build = dataset.folder, dataset.build
    index = _table(folder, "index.parquet", _INDEX_COLUMNS)
    if index is None:
        raise UnreadableDataset(
            f"{folder.describe('index.parquet')}: is missing; run the command that made the "
            "dataset again"
        )
    chains = _chains(index)
    config = build.config
    scan = scan_shards(
        folder,
        [shard.name for shard in build.shards],
        chains.n_residues,
        float(config.get("base_thickness", BASE_THICKNESS)),
        config.get("shape", "axis_aligned"),
        sample,
    )
    inputs = _table(folder, "inputs.parquet", _INPUT_COLUMNS)
    drops = _table(folder, "drops.parquet", ("entry_id", "label_asym_id", "reason", "detail"))
    return Numbers(
        name=_name(folder),
        build=build,
        files=None if inputs is None else _files(inputs),
        drops=None if drops is None else _drops(drops),
        chains=chains,
        scan=scan,
        outliers=find_outliers(index, scan.extremes, scan.n_extreme),
        gallery=gallery(dataset, index, scan.extremes),
        splits=_splits(folder, index, build),
        interfaces=_table(folder, INTERFACES, _INTERFACE_COLUMNS),
        has_options=folder.exists("options.yaml"),
    )


_INTERFACE_COLUMNS = (
    "entry_id",
    "n_atom_residues_1",
    "n_atom_residues_2",
    "covalent",
    "n_clashes",
    "n_ligands",
    "n_nucleotides",
)


def _name(folder: Folder) -> str:
    if folder.local is not None:
        return Path(folder.root).resolve().name or folder.root
    return folder.root.rstrip("/").rpartition("/")[2]


def _table(folder: Folder, name: str, columns: Sequence[str]) -> pa.Table | None:
    """Those of the columns that there are; None without the file."""
    if not folder.exists(name):
        return None
    try:
        with (
            folder.errors_named(name),
            pq.ParquetFile(
                folder.join(name), filesystem=folder.filesystem, page_checksum_verification=True
            ) as file,
        ):
            names = set(file.schema_arrow.names)
            return file.read(columns=[c for c in columns if c in names])
    except StorageError:
        raise
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UnreadableDataset(
            f"{folder.describe(name)}: {str(error).splitlines()[0]}; `python -m pipeline.verify "
            f"{folder}` says what else is damaged"
        ) from None


# ---- inputs and drops -------------------------------------------------------------------------

_INPUT_COLUMNS = ("input", "status", "reason", "message", "size", "format", "flags")


def _files(table: pa.Table) -> Files:
    status = table["status"]
    flags = Counter[str]()
    for flag, n in _counted(table["flags"].combine_chunks().flatten()).items():
        flags[str(flag).partition(":")[0]] += n
    formats = {str(f): n for f, n in _counted(table["format"]).items() if f is not None}
    return Files(
        found=table.num_rows,
        ok=_counted(status).get("ok", 0),
        skipped=_reasons(table.filter(pc.equal(status, "skipped")), "input", "message"),
        failed=_reasons(table.filter(pc.equal(status, "failed")), "input", "message"),
        formats=_by_number(formats),
        flags=_by_number(flags),
        n_bytes=int(pc.sum(table["size"]).as_py() or 0),
    )


def _drops(table: pa.Table) -> tuple[Reason, ...]:
    chain = pc.binary_join_element_wise(table["entry_id"], table["label_asym_id"], " chain ")
    return _reasons(table.append_column("chain", chain), "chain", "detail")


def _reasons(table: pa.Table, name: str, message: str) -> tuple[Reason, ...]:
    reasons = []
    for reason, n in _by_number({str(k): n for k, n in _counted(table["reason"]).items()}):
        rows = table.filter(pc.equal(pc.fill_null(table["reason"], "None"), reason))
        examples = tuple(
            Example(str(row[name]), str(row[message] or ""))
            for row in rows.slice(0, EXAMPLES).select([name, message]).to_pylist()
        )
        reasons.append(Reason(reason, n, examples))
    return tuple(reasons)


def _counted(column: pa.ChunkedArray | pa.Array) -> dict[Any, int]:
    """Value → how often, null included."""
    return {row["values"]: row["counts"] for row in pc.value_counts(column).to_pylist()}


def _by_number(counts: dict[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


# ---- index ------------------------------------------------------------------------------------

_INDEX_COLUMNS = (
    *OUTLIER_COLUMNS,
    *QUALITY_COLUMNS,
    *("method", "resolution", "release_date", "taxonomy", "n_ligands", "n_nucleic"),
    *("helix_fraction", "strand_fraction", "coil_fraction"),
)


def _chains(index: pa.Table) -> Chains:
    length = _floats(index["length"])
    n_resolved = _floats(index["n_resolved"])
    helix, strand, coil = (_floats(index[f"{k}_fraction"]) for k in ("helix", "strand", "coil"))
    weight = np.maximum(n_resolved.sum(), 1)
    first, per_entry = _entries(index["entry_id"])
    entries = index.take(pa.array(first))
    radius = _floats(index["radius_of_gyration"])
    years, n_undated = _years(entries["release_date"])
    organisms = _counted(index["taxonomy"])
    n_without_organism = organisms.pop(None, 0)
    n_ligands = _floats(entries["n_ligands"]).astype(np.int64)
    grid, _, _ = np.histogram2d(
        helix, strand, bins=SSE_BINS, range=((0, 1.0000001), (0, 1.0000001))
    )
    return Chains(
        n=index.num_rows,
        n_residues=int(length.sum()),
        n_resolved=int(n_resolved.sum()),
        n_entries=len(first),
        length=histogram(length, low=0, least_step=1),
        radius_of_gyration=histogram(radius, low=0),
        gyration=gyration(n_resolved, radius),
        completeness=histogram(n_resolved / np.maximum(length, 1), low=0, high=1, most_bins=20),
        n_whole=int(np.count_nonzero(n_resolved == length)),
        confidence=_confidence(index, length),
        helix_strand=grid.astype(np.int64),
        secondary=(
            float((helix * n_resolved).sum() / weight),
            float((strand * n_resolved).sum() / weight),
            float((coil * n_resolved).sum() / weight),
        ),
        methods=_by_number({k or "": n for k, n in _counted(entries["method"]).items()}),
        resolution=histogram(_floats(entries["resolution"]), low=0, least_step=0.1),
        years=years,
        n_undated=n_undated,
        sources=_by_number({k or "": n for k, n in _counted(index["source"]).items()}),
        chains_per_entry=tuple(size_classes(per_entry)),
        organisms=tuple(sorted(organisms.items(), key=lambda item: (-item[1], item[0]))),
        n_without_organism=n_without_organism,
        ligands=tuple(size_classes(n_ligands[n_ligands > 0])),
        n_with_nucleic=int(np.count_nonzero(_floats(entries["n_nucleic"]) > 0)),
        quality=distributions(index, entries),
    )


def _floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Nulls are NaN."""
    return column.cast(pa.float64()).to_numpy(zero_copy_only=False)


def _entries(ids: pa.ChunkedArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(first row of each entry, its number of chains)."""
    if not len(ids):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    codes = ids.combine_chunks().dictionary_encode().indices.to_numpy()
    _, first, counts = np.unique(codes, return_index=True, return_counts=True)
    return first.astype(np.int64), counts.astype(np.int64)


def _years(dates: pa.ChunkedArray) -> tuple[dict[int, int], int]:
    years, n_undated = Counter[int](), 0
    for text, n in _counted(pc.utf8_slice_codeunits(dates, 0, 4)).items():
        if text and text.isascii() and text.isdigit() and FIRST_YEAR <= int(text) <= LAST_YEAR:
            years[int(text)] += n
        else:
            n_undated += n
    return dict(sorted(years.items())), n_undated


def _confidence(index: pa.Table, length: NDArray[np.float64]) -> tuple[Confidence, ...]:
    kinds = index["confidence_kind"]
    means, is_zero = _floats(index["mean_b_factor"]), zero_b_factors(index)
    found = []
    for kind in sorted(_counted(kinds), key=lambda k: (k is not None, k or "")):
        where = pc.is_null(kinds) if kind is None else pc.fill_null(pc.equal(kinds, kind), False)
        rows = where.to_numpy()
        is_plddt = kind == "plddt"
        found.append(
            Confidence(
                kind=kind,
                chains=int(rows.sum()),
                residues=int(length[rows].sum()),
                means=histogram(means[rows & ~is_zero], low=0, high=100 if is_plddt else None),
                n_zero=int(np.count_nonzero(rows & is_zero)),
            )
        )
    return tuple(found)


# ---- splits -----------------------------------------------------------------------------------


def _splits(folder: Folder, index: pa.Table, build: BuildSummary) -> Splits | str | None:
    """A file that somebody else made: whatever is wrong with it, the report goes on."""
    name = "splits.parquet"
    if not folder.exists(name):
        return None
    columns = ["chain_uid", "entry_id", "cluster", "component", "split", "reason"]
    columns += ["nearest_identity", "nearest_tm"]
    try:
        table = _table(folder, name, columns)
        assert table is not None
        if not {"chain_uid", "split"} <= set(table.column_names):
            return "splits.parquet has no columns chain_uid and split."
        return _read_splits(table, index, build)
    except UnreadableDataset:
        return "splits.parquet cannot be read: make it again with python -m pipeline.split."
    except (pa.ArrowException, ValueError, TypeError):
        return "splits.parquet is not what python -m pipeline.split writes."


def _read_splits(table: pa.Table, index: pa.Table, build: BuildSummary) -> Splits:
    metadata = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
    rows = pc.index_in(table["chain_uid"], value_set=index["chain_uid"].combine_chunks())
    known = pc.is_valid(rows)
    table, rows = table.filter(known), rows.filter(known).to_numpy()
    length = _floats(index["length"])[rows]
    entries = _codes(index["entry_id"].take(pa.array(rows)))
    clusters = _codes(table["cluster"]) if "cluster" in table.column_names else None
    components = _codes(table["component"]) if "component" in table.column_names else None
    names = table["split"].cast(pa.string())
    splits = []
    for split in _split_order(names):
        where = pc.is_null(names) if split is None else pc.fill_null(pc.equal(names, split), False)
        inside = where.to_numpy()
        reasons: tuple[tuple[str, int], ...] = ()
        if split is None and "reason" in table.column_names:
            reasons = _by_number(
                {str(k): n for k, n in _counted(table["reason"].filter(where)).items() if k}
            )
        splits.append(
            Split(
                name=split,
                chains=int(inside.sum()),
                residues=int(length[inside].sum()),
                entries=len(np.unique(entries[inside])),
                clusters=0 if clusters is None else len(np.unique(clusters[inside])),
                reasons=reasons,
            )
        )
    sizes = _sizes(clusters)
    return Splits(
        splits=tuple(splits),
        n_clusters=None if clusters is None else len(sizes),
        n_components=None if components is None else len(_sizes(components)),
        cluster_sizes=tuple(size_classes(sizes)),
        largest_cluster=int(sizes.max(initial=0)),
        largest_component=int(_sizes(components).max(initial=0)),
        method=metadata.get("method"),
        n_unknown=int(len(known) - len(rows)),
        n_unlisted=int(index.num_rows - len(np.unique(rows))),
        nearest=nearest_of(table),
        is_of_other_data=metadata.get("digest", build.digest) != build.digest,
    )


def _split_order(names: pa.ChunkedArray) -> list[str | None]:
    """The usual three first, chains in no split last."""
    usual = {"train": 0, "val": 1, "valid": 1, "validation": 1, "test": 2}
    numbers = _counted(names)
    named = sorted((n for n in numbers if n is not None), key=lambda n: (usual.get(n, 3), n))
    return [*named, *([None] if None in numbers else [])]


def _codes(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Equal values → equal numbers, −1 for null."""
    if not len(column):
        return np.zeros(0, np.int64)
    indices = column.combine_chunks().dictionary_encode().indices
    return pc.fill_null(indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)


def _sizes(codes: NDArray[np.int64] | None) -> NDArray[np.int64]:
    if codes is None:
        return np.zeros(0, np.int64)
    return np.unique(codes[codes >= 0], return_counts=True)[1].astype(np.int64)
