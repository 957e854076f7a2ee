"""``python -m model.evaluate``: sample held-out chains → measure → tables and plots."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.evaluate.compare import (
    PER_CHAIN,
    Difference,
    compare,
    read_per_chain,
    rows_of,
)
from model.evaluate.held_out import (
    COLUMNS,
    ca_traces,
    fit_baseline,
    items_of,
    nearest_training,
    spread,
)
from model.evaluate.options import EvaluateOptions
from model.evaluate.plots import plots_of, save
from model.evaluate.seen import seen_in_training
from model.evaluate.summary import summarise_tally
from model.evaluate.tally import Tally
from model.flow.likelihood import estimated
from model.metrics import write_csv
from model.network import FlowNetwork
from model.output_folder import make_folder, write, written
from model.sample.progress import SamplingProgress
from model.sample.run import Drawing, backbone_of, run_problems
from model.sample.tables import same_columns
from model.tasks import TASK_RECORDS, TASKS, Problem, Request
from model.trained_network import (
    default_for,
    device_named,
    load_network,
    open_dataset,
    untrained_for,
)
from pipeline.commands.command_line import parse_options, to_yaml
from pipeline.commands.console import standard_console
from pipeline.commands.progress_line import ProgressLine
from pipeline.commands.termination import say, status_of
from pipeline.dataset import ShardDataset
from pipeline.residues import RESTYPES


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status.

    0: all is written. 1: the dataset, the checkpoint or the other evaluation cannot be used, or
    something cannot be written. 2: wrong usage. 130: interrupted.
    """
    options = parse_options(
        EvaluateOptions,
        "python -m model.evaluate",
        "Measure a trained network on chains it has not seen: packing, design, inpainting and "
        "unconditional generation.",
        arguments,
    )
    return status_of(
        lambda: evaluate(options),
        interrupted="the files that are there are whole",
    )


