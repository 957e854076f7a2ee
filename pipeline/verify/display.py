"""What a verification shows while it runs, and when it ends."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from rich.console import Console

from pipeline.built.layout import Layout
from pipeline.commands.command_line import as_started
from pipeline.commands.console import print_rows
from pipeline.commands.progress_line import ProgressLine
from pipeline.commands.words import several
from pipeline.verify.check_shard import ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE
from pipeline.verify.findings import Findings, Problem
from pipeline.verify.repair import Repair

PROBLEMS_SHOWN = 20
PER_FILE = 3
ALARMING = ("damaged", "not repaired")


class Progression(ProgressLine):
    """See `ProgressLine`."""

    def __init__(self, console: Console, quiet: bool):
        super().__init__(console, quiet, "verifying")

    def update(self, n_done: int, n_shards: int, n_chains: int) -> None:
        """Show how far it is."""
        told = f"{n_done:,}/{n_shards:,} shards, {n_chains:,} chains"
        self.show(n_done, told, total=n_shards)


def show_findings(console: Console, layout: Layout, findings: Findings) -> None:
    """Problems, what was looked at, and what to do; the last line says whether all is well."""
    damage = findings.damage
    remarks = [p for p in findings.problems if not p.damage]
    rows = [("damaged", text) for text in _told(damage)]
    rows += [("remark", text) for text in _told(remarks)]
    if findings.n_shards or not damage:
        rows.append(("checked", _checked(findings)))
        seconds = f"{findings.seconds:.1f} s"
        if findings.n_chains:
            seconds += f", {findings.n_chains / max(findings.seconds, 1e-3):,.0f} chains/s"
        rows.append(("time", seconds))
    if findings.recomputed_digest is not None:
        same = findings.recomputed_digest == findings.digest
        rows.append(("digest", findings.recomputed_digest + ("" if same else " by the rows")))
    rows += _advice(layout, findings)
    print_rows(console, rows, width=12, alarming=ALARMING)
    if findings.is_whole:
        last = f"{findings.dataset} is whole"
    else:
        n_files = len({p.file for p in damage})
        last = f"{findings.dataset} is damaged: {several(len(damage), 'problem')} in "
        last += several(n_files, "file")
    console.print(last, style="" if findings.is_whole else "red", highlight=False, markup=False)


def show_repair(console: Console, repair: Repair) -> None:
    """What a repair replaced, and what not."""
    rows = []
    if repair.replaced:
        rows.append(("repaired", _some(repair.replaced)))
    if repair.other_bytes:
        what = "the same rows as before, written by other versions of software; build.json has the "
        rows.append(("", f"{_some(repair.other_bytes)}: {what}new hashes"))
    rows += [("not repaired", sentence) for sentence in repair.left]
    if not rows:
        rows.append(("repaired", "nothing: there was nothing that a repair could mend"))
    print_rows(console, rows, width=12, alarming=ALARMING)


def _told(problems: Sequence[Problem]) -> list[str]:
    """A line for each problem; a file of many, and many files, are cut short."""
    by_file: dict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        by_file[problem.file].append(problem)
    lines = []
    for file, those in by_file.items():
        lines += [str(p) for p in those[:PER_FILE]]
        if len(those) > PER_FILE:
            lines.append(f"{file}: and {len(those) - PER_FILE:,} more")
    if len(lines) > PROBLEMS_SHOWN:
        left = len(lines) - PROBLEMS_SHOWN
        lines = [*lines[:PROBLEMS_SHOWN], f"and {left:,} more (--json FILE lists all)"]
    return lines


def _checked(findings: Findings) -> str:
    text = (
        f"{several(findings.n_shards, 'shard')}, {findings.n_chains:,} chains, "
        f"{findings.n_residues:,} residues; "
    )
    if findings.n_recomputed:
        tolerance = f"{ABSOLUTE_TOLERANCE:g} + {RELATIVE_TOLERANCE:g} |x|"
        return f"{text}Gaussians of {findings.n_recomputed:,} chains recomputed (± {tolerance})"
    return f"{text}hashes, schemas and tables"


def _advice(layout: Layout, findings: Findings) -> list[tuple[str, str]]:
    rows: list[str] = []
    rebuild, rewrite = findings.files_for("rebuild"), findings.files_for("rewrite")
    if (rebuild or rewrite) and not layout.folder.is_local:
        delete = f"delete {_some(rebuild)} there, and " if rebuild else ""
        rows.append(f"{delete}run the build's own command again: it makes what is missing")
    elif rebuild or rewrite:
        what = []
        if rebuild:
            what.append(f"builds {several(len(rebuild), 'shard')} again from the inputs")
        if rewrite:
            what.append(f"writes {_some(rewrite)} anew")
        command = f"{as_started('python -m pipeline.verify')} {layout.folder} --repair"
        rows.append(f"{command} {' and '.join(what)}")
    if strays := findings.files_for("by-hand"):
        rows.append(f"move or delete what is not of this dataset: {_some(strays)}")
    if findings.files_for("other-version"):
        rows.append("verify it with the version of the program that built it, or build it again")
    if any(p.remedy == "upgrade" for p in findings.problems):
        command = as_started("python -m pipeline.upgrade")
        rows.append(f"{command} {layout.folder} adds the columns that came after the build")
    if files := findings.files_for("none"):
        rows.append(
            f"{_some(files)}: no repair mends what the build itself wrote; build the dataset "
            "again, and report it if that does not help"
        )
    return [("what to do" if k == 0 else "", row) for k, row in enumerate(rows)]


def _some(names: Sequence[str], n: int = 5) -> str:
    more = f" and {len(names) - n:,} more" if len(names) > n else ""
    return ", ".join(names[:n]) + more
