"""One part → one shard: read, parse, filter, compute, write. What a worker does."""

from __future__ import annotations

import gc
import hashlib
import json
import signal
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipeline.built.errors import OutputError
from pipeline.built.layout import Layout
from pipeline.built.plan import Part, read_plan
from pipeline.built.reading import Reading
from pipeline.built.records import DropRecord, InputRecord, PartRecord
from pipeline.chain import Chain
from pipeline.crew import memory_limit
from pipeline.crew.progress import NoProgress, ProgressFile
from pipeline.features import ChainFeatures, compute_features
from pipeline.filters import Drop, Manifest
from pipeline.parsing import DroppedChain, NotAStructure, ParsedEntry, ParseError, read_chains
from pipeline.shards import SCHEMA_VERSION, UNITS, ShardWriter, record_batch, shard_schema
from pipeline.sources import (
    HEAD_BYTES,
    Entry,
    RawFile,
    SequentialArchive,
    SourceError,
    SourceFile,
    SourceReader,
    Unreadable,
    decompress,
    describe_content,
    is_fcz,
    peek,
    sniff,
)

BATCH_RESIDUES = 16_384
"""Residues whose geometry is computed together: enough to spread NumPy's cost per call."""

PEEK_BYTES = 1 << 20
"""Files above this size (as stored) are looked into before they are unpacked, and those whose names
do not say that they are structures."""

Casualties = Mapping[str, tuple[str, str]]
"""Inputs that are not read any more (they killed a worker): name → (reason, message)."""


class FileTimeout(BaseException):
    """A file took longer than its time; no library's ``except Exception`` may swallow that."""


def build_part(
    part: Part,
    root: Path,
    reading: Reading,
    out_dir: Path,
    casualties: Casualties | None = None,
    *,
    careful: bool = False,
    work: Path | None = None,
) -> PartRecord:
    """Build the shard of a part and publish it, then its record.

    Parameters
    ----------
    part : Part
    root : Path
        What the paths of its files are relative to.
    reading : Reading
    out_dir : Path
        The dataset's folder; `Layout.make_folders` has been called.
    casualties : mapping, optional
        Inputs to record as failed without reading them.
    careful : bool
        Compute and check file by file, so that whatever goes wrong is of the file in progress.
        Slower; the shard has the same bytes.
    work : Path, optional
        See `Layout`.

    Raises
    ------
    OutputError
        The shard cannot be written.
    """
    layout = Layout(Path(out_dir), work)
    try:
        # A record vouches for the shard beside it: none while that is being replaced.
        layout.folder.delete(layout.name(layout.record(part.number)))
        progress = ProgressFile(layout.progress(part.number), part.number)
    except OSError as error:
        raise OutputError.of(f"cannot write below {layout.state}", error) from error
    try:
        try:
            return _build(part, Path(root), reading, layout, progress, casualties or {}, careful)
        except OutputError:
            raise
        except (Exception, FileTimeout):
            if careful:
                raise
        # Some file among several gave what cannot be computed or written. That must cost this file
        # alone, and if it has another format to offer, that must be read: from the start.
        progress.restart()
        return _build(part, Path(root), reading, layout, progress, casualties or {}, True)
    finally:
        progress.close()


