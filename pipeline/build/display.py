"""What a build shows while it runs, and when it ends."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple

from rich.console import Console
from rich.text import Text

from pipeline.build.planned import Planned
from pipeline.build.run import Finished, Run
from pipeline.built.build_summary import OF_FILE, BuildSummary, FromManifest, count_reasons
from pipeline.built.plan import Part
from pipeline.built.records import PartRecord
from pipeline.commands.command_line import as_started
from pipeline.commands.console import print_rows
from pipeline.commands.progress_line import ProgressLine
from pipeline.commands.words import MEBIBYTE, mebibytes, several
from pipeline.crew.progress import ProgressNote
from pipeline.filters import one_on_each_line
from pipeline.sources import printable

REASONS_SHOWN = 5
PARTS_SHOWN = 20


class Display:
    """A live bar on a terminal, a line every ten seconds elsewhere, nothing if `quiet`.

    Parameters
    ----------
    todo : sequence of Part
        What there is to do; the bar runs over bytes, which are what time goes with.
    """

    def __init__(self, console: Console, todo: Sequence[Part], quiet: bool):
        self._parts = {p.number: (len(p.files), p.n_bytes) for p in todo}
        self._n_files = sum(n for n, _ in self._parts.values())
        self._n_bytes = max(1, sum(n for _, n in self._parts.values()))
        # By part: one whose failures are tried again is done twice, and counts once.
        self._done: dict[int, _Counted] = {}
        self._started = time.monotonic()
        self._line = ProgressLine(console, quiet, "building", self._n_bytes)

    def __enter__(self) -> Display:
        self._line.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._line.__exit__(None, None, None)

    def part_done(self, record: PartRecord) -> None:
        """Count a finished part."""
        n_files, n_bytes = self._parts[record.number]
        n_failed = sum(r.status == "failed" for r in record.inputs)
        self._done[record.number] = _Counted(n_files, n_failed, record.n_residues, n_bytes)

    def counted(self, notes: Sequence[ProgressNote]) -> _Counted:
        """How far everything is, the parts in flight included."""
        flying = [
            _Counted(n.n_done, n.n_failed, n.n_residues, n.n_bytes)
            for n in notes
            if n.part not in self._done
        ]
        columns = zip(_Counted(), *self._done.values(), *flying, strict=True)
        return _Counted(*map(sum, columns))

    def update(self, notes: Sequence[ProgressNote]) -> None:
        """Show it."""
        if not self._line.is_due:
            return
        counted = self.counted(notes)
        seconds = time.monotonic() - self._started
        rate = counted.files / max(1e-3, seconds)
        left = "?"
        if counted.n_bytes:
            left = _duration(max(0, self._n_bytes - counted.n_bytes) / counted.n_bytes * seconds)
        files = f"{counted.files:,}/{self._n_files:,} files"
        told = Text(f"{files}  {rate:.0f}/s  {counted.residues:,} residues  ")
        told.append(f"{counted.failed:,} failed", style="red" if counted.failed else "dim")
        self._line.show(
            counted.n_bytes,
            told,
            plain=f"{files}, {rate:.0f} files/s, {counted.residues:,} residues, "
            f"{counted.failed:,} failed, {left} left",
        )


class _Counted(NamedTuple):
    """What is done."""

    files: int = 0
    failed: int = 0
    residues: int = 0
    n_bytes: int = 0


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def show_plan(run: Run, planned: Planned, n_done: int) -> None:
    """What `--dry-run` prints."""
    parts, n_problems = planned.parts, len(planned.inputs.problems)
    files = [f for p in parts for f in p.files]
    by_name = Counter(f.suffix_format or "unknown name" for f in files)
    rows = [
        ("output", str(run.layout.folder)),
        ("files", f"{len(files):,}: " + ", ".join(f"{n:,} {k}" for k, n in by_name.most_common())),
        ("entries", f"{sum(len(p.entries) for p in parts):,}"),
        ("size", mebibytes(sum(p.n_bytes for p in parts))),
        ("parts", f"{len(parts):,} (one shard each), {n_done:,} of them done"),
    ]
    if n_problems:
        rows.append(("failed", f"{n_problems:,} that could not be searched"))
    for part in parts[:PARTS_SHOWN]:
        size = mebibytes(part.n_bytes)
        rows.append((part.name, f"{len(part.entries):,} entries, {size}"))
    if len(parts) > PARTS_SHOWN:
        rows.append(("", f"and {len(parts) - PARTS_SHOWN:,} more"))
    print_rows(run.console, rows)


def show_next_lines(run: Run, n_parts: int) -> None:
    """How an array job goes on after its plan."""
    console = run.console
    program = as_started("python -m pipeline.build")
    command = f"{program} --out-dir {shlex.quote(run.layout.folder.uri)}"
    example = f"for example four tasks (any number up to {n_parts:,} is of use), at once or not"
    print_rows(console, [("next", f"{command} --part I/N, {example}:")])
    for index in range(4):
        print_rows(console, [("", f"{command} --part {index}/4")])
    print_rows(console, [("then", f"{command} --finalise")])


def show_task(run: Run, records: Sequence[PartRecord], n_built: int) -> None:
    """The last words of a task of an array job."""
    inputs = [i for r in records for i in r.inputs]
    counts = Counter(i.status for i in inputs)
    rows = [
        (
            "task",
            f"{run.options.part}: {several(len(records), 'part')}, {n_built:,} of them built now",
        ),
        (
            "files",
            f"{len(inputs):,} = {counts['ok']:,} ok + {counts['skipped']:,} skipped "
            f"+ {counts['failed']:,} failed",
        ),
    ]
    reasons, examples = count_reasons(map(attrgetter(*OF_FILE), inputs))
    for status in ("skipped", "failed"):
        rows += _reason_rows(status, reasons[status], examples[status])
    print_rows(run.console, rows)
    run.console.print(
        f"{counts['failed']:,} of {several(len(inputs), 'file')} failed",
        style="" if run.allows(counts["failed"]) else "red",
        highlight=False,
    )


def show_summary(run: Run, finished: Finished, report: str | None) -> None:
    """The last words of a build; the very last say how many files failed.

    Parameters
    ----------
    report : str or None
        The page about the dataset.
    """
    layout, summary, counts = run.layout, finished.summary, finished.summary.counts
    n_built, n_parts, seconds = finished.n_built, finished.n_parts, finished.seconds
    rows = [
        (
            "files",
            f"{counts.found:,} found = {counts.ok:,} ok + {counts.skipped:,} skipped "
            f"+ {counts.failed:,} failed",
        )
    ]
    for status in ("skipped", "failed"):
        rows += _reason_rows(status, summary.reasons[status], summary.examples[status])
    rows.append(("dataset", f"{counts.chains:,} chains, {counts.residues:,} residues"))
    if counts.dropped_chains:
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in _top(summary.drop_reasons))
        rows.append(("dropped", f"{counts.dropped_chains:,} chains: {reasons}"))
    if n := summary.chains_without_confidence:
        rows.append(("no pLDDT", _without_confidence(n, counts.chains)))
    if unsaid := {name: n for name, n in (summary.entries_without or {}).items() if n}:
        rows.append(("unknown", _entries_without(unsaid, counts.entries)))
    if summary.manifest is not None:
        rows += [("manifest", sentence) for sentence in _not_found(summary.manifest)]
    size = f"{_size(counts.shard_bytes)} in {several(n_parts, 'shard')}"
    if counts.residues:
        size += f", {counts.shard_bytes / counts.residues:.1f} bytes per residue"
    rows.append(("size", size))
    time_taken = f"{seconds:.1f} s"
    if n_built < n_parts:
        time_taken += f", {n_parts - n_built:,} of {several(n_parts, 'part')} already built"
    else:
        time_taken += f", {counts.found / max(seconds, 1e-3):,.0f} files/s"
    rows.append(("time", time_taken))
    rows += [("licence", f"{name}: {v.licence}") for name, v in summary.sources.items()]
    rows.append(("digest", summary.digest))
    inputs = layout.describe(layout.inputs)
    page = f"{report}, " if report else ""
    rows.append(
        (
            "look at",
            f"{page}{inputs} (every file, with reasons), {layout.describe(layout.index)}",
        )
    )
    print_rows(run.console, rows)
    if not counts.chains:
        run.console.print(
            _empty(summary, run.options.allow_empty), style="red", highlight=False, markup=False
        )
    failed, found = counts.failed, counts.found
    last = f"{failed:,} of {several(found, 'file')} failed"
    style = ""
    if not run.allows(failed):
        last += f" (see {inputs}; --allow-failures {failed} accepts them)"
        style = "red"
    run.console.print(last, style=style, highlight=False, markup=False)


def _empty(summary: BuildSummary, is_allowed: bool) -> str:
    """Why there is nothing, as far as it is known, and what to do."""
    counts = summary.counts
    if not counts.found:
        why = "no file was found in the input"
    elif counts.dropped_chains:
        first, n = next(iter(summary.drop_reasons.items()))
        why = f"every chain was dropped, {n:,} of {counts.dropped_chains:,} by {first}"
    else:
        why = "no file gave a chain"
    accept = "" if is_allowed else "; --allow-empty accepts that with status 0"
    return f"warning: the dataset is empty: {why}{accept}"


def _reason_rows(
    status: str, reasons: dict[str, int], examples: Mapping[str, Mapping[str, str | None]]
) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for reason, n in _top(reasons):
        example = examples[reason]
        first = example["input"] or ""
        message = example["message"] or ""
        # Some sentences name their file themselves.
        said = message if first in message else f"{first}: {message}"
        rows.append((status if not rows else "", f"{n:,} {reason}, such as {said}"))
    if len(reasons) > REASONS_SHOWN:
        rows.append(("", f"and {len(reasons) - REASONS_SHOWN} other reasons"))
    return rows


def _top(reasons: dict[str, int]) -> list[tuple[str, int]]:
    return list(reasons.items())[:REASONS_SHOWN]


def _without_confidence(n: int, n_chains: int) -> str:
    return (
        f"{n:,} of {several(n_chains, 'chain')}, which --min-plddt lets pass; "
        "--drop-unknown plddt drops them, --b-factor-is plddt is for predictions that do not say "
        "what they are"
    )


def _entries_without(unsaid: Mapping[str, int], n_entries: int) -> str:
    without = ", ".join(f"{n:,} without {name}" for name, n in unsaid.items())
    return (
        f"of {several(n_entries, 'entry', 'entries')} {without}, which the filters let pass; "
        f"--drop-unknown {' '.join(unsaid)} drops them"
    )


def _not_found(manifest: FromManifest) -> Iterator[str]:
    if n := manifest.not_found:
        names = map(printable, manifest.first_not_found[:REASONS_SHOWN])
        more = ", …" if n > REASONS_SHOWN else ""
        yield f"{n:,} of its {manifest.entries:,} entries were not found: {', '.join(names)}{more}"
    if n := manifest.chains_not_found:
        chains = manifest.first_chains_not_found
        told = [printable(f"{c.chain} of {c.entry_id}") for c in chains[:REASONS_SHOWN]]
        more = ", …" if n > REASONS_SHOWN else ""
        yield (
            f"{several(n, 'chain')} that it lists {'is' if n == 1 else 'are'} not in the entry: "
            f"{', '.join(told)}{more}{one_on_each_line(c.chain for c in chains)}"
        )


def _size(n: int) -> str:
    return mebibytes(n) if n >= MEBIBYTE / 10 else f"{n / 1024:,.1f} KiB"
