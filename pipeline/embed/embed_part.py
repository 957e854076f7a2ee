"""One shard → one part of embeddings."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.built.stored_embeddings import group_of, part_schema, part_writer
from pipeline.embed.chain_sequences import COLUMNS, ChainSequence, chain_sequences
from pipeline.embed.language_model import LanguageModel
from pipeline.files.storage import Folder
from pipeline.shards import DamagedShard, open_shard, read_rows

WINDOW_CHAINS = 512
"""Chains among which batches of similar length are made; they are in memory together."""

KEPT_BYTES = 1 << 30
"""Embeddings that wait for later chains of the same sequence, at most."""


@dataclass(frozen=True)
class Part:
    """What is to be embedded of a shard.

    Attributes
    ----------
    name, shard_sha256 : str
        Of the shard; the part is called like it.
    rows : (n,) int64
        Those of the index, in the order of the shard.
    chosen : (n,) bool
        Which of its rows.
    n_residues : int
        Of the chosen ones.
    """

    name: str
    shard_sha256: str
    rows: NDArray[np.int64]
    chosen: NDArray[np.bool_]
    n_residues: int

    @property
    def selection(self) -> str:
        """Tells one choice of rows from another."""
        if self.chosen.all():
            return "all"
        return hashlib.sha256(np.packbits(self.chosen).tobytes()).hexdigest()


@dataclass(frozen=True)
class PartCounts:
    """What a part holds.

    Attributes
    ----------
    chains, left_out, residues : int
    whole : int
        Chains that the model saw with their whole entity.
    sequences : int
        Distinct ones, each embedded once.
    windowed : int
        Of these, those that were longer than a window.
    """

    chains: int
    left_out: int
    residues: int
    whole: int
    sequences: int
    windowed: int


def embed_part(
    folder: Folder,
    part: Part,
    model: LanguageModel,
    identity: dict[str, str],
    path: Path,
    *,
    dtype: str,
    batch_residues: int,
    advance: Callable[[int], None] = lambda n: None,
) -> PartCounts:
    """Write the embeddings of a shard's chosen chains.

    Parameters
    ----------
    folder : Folder
        Of the dataset.
    identity : dict
        Goes into the part's metadata: `stored_embeddings.identity_metadata`.
    path : Path
        Where the file is made; moving it to its final name is the caller's business.
    advance : callable
        Told of residues that were embedded.

    Raises
    ------
    DamagedShard, StorageError
        The shard cannot be read, or is not what the index says.
    ModelError
    """
    groups = _read(folder, part.name)
    n_rows = sum(map(len, groups))
    if n_rows != len(part.chosen):
        raise DamagedShard(
            f"{folder.describe(f'shards/{part.name}')}: has {n_rows} chains, and the index says "
            f"{len(part.chosen)}; `python -m pipeline.verify {folder}` says what is damaged"
        )
    chosen = _chosen(groups, part.chosen)
    counts = _count(groups, chosen, model.max_length)
    metadata = {
        **identity,
        "shard_sha256": part.shard_sha256,
        "selection": part.selection,
        "counts": json.dumps(counts.__dict__),
    }
    schema = part_schema(model.dimension, dtype, metadata)
    with part_writer(path, schema) as writer:
        embedder = _Embedder(model, dtype, batch_residues, chosen)
        for several in _windows(list(zip(groups, chosen, strict=True))):
            states = embedder.states([c for _, some in several for c in some if c is not None])
            for group, some in several:
                arrays = [None if c is None else states[c.sequence][c.rows] for c in some]
                writer.write_batch(group_of([c.uid for c in group], arrays, schema))
                advance(sum(len(c.rows) for c in some if c is not None))
    return counts


class _Embedder:
    """Embeds each sequence once, and forgets it when no chain needs it any more."""

    def __init__(
        self,
        model: LanguageModel,
        dtype: str,
        batch_residues: int,
        chosen: Sequence[Sequence[ChainSequence | None]],
    ):
        self._model, self._dtype, self._batch_residues = model, dtype, batch_residues
        self._waiting = Counter(c.sequence for some in chosen for c in some if c is not None)
        self._kept: dict[str, NDArray[Any]] = {}

    def states(self, chains: Sequence[ChainSequence]) -> dict[str, NDArray[Any]]:
        """Sequence → hidden states, of some chains."""
        wanted = dict.fromkeys(c.sequence for c in chains)
        new = [s for s in wanted if s not in self._kept]
        arrays = self._model.embed(new, self._dtype, self._batch_residues)
        found = {s: self._kept[s] for s in wanted if s in self._kept} | dict(
            zip(new, arrays, strict=True)
        )
        self._waiting.subtract(c.sequence for c in chains)
        room = KEPT_BYTES
        kept: dict[str, NDArray[Any]] = {}
        for sequence, states in (self._kept | found).items():
            if self._waiting[sequence] > 0 and states.nbytes <= room:
                kept[sequence] = states
                room -= states.nbytes
        self._kept = kept
        return found


def _read(folder: Folder, name: str) -> list[list[ChainSequence]]:
    """The chains of a shard, by row group."""
    path = folder.join("shards", name)
    with open_shard(path, folder.filesystem) as shard:
        return [
            chain_sequences(read_rows(shard, path, [group], COLUMNS))
            for group in range(shard.metadata.num_row_groups)
        ]


def _chosen(
    groups: Sequence[Sequence[ChainSequence]], mask: NDArray[np.bool_]
) -> list[list[ChainSequence | None]]:
    """The same, with None for the chains that are left out."""
    keep = iter(mask.tolist())
    return [[chain if next(keep) else None for chain in group] for group in groups]


def _count(
    groups: Sequence[Sequence[ChainSequence]],
    chosen: Sequence[Sequence[ChainSequence | None]],
    max_length: int,
) -> PartCounts:
    chains = [c for some in chosen for c in some if c is not None]
    sequences = {c.sequence for c in chains}
    return PartCounts(
        chains=len(chains),
        left_out=sum(map(len, groups)) - len(chains),
        residues=sum(len(c.rows) for c in chains),
        whole=sum(c.is_whole for c in chains),
        sequences=len(sequences),
        windowed=sum(len(s) > max_length for s in sequences),
    )


_Group = tuple[list[ChainSequence], list[ChainSequence | None]]


def _windows(groups: Sequence[_Group]) -> Iterator[list[_Group]]:
    """Whole row groups, so many that they have about `WINDOW_CHAINS` chosen chains."""
    several: list[_Group] = []
    n = 0
    for group in groups:
        several.append(group)
        n += sum(chain is not None for chain in group[1])
        if n >= WINDOW_CHAINS:
            yield several
            several, n = [], 0
    if several:
        yield several
