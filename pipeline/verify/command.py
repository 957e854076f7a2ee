"""``python -m pipeline.verify``: look at a dataset, say what is wrong, mend it if asked to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from pipeline.built.dataset_lock import check_unlocked, locked
from pipeline.built.layout import Layout
from pipeline.built.output_folder import layout_of
from pipeline.commands.command_line import parse_options
from pipeline.commands.console import standard_console
from pipeline.commands.termination import FAILURE, OK, end_with, status_of
from pipeline.errors import UsageError
from pipeline.files.atomic import appears_whole
from pipeline.verify.check_dataset import (
    Thoroughness,
    VerifyError,
    check_dataset,
    check_is_dataset,
)
from pipeline.verify.display import Progression, show_findings, show_repair
from pipeline.verify.findings import Findings
from pipeline.verify.options import VerifyOptions
from pipeline.verify.recorded_build import CannotRepair, Places
from pipeline.verify.repair import Repair, repair_dataset

WHOLE, DAMAGED = OK, FAILURE


MAX_ROUNDS = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status.

    0: the dataset is whole, or was made so. 1: it is damaged, or could not be repaired. 2: wrong
    usage. 130: interrupted.
    """
    options = parse_options(
        VerifyOptions,
        "python -m pipeline.verify",
        "Compare a dataset with what its build left, and mend it.",
        arguments,
        first="dataset",
    )
    return status_of(
        lambda: _verify(options),
        interrupted="no file of the dataset is half-written",
        cannot=None,
    )


def _verify(options: VerifyOptions) -> int:
    try:
        return verify(options)
    except OSError as error:
        # It may be about anything, here or where inputs are: the system says best what.
        raise VerifyError(str(error)) from error


def verify(options: VerifyOptions, console: Console | None = None) -> int:
    """Verify, and repair if so asked, as the options say; the exit status.

    Raises
    ------
    UsageError
        Nothing was looked at.
    VerifyError, StorageError
        The verification failed.
    WorkersFail, OutputError, OSError
        A repair failed; the dataset is as it was.
    """
    console = console or standard_console()
    options.check()
    layout = layout_of(options.dataset)
    if options.repair and not layout.folder.is_local:
        raise UsageError(
            f"{layout.folder}: --repair is for folders of this machine; without it, the command "
            "says what to delete there, so that the build's own command makes it again"
        )
    check_is_dataset(layout)
    if not options.repair:
        check_unlocked(layout, lambda sentence: console.print(sentence, highlight=False))
        findings = _look(layout, options, console)
        show_findings(console, layout, findings)
        _write_json(options.json, findings, None, None)
        return WHOLE if findings.is_whole else DAMAGED
    with locked(layout):
        return _repair(layout, options, console)


def _repair(layout: Layout, options: VerifyOptions, console: Console) -> int:
    findings = _look(layout, options, console)
    if not findings.files_for("rebuild") and not findings.files_for("rewrite"):
        show_findings(console, layout, findings)
        _write_json(options.json, findings, Repair(), None)
        return WHOLE if findings.is_whole else DAMAGED
    places = Places(options.pdb_dir, options.pdb_list, options.manifest)
    done, after = Repair(), findings
    progress = None if options.quiet else console
    try:
        for _ in range(MAX_ROUNDS):
            more = repair_dataset(layout, after, places, options.n_jobs, progress)
            done = done.and_then(more)
            after = _look(layout, options, console)
            # What was hidden behind other damage shows now.
            left = {*after.files_for("rebuild"), *after.files_for("rewrite")}
            if not more.replaced or not left or more.left:
                break
    except CannotRepair as error:
        if not done.replaced:
            show_findings(console, layout, findings)
            sentence = f"nothing was repaired, and nothing was changed: {error}"
            _write_json(options.json, findings, None, sentence)
            return end_with(f"error: {sentence}", DAMAGED)
        done.left.append(str(error))
    show_repair(console, done)
    show_findings(console, layout, after)
    _write_json(options.json, after, done, None)
    return WHOLE if after.is_whole else DAMAGED


def _look(layout: Layout, options: VerifyOptions, console: Console) -> Findings:
    how = Thoroughness(options.quick, options.sample, options.n_jobs)
    with Progression(console, options.quiet) as progression:
        return check_dataset(layout, how, progression.update)


def _write_json(
    path: Path | None, findings: Findings, repair: Repair | None, refused: str | None
) -> None:
    if path is None:
        return
    content = findings.to_json()
    content["repair"] = None
    if repair is not None:
        content["repair"] = {
            "replaced": repair.replaced,
            "other_bytes": repair.other_bytes,
            "left": repair.left,
        }
    elif refused is not None:
        content["repair"] = {"replaced": [], "other_bytes": [], "left": [refused]}
    with appears_whole(path, path.absolute().parent) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
