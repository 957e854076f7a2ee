"""``python -m model.sample``: read → sample → write, each file whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from model.errors import AlreadyThere
from model.sample.journal import Journal
from model.sample.options import SampleOptions
from model.sample.sampler import Sampler, read_problems
from model.sample.samples import Sample, save_structures
from model.sample.structure_file import check_fits
from model.sample.tables import SampleRows, save_tables
from model.tasks import TASK_RECORDS, Problem
from model.tasks.inputs import failures
from model.tasks.kept_residues import first_of
from model.trained_network import default_for, load_network, untrained_for
from pipeline.commands.command_line import parse_options, to_yaml
from pipeline.commands.console import standard_console
from pipeline.commands.progress_line import ProgressLine
from pipeline.commands.termination import FAILURE, OK, end_with, say, status_of
from pipeline.commands.words import none_can, several
from pipeline.export.chain_ids import Kind
from pipeline.export.errors import ExportError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status.

    0: all samples are written. 1: an input or the checkpoint cannot be used, or something cannot be
    written; what could be made is there. 2: wrong usage. 130: interrupted.
    """
    options = parse_options(
        SampleOptions,
        "python -m model.sample",
        "Make proteins with a trained network: pack side chains, design sequences, build around "
        "parts of a structure, or make new ones.",
        arguments,
    )
    return status_of(
        lambda: sample(options),
        interrupted="the files that are there are whole",
    )


def sample(options: SampleOptions) -> int:
    """Sample what the options ask for; the exit status.

    Raises
    ------
    UsageError
        Before anything is written.
    Failure, OSError
    """
    options.check()

    def note(sentence: str) -> None:
        if not options.quiet:
            say(f"note: {sentence}")

    problems, errors = read_problems(options.request, note)
    failed = failures(errors, len(problems))
    for error in errors:
        if error in failed:
            say(f"failed: {error}")
        else:
            note(f"skipped: {error}")
    if not problems:
        return end_with(f"error: {none_can(len(failed), 'input', 'be used')}", FAILURE)
    problems, unfit = _fitting(problems, options.format)
    if not problems:
        return end_with(f"error: {none_can(unfit, 'sample', 'be written')}", FAILURE)
    network, info = load_network(options.ckpt, options.request.task)
    if sentence := untrained_for(info, options.request.task):
        note(sentence)
    path = options.ckpt or default_for(options.request.task)
    flow = Sampler.of(network, info, path=path, device=options.device)
    if untrained_for(info, "packing") and flow.packer and TASK_RECORDS[options.request.task].flows:
        note("the network has never packed: side chains are those of the package's packing network")
    takes_embeddings = "esm" in TASK_RECORDS[options.request.task].options
    if flow.c_embedding and takes_embeddings and options.request.esm is None:
        note("the network was trained with embeddings; --esm MODEL gives them")
    request = options.request
    if request.task == "packing" and request.number > 1 and request.temperature == 0:
        note(f"--temperature 0 takes the likeliest: all --number {request.number} packings are one")
    journal = Journal(options)
    if journal.was_complete:
        _tell_of_complete(options, problems)
        return FAILURE if unfit or failed else OK
    try:
        unfit += _make(flow, problems, journal, options, note)
    except KeyboardInterrupt:
        done, _ = _save_tables(problems, journal, options)
        raise KeyboardInterrupt(
            f"{len(done)} of {several(len(problems), 'sample')} are finished, and whole; the same "
            "command with --resume makes the others"
        ) from None
    except Exception:
        if not journal.finished:
            journal.end()
        raise
    done, tables = _save_tables(problems, journal, options)
    journal.end()
    if not done:
        return end_with(f"error: {none_can(unfit, 'sample', 'be written')}", FAILURE)
    if not options.quiet:
        print(f"{options.out_dir}: {several(len(done), 'sample')}, {', '.join(tables)}")
    if doubted := sum(bool(rows.metrics["verdict"]) for rows in done):
        which = f"{doubted} of {several(len(done), 'sample')}"
        note(
            f"{which if len(done) > 1 else 'the sample'} cannot be right, as is said above; "
            "a network that was trained for longer, and for this task, does better"
        )
    if unfit:
        say(f"{several(unfit, 'sample')} could not be written")
    if failed:
        say(f"{several(len(failed), 'input')} could not be used")
    return FAILURE if unfit or failed else OK


def _make(
    flow: Sampler,
    problems: Sequence[Problem],
    journal: Journal,
    options: SampleOptions,
    note: Callable[[str], None],
) -> int:
    """Make and write the samples that are not there yet; how many could not be written."""
    for problem in problems:
        if not _file(problem, options).is_file():
            journal.finished.pop(problem.name, None)
    left = [problem for problem in problems if problem.name not in journal.finished]
    if before := len(problems) - len(left):
        note(f"{before} of {several(len(problems), 'sample')} were finished before")
    unfit = 0
    with ProgressLine(standard_console(), options.quiet, "sampling") as line:
        run = flow.run(options.request, left, trajectory=options.trajectory, line=line)
        for _, made in run:
            try:
                changed = save_structures(made, options.out_dir, options.format, options.trajectory)
            except ExportError as error:
                unfit += 1
                say(f"failed: {error}")
                continue
            journal.add(made.rows())
            if changed:
                note(f"{made.name}.{options.format}: {changed}")
            if not options.quiet:
                print(f"{_file(made.problem, options)}: {_told(made)}", flush=True)
    return unfit


def _file(problem: Problem, options: SampleOptions) -> Path:
    return options.out_dir / f"{problem.name}.{options.format}"


def _save_tables(
    problems: Sequence[Problem], journal: Journal, options: SampleOptions
) -> tuple[list[SampleRows], list[str]]:
    """Rows of the finished samples, in the order of problems, and the tables that hold them."""
    names = [problem.name for problem in problems]
    done = [journal.finished[name] for name in names if name in journal.finished]
    if not done:
        return [], []
    settings = to_yaml(replace(options, resume=False))
    return done, save_tables(done, options.out_dir, settings, options.request)


def _tell_of_complete(options: SampleOptions, problems: Sequence[Problem]) -> None:
    """What is said of a folder whose run had come to its end."""
    if new := [p.name for p in problems if not _file(p, options).is_file()]:
        raise AlreadyThere(
            f"{options.out_dir} is of a run that is complete, and does not have {first_of(new)}: "
            "make what is new in another --out-dir, or all with --overwrite"
        )
    if not options.quiet:
        print(f"{options.out_dir}: {several(len(problems), 'sample')}, all finished before")


def _fitting(problems: Sequence[Problem], format: Kind) -> tuple[list[Problem], int]:
    """Problems whose samples fit the format, and how many others there are, which are told."""
    fitting: list[Problem] = []
    unfit: dict[tuple[str, int], bool] = {}
    for problem in problems:
        # Samples of one input and size are written alike; mmCIF takes all.
        alike = problem.source or problem.name, len(problem)
        if format != "cif" and alike not in unfit:
            try:
                check_fits(problem, format)
            except ExportError as error:
                say(f"failed: {error}")
                unfit[alike] = True
        if not unfit.setdefault(alike, False):
            fitting.append(problem)
    return fitting, len(problems) - len(fitting)


def _told(made: Sample) -> str:
    """What is said of a sample behind the name of its file."""
    told = f"{made.size()}, {made.told_error}"
    return f"{told}; {made.verdict}" if made.verdict else told
