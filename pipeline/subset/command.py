"""``python -m pipeline.subset``: choose → copy → tables → ``build.json``; all of it or nothing."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.built.build_summary import BuildSummary
from pipeline.built.layout import Layout
from pipeline.built.reading import config_hash
from pipeline.commands.command_line import parse_options
from pipeline.commands.termination import say, status_of
from pipeline.commands.words import MEBIBYTE, mebibytes, several
from pipeline.errors import UsageError
from pipeline.report import write_report
from pipeline.shards import SCHEMA_VERSION, UNITS
from pipeline.split.table import FILE_NAME as SPLITS
from pipeline.split.table import splits_file
from pipeline.subset.chain_list import ChainList
from pipeline.subset.choose import NAMED, Choice, choose, listed_in_vain
from pipeline.subset.options import SubsetOptions
from pipeline.subset.sources import Source, joint_config, open_sources
from pipeline.subset.splits import SplitsLeftOut, carried_splits
from pipeline.subset.summary import build_summary
from pipeline.subset.tables import subset_tables
from pipeline.subset.write_shards import write_shards


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status.

    0: written. 1: the sources cannot be read or joined, or nothing is left of them. 2: wrong usage.
    130: interrupted.
    """
    options = parse_options(
        SubsetOptions,
        "python -m pipeline.subset",
        "Make a dataset of some chains of one or several others.",
        arguments,
        first="sources",
    )
    return status_of(
        lambda: subset(options),
        interrupted=f"{options.out_dir} is as it was, or whole",
        cannot=f"cannot write {options.out_dir}",
    )


def subset(options: SubsetOptions) -> None:
    """Make the dataset that the options describe.

    Raises
    ------
    UsageError, Failure, OSError
        Nothing was written.
    """
    options.check()
    chain_list = ChainList.read(options.list) if options.list is not None else None
    sources = open_sources(options.sources)
    out_dir = Path(options.out_dir)
    _check_apart(out_dir, sources)
    config = joint_config(sources, options.allow_mixed)
    choice = choose(sources, options.where, chain_list)
    if chain_list is not None and choice.not_found:
        names = listed_in_vain(chain_list, choice.not_found)
        n = len(choice.not_found)
        say(f"note: {n:,} of the names of {options.list} are in no dataset: {names}")
    with _appears_whole(out_dir) as temporary:
        layout = Layout(temporary)
        shards = temporary / layout.shards
        shards.mkdir(parents=True)
        (temporary / layout.state).mkdir()
        metadata = {
            "schema_version": str(SCHEMA_VERSION),
            "config_hash": config_hash(config),
            "units": json.dumps(UNITS),
        }
        written = write_shards(
            sources, choice.rows, shards, metadata, options.shard_size * MEBIBYTE
        )
        tables = subset_tables(sources, choice.rows, written.part)
        for name, table in (
            (layout.index, written.index),
            (layout.inputs, tables.inputs),
            (layout.drops, tables.drops),
            (layout.plan, tables.plan),
        ):
            _write_table(table, temporary / name)
        if tables.interfaces is not None:
            _write_table(tables.interfaces, temporary / layout.interfaces)
        list_sha256 = chain_list.sha256 if chain_list is not None else None
        summary = build_summary(
            sources, config, choice, written, tables, options.where, list_sha256
        )
        # A build compares this with its own configuration, and refuses the folder.
        claim = {**config, "derived_from": "pipeline.subset"}
        (temporary / layout.config).write_text(json.dumps(claim, indent=1), encoding="utf-8")
        (temporary / layout.build_json).write_text(summary.to_json(), encoding="utf-8")
        left_out = _write_splits(layout, sources, choice, summary.digest)
    _show(options, sources, summary, choice.duplicates)
    if left_out is not None:
        say(
            f"note: the splits of the sources were left out: {left_out}; new ones: "
            f"`python -m pipeline.split {options.out_dir}`"
        )
    if summary.interfaces_digest is None:
        lacking = [str(s) for s in sources if s.dataset.build.interfaces_digest is None]
        say(f"note: {layout.interfaces} was left out: {', '.join(lacking[:NAMED])} has none")
    if options.report:
        _write_report(out_dir)


def _write_splits(
    layout: Layout, sources: Sequence[Source], choice: Choice, digest: str
) -> str | None:
    """Write the sources' splits; why not, if they have some that cannot be the subset's."""
    taken = sorted(set(choice.rows["dataset"].to_pylist()))
    uids = choice.rows["chain_uid"].to_pylist()
    try:
        splits = carried_splits([sources[k] for k in taken], uids, digest)
    except SplitsLeftOut as error:
        return str(error)
    if splits is not None:
        (layout.root / SPLITS).write_bytes(splits_file(splits))
    return None


def _write_report(out_dir: Path) -> None:
    """Write the page about the dataset, which bears its name and is whole without."""
    try:
        write_report(out_dir)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        say(f"warning: the dataset is finished, its report is not: {reason}")


def _check_apart(out_dir: Path, sources: Sequence[Source]) -> None:
    out = out_dir.resolve()
    for source in sources:
        local = source.dataset.folder.local
        if local is not None and (out == local.resolve() or out in local.resolve().parents):
            raise UsageError(f"--out-dir {out_dir} holds the source {source}; give another")


@contextlib.contextmanager
def _appears_whole(folder: Path) -> Iterator[Path]:
    """Yield a new folder beside; it gets the name at once when it is finished, or vanishes."""
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    try:
        temporary.mkdir()
        yield temporary
        for path in (*temporary.rglob("*"), temporary):
            _flush(path)
        if folder.exists() and any(folder.iterdir()):
            os.rename(folder, old)
        try:
            os.rename(temporary, folder)
        except OSError:
            if old.exists():
                os.rename(old, folder)
            raise
        _flush(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_table(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, compression="zstd", compression_level=3, write_page_checksum=True)


def _show(
    options: SubsetOptions, sources: Sequence[Source], summary: BuildSummary, n_duplicates: int
) -> None:
    counts = summary.counts
    n_before = sum(source.index.num_rows for source in sources)
    lines = [
        ("dataset", f"{options.out_dir}"),
        (
            "chains",
            f"{counts.chains:,} of {n_before:,}, {counts.entries:,} entries, "
            f"{counts.residues:,} residues",
        ),
        ("size", f"{mebibytes(counts.shard_bytes)}, {several(len(summary.shards), 'shard')}"),
        ("digest", summary.digest),
    ]
    if n_duplicates:
        text = f"{several(n_duplicates, 'chain')} that several datasets have, kept once"
        lines.insert(2, ("duplicates", text))
    for name, text in lines:
        print(f"{name:<12} {text}")
