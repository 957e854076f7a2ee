"""``python -m pipeline.split``: read → cluster → assign → ``splits.parquet``."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from pipeline.built.built_dataset import BuiltDataset
from pipeline.built.layout import Layout
from pipeline.commands.command_line import parse_options
from pipeline.commands.progress_line import ProgressLine
from pipeline.commands.termination import status_of
from pipeline.errors import Failure, UsageError
from pipeline.extras import check_installed
from pipeline.files.storage import Folder, StorageError
from pipeline.split.assign import Assignment, assign_splits
from pipeline.split.chains import Chains, read_chains
from pipeline.split.folds import check_letters, read_folds
from pipeline.split.mmseqs import Hits, MMseqs
from pipeline.split.nearest import Nearest, compared_chains, nearest_folds, nearest_sequences
from pipeline.split.options import SplitOptions
from pipeline.split.same_fold import same_fold
from pipeline.split.similar_letters import for_neighbours, search_letters, similar_letters
from pipeline.split.split_list import SplitList
from pipeline.split.summary import summary_rows
from pipeline.split.table import (
    FILE_NAME,
    SplitsError,
    read_metadata,
    splits_file,
    splits_metadata,
    splits_table,
)


class Refused(Failure):
    """Sequences leak, and the options do not allow it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status.

    0: written, or already there. 1: sequences leak, or something could not be read, run or written.
    2: wrong usage. 130: interrupted.
    """
    options = parse_options(
        SplitOptions,
        "python -m pipeline.split",
        "Divide the chains of a dataset into training, validation and test, without leaks.",
        arguments,
        first="dataset",
    )
    return status_of(
        lambda: split(options),
        interrupted="nothing was written",
        cannot=None,
    )


def split(options: SplitOptions) -> None:
    """Write ``splits.parquet`` as the options say, and print what is in it.

    Raises
    ------
    UsageError, Failure
        Nothing is written.
    """
    options.check()
    dataset = BuiltDataset.open(options.dataset)
    folder = dataset.folder
    if options.by == "structure" or options.with_nearest:
        asked = "--by structure" if options.by == "structure" else "--nearest true"
        check_installed(asked, "split", "tmtools")
        check_letters(dataset)
    mmseqs = None
    if options.with_mmseqs or options.with_nearest:
        mmseqs = MMseqs.find(options.mmseqs, _without_mmseqs(options))
    split_list = None
    if options.split_list is not None:
        split_list = SplitList.read(options.split_list, options.names)
    version = None if mmseqs is None else mmseqs.version
    metadata = splits_metadata(
        dataset.build.digest, options.identity(version), options.method, options.seed
    )
    if not (options.overwrite or options.dry_run) and folder.exists(FILE_NAME):
        _check_same(folder, metadata)
    chains = read_chains(dataset)
    if not len(chains):
        raise UsageError(f"{folder} has no chains, so there is nothing to split")
    similar = None
    if mmseqs is not None and options.with_mmseqs:
        similar = mmseqs.similar_sequences(chains, options, _threads(options))
        if options.by == "structure":
            alike = _similar_folds(mmseqs, dataset, chains, options)
            similar = np.concatenate([similar, alike])
    assignment = assign_splits(chains, options, similar, split_list)
    if len(assignment.leaks) and options.on_leak == "refuse":
        raise Refused(_refusal(chains, assignment, options))
    nearest = None
    if mmseqs is not None and options.with_nearest:
        nearest = _nearest(mmseqs, dataset, chains, assignment.split, options)
    content = splits_file(splits_table(chains, assignment, metadata, nearest))
    for what, numbers in summary_rows(chains, assignment, options, version, nearest):
        print(f"{what:<12} {numbers}")
    if options.on_leak == "report":
        for sentence in assignment.leaks.sentences(chains.uids, assignment.names, assignment.split):
            print(f"{'':<12} {sentence}")
    for warning in assignment.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if options.dry_run:
        print(f"dry run: {folder.describe(FILE_NAME)} was not written")
    else:
        print(_write(content, folder, options.overwrite))


def _without_mmseqs(options: SplitOptions) -> str:
    """The options that do without the program."""
    words = ["--by sequence"] if options.by == "structure" else []
    if options.with_mmseqs:
        words.append("--clusters identical")
    if options.nearest:
        words.append("--nearest false")
    return " ".join(words)


def _similar_folds(
    mmseqs: MMseqs, dataset: BuiltDataset, chains: Chains, options: SplitOptions
) -> NDArray[np.int64]:
    """Pairs of sequences, by their numbers, whose chains have one fold."""
    folds = read_folds(dataset, chains)
    candidates, _ = similar_letters(mmseqs, folds.letters, _threads(options))
    with _telling("comparing folds") as tell:
        return folds.numbers[same_fold(folds, candidates, options.linkage, tell)]


def _nearest(
    mmseqs: MMseqs,
    dataset: BuiltDataset,
    chains: Chains,
    split: NDArray[np.int64],
    options: SplitOptions,
) -> Nearest:
    """The training chains that are most like those that are held out."""
    threads = _threads(options)

    def search(queries: list[str], targets: list[str]) -> Hits:
        return mmseqs.identities(queries, targets, options.coverage, threads)

    by_sequence, identity = nearest_sequences(chains, split, search)
    held, train = (read_folds(dataset, chains, among) for among in compared_chains(split))
    letters = held.letters, train.letters
    hits = search_letters(mmseqs, *letters, threads, for_neighbours(*letters))
    with _telling("looking for neighbours") as tell:
        by_structure, tm = nearest_folds(chains, split, by_sequence, (held, train), hits, tell)
    return Nearest(by_sequence, identity, by_structure, tm)


@contextlib.contextmanager
def _telling(what: str) -> Iterator[Callable[[int, int], None]]:
    """A line of progress, fed with (done, all)."""
    with ProgressLine(Console(file=sys.stderr), False, what) as line:

        def tell(done: int, of: int) -> None:
            if line.is_due:
                line.show(done, f"{done:,}/{of:,}", total=of)

        yield tell


def _threads(options: SplitOptions) -> int:
    if options.threads:
        return options.threads
    from pipeline.crew.crew import available_jobs

    return available_jobs()


def _check_same(folder: Folder, metadata: dict[str, str]) -> None:
    """Before much is computed: what is there was made from the same data with the same options."""
    known = read_metadata(folder)
    differing = [key for key, value in metadata.items() if known.get(key) != value]
    if differing:
        why = "with other options"
        if "digest" in differing:
            why = "for another state of the dataset"
        path = folder.describe(FILE_NAME)
        raise UsageError(f"{path} is there already, made {why}; --overwrite replaces it")


def _refusal(chains: Chains, assignment: Assignment, options: SplitOptions) -> str:
    what = "sequence" if options.leak == "sequence" else "cluster"
    pairs = assignment.leaks.sentences(chains.uids, assignment.names, assignment.split)
    return "\n".join(
        [
            f"{len(assignment.leaks):,} of {len(chains):,} chains have a {what} that is in an "
            "earlier split too, such as",
            *(f"  {pair}" for pair in pairs),
            "nothing was written: --on-leak drop leaves these chains out, --on-leak report accepts "
            "them, and with --method cluster there are none",
        ]
    )


def _write(content: bytes, folder: Folder, overwrite: bool) -> str:
    path = folder.describe(FILE_NAME)
    try:
        if folder.exists(FILE_NAME):
            if folder.read_bytes(FILE_NAME) == content:
                return f"unchanged    {path}"
            if not overwrite:
                raise UsageError(f"{path} is there already and differs; --overwrite replaces it")
        with _scratch(folder) as scratch, folder.appears_whole(FILE_NAME, scratch) as temporary:
            temporary.write_bytes(content)
    except StorageError:
        raise
    except OSError as error:
        raise SplitsError(f"{path} cannot be written: {error.strerror}") from None
    return f"wrote        {path}"


@contextlib.contextmanager
def _scratch(folder: Folder) -> Iterator[Path]:
    """A place to complete files in: of a local folder, on its file system."""
    if folder.local is None:
        with tempfile.TemporaryDirectory(prefix="pipeline-split-") as temporary:
            yield Path(temporary)
        return
    scratch = Layout(folder.local).scratch
    scratch.mkdir(parents=True, exist_ok=True)
    yield scratch
