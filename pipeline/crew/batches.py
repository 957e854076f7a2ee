"""Chains that wait for their geometry, which is computed for many files at once."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.built.reading import Reading
from pipeline.built.records import InputRecord
from pipeline.chain import Beside, Chain
from pipeline.crew.file_records import FileRecords
from pipeline.crew.progress import NoProgress, ProgressFile
from pipeline.crew.time_limit import FileTimeout, time_limit
from pipeline.features import ChainFeatures, compute_features
from pipeline.filters import Drop
from pipeline.interfaces import find_interfaces
from pipeline.shards import record_batch, shard_schema

BATCH_RESIDUES = 16_384
"""Residues whose geometry is computed together: enough to spread NumPy's cost per call."""


class Sink(Protocol):
    """Where chains that are kept go."""

    def add(self, chain: Chain, features: ChainFeatures) -> None: ...


class Nowhere:
    def add(self, chain: Chain, features: ChainFeatures) -> None:
        """Nothing is kept of a trial."""


@dataclass(slots=True)
class _Pending:
    """A file whose chains wait; `index` is that of the file in the part."""

    index: int
    record: InputRecord
    chains: list[Chain]
    beside: list[Beside]


_Judged = list[tuple[Chain, ChainFeatures, Drop | None]]


class Batches:
    """Features of chains, and what the filters say to them; what is kept goes to the sink.

    Parameters
    ----------
    careful : bool
        File by file, so that whatever goes wrong is of the file in progress.
    """

    def __init__(
        self,
        reading: Reading,
        records: FileRecords,
        progress: ProgressFile | NoProgress,
        sink: Sink,
        careful: bool,
    ):
        self._reading, self._records, self._progress = reading, records, progress
        self._sink, self._careful = sink, careful
        self._pending: list[_Pending] = []
        self._n_pending = 0

    def add(
        self, index: int, record: InputRecord, chains: list[Chain], beside: list[Beside]
    ) -> None:
        """Take the chains of a file, and what is beside them."""
        self._pending.append(_Pending(index, record, chains, beside))
        self._n_pending += sum(map(len, chains))
        if self._careful or self._n_pending >= BATCH_RESIDUES:
            self.flush()

    def flush(self) -> None:
        """Compute the features of what waits together, and hand on what the filters keep."""
        pending, self._pending, self._n_pending = self._pending, [], 0
        if not pending:
            return
        judged: Sequence[_Judged | None]
        if self._careful:
            judged = [self._judge_alone(p) for p in pending]
        else:
            self._progress.compute()
            with time_limit(self._reading.timeout):
                judged = self._judge(pending)
                self._find_interfaces(pending, judged)
        for file, result in zip(pending, judged, strict=True):
            for chain, features, drop in result or ():
                if drop is None:
                    self._sink.add(chain, features)
                else:
                    file.record.n_chains -= 1
                    file.record.n_residues -= len(chain)
                    self._records.drop(file.record, chain, drop, "geometry")

    def _judge(self, pending: list[_Pending]) -> list[_Judged]:
        """Features of the chains of each file, and what the filters say to them."""
        reading = self._reading
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

    def _find_interfaces(self, pending: list[_Pending], judged: list[_Judged]) -> None:
        """Contacts between the chains that are kept."""
        kept = [c for result in judged for c, _, drop in result if drop is None]
        beside = {
            (file.chains[0].entry_id, file.chains[0].assembly, b.model): b
            for file in pending
            for b in file.beside
            if file.chains
        }
        table, left_out = find_interfaces(kept, beside)
        self._records.interfaces.append(table)
        for file in pending:
            if file.record.entry_id in left_out:
                file.record.flags = [*file.record.flags, "interfaces_left_out"]

    def _judge_alone(self, file: _Pending) -> _Judged | None:
        """The same for one file, and whether its rows can be written; ``None`` if it fails."""
        record = file.record
        record.stage = "build"
        self._progress.begin(file.index)
        is_short_of_memory = False
        try:
            with time_limit(self._reading.timeout):
                (judged,) = self._judge([file])
                kept = [(c, f) for c, f, drop in judged if drop is None]
                if kept:
                    record_batch([c for c, _ in kept], [f for _, f in kept], shard_schema())
                self._find_interfaces([file], [judged])
                return judged
        except FileTimeout:
            self._records.fail_for_time(record)
        except MemoryError:
            is_short_of_memory = True
        except Exception as error:
            self._records.fail_inside(record, error)
        if is_short_of_memory:
            file.chains.clear()
            gc.collect()
            self._records.fail_for_memory(record)
        return None