def _build(
    part: Part,
    root: Path,
    reading: Reading,
    layout: Layout,
    progress: ProgressFile,
    casualties: Casualties,
    careful: bool,
) -> PartRecord:
    shard = layout.shard(part.number)
    temporary = layout.scratch / f"{shard.name}.{time.monotonic_ns()}.tmp"
    metadata = {
        "schema_version": str(SCHEMA_VERSION),
        "config_hash": reading.config_hash,
        "units": json.dumps(UNITS),
    }
    try:
        mapper = _Mapper(part, root, reading, progress, casualties, careful)
        with ShardWriter(temporary, metadata) as writer:
            mapper.run(writer)
        data = temporary.read_bytes()
        layout.folder.put(layout.name(shard), temporary)
        record = PartRecord(
            number=part.number,
            fingerprint=part.fingerprint(reading.config_hash),
            shard=shard.name,
            shard_sha256=hashlib.sha256(data).hexdigest(),
            shard_bytes=len(data),
            n_chains=writer.n_rows,
            n_residues=writer.n_residues,
            inputs=mapper.inputs,
            drops=mapper.drops,
        )
        name = layout.name(layout.record(part.number))
        with layout.folder.appears_whole(name, layout.scratch) as path:
            path.write_text(record.to_json(), encoding="utf-8")
    except OSError as error:
        raise OutputError.of(f"cannot write {layout.describe(shard)}", error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return record


def build_assigned(
    assignment: Path,
    root: Path,
    reading: Reading,
    out_dir: Path,
    casualties: Casualties,
    careful: bool,
    work: Path | None,
) -> None:
    """`build_part` in a worker, with the part in a file.

    What goes through a worker's pipes stays small: a pipe that is full when a worker is killed
    blocks its other end for ever. The result is in the part's record.
    """
    (part,) = _in_a_worker(assignment, reading)
    build_part(part, root, reading, out_dir, casualties, careful=careful, work=work)


def _in_a_worker(assignment: Path, reading: Reading) -> list[Part]:
    """The plan in a file; from then on the process may take no more than it should.

    In this order: Arrow has started its threads by then, and without memory for one of them it
    waits for ever.
    """
    plan = read_plan(assignment)
    memory_limit.limit_memory(reading.max_memory)
    return plan


def try_file(assignment: Path, index: int, root: Path, reading: Reading) -> bool:
    """Read one file of a part, in a worker, and compute its features; whether it can be settled.

    Parameters
    ----------
    assignment : Path
        Plan of the part.
    index : int
        Into the part's files.

    Returns
    -------
    bool
        False if it fails for time, memory or I/O. (It may also kill the process.)
    """
    (part,) = _in_a_worker(assignment, reading)
    source = part.files[index]
    entry = next(e for e in part.entries if source in e.candidates)
    alone = Part(part.number, (Entry(entry.entry_id, (source,)),))
    mapper = _Mapper(alone, Path(root), reading, NoProgress(), {}, True)
    try:
        mapper.run(_Nowhere())
    except Exception:
        return False
    return not any(r.transient for r in mapper.inputs)


class _Sink(Protocol):
    """Where chains go."""

    def add(self, chain: Chain, features: ChainFeatures) -> None: ...


class _Nowhere:
    def add(self, chain: Chain, features: ChainFeatures) -> None:
        """Nothing is kept of a trial."""


@dataclass(slots=True)
class _Pending:
    """A file whose chains wait for their geometry; `index` is that of the file in the part."""

    index: int
    record: InputRecord
    chains: list[Chain]


_Judged = list[tuple[Chain, ChainFeatures, Drop | None]]


class _Mapper:
    def __init__(
        self,
        part: Part,
        root: Path,
        reading: Reading,
        progress: ProgressFile | NoProgress,
        casualties: Casualties,
        careful: bool,
    ):
        self.part, self.reading = part, reading
        self.inputs: list[InputRecord] = []
        self.drops: list[DropRecord] = []
        self._progress, self._casualties, self._careful = progress, casualties, careful
        self._writer: _Sink = _Nowhere()
        self._manifest = Manifest.read(reading.manifest) if reading.manifest else None
        self._pending: list[_Pending] = []
        self._n_pending = 0
        self._index_of = {f: k for k, f in enumerate(part.files)}
        self._reader = SourceReader(root, reading.max_file_size)

    def run(self, writer: _Sink) -> None:
        """Read everything, hand to the writer what is kept, and leave a record of each file."""
        self._writer = writer
        wanted = []
        for entry in self.part.entries:
            if self._manifest is not None and not self._manifest.has_entry(entry.entry_id):
                for source in entry.candidates:
                    self._skip(source, entry, "not-in-manifest", "the manifest does not list it")
            else:
                wanted.append(entry)
        streamed = [e for e in wanted if any(f.is_sequential for f in e.candidates)]
        in_turn = [e for e in wanted if not any(f.is_sequential for f in e.candidates)]
        with self._reader as reader:
            first = (e.candidates[0] for e in in_turn)
            reader.expect(f for f in first if f.name not in self._casualties)
            for entry in in_turn:
                self._try_in_turn(entry)
            if streamed:
                self._stream(streamed)
        self._flush()
        reasons: dict[str, Counter[str]] = {}
        for drop in self.drops:
            reasons.setdefault(drop.input, Counter())[drop.reason] += 1
        for record in self.inputs:
            _settle(record, reasons.get(record.input, Counter()))

    def _try_in_turn(self, entry: Entry) -> None:
        """Read the preferred file of an entry; if it fails, the next one."""
        for rank, source in enumerate(entry.candidates):
            if self._read(source, entry, None):
                self._skip_rest(entry, rank)
                return

    def _stream(self, entries: list[Entry]) -> None:
        """The same for entries of compressed tars, which are read from their start: one pass for
        the preferred files, and another where some of those failed."""
        rank = 0
        while entries:
            sources = {e.candidates[rank]: e for e in entries}
            failed = []
            for source, raw in self._members(list(sources)):
                entry = sources[source]
                if self._read(source, entry, raw):
                    self._skip_rest(entry, rank)
                elif rank + 1 < len(entry.candidates):
                    failed.append(entry)
            entries, rank = failed, rank + 1

    def _members(
        self, sources: list[SourceFile]
    ) -> Iterator[tuple[SourceFile, RawFile | SourceError]]:
        """Members of a compressed tar; all that are left get the error that ends the reading."""
        left = dict.fromkeys(sources)
        try:
            for source, raw in SequentialArchive(
                sources, self._reader.root, self.reading.max_file_size
            ):
                del left[source]
                yield source, raw
        except Exception as error:
            for source in left:
                yield source, Unreadable(f"{source.name} cannot be read from its archive: {error}")

    def _skip_rest(self, entry: Entry, rank: int) -> None:
        chosen = entry.candidates[rank]
        for source in entry.candidates[rank + 1 :]:
            reason, message = "same-entry", f"the same entry was read from {chosen.name}"
            if source.suffix_format is None and not source.is_sequential:
                content = self._foreign_content(source)
                if content is not None:
                    reason, message = "not-a-structure", content
            self._skip(source, entry, reason, message)

    def _foreign_content(self, source: SourceFile) -> str | None:
        self._progress.begin(self._index_of[source])
        if source.name in self._casualties:
            return None
        try:
            with _time_limit(self.reading.timeout):
                raw = self._reader.read(source)
                head = peek(raw.data, HEAD_BYTES, name=source.name)
        except (Exception, FileTimeout):
            return None  # nobody needs this file
        return describe_content(head) if sniff(head) is None else None

    def _skip(self, source: SourceFile, entry: Entry, reason: str, message: str) -> None:
        self.inputs.append(
            InputRecord(
                input=source.name,
                entry_id=entry.entry_id,
                part=self.part.number,
                status="skipped",
                stage="find",
                reason=reason,
                message=message,
                size=max(0, source.size),
            )
        )
        self._progress.begin(self._index_of[source])
        self._progress.end(failed=False, residues=0, size=max(0, source.size))

    def _read(self, source: SourceFile, entry: Entry, raw: RawFile | SourceError | None) -> bool:
        """Read one file into the pending batch; whether the entry is settled by it."""
        record = InputRecord(
            input=source.name,
            entry_id=entry.entry_id,
            part=self.part.number,
            size=max(0, source.size),
        )
        self.inputs.append(record)
        index = self._index_of[source]
        n_drops = len(self.drops)
        self._progress.begin(index)
        started = time.perf_counter()
        chains: list[Chain] = []
        is_short_of_memory = False
        try:
            if source.name in self._casualties:
                record.reason, record.message = self._casualties[source.name]
                record.status, record.stage, record.transient = "failed", "parse", True
            else:
                with _time_limit(self.reading.timeout):
                    chains = self._parse(source, entry, raw, record)
        except SourceError as error:
            self._fail(record, "read", error.reason, str(error), transient=error.transient)
        except NotAStructure as error:
            record.status, record.stage = "skipped", "parse"
            record.reason, record.message = error.reason, str(error)
        except ParseError as error:
            self._fail(record, "parse", error.reason, str(error))
        except FileTimeout:
            self._fail_for_time(record)
        except MemoryError:
            is_short_of_memory = True  # until the exception is gone, and with it what was read
        except Exception as error:
            self._fail_inside(record, error)
        if is_short_of_memory:
            gc.collect()
            self._fail_for_memory(record)
        record.seconds = time.perf_counter() - started
        if record.status == "failed":
            chains = []
            del self.drops[n_drops:]
        if chains:
            self._pending.append(_Pending(index, record, chains))
            self._n_pending += sum(map(len, chains))
            if self._careful or self._n_pending >= BATCH_RESIDUES:
                self._flush()
        self._progress.end(
            failed=record.status == "failed",
            residues=record.n_residues,
            size=record.size,
        )
        return record.status != "failed"

    def _parse(
        self,
        source: SourceFile,
        entry: Entry,
        raw: RawFile | SourceError | None,
        record: InputRecord,
    ) -> list[Chain]:
        reading = self.reading
        record.stage = "read"
        if raw is None:
            raw = self._reader.read(source)
        if isinstance(raw, SourceError):
            raise raw
        record.sha256 = raw.sha256
        is_unclear = source.suffix_format is None and not is_fcz(raw.data)
        if len(raw.data) > PEEK_BYTES or is_unclear:
            # What is no structure need not be unpacked to the end; nor does a bomb of zeros.
            head = peek(raw.data, HEAD_BYTES, name=source.name)
            if sniff(head) is None:
                raise NotAStructure("not-a-structure", describe_content(head))
        data = decompress(raw.data, reading.max_file_size, name=source.name)
        record.stage = "parse"
        parsed: ParsedEntry = read_chains(
            data,
            entry.entry_id,
            models=reading.models,
            assembly=reading.assembly,
            max_assembly_chains=reading.max_assembly_chains,
            b_factor_is=reading.b_factor_is,
            accept=reading.filters.entry,
        )
        record.format, record.reader = parsed.format, parsed.reader
        record.flags, record.n_atoms = parsed.flags, parsed.n_atoms
        record.stage = "filter"
        for dropped in parsed.dropped:
            self.drops.append(
                DropRecord(
                    entry.entry_id,
                    record.input,
                    dropped.model,
                    dropped.label_asym_id,
                    dropped.auth_asym_id,
                    dropped.n_residues,
                    "parse",
                    dropped.reason,
                    "",
                )
            )
        record.n_dropped += len(parsed.dropped)
        kept = []
        for chain in parsed.chains:
            drop = reading.filters.chain(chain)
            if self._manifest is not None and not self._manifest.has_chain(chain):
                drop = Drop("not-in-manifest", "the manifest does not list this chain")
            if drop is None:
                kept.append(chain)
            else:
                self._drop(record, chain, drop, "chain")
        if self._manifest is not None and parsed.rejected is None:
            all_chains: list[Chain | DroppedChain] = [*parsed.chains, *parsed.dropped]
            ids = {i for chain in all_chains for i in (chain.label_asym_id, chain.auth_asym_id)}
            lacking = self._manifest.chains_not_among(entry.entry_id, ids)
            record.flags = [*record.flags, *(f"manifest_chain_missing:{i}" for i in lacking)]
        record.n_chains, record.n_residues = len(kept), sum(map(len, kept))
        if parsed.rejected is not None:
            record.status, record.stage = "skipped", "filter"
            record.reason, record.message = parsed.rejected
        elif not parsed.chains and not parsed.dropped:
            record.status, record.stage = "skipped", "parse"
            record.reason = "no-protein"
            record.message = "no polypeptide chain among its residues"
        return kept

    def _fail(
        self, record: InputRecord, stage: str, reason: str, message: str, transient: bool = False
    ) -> None:
        record.status, record.stage, record.transient = "failed", stage, transient
        record.reason, record.message = reason, message
        record.n_chains = record.n_residues = record.n_dropped = 0

    def _fail_for_time(self, record: InputRecord) -> None:
        message = f"took longer than {self.reading.timeout:g} s (--timeout)"
        self._fail(record, record.stage, "timeout", message, transient=True)

    def _fail_for_memory(self, record: InputRecord) -> None:
        message = memory_limit.exceeded(self.reading.max_memory)
        self._fail(record, record.stage, "out-of-memory", message, transient=True)

    def _fail_inside(self, record: InputRecord, error: Exception) -> None:
        where = traceback.extract_tb(error.__traceback__)[-1]
        self._fail(
            record,
            record.stage,
            "internal-error",
            f"please report this file: {type(error).__name__}: {error} "
            f"({Path(where.filename).name}:{where.lineno})",
        )

    def _drop(self, record: InputRecord, chain: Chain, drop: Drop, stage: str) -> None:
        record.n_dropped += 1
        self.drops.append(
            DropRecord(
                chain.entry_id,
                record.input,
                chain.model,
                chain.label_asym_id,
                chain.auth_asym_id,
                len(chain),
                stage,
                drop.reason,
                drop.detail,
            )
        )

    def _flush(self) -> None:
        """Compute the pending chains' features together, and write what the filters keep."""
        pending, self._pending, self._n_pending = self._pending, [], 0
        if not pending:
            return
        judged: Sequence[_Judged | None]
        if self._careful:
            judged = [self._judge_alone(p) for p in pending]
        else:
            self._progress.compute()
            with _time_limit(self.reading.timeout):
                judged = self._judge(pending)
        for file, result in zip(pending, judged, strict=True):
            for chain, features, drop in result or ():
                if drop is None:
                    self._writer.add(chain, features)
                else:
                    file.record.n_chains -= 1
                    file.record.n_residues -= len(chain)
                    self._drop(file.record, chain, drop, "geometry")

    def _judge(self, pending: list[_Pending]) -> list[_Judged]:
        """Features of the chains of each file, and what the filters say to them."""
        reading = self.reading
        features = iter(
            compute_features(
                [c for p in pending for c in p.chains],
                base_thickness=reading.base_thickness,
                shape=reading.shape,
            )
        )
        judged = []
        for file in pending:
            computed = [(c, next(features)) for c in file.chains]
            judged.append([(c, f, reading.filters.geometry(c, f)) for c, f in computed])
        return judged

    def _judge_alone(self, file: _Pending) -> _Judged | None:
        """The same for one file, and whether its rows can be written; ``None`` if it fails."""
        record = file.record
        record.stage = "build"
        self._progress.begin(file.index)
        is_short_of_memory = False
        try:
            with _time_limit(self.reading.timeout):
                (judged,) = self._judge([file])
                kept = [(c, f) for c, f, drop in judged if drop is None]
                if kept:
                    record_batch([c for c, _ in kept], [f for _, f in kept], shard_schema())
                return judged
        except FileTimeout:
            self._fail_for_time(record)
        except MemoryError:
            is_short_of_memory = True
        except Exception as error:
            self._fail_inside(record, error)
        if is_short_of_memory:
            file.chains.clear()
            gc.collect()
            self._fail_for_memory(record)
        self.drops = [d for d in self.drops if d.input != record.input]
        return None


def _settle(record: InputRecord, reasons: Counter[str]) -> None:
    """A file none of whose chains was kept is skipped, for the reasons of its chains."""
    if record.status == "ok" and record.n_chains == 0:
        (reason, _), *_ = reasons.most_common(1) or [("no-protein", 0)]
        record.status, record.stage, record.reason = "skipped", "filter", reason
        record.message = "no chain is kept: " + ", ".join(
            f"{reason} ({n})" for reason, n in reasons.most_common()
        )
    elif record.status == "ok":
        record.stage = "build"


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise `FileTimeout` in the block after so many seconds (in a main thread on POSIX).

    A call into native code that never returns is beyond this; the parent watches for those.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        yield
        return

    def stop(*_: object) -> None:
        raise FileTimeout

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
