"""One shard against what ``build.json`` and the index say of it, and against itself."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.chain import Chain
from pipeline.features import ChainFeatures, atom14_positions, compute_features, unpack_mask
from pipeline.files.storage import Folder
from pipeline.geometry.frames import is_frame
from pipeline.geometry.moments import Shape
from pipeline.geometry.three_di import ARE_LETTERS
from pipeline.residues import ATOM14_EXISTS, N_SLOTS, UNKNOWN, sequence_string
from pipeline.shards import (
    INDEX_COLUMNS,
    LATER_COLUMNS,
    NULL_WHERE_LACKING,
    SCHEMA_VERSION,
    DamagedShard,
    Rows,
    chains_of,
    insertion_codes,
    read_rows,
    row_digest,
    shard_schema,
    with_later_columns,
)
from pipeline.verify.findings import Expected, Problem
from pipeline.verify.probe import KILLS, deadly
from pipeline.verify.schema_differences import came_later, schema_differences

ABSOLUTE_TOLERANCE = 1e-5
"""Å and Å². The same arithmetic in float64 gives the same float32 but for the last bit, which may
differ between processors; that of a coordinate of 1,000 Å is worth 6e-5 Å, hence the next one."""

RELATIVE_TOLERANCE = 1e-6

MAX_SSE_DIFFERENCE = 0.01
"""Share of a shard's residues: angles at the very border of a class may fall on either side where
another processor rounds the arc cosine the other way."""

KEPT_COLUMNS = ("chain_uid", "entry_id", "length", "source", "row_sha256")
"""What the checks across shards need of every row."""

DERIVED_COLUMNS = tuple(f.name for f in fields(ChainFeatures))
"""All that the writer takes from `ChainFeatures`: whatever is added there is computed again."""

_NOTHING = np.zeros(0, np.uint8)
_GAUSSIANS = ("centroid", "covariance")
_FRACTIONS = {"coil_fraction": 0, "helix_fraction": 1, "strand_fraction": 2}
_READ_ERRORS = (OSError, ValueError, MemoryError, pa.ArrowException)


@dataclass(frozen=True, slots=True)
class ShardJob:
    """One shard to be checked, and how closely.

    Attributes
    ----------
    path : Path
        On this machine.
    expected : Expected
    others : mapping
        SHA-256 → name of every shard: a shard in another's place is called by its name.
    index : pyarrow.Table or None
        The rows of ``index.parquet`` that point to this shard; None where there is no index to
        compare with.
    config_hash : str or None
        Which the shard's metadata must name.
    base_thickness : float
        Å.
    shape : {"axis_aligned", "full"}
    recompute : (k,) int64, or None
        Rows whose derived columns are computed again; None means all.
    quick : bool
        Hash and schema only.
    store : Folder or None
        The dataset's folder, if that is in a store: the shard is fetched from there to `path`,
        which is removed in the end.
    """

    path: Path
    expected: Expected
    others: Mapping[str, str]
    index: pa.Table | None
    config_hash: str | None
    base_thickness: float
    shape: Shape
    recompute: NDArray[np.int64] | None = None
    quick: bool = False
    store: Folder | None = None


@dataclass(slots=True)
class ShardReport:
    """What was found in one shard.

    Attributes
    ----------
    sha256 : str
        Of the file as it is; empty if it cannot be read.
    has_recorded_bytes : bool
        Size and SHA-256 are the expected ones.
    rows : pyarrow.Table or None
        `KEPT_COLUMNS` of every row; None where not all rows were read.
    group_sizes : list of int
        Rows of each row group.
    """

    name: str
    problems: list[Problem] = field(default_factory=list)
    sha256: str = ""
    has_recorded_bytes: bool = False
    rows: pa.Table | None = None
    group_sizes: list[int] = field(default_factory=list)
    n_bytes: int = 0
    n_chains: int = 0
    n_residues: int = 0
    n_recomputed: int = 0


def check_shard(job: ShardJob) -> ShardReport:
    """Check one shard; nothing that is wrong with it raises.

    Raises
    ------
    OSError
        It cannot be fetched from its store, for reasons that are not its own.
    """
    report = ShardReport(job.expected.name)
    try:
        if job.store is not None:
            with suppress(FileNotFoundError):
                job.store.fetch(job.expected.file, job.path)
        _Check(job, report).run()
    finally:
        if job.store is not None:
            job.path.unlink(missing_ok=True)
    return report


class _Check:
    def __init__(self, job: ShardJob, report: ShardReport):
        self.job, self.report = job, report
        self._wrong: dict[str, list[str]] = {}
        self._is_another = False
        self._lacks: set[str] = set()

    def run(self) -> None:
        try:
            self.report.n_bytes = self.job.path.stat().st_size
            self._check_bytes()
        except FileNotFoundError:
            self._say("missing", "is missing")
            return
        except OSError as error:
            self._say("unreadable", f"cannot be read: {error.strerror}")
            return
        if not self.report.has_recorded_bytes and deadly([self.job.path]):
            self._say("unreadable", f"cannot be read: {KILLS}")
            return
        try:
            with pq.ParquetFile(self.job.path, page_checksum_verification=True) as shard:
                if self._check_schema(shard):
                    self._check_rows(shard)
        except _READ_ERRORS as error:
            self._say("unreadable", f"is no readable Parquet file: {first_line(error)}")

    def _say(
        self,
        check: str,
        message: str,
        remedy: Literal["rebuild", "upgrade", "none"] = "rebuild",
        damage: bool = True,
    ) -> None:
        problem = Problem(self.job.expected.file, check, message, remedy, damage)
        self.report.problems.append(problem)

    # ---- bytes ----------------------------------------------------------------------------------

    def _check_bytes(self) -> None:
        expected, source = self.job.expected, self.job.expected.source
        with open(self.job.path, "rb") as file:
            found = self.report.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if found == expected.sha256 and self.report.n_bytes == expected.n_bytes:
            self.report.has_recorded_bytes = True
        elif found in self.job.others and self.job.others[found] != expected.name:
            self._is_another = True
            self._say("sha256", f"holds the content of {self.job.others[found]}")
        elif self.report.n_bytes != expected.n_bytes:
            self._say(
                "size",
                f"has {self.report.n_bytes:,} bytes, and {source} says {expected.n_bytes:,}",
            )
        else:
            self._say(
                "sha256",
                f"SHA-256 is {_short(found)}, and {source} says {_short(expected.sha256)}",
            )

    # ---- schema ---------------------------------------------------------------------------------

    def _check_schema(self, shard: pq.ParquetFile) -> bool:
        """Whether the columns are what this program knows."""
        metadata = shard.schema_arrow.metadata or {}
        version = metadata.get(b"schema_version", b"none").decode("utf-8", "replace")
        if version != str(SCHEMA_VERSION):
            self._say(
                "schema-version",
                f"is of schema version {version}, and this dataset is of {SCHEMA_VERSION}",
            )
            return False
        found_hash = metadata.get(b"config_hash", b"").decode("utf-8", "replace")
        if self.job.config_hash is not None and found_hash != self.job.config_hash:
            self._say(
                "config",
                f"was built with another configuration ({_short(found_hash)}, and build.json says "
                f"{_short(self.job.config_hash)})",
                "none" if self.report.has_recorded_bytes else "rebuild",
            )
        wanted, found = shard_schema(), shard.schema_arrow
        self._lacks = set(LATER_COLUMNS.difference(found.names))
        wrong = schema_differences(found, wanted)
        for sentence in wrong:
            self._say("schema", sentence)
        if strange := [name for name in found.names if name not in wanted.names]:
            self._say(
                "schema",
                f"has columns that this version of the program does not know: {', '.join(strange)}",
                "none",
                damage=False,
            )
        if later := [name for name in wanted.names if came_later(name, found)]:
            self._say(
                "schema",
                f"was built before there was a column {', '.join(later)}: `python -m "
                "pipeline.upgrade` adds it",
                "upgrade",
                damage=False,
            )
        n_rows = shard.metadata.num_rows
        if n_rows != self.job.expected.n_chains and not self._is_another:
            self._say(
                "counts",
                f"has {n_rows:,} chains, and {self.job.expected.source} says "
                f"{self.job.expected.n_chains:,}",
            )
        return not wrong

    # ---- rows -----------------------------------------------------------------------------------

    def _check_rows(self, shard: pq.ParquetFile) -> None:
        meta = shard.metadata
        self.report.group_sizes = [meta.row_group(g).num_rows for g in range(meta.num_row_groups)]
        if self.job.quick:
            if self.report.has_recorded_bytes:  # the index is compared without reading any list
                table = shard.read(columns=list(INDEX_COLUMNS), use_threads=False)
                table = with_later_columns(table, INDEX_COLUMNS)
                self._compare_with_index(table, 0)
                self._keep(table)
            return
        kept = []
        start = 0
        for group, size in enumerate(self.report.group_sizes):
            rows = self._read_group(shard, group)
            if rows is not None:
                self._check_group(rows, start)
                self._compare_with_index(rows.scalars, start)
                kept.append(rows.scalars.select(list(KEPT_COLUMNS)))
            start += size
        if len(kept) == len(self.report.group_sizes):
            empty = pa.schema([shard_schema().field(name) for name in KEPT_COLUMNS]).empty_table()
            self._keep(pa.concat_tables([empty, *(t.replace_schema_metadata() for t in kept)]))
        self._say_what_is_wrong()

    def _keep(self, table: pa.Table) -> None:
        expected, report = self.job.expected, self.report
        report.rows = table.select(list(KEPT_COLUMNS)).replace_schema_metadata()
        report.n_chains = table.num_rows
        report.n_residues = int(table["length"].to_numpy().sum(dtype=np.int64))
        if report.n_residues != expected.n_residues and not self._is_another:
            self._say(
                "counts",
                f"has {report.n_residues:,} residues, and {expected.source} says "
                f"{expected.n_residues:,}",
            )

    def _read_group(self, shard: pq.ParquetFile, group: int) -> Rows | None:
        """A row group; where it does not read, say which columns are to blame."""
        schema = shard.schema_arrow  # translated anew each time
        wanted = [name for name in shard_schema().names if not came_later(name, schema)]
        nulls = NULL_WHERE_LACKING.difference(wanted)
        try:
            return read_rows(shard, self.job.path, [group], [*wanted, *sorted(nulls)])
        except (DamagedShard, IndexError) as error:
            what = str(error).removeprefix(f"{self.job.path}: ").partition("; the file is")[0]
        bad = [name for name in wanted if not _reads(shard, group, name)]
        if bad:
            self._say(
                "pages",
                f"row group {group}: pages of {_some(bad)} fail their checksums or do not decode",
            )
        else:
            self._say("lists", f"row group {group}: {what}")
        return None

    def _check_group(self, rows: Rows, start: int) -> None:
        """Everything that can be said of rows by themselves."""
        uids = rows.scalars["chain_uid"].to_pylist()
        _, are_codes = insertion_codes(rows.lists["ins_code"])
        aatype, mask = rows.lists["aatype"], rows.lists["atom14_mask"]
        known = (aatype >= 0) & (aatype <= UNKNOWN)
        slots = mask < (1 << N_SLOTS)
        fits = known & slots
        fits[fits] = ~(unpack_mask(mask[fits]) & ~ATOM14_EXISTS[aatype[fits]]).any(axis=1)
        sse = rows.lists["sse"]
        letters = rows.lists.get("three_di", _NOTHING)
        for good, what in (
            (are_codes, "an insertion code is no single letter"),
            (known, f"aatype is not in 0 to {UNKNOWN}"),
            (fits | ~known, "atom14_mask has slots that the type has not"),
            ((sse >= 0) & (sse <= 2), "sse is not 0, 1 or 2"),
            (ARE_LETTERS[letters], "three_di has what is no letter of 3Di"),
        ):
            self._each_residue(rows.residues, uids, good, "values", what)
        if not (fits.all() and are_codes.all()):
            return
        chains = chains_of(rows, _resolved(rows))
        self._check_identity(rows, chains, uids)
        wanted = np.arange(len(rows))
        if self.job.recompute is not None:
            chosen = self.job.recompute
            wanted = chosen[(chosen >= start) & (chosen < start + len(rows))] - start
        if len(wanted):
            self._check_derived(rows, [chains[k] for k in wanted], wanted)
        self.report.n_recomputed += len(wanted)

    def _check_identity(self, rows: Rows, chains: list[Chain], uids: list[str]) -> None:
        sequences = rows.scalars["sequence"].to_pylist()
        digests = rows.scalars["row_sha256"].to_pylist()
        for k, (chain, uid) in enumerate(zip(chains, uids, strict=True)):
            if chain.uid != uid:
                self._wrong_row("identity", "chain_uid is not made of entry, model and chain", uid)
            if sequence_string(chain.aatype) != sequences[k]:
                self._wrong_row("values", "sequence and aatype disagree", uid)
            if not (np.diff(chain.residue_index) > 0).all():
                self._wrong_row("values", "residue_index does not rise", uid)
            if row_digest(chain) != digests[k]:
                self._wrong_row("row-sha256", "row_sha256 is not that of the columns", uid)

    def _check_derived(self, rows: Rows, chains: list[Chain], wanted: NDArray[np.int64]) -> None:
        """Gaussians and what else follows from coordinates, computed again."""
        features = compute_features(
            chains, base_thickness=self.job.base_thickness, shape=self.job.shape
        )
        uids = [chain.uid for chain in chains]
        ends = _ends([len(chain) for chain in chains])
        starts = rows.residues[wanted]
        here = np.arange(ends[-1]) + np.repeat(starts - ends[:-1], np.diff(ends))
        # sse and its fractions are compared by themselves: a border case may be another class.
        stored = {*rows.lists, *rows.scalars.column_names} - {"sse", *_FRACTIONS, *self._lacks}
        plain = [name for name in DERIVED_COLUMNS if name in stored]
        for name in (n for n in plain if n in rows.lists):
            again = np.concatenate([getattr(f, name) for f in features])
            close = _close(rows.lists[name][here], again).reshape(len(again), -1)
            what = f"{name} is not that of the coordinates"
            check = "gaussians" if name in _GAUSSIANS else "derived"
            self._each_residue(ends, uids, np.asarray(close.all(axis=1)), check, what)
        sse = rows.lists["sse"][here]
        same = np.asarray(sse == np.concatenate([f.sse for f in features]), bool)
        if np.count_nonzero(~same) > MAX_SSE_DIFFERENCE * len(sse) + 1:
            what = "sse is not that of the coordinates"
            self._each_residue(ends, uids, same, "derived", what)
        scalars = rows.scalars.take(pa.array(wanted))
        for name in (n for n in plain if n not in rows.lists):
            values = [getattr(f, name) for f in features]
            self._each_chain(scalars, name, values, uids, "that of the coordinates")
        with_alpha = (rows.lists["atom14_mask"][here] & 2) > 0
        n_alpha = np.maximum(1, np.diff(_ends(with_alpha)[ends]))
        for name, state in _FRACTIONS.items():
            n = np.diff(_ends(with_alpha & (sse == state))[ends])
            self._each_chain(scalars, name, list(n / n_alpha), uids, "that of sse")

    def _each_chain(
        self, scalars: pa.Table, name: str, again: list[Any], uids: list[str], whose: str
    ) -> None:
        stored = scalars[name]
        if pa.types.is_floating(stored.type):
            same = _close(stored.to_numpy(), np.array(again, np.float64))  # None: NaN
        else:
            same = np.equal(stored.to_pylist(), again)
        for k in np.flatnonzero(~same):
            self._wrong_row("derived", f"{name} is not {whose}", uids[int(k)])

    def _each_residue(
        self,
        ends: NDArray[np.int64],
        uids: list[str],
        good: NDArray[np.bool_],
        check: str,
        what: str,
    ) -> None:
        """`ends`: chain k has the elements ends[k] to ends[k + 1] of `good`."""
        bad = np.flatnonzero(~good)
        for k in np.unique(np.searchsorted(ends, bad, side="right") - 1):
            self._wrong_row(check, what, uids[int(k)])

    def _wrong_row(self, check: str, what: str, uid: str) -> None:
        self._wrong.setdefault(f"{check}\n{what}", []).append(uid)

    def _say_what_is_wrong(self) -> None:
        for key, uids in self._wrong.items():
            check, what = key.split("\n")
            where = (
                f"chain {uids[0]}" if len(uids) == 1 else f"{len(uids):,} chains ({_some(uids)})"
            )
            # What the build itself left so, building again would leave so too.
            as_built = self.report.has_recorded_bytes
            note = ", though its bytes are those of the build" if as_built else ""
            self._say(check, f"{what} in {where}{note}", "none" if as_built else "rebuild")

    # ---- index ----------------------------------------------------------------------------------

    def _compare_with_index(self, scalars: pa.Table, start: int) -> None:
        """Rows as the index has them. A shard that is damaged itself proves nothing against it."""
        index = self.job.index
        if index is None or not self.report.has_recorded_bytes:
            return
        here = index.slice(start, scalars.num_rows)
        if here.num_rows != scalars.num_rows:
            return  # said once, by number
        # An index without later columns says nothing of them.
        for name in (n for n in INDEX_COLUMNS if n in here.column_names):
            ours, theirs = scalars[name], here[name]
            if ours.equals(theirs):
                continue
            stored, said = ours.to_pylist(), theirs.to_pylist()
            bad = [k for k, (a, b) in enumerate(zip(stored, said, strict=True)) if a != b]
            for k in bad[:1]:
                uid = scalars["chain_uid"][k].as_py()
                more = f" (and {len(bad) - 1:,} more rows differ)" if len(bad) > 1 else ""
                sentence = (
                    f"{name} of {uid} is {_value(said[k])}, and {self.job.expected.file} says "
                    f"{_value(stored[k])}{more}"
                )
                self.report.problems.append(Problem("index.parquet", "index", sentence, "rewrite"))


def first_line(error: BaseException) -> str:
    """The first line of what an exception says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _reads(shard: pq.ParquetFile, group: int, name: str) -> bool:
    try:
        shard.read_row_group(group, columns=[name], use_threads=False)
    except _READ_ERRORS:
        return False
    return True


def _resolved(rows: Rows) -> NDArray[np.bool_]:
    """Which residues have a frame, by their coordinates: the Gaussians are what is checked."""
    mask = unpack_mask(rows.lists["atom14_mask"])
    coords = np.stack([rows.lists[axis] for axis in "xyz"], axis=1)
    positions = atom14_positions(mask, coords)
    return is_frame(positions[:, 0], positions[:, 1], positions[:, 2], mask[:, :3].all(axis=1))


def _close(stored: NDArray[Any], again: NDArray[Any]) -> NDArray[Any]:
    return np.isclose(
        stored, again, rtol=RELATIVE_TOLERANCE, atol=ABSOLUTE_TOLERANCE, equal_nan=True
    )


def _ends(counts: Sequence[int] | NDArray[Any]) -> NDArray[np.int64]:
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)))


def _short(sha256: str) -> str:
    return f"{sha256[:12]}…"


def _value(value: object) -> str:
    if isinstance(value, bytes):
        return _short(value.hex())
    return "null" if value is None else str(value)


def _some(names: Collection[str], n: int = 3) -> str:
    first = list(names)[:n]
    return ", ".join(first) + (", …" if len(names) > n else "")
