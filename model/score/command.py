"""``python -m model.score``: read → score → write, structure by structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.flow.generate import PASSES
from model.flow.state import Network, NoisyProtein, Prediction
from model.metrics import write_csv
from model.output_folder import make_folder, write, written
from model.score.given_sequences import GivenSequence, read_fasta, sequences_on, told_apart
from model.score.heat_map import heat_map
from model.score.options import ScoreOptions
from model.score.scorer import AS_DESIGN, Scorer
from model.score.sequence_score import Row, SequenceScore
from model.tasks.inputs import InputError, InputStructure, failures, read_inputs
from model.visualize.draw import save_png
from pipeline.commands.command_line import parse_options, to_yaml
from pipeline.commands.console import standard_console
from pipeline.commands.progress_line import ProgressLine
from pipeline.commands.termination import FAILURE, OK, end_with, say, status_of
from pipeline.commands.words import none_can, several

SCORES = "scores.csv"
GIVEN = "sequence"
"""What the sequence of ``--sequence`` is called."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status.

    0: all is written. 1: an input or the checkpoint cannot be used, or something cannot be written;
    what could be scored is there. 2: wrong usage. 130: interrupted.
    """
    options = parse_options(
        ScoreOptions,
        "python -m model.score",
        "How likely sequences are on structures, residue by residue, and how each single mutation "
        "changes that.",
        arguments,
    )
    return status_of(lambda: score(options), interrupted="the files that are there are whole")


def score(options: ScoreOptions) -> int:
    """Score what the options ask for; the exit status.

    Raises
    ------
    UsageError
        Before anything is written.
    Failure, OSError
    """
    options.check()
    others = [] if options.fasta is None else read_fasta(options.fasta)
    if options.sequence is not None:
        others.insert(0, GivenSequence.of(GIVEN, "--sequence", options.sequence))
    others, notes = told_apart(others, options.fasta)
    for note in () if options.quiet else notes:
        say(f"note: {note}")
    structures, errors = _read(options)
    if not structures:
        for failed in errors:
            say(f"failed: {failed}")
        return end_with(f"error: {none_can(len(errors), 'input', 'be used')}", FAILURE)
    scorer = Scorer.load(options.ckpt, device=options.device)
    make_folder(options.out_dir, options.overwrite)
    if not options.quiet:
        print(f"network: {scorer.about}", flush=True)
    rows: list[Row] = []
    misfits: list[InputError] = []
    with ProgressLine(standard_console(), options.quiet, "scoring") as line:
        for structure in structures:
            sequences = dict(sequences_on(structure, others))
            misfits += [why for why in sequences.values() if isinstance(why, InputError)]
            scores = _score_one(scorer, structure, sequences, options, line)
            if not scores:
                continue
            save_tables(scores, options.out_dir)
            rows += [one.row() | {"network": scorer.about} for one in scores]
            written(options.out_dir / SCORES, partial(write_csv, rows=list(rows)))
            if not options.quiet:
                for doubt in dict.fromkeys(doubt for one in scores for doubt in one.doubts()):
                    say(f"note: {doubt}")
                for one in scores:
                    print(_sentence(one), flush=True)
    for failed in errors + misfits:
        say(f"failed: {failed}")
    if not rows:
        return end_with("error: no sequence could be scored", FAILURE)
    write(options.out_dir / "options.yaml", to_yaml(options))
    if not options.quiet:
        print(f"{options.out_dir}: {several(len(rows), 'sequence')}, {SCORES}")
    if errors:
        say(f"{several(len(errors), 'input')} could not be used")
    if misfits:
        say(f"{several(len(misfits), 'sequence')} could not be scored")
    return FAILURE if errors or misfits else OK


def save_tables(scores: Sequence[SequenceScore], folder: Path) -> None:
    """``NAME_residues.csv``, ``NAME_mutations.csv`` and a heat map for each sequence."""
    name = scores[0].name
    tables = {
        "residues": [row for one in scores for row in one.residues()],
        "mutations": [row for one in scores for row in one.mutations()],
    }
    for kind, rows in tables.items():
        if rows:
            written(folder / f"{name}_{kind}.csv", partial(write_csv, rows=rows))
    for number, one in enumerate(scores):
        if one.conditional is not None:
            # Names of sequences need not be names of files.
            which = f"_{number}" if number else ""
            written(folder / f"{name}{which}_mutations.png", partial(save_png, heat_map(one)))


def _read(options: ScoreOptions) -> tuple[list[InputStructure], list[InputError]]:
    structures, errors = [], []
    for _, structure in read_inputs(options.input, options.chains, AS_DESIGN):
        if isinstance(structure, InputError):
            errors.append(structure)
            continue
        structures.append(structure)
        notes = list(structure.notes)
        if missing := int((~structure.resolved).sum()):
            notes.append(
                f"{structure.name}: {missing} of {several(len(structure.resolved), 'residue')} "
                "have no backbone (N, CA, C) and are not scored"
            )
        for note in () if options.quiet else notes:
            say(f"note: {note}")
    failed = failures(errors, len(structures))
    for error in errors if not options.quiet else ():
        if error not in failed:
            say(f"note: skipped: {error}")
    return structures, failed


def _score_one(
    scorer: Scorer,
    structure: InputStructure,
    sequences: Mapping[str, NDArray[np.int64] | InputError],
    options: ScoreOptions,
    line: ProgressLine,
) -> list[SequenceScore]:
    fitting = {k: found for k, found in sequences.items() if not isinstance(found, InputError)}
    n = int(structure.resolved.sum())
    contexts = options.orders * min(n, options.steps or n) + n * (not options.no_mutations)
    done = 0

    def watched(network: Network) -> Network:
        def evaluate(noisy: NoisyProtein) -> Prediction:
            nonlocal done
            prediction = network(noisy)
            done += len(noisy.mask)
            total = contexts * PASSES * len(fitting)
            told = f"{structure.name}, evaluation {done:,} of {total:,}"
            line.show(min(done, total), told, total=total)
            return prediction

        return evaluate

    return [
        scorer.of(
            structure,
            name,
            aatype,
            orders=options.orders,
            steps=options.steps,
            seed=options.seed,
            mutations=not options.no_mutations,
            batch_size=options.batch_size,
            watched=watched,
        )
        for name, aatype in fitting.items()
    ]


def _sentence(score: SequenceScore) -> str:
    n = several(int(score.scored.sum()), "residue")
    return (
        f"{score.name}, sequence {score.sequence_name}: {n}, log-likelihood {score.total:.2f}, "
        f"perplexity {score.perplexity:.2f}"
    )
