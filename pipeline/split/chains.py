"""What a split needs to know of a dataset's chains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.built.built_dataset import BuiltDataset, UnreadableDataset
from pipeline.files.storage import Folder
from pipeline.shards import DamagedShard, open_shard, read_rows
from pipeline.split.options import is_day

_INDEX = (
    "chain_uid",
    "entry_id",
    "label_asym_id",
    "auth_asym_id",
    "length",
    "release_date",
    "deposition_date",
    "shard",
)
_SHARD = ("chain_uid", "sequence", "entity_sequence")


@dataclass(frozen=True, slots=True)
class Chains:
    """Chains in the order of ``chain_uid``, whatever the order in the shards.

    Attributes
    ----------
    uids, entry_ids : list of str, n
    asym_ids : list of (str, str), n
        Chain ids of archive and author.
    lengths : (n,) int64
        Residues.
    dates : list of (str or None), n
        Day of release, else of deposition.
    sequences : list of str
        The distinct ones, long before short.
    keys : (n, 2) int64
        Numbers into `sequences`: of the chain's rows, and of its whole entity where that is known
        (else of its rows again). Chains that share a number are identical.
    """

    uids: list[str]
    entry_ids: list[str]
    asym_ids: list[tuple[str, str]]
    lengths: NDArray[np.int64]
    dates: list[str | None]
    sequences: list[str]
    keys: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.uids)

    def entry_numbers(self) -> NDArray[np.int64]:
        """(n,): for each chain the number of its entry, in the order of their ids."""
        number = {entry: k for k, entry in enumerate(sorted(set(self.entry_ids)))}
        return np.array([number[entry] for entry in self.entry_ids], np.int64)

    @classmethod
    def from_columns(cls, columns: Mapping[str, Sequence[Any]]) -> Chains:
        """Put rows in order and number their sequences.

        Parameters
        ----------
        columns : mapping
            ``chain_uid``, ``entry_id`` and ``sequence``; and, where there are any,
            ``entity_sequence``, ``length``, ``release_date``, ``deposition_date``,
            ``label_asym_id`` and ``auth_asym_id``. Rows may come in any order.
        """
        uids = columns["chain_uid"]
        order = sorted(range(len(uids)), key=uids.__getitem__)
        nothing: list[None] = [None] * len(uids)

        def in_order(name: str) -> list[Any]:
            values = columns.get(name, nothing)
            return [values[k] for k in order]

        resolved = in_order("sequence")
        whole = [w or r for w, r in zip(in_order("entity_sequence"), resolved, strict=True)]
        sequences = sorted({*resolved, *whole}, key=lambda s: (-len(s), s))
        number = {s: k for k, s in enumerate(sequences)}
        keys = [[number[r], number[w]] for r, w in zip(resolved, whole, strict=True)]
        lengths = in_order("length") if "length" in columns else [len(s) for s in resolved]
        dates = zip(in_order("release_date"), in_order("deposition_date"), strict=True)
        asym_ids = zip(in_order("label_asym_id"), in_order("auth_asym_id"), strict=True)
        return cls(
            uids=in_order("chain_uid"),
            entry_ids=in_order("entry_id"),
            asym_ids=[(label or "", author or "") for label, author in asym_ids],
            lengths=np.array(lengths, np.int64),
            dates=[next((d for d in days if d and is_day(d)), None) for days in dates],
            sequences=sequences,
            keys=np.array(keys, np.int64).reshape(-1, 2),
        )


def read_chains(dataset: BuiltDataset) -> Chains:
    """Read the index, and the sequences of every shard.

    Raises
    ------
    UnreadableDataset
        The index is missing or damaged, or does not fit the shards.
    DamagedShard, StorageError
    """
    folder = dataset.folder
    index = dataset.index()
    missing = [name for name in _INDEX if name not in index.column_names]
    if missing:
        raise UnreadableDataset(
            f"{folder.describe('index.parquet')}: has no column {missing[0]}; {_VERIFY} {folder}` "
            "says what else is damaged"
        )
    columns = {name: index[name].to_pylist() for name in _INDEX}
    found: dict[str, tuple[str, str | None]] = {}
    for name in sorted(set(columns["shard"])):
        for uid, sequence, whole in _read_sequences(folder, f"shards/{name}"):
            found[uid] = sequence, whole
    strays = set(columns["chain_uid"]) ^ found.keys()
    if strays:
        raise UnreadableDataset(
            f"{folder}: index.parquet and the shards do not fit together, {min(strays)} is only in "
            f"one of them; {_VERIFY} {folder}` says what is damaged"
        )
    of_chain = [found[uid] for uid in columns["chain_uid"]]
    return Chains.from_columns(
        {
            **columns,
            "sequence": [sequence for sequence, _ in of_chain],
            "entity_sequence": [whole for _, whole in of_chain],
        }
    )


_VERIFY = "`python -m pipeline.verify"


def _read_sequences(folder: Folder, name: str) -> list[tuple[str, str, str | None]]:
    path = folder.describe(name)
    with folder.errors_named(name):
        shard = open_shard(folder.join(name), folder.filesystem)
        try:
            groups = range(shard.metadata.num_row_groups)
            rows = read_rows(shard, path, groups, _SHARD).scalars
        finally:
            shard.close()
    try:
        return list(zip(*(rows[column].to_pylist() for column in _SHARD), strict=True))
    except UnicodeDecodeError:
        raise DamagedShard(f"{path}: holds text that is none; {_VERIFY} --repair`") from None
