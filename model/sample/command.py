"""``python -m model.sample``: read → sample → write, each file whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence

from model.output_folder import make_folder
from model.sample.options import SampleOptions
from model.sample.sampler import Sampler, read_problems
from model.sample.samples import Sample, save_structures, save_tables
from model.sample.structure_file import check_fits
from model.tasks import TASK_RECORDS, Problem
from model.tasks.inputs import failures
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
    make_folder(options.out_dir, options.overwrite)
    samples = {}
    with ProgressLine(standard_console(), options.quiet, "sampling") as line:
        run = flow.run(options.request, problems, trajectory=options.trajectory, line=line)
        for k, made in run:
            try:
                changed = save_structures(made, options.out_dir, options.format, options.trajectory)
            except ExportError as error:
                unfit += 1
                say(f"failed: {error}")
                continue
            samples[k] = made
            if changed:
                note(f"{made.name}.{options.format}: {changed}")
            if not options.quiet:
                print(f"{options.out_dir / made.name}.{options.format}: {_told(made)}", flush=True)
    if not samples:
        return end_with(f"error: {none_can(unfit, 'sample', 'be written')}", FAILURE)
    settings = to_yaml(options)
    done = [samples[k] for k in sorted(samples)]
    tables = save_tables(done, options.out_dir, settings, options.request)
    if not options.quiet:
        print(f"{options.out_dir}: {several(len(samples), 'sample')}, {', '.join(tables)}")
    if doubted := sum(bool(made.verdict) for made in samples.values()):
        which = f"{doubted} of {several(len(samples), 'sample')}"
        note(
            f"{which if len(samples) > 1 else 'the sample'} cannot be right, as is said above; "
            "a network that was trained for longer, and for this task, does better"
        )
    if unfit:
        say(f"{several(unfit, 'sample')} could not be written")
    if failed:
        say(f"{several(len(failed), 'input')} could not be used")
    return FAILURE if unfit or failed else OK


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
