"""A network of ours answers what `peer_sequences` asks ProteinMPNN."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from peer_sequences import Answers, AnswerStore, Design, Question, scored_rows, told_of_progress

from model.flow.likelihood import conditionals, estimated
from model.network import FlowNetwork
from model.sample.run import Drawing, backbone_of, run_problems
from model.tasks import Request
from model.trained_network import load_network
from pipeline.residues import UNKNOWN, sequence_string

OURS = "this network"


@dataclass(frozen=True)
class Effort:
    """How many evaluations of the network are made.

    Attributes
    ----------
    steps : int or None
        For a design; as many as usual without it.
    likelihood_steps : int or None
        For each order of a likelihood; without it one for each residue, which is the chain rule.
    """

    steps: int | None = None
    likelihood_steps: int | None = None


def answers_of(network: FlowNetwork, question: Question, effort: Effort) -> Answers:
    """As `model.sample` designs and `model.score` scores, a chain at a time."""
    problem = question.problem
    scored, found = scored_rows(problem), Answers({}, {})
    for temperature in question.temperatures:
        request = Request("design", temperature=temperature, steps=effort.steps, no_relax=True)
        began = time.process_time()
        made = run_problems(network, [problem], [problem.name], Drawing.of(request), batch_size=1)
        ((_, output),) = made
        found.seconds += (time.process_time() - began) / len(question.temperatures)
        aatype = np.where(output.drawn, output.structure.aatype, UNKNOWN)
        assert output.log_probabilities is not None
        log_p = output.log_probabilities[np.arange(len(aatype)), np.minimum(aatype, UNKNOWN - 1)]
        found.designs[temperature] = Design(aatype, _where(scored, log_p))
    backbone = backbone_of(problem)
    for aatype in question.sequences:
        steps = effort.likelihood_steps or len(aatype)
        types = torch.from_numpy(aatype)
        log_p, _ = estimated(network, backbone, types, problem.name, steps=steps)
        found.log_p[sequence_string(aatype)] = _where(scored, log_p.numpy())
    if question.mutations:
        given = conditionals(network, backbone, torch.from_numpy(question.sequences[0])).numpy()
        found.conditional = _where(scored[:, None], given)
    return found


def ask_network(
    store: AnswerStore,
    ckpt: Path | None,
    questions: Sequence[Question],
    effort: Effort,
    workers: int = 1,
) -> None:
    """Answer what the folder has no answer to."""
    open_ones = [q for q in map(store.still_asked, questions) if q is not None]
    # The longest first, so that no worker is left with one at the end.
    open_ones.sort(key=lambda question: -len(question.problem))
    keep = told_of_progress(OURS, len(open_ones), store)
    if workers == 1 or len(open_ones) < 2:
        network = load_network(ckpt, "design")[0] if open_ones else None
        for question in open_ones:
            assert network is not None
            keep(question.problem.name, answers_of(network, question, effort))
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers, _begin, (ckpt,)) as pool:
        for uid, found in pool.imap_unordered(partial(_answer, effort), open_ones):
            keep(uid, found)


_network: FlowNetwork | None = None


def _begin(ckpt: Path | None) -> None:
    global _network
    # Who interrupts is told once, by the first process, which ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    _network = load_network(ckpt, "design")[0]


def _answer(effort: Effort, question: Question) -> tuple[str, Answers]:
    assert _network is not None
    return question.problem.name, answers_of(_network, question, effort)


def _where(scored: NDArray[np.bool_], log_p: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.where(scored, log_p, np.nan).astype(np.float32)
