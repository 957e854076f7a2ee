"""``python -m model.score``: read → score → write, structure by structure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from model.flow.state import Network, NoisyProtein, Prediction
from model.metrics import write_csv
from model.output_folder import make_folder, write, written
from model.score.heat_map import heat_map
from model.score.options import ScoreOptions
from model.score.scorer import Scorer, sequences_on
from model.score.sequence_score import Row, SequenceScore
from model.tasks.inputs import InputError, InputStructure, read_inputs
from model.visualize.draw import save_png
from pipeline.commands.command_line import parse_options, to_yaml
from pipeline.commands.console import standard_console
from pipeline.commands.progress_line import ProgressLine
from pipeline.commands.termination import FAILURE, OK, end_with, say, status_of
from pipeline.commands.words import several
from pipeline.errors import UsageError

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
    others = {} if options.fasta is None else read_fasta(options.fasta)
    if options.sequence is not None:
        others = {GIVEN: options.sequence, **others}
    structures, errors = _read(options)
    if not structures:
        for failed in errors:
            say(f"failed: {failed}")
        return end_with(f"error: none of {several(len(errors), 'input')} can be used", FAILURE)
    scorer = Scorer.load(options.ckpt, device=options.device)
    make_folder(options.out_dir, options.overwrite)
    if not options.quiet:
        print(f"network: {scorer.about}", flush=True)
    rows: list[Row] = []
    with ProgressLine(standard_console(), options.quiet, "scoring") as line:
        for structure in structures:
            try:
                scores = _score_one(scorer, structure, others, options, line)
            except InputError as error:
                errors.append(error)
                continue
            save_tables(scores, options.out_dir)
            rows += [one.row() | {"network": scorer.about} for one in scores]
            written(options.out_dir / SCORES, partial(write_csv, rows=list(rows)))
            if not options.quiet:
                for one in scores:
                    print(_sentence(one), flush=True)
    for failed in errors:
        say(f"failed: {failed}")
    if not rows:
        return end_with("error: no sequence could be scored", FAILURE)
    write(options.out_dir / "options.yaml", to_yaml(options))
    if not options.quiet:
        print(f"{options.out_dir}: {several(len(rows), 'sequence')}, {SCORES}")
    if errors:
        say(f"{several(len(errors), 'input')} could not be used")
    return FAILURE if errors else OK


def read_fasta(path: Path) -> dict[str, str]:
    """Name → sequence of each record.

    Raises
    ------
    UsageError
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(f"--fasta {path} cannot be read: {reason}") from error
    found: dict[str, str] = {}
    name = ""
    for line in (line.strip() for line in lines):
        if line.startswith(">"):
            name = (line[1:].split() or [f"record {len(found) + 1}"])[0].rstrip(",")
            if name in found:
                raise UsageError(f"--fasta {path} has two records of the name {name}")
            found[name] = ""
        elif line and not found:
            raise UsageError(f"--fasta {path}: {line[:20]!r} stands before the first line with >")
        elif line:
            found[name] += line
    empty = [name for name, text in found.items() if not text]
    if empty or not found:
        raise UsageError(f"--fasta {path} has no sequence" + (f" of {empty[0]}" if empty else ""))
    return found


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
    for _, structure in read_inputs(options.input, options.chains):
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
    return structures, errors


def _score_one(
    scorer: Scorer,
    structure: InputStructure,
    others: dict[str, str],
    options: ScoreOptions,
    line: ProgressLine,
) -> list[SequenceScore]:
    sequences = sequences_on(structure, others)
    n = int(structure.resolved.sum())
    each = options.orders * min(n, options.steps or n) + n * (not options.no_mutations)
    done = 0

    def watched(network: Network) -> Network:
        def evaluate(noisy: NoisyProtein) -> Prediction:
            nonlocal done
            prediction = network(noisy)
            done += len(noisy.mask)
            total = each * len(sequences)
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
        for name, aatype in sequences.items()
    ]


def _sentence(score: SequenceScore) -> str:
    n = several(int(score.scored.sum()), "residue")
    return (
        f"{score.name}, sequence {score.sequence_name}: {n}, log-likelihood {score.total:.2f}, "
        f"perplexity {score.perplexity:.2f}"
    )
