"""What becomes of the files of a part, and of the chains that are left out."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from pipeline.built.reading import Reading
from pipeline.built.records import DropRecord, InputRecord
from pipeline.chain import Chain
from pipeline.crew import memory_limit
from pipeline.filters import Drop
from pipeline.parsing import DroppedChain
from pipeline.sources import Entry, SourceFile


class FileRecords:
    """Records of the files of a part, in the order in which they are read.

    Attributes
    ----------
    inputs : list of InputRecord
    drops : list of DropRecord
    interfaces : list of pyarrow.Table
        Of the chains that are kept.

    Parameters
    ----------
    part : int
    reading : Reading
    alone : bool
        This process does nothing else, and somebody replaces it: a file that it cannot hold is an
        error, `LacksMemory`, and no record.
    """

    def __init__(self, part: int, reading: Reading, alone: bool = False):
        self.inputs: list[InputRecord] = []
        self.drops: list[DropRecord] = []
        self.interfaces: list[pa.Table] = []
        self._part, self._reading, self._alone = part, reading, alone

    def begin(self, source: SourceFile, entry: Entry) -> InputRecord:
        """The record of a file that is about to be read."""
        record = InputRecord(source.name, entry.entry_id, self._part, size=max(0, source.size))
        self.inputs.append(record)
        return record

    def skip(self, source: SourceFile, entry: Entry, reason: str, message: str) -> InputRecord:
        """The record of a file that is not read."""
        record = self.begin(source, entry)
        record.status, record.stage, record.reason = "skipped", "find", reason
        record.message = message
        return record

    def drop_unread(self, record: InputRecord, chains: Iterable[DroppedChain]) -> None:
        """Chains that parsing gave up."""
        for chain in chains:
            self._drop(record, chain, chain.n_residues, Drop(chain.reason, ""), "parse")

    def drop(self, record: InputRecord, chain: Chain, drop: Drop, stage: str) -> None:
        """A chain that a filter drops."""
        self._drop(record, chain, len(chain), drop, stage)

    def _drop(
        self,
        record: InputRecord,
        chain: Chain | DroppedChain,
        n_residues: int,
        drop: Drop,
        stage: str,
    ) -> None:
        record.n_dropped += 1
        self.drops.append(
            DropRecord(
                entry_id=record.entry_id or "",
                input=record.input,
                model=chain.model,
                label_asym_id=chain.label_asym_id,
                auth_asym_id=chain.auth_asym_id,
                n_residues=n_residues,
                stage=stage,
                reason=drop.reason,
                detail=drop.detail,
            )
        )

    def fail(
        self, record: InputRecord, stage: str, reason: str, message: str, transient: bool = False
    ) -> None:
        """A file that should have been read and was not: none of its chains counts."""
        record.status, record.stage, record.transient = "failed", stage, transient
        record.reason, record.message = reason, message
        if record.n_dropped:
            self.drops = [d for d in self.drops if d.input != record.input]
        record.n_chains = record.n_residues = record.n_dropped = 0

    def fail_for_time(self, record: InputRecord) -> None:
        message = f"took longer than {self._reading.timeout:g} s (--timeout)"
        self.fail(record, record.stage, "timeout", message, transient=True)

    def fail_for_memory(self, record: InputRecord) -> None:
        if self._alone:
            raise memory_limit.LacksMemory(record.input)
        message = memory_limit.exceeded(self._reading.max_memory)
        self.fail(record, record.stage, memory_limit.OUT_OF_MEMORY, message, transient=True)

    def fail_inside(self, record: InputRecord, error: Exception) -> None:
        where = traceback.extract_tb(error.__traceback__)[-1]
        self.fail(
            record,
            record.stage,
            "internal-error",
            f"please report this file: {type(error).__name__}: {error} "
            f"({Path(where.filename).name}:{where.lineno})",
        )

    def settle(self) -> None:
        """A file none of whose chains was kept is skipped, for the reasons of its chains."""
        reasons: dict[str, Counter[str]] = {}
        for drop in self.drops:
            reasons.setdefault(drop.input, Counter())[drop.reason] += 1
        for record in self.inputs:
            if record.status == "ok" and record.n_chains == 0:
                of_chains = reasons.get(record.input, Counter())
                (reason, _), *_ = of_chains.most_common(1) or [("no-protein", 0)]
                record.status, record.stage, record.reason = "skipped", "filter", reason
                record.message = "no chain is kept: " + ", ".join(
                    f"{reason} ({n})" for reason, n in of_chains.most_common()
                )
            elif record.status == "ok":
                record.stage = "build"
