"""A given list: which entry or chain is in which split."""

from __future__ import annotations

import csv
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.entry_ids import chain_key, entry_key
from pipeline.errors import UsageError
from pipeline.filters import check_chain_column, one_on_each_line

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SplitList:
    """Splits by ``(chain_uid,)``, ``(entry_id, chain)`` or ``(entry_id, "")``.

    Attributes
    ----------
    by_chain_uid : dict
        ``chain_uid``, as `chain_key` spells it → split, None for a line that names none.
    by_entry : dict
        (entry id, as `entry_key` spells it, chain id or ``""`` for all) → the same.
    """

    by_chain_uid: dict[str, str | None]
    by_entry: dict[tuple[str, str], str | None]

    @classmethod
    def read(cls, path: Path, names: Sequence[str]) -> SplitList:
        """Read a CSV with a column ``split`` and either ``chain_uid`` or ``entry_id``.

        Beside ``entry_id`` there may be ``chain``: a manifest with splits is such a list.

        Raises
        ------
        UsageError
            Not such a CSV, chains in a column of another name, a split that `names` lacks, or two
            splits for one chain or entry.
        """
        by_chain_uid: dict[str, str | None] = {}
        by_entry: dict[tuple[str, str], str | None] = {}
        try:
            with open(path, newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file)
                columns = [name.strip() for name in reader.fieldnames or ()]
                if "split" not in columns or not {"chain_uid", "entry_id"} & set(columns):
                    raise UsageError(
                        f"{path}: a list is a CSV whose first line names the columns split and "
                        f"either chain_uid or entry_id; found {', '.join(columns) or 'nothing'}"
                    )
                check_chain_column(columns, path, ["chain", "chain_uid"])
                reader.fieldnames = columns
                for row in reader:
                    values = {k: (row.get(k) or "").strip() for k in columns if k}
                    split = values["split"] or None
                    line = f"{path}, line {reader.line_num}"
                    if split is not None and split not in names:
                        raise UsageError(
                            f"{line}: {split} is none of the splits {' '.join(names)}; name all "
                            "that the list uses with --names"
                        )
                    known: dict[Any, str | None] = by_chain_uid
                    key: str | tuple[str, str] = chain_key(values.get("chain_uid", ""))
                    if not key:
                        known = by_entry
                        key = entry_key(values.get("entry_id", "")), values.get("chain", "")
                        if not key[0]:
                            raise UsageError(f"{line}: names neither chain nor entry")
                    if known.setdefault(key, split) != split:
                        raise UsageError(
                            f"{line}: is in {split or 'none'} here and in {known[key] or 'none'} "
                            "above"
                        )
        except UnicodeDecodeError:
            raise UsageError(f"{path}: a list is CSV text in UTF-8; this is not") from None
        except csv.Error as error:
            raise UsageError(f"{path}: a list is a CSV; this is not ({error})") from None
        except OSError as error:
            raise UsageError(f"{path}: the list cannot be read: {error.strerror}") from None
        return cls(by_chain_uid, by_entry)

    def look_up(
        self,
        uids: Sequence[str],
        entry_ids: Sequence[str],
        asym_ids: Sequence[tuple[str, str]],
    ) -> tuple[list[str | None], list[str]]:
        """The split of each chain, and what of the list fits no chain.

        What is said of a chain wins over what is said of its entry.
        """
        unused: dict[Key, None] = dict.fromkeys([(u,) for u in self.by_chain_uid])
        unused |= dict.fromkeys(self.by_entry)
        found: list[str | None] = []
        for uid, entry_id, (label, author) in zip(uids, entry_ids, asym_ids, strict=True):
            # An id that is qualified by its folder counts by its stem too.
            entries = [entry_key(e) for e in (entry_id, entry_id.rpartition("/")[2])]
            keys = [(e, chain) for chain in (label, author, "") for e in entries]
            split: str | None = None
            uid = chain_key(uid)
            settled = uid in self.by_chain_uid
            if settled:
                split = self.by_chain_uid[uid]
                unused.pop((uid,), None)
            for key in keys:
                if key in self.by_entry:
                    unused.pop(key, None)
                    if not settled:
                        split, settled = self.by_entry[key], True
            found.append(split)
        return found, [" ".join(filter(None, key)) for key in unused]

    def remark(self, unused: Collection[str]) -> str:
        """What may be wrong with lines that fit no chain; mostly nothing."""
        fits_none = set(unused)
        return one_on_each_line(c for e, c in self.by_entry if f"{e} {c}" in fits_none)
