"""``python -m pipeline.upgrade``: shard by shard, and ``build.json`` at the end.

A shard is replaced whole. Whoever interrupts the command leaves shards that are not yet in
``build.json``, and a note of it; the next run sees by the digests of their rows that they are the
dataset's, and goes on.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow.compute as pc
from rich.console import Console

from pipeline.built.build_summary import ListedShard
from pipeline.built.built_dataset import BuiltDataset
from pipeline.built.dataset_lock import locked
from pipeline.built.layout import Layout
from pipeline.built.output_folder import layout_of
from pipeline.built.records import PartRecord, write_record
from pipeline.built.upgrade_mark import upgrading
from pipeline.commands.command_line import parse_options
from pipeline.commands.console import print_rows, standard_console
from pipeline.commands.progress_line import ProgressLine
from pipeline.commands.termination import status_of
from pipeline.commands.words import several
from pipeline.files.atomic import appears_whole, publish
from pipeline.shards import FILES_ALONE_TELL, DamagedShard, lacking, open_shard
from pipeline.upgrade.complete_index import complete_index
from pipeline.upgrade.interfaces import Made, add_interfaces
from pipeline.upgrade.options import UpgradeOptions
from pipeline.upgrade.upgrade_shard import check_is_of, sha256_of, write_upgraded

NAMED = 5
"""So many entries in a message."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status.

    0: the dataset has all columns. 1: a shard is damaged, or cannot be written. 2: wrong usage, or
    a build is writing to it. 130: interrupted.
    """
    options = parse_options(
        UpgradeOptions,
        "python -m pipeline.upgrade",
        "Add the columns that came after a dataset was built.",
        arguments,
        first="dataset",
    )
    return status_of(
        lambda: upgrade(options),
        interrupted="no shard is half-written, all can be read, and the same command goes on",
        cannot=f"cannot write to {options.dataset}",
    )


def upgrade(options: UpgradeOptions, console: Console | None = None) -> None:
    """Add what the dataset's shards lack.

    Raises
    ------
    UsageError
        Nothing was changed.
    UnreadableDataset, DamagedShard, CannotUpgrade, OSError
        Shards before the one that the sentence names have been upgraded; the others are as they
        were.
    """
    options.check()
    console = console or standard_console()
    dataset = BuiltDataset.open(options.dataset)
    layout = layout_of(options.dataset)
    with locked(layout):
        layout.scratch.mkdir(exist_ok=True)
        try:
            with upgrading(layout):
                added = _Upgrade(dataset, layout).run(console, options.quiet)
            is_index_new = complete_index(BuiltDataset.open(options.dataset), layout)
            made = _interfaces(options, layout, console)
        finally:
            with contextlib.suppress(OSError):  # a build may have left something there
                layout.scratch.rmdir()
    if made is not None:
        pairs = f"{layout.interfaces}: {several(made.n_pairs, 'pair')} of chains in contact"
        print_rows(console, [("added", pairs)])
        if made.left_out:
            print_rows(console, [("left out", told_of_crowded(made.left_out))])
    if is_index_new:
        print_rows(console, [("added", f"columns of quality to {layout.index}")])
    if not added and (made is not None or is_index_new):
        return
    if not added:
        console.print(f"{layout.folder} has all columns", highlight=False, markup=False)
        return
    for column, n in added.items():
        unknown = "; it is null: only the input files tell it" if column in FILES_ALONE_TELL else ""
        print_rows(console, [("added", f"{column} to {several(n, 'shard')}{unknown}")])
    before = dataset.build.counts.shard_bytes
    after = BuiltDataset.open(options.dataset).build.counts.shard_bytes
    per_residue = after / max(1, dataset.build.counts.residues)
    rows = [
        ("size", f"{after:,} bytes, {after - before:,} more: {per_residue:.1f} per residue"),
        ("digest", f"{dataset.build.digest}, as before"),
    ]
    print_rows(console, rows)


def told_of_crowded(entries: Sequence[str]) -> str:
    """How many entries have no interfaces, and the first of them."""
    some = ", ".join(entries[:NAMED])
    if len(entries) > NAMED:
        some = f"{len(entries):,} entries, such as {some}"
    return f"{some}: too many atoms in one place"


def _interfaces(options: UpgradeOptions, layout: Layout, console: Console) -> Made | None:
    dataset = BuiltDataset.open(options.dataset)
    n = dataset.build.counts.chains
    with ProgressLine(console, options.quiet, "interfaces", n) as line:
        return add_interfaces(dataset, layout, line, buried_area=options.buried_area)


class _Upgrade:
    def __init__(self, dataset: BuiltDataset, layout: Layout):
        self._build, self._layout, self._scratch = dataset.build, layout, layout.scratch
        self._index = dataset.index()
        self._added: Counter[str] = Counter()

    def run(self, console: Console, quiet: bool) -> Counter[str]:
        """Upgrade all shards; how many got each column."""
        listed = []
        n = len(self._build.shards)
        with ProgressLine(console, quiet, "upgrading", n) as line:
            for k, shard in enumerate(self._build.shards):
                line.show(k, f"{k:,}/{n:,} shards")
                listed.append(self._of(shard))
        if listed != self._build.shards:
            total = sum(shard.bytes for shard in listed)
            counts = dataclasses.replace(self._build.counts, shard_bytes=total)
            summary = dataclasses.replace(self._build, shards=listed, counts=counts)
            with appears_whole(self._layout.root / self._layout.build_json, self._scratch) as path:
                path.write_text(summary.to_json(), encoding="utf-8")
        return self._added

    def _of(self, listed: ListedShard) -> ListedShard:
        """What ``build.json`` says of a shard once it has all columns."""
        path = self._layout.root / self._layout.shards / listed.name
        sha256 = sha256_of(path)
        with open_shard(path) as shard:
            missing = lacking(shard.schema_arrow)
        if not missing:
            if sha256 == listed.sha256:
                return listed
            # Of an upgrade that was interrupted; or somebody else's.
            check_is_of(path, self._index.filter(self._is_of(listed)))
            return self._recorded(path, listed, sha256)
        if sha256 != listed.sha256:
            raise DamagedShard(
                f"{path}: is not what build.json says of it; `python -m pipeline.verify "
                f"{self._layout.root} --repair` builds it again"
            )
        temporary = self._scratch / f"{listed.name}.tmp"
        try:
            write_upgraded(path, temporary)
            check_is_of(temporary, self._index.filter(self._is_of(listed)))
            sha256 = sha256_of(temporary)
            publish(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        self._added.update(missing)
        return self._recorded(path, listed, sha256)

    def _is_of(self, listed: ListedShard) -> pc.Expression:
        return pc.field("shard") == listed.name

    def _recorded(self, path: Path, listed: ListedShard, sha256: str) -> ListedShard:
        """Tell the build's record of the part, so that a later build goes on from it."""
        size = path.stat().st_size
        place = self._layout.root / self._layout.state / f"{path.stem}.json"
        record = PartRecord.read(place)
        if record is not None and record.shard_sha256 in (listed.sha256, sha256):
            changed = dataclasses.replace(record, shard_sha256=sha256, shard_bytes=size)
            write_record(self._layout, changed, self._scratch)
        return dataclasses.replace(listed, sha256=sha256, bytes=size)
