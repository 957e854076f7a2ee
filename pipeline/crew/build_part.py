"""One part → one shard: read, parse, filter, compute, write. What a worker does."""

from __future__ import annotations

import gc
import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from pipeline.built.errors import OutputError
from pipeline.built.layout import Layout
from pipeline.built.plan import Part, read_plan
from pipeline.built.reading import Reading
from pipeline.built.records import InputRecord, PartRecord, write_record
from pipeline.chain import Beside, Chain
from pipeline.crew import memory_limit
from pipeline.crew.batches import Batches, Nowhere, Sink
from pipeline.crew.file_records import FileRecords
from pipeline.crew.progress import NoProgress, ProgressFile
from pipeline.crew.time_limit import FileTimeout, time_limit
from pipeline.files.place import Place
from pipeline.files.storage import Location
from pipeline.filters import MISSING_CHAIN, Drop, Manifest
from pipeline.interfaces import joined
from pipeline.parsing import DroppedChain, NotAStructure, ParsedEntry, ParseError, read_chains
from pipeline.shards import SCHEMA_VERSION, UNITS, ShardWriter
from pipeline.sources import (
    HEAD_BYTES,
    Entry,
    OutOfMemory,
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

PEEK_BYTES = 1 << 20
"""Files above this size (as stored) are looked into before they are unpacked, and those whose names
do not say that they are structures."""

Casualties = Mapping[str, tuple[str, str]]
"""Inputs that are not read any more (they killed a worker): name → (reason, message)."""


def build_part(
    part: Part,
    root: Location,
    reading: Reading,
    out_dir: Location,
    casualties: Casualties | None = None,
    *,
    careful: bool = False,
    work: Path | None = None,
    alone: bool = False,
) -> PartRecord:
    """Build the shard of a part and publish it, then its record.

    Parameters
    ----------
    part : Part
    root : Place, Path or str
        What the paths of its files are relative to.
    reading : Reading
    out_dir : Place, Path or str
        The dataset's folder; `Layout.make_folders` has been called.
    casualties : mapping, optional
        Inputs to record as failed without reading them.
    careful : bool
        Compute and check file by file, so that whatever goes wrong is of the file in progress.
        Slower; the shard has the same bytes.
    work : Path, optional
        See `Layout`.
    alone : bool
        See `FileRecords`.

    Raises
    ------
    OutputError
        The shard cannot be written.
    LacksMemory
        A file is too large for this process, which is `alone`.
    """
    layout, root = Layout(out_dir, work), Place(root)
    try:
        # A record vouches for the shard beside it: none while that is being replaced.
        layout.folder.delete(layout.record(part.number))
        progress = ProgressFile(layout.progress(part.number), part.number)
    except OSError as error:
        below = layout.describe(layout.state)
        raise OutputError.of(f"cannot write below {below}", error) from error
    what = part, root, reading, layout, progress, casualties or {}
    try:
        try:
            return _build(*what, careful=careful, alone=alone)
        except (OutputError, memory_limit.LacksMemory):
            raise
        except (Exception, FileTimeout):
            if careful:
                raise
        # Some file among several gave what cannot be computed or written. That must cost this file
        # alone, and if it has another format to offer, that must be read: from the start.
        progress.restart()
        return _build(*what, careful=True, alone=alone)
    finally:
        progress.close()


def _build(
    part: Part,
    root: Place,
    reading: Reading,
    layout: Layout,
    progress: ProgressFile,
    casualties: Casualties,
    *,
    careful: bool,
    alone: bool,
) -> PartRecord:
    shard = layout.shard(part.number)
    temporary = layout.scratch / f"{layout.shard_name(part.number)}.{time.monotonic_ns()}.tmp"
    metadata = {
        "schema_version": str(SCHEMA_VERSION),
        "config_hash": reading.config_hash,
        "units": json.dumps(UNITS),
    }
    try:
        with ShardWriter(temporary, metadata) as writer:
            mapper = _Mapper(
                part, root, reading, progress, casualties, writer, careful=careful, alone=alone
            )
            mapper.run()
        data = temporary.read_bytes()
        layout.folder.put(shard, temporary)
        record = PartRecord(
            number=part.number,
            fingerprint=part.fingerprint(reading.config_hash),
            shard=layout.shard_name(part.number),
            shard_sha256=hashlib.sha256(data).hexdigest(),
            shard_bytes=len(data),
            n_chains=writer.n_rows,
            n_residues=writer.n_residues,
            inputs=mapper.records.inputs,
            drops=mapper.records.drops,
            interfaces=joined(mapper.records.interfaces),
        )
        write_record(layout, record)
    except OSError as error:
        raise OutputError.of(f"cannot write {layout.describe(shard)}", error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return record


def build_assigned(
    assignment: Path,
    root: Place,
    reading: Reading,
    out_dir: Place,
    casualties: Casualties,
    careful: bool,
    work: Path | None,
) -> None:
    """`build_part` in a worker, with the part in a file.

    What goes through a worker's pipes stays small: a pipe that is full when a worker is killed
    blocks its other end for ever. The result is in the part's record.
    """
    (part,) = _in_a_worker(assignment, reading)
    build_part(part, root, reading, out_dir, casualties, careful=careful, work=work, alone=True)


def _in_a_worker(assignment: Path, reading: Reading) -> list[Part]:
    """The plan in a file; from then on the process may take no more than it should.

    In this order: Arrow has started its threads by then, and without memory for one of them it
    waits for ever.
    """
    plan = read_plan(assignment)
    memory_limit.limit_memory(reading.max_memory)
    return plan


def try_file(assignment: Path, index: int, root: Place, reading: Reading) -> bool:
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
    mapper = _Mapper(alone, root, reading, NoProgress(), {}, Nowhere(), careful=True)
    try:
        mapper.run()
    except Exception:
        return False
    return not any(r.transient for r in mapper.records.inputs)


class _Mapper:
    """Reads the files of a part, each entry from the first of its files that can be read."""

    def __init__(
        self,
        part: Part,
        root: Place,
        reading: Reading,
        progress: ProgressFile | NoProgress,
        casualties: Casualties,
        sink: Sink,
        *,
        careful: bool,
        alone: bool = False,
    ):
        self.part, self.reading = part, reading
        self.records = FileRecords(part.number, reading, alone)
        self._progress, self._casualties = progress, casualties
        self._batches = Batches(reading, self.records, progress, sink, careful)
        self._manifest = Manifest.read(reading.manifest) if reading.manifest else None
        self._index_of = {f: k for k, f in enumerate(part.files)}
        self._reader = SourceReader(root.folder, reading.max_file_size)

    def run(self) -> None:
        """Read everything, hand on what is kept, and leave a record of each file."""
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
        self._batches.flush()
        self.records.settle()

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
            with time_limit(self.reading.timeout):
                raw = self._reader.read(source)
                head = peek(raw.data, HEAD_BYTES, name=source.name)
        except (Exception, FileTimeout):
            return None  # nobody needs this file
        return describe_content(head) if sniff(head) is None else None

    def _skip(self, source: SourceFile, entry: Entry, reason: str, message: str) -> None:
        self.records.skip(source, entry, reason, message)
        self._progress.begin(self._index_of[source])
        self._progress.end(failed=False, residues=0, size=max(0, source.size))

    def _read(self, source: SourceFile, entry: Entry, raw: RawFile | SourceError | None) -> bool:
        """Read one file into the pending batch; whether the entry is settled by it."""
        record = self.records.begin(source, entry)
        index = self._index_of[source]
        self._progress.begin(index)
        started = time.perf_counter()
        chains: list[Chain] = []
        beside: list[Beside] = []
        is_short_of_memory = False
        try:
            if source.name in self._casualties:
                record.reason, record.message = self._casualties[source.name]
                record.status, record.stage, record.transient = "failed", "parse", True
            else:
                with time_limit(self.reading.timeout):
                    chains, beside = self._parse(source, entry, raw, record)
        except (MemoryError, OutOfMemory):
            is_short_of_memory = True  # until the exception is gone, and with it what was read
        except SourceError as error:
            self.records.fail(record, "read", error.reason, str(error), error.transient)
        except NotAStructure as error:
            record.status, record.stage = "skipped", "parse"
            record.reason, record.message = error.reason, str(error)
        except ParseError as error:
            self.records.fail(record, "parse", error.reason, str(error))
        except FileTimeout:
            self.records.fail_for_time(record)
        except Exception as error:
            self.records.fail_inside(record, error)
        if is_short_of_memory:
            gc.collect()
            self.records.fail_for_memory(record)
        record.seconds = time.perf_counter() - started
        if chains:
            self._batches.add(index, record, chains, beside)
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
    ) -> tuple[list[Chain], list[Beside]]:
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
        self.records.drop_unread(record, parsed.dropped)
        kept = []
        for chain in parsed.chains:
            drop = reading.filters.chain(chain)
            if self._manifest is not None and not self._manifest.has_chain(chain):
                drop = Drop("not-in-manifest", "the manifest does not list this chain")
            if drop is None:
                kept.append(chain)
            else:
                self.records.drop(record, chain, drop, "chain")
        if self._manifest is not None and parsed.rejected is None:
            all_chains: list[Chain | DroppedChain] = [*parsed.chains, *parsed.dropped]
            ids = {i for chain in all_chains for i in (chain.label_asym_id, chain.auth_asym_id)}
            lacking = self._manifest.chains_not_among(entry.entry_id, ids)
            record.flags = [*record.flags, *(f"{MISSING_CHAIN}{i}" for i in lacking)]
        record.n_chains, record.n_residues = len(kept), sum(map(len, kept))
        if parsed.rejected is not None:
            record.status, record.stage = "skipped", "filter"
            record.reason, record.message = parsed.rejected
        elif not parsed.chains and not parsed.dropped:
            record.status, record.stage = "skipped", "parse"
            record.reason = "no-protein"
            record.message = "no polypeptide chain among its residues"
        return kept, parsed.beside
