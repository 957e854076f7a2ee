"""What is measured of designed sequences and of likelihoods, whoever made them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from peer_sequences import TEMPERATURES, Answers, Question, scored_rows
from resampling import Measure, Resampled
from scipy.stats import spearmanr

from model.metrics import PLACES, Interval, places_of
from pipeline.residues import N_TYPES

DRAWN, LIKELIEST = TEMPERATURES
EVERYWHERE = "all"


def _recovery(temperature: float, place: str) -> tuple[str, str]:
    return f"right at {temperature}, {place}", place


MEASURES = (
    *(
        Measure(f"recovery, {what}", over, _recovery(temperature, EVERYWHERE))
        for temperature, what in ((DRAWN, f"T = {DRAWN}"), (LIKELIEST, "likeliest type"))
        for over in ("residues", "chains")
    ),
    Measure("perplexity of nature", "residues", ("surprise, all", EVERYWHERE), 2, "exp"),
    Measure("perplexity of nature", "chains", ("surprise, all", EVERYWHERE), 2, "exp"),
)

BY_PLACE = (
    *(
        Measure(f"recovery {what}", "residues", _recovery(DRAWN, place))
        for place, what in PLACES.items()
    ),
    *(
        Measure(f"perplexity {what}", "residues", (f"surprise, {place}", place), 2, "exp")
        for place, what in PLACES.items()
    ),
)


def measured(question: Question, answers: Answers) -> dict[str, float]:
    """Sums and counts over one chain: residues, right types, and −log p of nature's."""
    problem = question.problem
    native, counted = problem.given.aatype, scored_rows(problem)
    places = {EVERYWHERE: np.ones(len(native), bool)} | places_of(problem.given)
    surprise = -answers.likelihood(native).mean(0)
    row: dict[str, float] = {}
    for place, there in places.items():
        rows = counted & there
        row[place] = float(rows.sum())
        row[f"surprise, {place}"] = float(surprise[rows].sum(dtype=np.float64))
        for temperature in TEMPERATURES:
            right = answers.designs[temperature].aatype == native
            row[f"right at {temperature}, {place}"] = float(right[rows].sum())
    return row


def surprises(question: Question, log_p: NDArray[np.float32]) -> dict[str, float]:
    """Sum of −log p, and residues, over one chain; (L,) log p."""
    rows = scored_rows(question.problem)
    return {"surprise": -float(log_p[rows].sum(dtype=np.float64)), "residues": float(rows.sum())}


SURPRISE = Measure("perplexity", "residues", ("surprise", "residues"), 2, "exp")


# ---- composition --------------------------------------------------------------------------------


def counts_of(
    questions: Sequence[Question], sequences: Sequence[NDArray[np.int64]]
) -> NDArray[np.float64]:
    """(C, 20) How often each type is made in each chain."""
    return np.stack(
        [
            np.bincount(types[scored_rows(q.problem)], minlength=N_TYPES + 1)[:N_TYPES]
            for q, types in zip(questions, sequences, strict=True)
        ]
    ).astype(float)


def total_variation(
    resampled: Resampled, nature: NDArray[np.float64], made: NDArray[np.float64]
) -> Interval:
    """Half the sum of |share − share of nature| over types, all residues together.

    Parameters
    ----------
    resampled : Resampled
    nature, made : (C, 20) float
        Of `counts_of`.
    """

    def apart(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        shares = [of / of.sum(-1, keepdims=True) for of in (weights @ nature, weights @ made)]
        return np.asarray(np.abs(shares[0] - shares[1]).sum(-1) / 2)

    low, high = np.quantile(apart(resampled.weights), [0.025, 0.975])
    return Interval(float(apart(np.ones(len(nature)))), float(low), float(high), len(nature))


# ---- single mutations ---------------------------------------------------------------------------


def mutation_scores(question: Question, answers: Answers) -> NDArray[np.float64]:
    """log p(mutant) − log p(own type), given the types of all other residues.

    Returns
    -------
    (n × 19,) float64
        Of all single mutations of the residues that are scored.
    """
    assert answers.conditional is not None
    rows = scored_rows(question.problem)
    given, own = answers.conditional[rows].astype(float), question.problem.given.aatype[rows]
    difference = given - given[np.arange(len(own)), own][:, None]
    return difference[np.arange(N_TYPES) != own[:, None]]


def agreement(question: Question, one: Answers, other: Answers) -> float:
    """Spearman's correlation of all single mutations of a chain."""
    scores = [mutation_scores(question, answers) for answers in (one, other)]
    return float(spearmanr(*scores).statistic)