def evaluate(options: EvaluateOptions) -> None:
    """Evaluate as the options say.

    Raises
    ------
    UsageError
        Before anything is sampled.
    Failure, OSError
    """
    options.check()
    other = None if options.against is None else read_per_chain(options.against)
    tasks = options.tasks or list(TASKS)
    alone = tasks[0] if len(tasks) == 1 else None
    network, info = load_network(options.ckpt, alone)
    for task in tasks:
        if not options.quiet and (sentence := untrained_for(info, task)):
            say(f"note: {sentence}")
    device = device_named(options.device)
    network = network.to(device)
    held_out = open_dataset(
        options.dataset,
        options.embedding,
        info.network.c_embedding,
        columns=COLUMNS,
        split=options.split,
        where=options.where,
    )
    chosen = spread(len(held_out), options.limit)
    sequences = held_out.sequences()
    seen = seen_in_training(info, held_out.digest, options.split, [sequences[k] for k in chosen])
    if seen.sentence and (seen.seen or not options.quiet):
        say(seen.sentence)
    make_folder(options.out_dir, options.overwrite)
    known_split = None
    with_baseline = any(TASK_RECORDS[task].has_baseline for task in tasks)
    with_novelty = any(TASK_RECORDS[task].is_new for task in tasks) and options.novelty_chains
    if with_baseline or with_novelty:
        known_split = _split(options)
    tally = Tally(
        fit_baseline(known_split) if known_split and with_baseline else None,
        nearest_training(held_out),
    )
    items = items_of(held_out, options.limit)
    for task in tasks:
        started = time.monotonic()
        record = TASK_RECORDS[task]
        request = Request(
            task,
            steps=options.steps,
            seed=options.seed,
            temperature=options.temperature,
            noise_scale=options.noise_scale,
            step_noise=options.step_noise if record.hides_frames else None,
        )
        problems = [record.held_out(item, options.seed) for item in items]
        drawing = Drawing.of(request, info.error_scale)
        with ProgressLine(standard_console(), options.quiet, task) as line:
            outputs = run_problems(
                network,
                problems,
                [f"{problem.name} {task}" for problem in problems],
                drawing,
                batch_size=options.batch_size,
                device=device,
                progress=SamplingProgress(
                    line, [len(problem) for problem in problems], drawing.evaluations(record.flows)
                ),
            )
            for k, output in outputs:
                likelihood = None
                if record.of_evaluation:
                    likelihood = _likelihood(network, problems[k], options, device)
                tally.add(problems[k], output, likelihood)
        # What is measured stays, whatever becomes of the next task.
        _write_rows(options.out_dir / PER_CHAIN, _rows(tally, items))
        if not options.quiet:
            seconds = time.monotonic() - started
            print(f"{task}: {len(problems)} chains, {seconds:.0f} s", flush=True)
    rows = _rows(tally, items)
    against = []
    if other is not None:
        against = compare({str(row["chain_uid"]): row for row in rows}, other, seed=options.seed)
    about = {
        "dataset_digest": held_out.digest,
        "split": options.split,
        "chains": len(items),
        "checkpoint": default_for(alone) if options.ckpt is None else options.ckpt.name,
        "training_step": info.step,
        "trained_on": seen.told,
        "steps": "usual" if options.steps is None else options.steps,
        "seed": options.seed,
    }
    if options.against is not None:
        about["against"] = str(options.against)
    known = []
    if known_split and with_novelty:
        known = ca_traces(known_split, options.novelty_chains)
    summary = summarise_tally(
        tally, about, known, against, seed=options.seed, error_scale=info.error_scale
    )
    _write(options, tally, against)
    write(
        options.out_dir / "summary.json",
        json.dumps(summary.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n",
    )
    page = summary.to_markdown()
    write(options.out_dir / "summary.md", page)
    if not options.quiet:
        print(page)
        print(f"look at {options.out_dir / 'summary.md'}")


def _likelihood(
    network: FlowNetwork, problem: Problem, options: EvaluateOptions, device: torch.device
) -> NDArray[np.float64]:
    """(L,) log p of the types of nature, mean over orders."""
    assert problem.reference is not None
    steps = options.likelihood_steps
    log_p, _ = estimated(
        network,
        backbone_of(problem, device),
        torch.from_numpy(problem.reference.aatype),
        problem.name,
        steps=steps or len(problem),
        seed=options.seed,
        batch_size=options.batch_size,
    )
    return log_p.double().mean(0).numpy()


def _split(options: EvaluateOptions) -> ShardDataset | None:
    """The split that baseline and novelty are about, if the dataset has it."""
    try:
        return ShardDataset(options.dataset, columns=COLUMNS, split=options.baseline_split)
    except ValueError as error:
        say(f"note: no baseline: {error}")
        return None


def _write(
    options: EvaluateOptions,
    tally: Tally,
    against: Sequence[Difference],
) -> None:
    """Tables but the rows, and plots."""
    tables: dict[str, list[dict[str, object]]] = {}
    if tally.packed.aatype:
        tables["chi_by_type.csv"] = _chi_rows(tally)
        tables["atom_errors.csv"] = tally.packed.atoms.rows()
    designed = tally.designed
    if designed.confusion.any():
        tables["confusion.csv"] = [
            {"true": name, **dict(zip(RESTYPES, counts.tolist(), strict=True))}
            for name, counts in zip(RESTYPES, designed.confusion, strict=True)
        ]
        tables["design_by_place.csv"] = designed.by_place()
        tables["composition.csv"] = designed.composition()
    if against:
        tables["comparison.csv"] = rows_of(against)
    for name, table in tables.items():
        if table:
            _write_rows(options.out_dir / name, table)
    for name, figure in plots_of(tally).items():
        written(options.out_dir / name, partial(save, figure))
    write(options.out_dir / "options.yaml", to_yaml(options))


def _rows(tally: Tally, items: Sequence[Mapping[str, Any]]) -> list[dict[str, object]]:
    """In the order of the dataset, whatever the batches were."""
    return same_columns([tally.rows[item["chain_uid"]] for item in items])


def _write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    written(path, lambda temporary: write_csv(temporary, rows))


def _chi_rows(tally: Tally) -> list[dict[str, object]]:
    modal = {(r["residue"], r["chi"]): r for r in tally.baseline.chi_rows()}
    rows = []
    for found in tally.packed.chi_rows():
        beside = modal.get((found["residue"], found["chi"]), {})
        nan = float("nan")
        rows.append(
            {
                **found,
                "baseline_mae": beside.get("mae", nan),
                "baseline_recovery": beside.get("recovery", nan),
            }
        )
    return rows
