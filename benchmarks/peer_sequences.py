"""What ProteinMPNN is asked about a chain, and a folder of what it answered."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peer_process import run_script
from peer_structures import peer_input

from model.flow.likelihood import ORDERS, decoding_order
from model.metrics import Structure
from model.tasks import Problem
from pipeline.files.atomic import appears_whole
from pipeline.residues import ONE_LETTER, UNKNOWN, sequence_string

PEER = "ProteinMPNN"
SCRIPT = Path(__file__).with_name("proteinmpnn.py")
RECORD = "designed.json"
"""Whose answers a folder has, about the chains of which dataset, and the seconds of designs."""

TEMPERATURES = (0.1, 0.0)
"""Of designs: one of each, and 0 is the likeliest type at each turn."""


@dataclass(frozen=True)
class Question:
    """What is asked about one chain.

    Attributes
    ----------
    problem : Problem
        Of design.
    sequences : tuple of (L,) int64
        To be scored: the native one first, if mutations are asked for.
    temperatures : tuple of float
        Of designs.
    mutations : bool
        Whether to score all types at each residue of the first sequence, given all others.
    """

    problem: Problem
    sequences: tuple[NDArray[np.int64], ...] = ()
    temperatures: tuple[float, ...] = ()
    mutations: bool = False


def scored_rows(problem: Problem) -> NDArray[np.bool_]:
    """(L,) Residues that have a likelihood on both sides: N, CA, C and O, and a known type."""
    known = problem.given
    return problem.has_frame & known.mask[:, :4].all(1) & (known.aatype < UNKNOWN)


def orders_of(problem: Problem) -> NDArray[np.int64]:
    """(orders, L) The orders that `model.flow.likelihood.chain_rule` decodes in.

    What it does not decode comes last here, where no other residue sees it.
    """
    known = problem.has_frame & (problem.given.aatype < UNKNOWN)
    rows, rest = np.flatnonzero(known), np.flatnonzero(~known)
    orders = [decoding_order(problem.name, len(rows), 0, k).numpy() for k in range(ORDERS)]
    return np.stack([np.append(rows[order], rest) for order in orders])


def backbone_alone(
    chain: Structure, uid: str, temperatures: Sequence[float]
) -> dict[str, NDArray[Any]]:
    """A question for designs of a backbone, and nothing else.

    Parameters
    ----------
    chain : Structure
        Types and side chains are not read.
    uid : str
        Draws are a function of it.
    temperatures : sequence of float
        A design of each.

    Returns
    -------
    dict
        What `peer_structures.peer_input` has of the backbone of R residues, ``temperatures`` (T,),
        ``sequences`` (S,), ``orders`` (orders, R) and ``mutations``; no sequence, and no order.
    """
    told = peer_input(chain, uid)
    del told["sequence"]
    return told | {
        "temperatures": np.array(temperatures, float),
        "sequences": np.array([], dtype=str),
        "orders": np.zeros((0, len(told["rows"])), np.int64),
        "mutations": np.array(False),
    }


def peer_questions(question: Question) -> dict[str, NDArray[Any]]:
    """All that the peer is told: arrays of `proteinmpnn.answers`, those of `backbone_alone`.

    The backbone, and the sequences that it is to score. Of a residue without one of N, CA, C and O
    it is told no type.
    """
    problem = question.problem
    told = backbone_alone(problem.given, problem.name, question.temperatures)
    rows = told["rows"]
    place = np.full(len(problem), -1)
    place[rows] = np.arange(len(rows))
    orders = place[orders_of(problem)]
    orders = orders[orders >= 0].reshape(len(orders), len(rows))
    seen = [np.where(told["mask"], types[rows], UNKNOWN) for types in question.sequences]
    letters = [sequence_string(types) for types in seen]
    return told | {
        "sequences": np.array(letters, dtype=str),
        "orders": orders,
        "mutations": np.array(question.mutations),
    }


# ---- what is kept -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Design:
    """A sequence for one chain.

    Attributes
    ----------
    aatype : (L,) int64
        X where there was nothing to design.
    log_p : (L,) float32
        Of each type when it was drawn, by the network's probabilities without temperature; NaN
        where `scored_rows` is false.
    """

    aatype: NDArray[np.int64]
    log_p: NDArray[np.float32]


@dataclass
class Answers:
    """About one chain of L residues.

    Attributes
    ----------
    designs : dict
        Temperature → `Design`.
    log_p : dict
        Letters of a sequence → (orders, L) float32, log p of each type at its turn; NaN where there
        is none.
    conditional : (L, 20) float32 or None
        Of the native sequence.
    seconds : float
        Of the process, for a design.
    """

    designs: dict[float, Design]
    log_p: dict[str, NDArray[np.float32]]
    conditional: NDArray[np.float32] | None = None
    seconds: float = 0.0

    def likelihood(self, aatype: NDArray[np.int64]) -> NDArray[np.float32]:
        return self.log_p[sequence_string(aatype)]

    def save(self, path: Path) -> None:
        arrays: dict[str, NDArray[Any]] = {
            "temperatures": np.array(list(self.designs), float),
            "designs": np.array([d.aatype for d in self.designs.values()], np.int64),
            "drawn": np.array([d.log_p for d in self.designs.values()], np.float32),
            "sequences": np.array(list(self.log_p), dtype=str),
            "log_p": np.array(list(self.log_p.values()), np.float32),
            "seconds": np.array(self.seconds),
        }
        if self.conditional is not None:
            arrays["conditional"] = self.conditional
        path.parent.mkdir(parents=True, exist_ok=True)
        with appears_whole(path, path.parent) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

    @classmethod
    def read(cls, path: Path) -> Answers:
        """
        Raises
        ------
        SystemExit
            The file cannot be read.
        """
        try:
            with np.load(path) as found:
                designs = map(Design, found["designs"], found["drawn"])
                return cls(
                    dict(zip(found["temperatures"].tolist(), designs, strict=True)),
                    dict(zip(found["sequences"].tolist(), found["log_p"], strict=True)),
                    found.get("conditional"),
                    float(found["seconds"]),
                )
        except (OSError, ValueError, KeyError) as error:
            raise SystemExit(
                f"error: {path} cannot be read ({error!r}): remove it, and it "
                "is asked again (of the peer with --peer-python)"
            ) from None


@dataclass(frozen=True)
class AnswerStore:
    """A folder of answers about the chains of one dataset, a file each."""

    folder: Path

    @classmethod
    def opened(cls, folder: Path, peer: str, dataset: str) -> AnswerStore:
        """A folder that is there, or a new one.

        Raises
        ------
        SystemExit
            It is of another dataset or peer, or holds something else.
        """
        record, about = folder / RECORD, {"peer": peer, "dataset": dataset}
        if not record.is_file():
            if folder.is_dir() and any(folder.iterdir()):
                raise SystemExit(
                    f"error: {folder} is not empty and has no {RECORD}: give a folder that this "
                    "script made, or one that is not there yet"
                )
            folder.mkdir(parents=True, exist_ok=True)
            with appears_whole(record, folder) as temporary:
                temporary.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
            return cls(folder)
        try:
            kept = json.loads(record.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SystemExit(f"error: {record} cannot be read: {error!r}") from None
        if kept != about:
            raise SystemExit(
                f"error: the answers in {folder} are of {kept}, and these are {about}: give "
                "another folder"
            )
        return cls(folder)

    def of(self, uid: str) -> Answers:
        path = self.folder / f"{uid}.npz"
        return Answers.read(path) if path.is_file() else Answers({}, {})

    def still_asked(self, question: Question) -> Question | None:
        """What of a question has no answer yet; None if all has one."""
        kept = self.of(question.problem.name)
        open_ones = tuple(
            types for types in question.sequences if sequence_string(types) not in kept.log_p
        )
        temperatures = tuple(t for t in question.temperatures if t not in kept.designs)
        if question.mutations and kept.conditional is None:
            return replace(question, temperatures=temperatures)
        if not open_ones and not temperatures:
            return None
        return replace(question, sequences=open_ones, temperatures=temperatures, mutations=False)

    def keep(self, uid: str, found: Answers) -> None:
        """What was answered, beside what was there."""
        kept = self.of(uid)
        if found.designs:
            kept.seconds = found.seconds
        kept.designs |= found.designs
        kept.log_p |= found.log_p
        if found.conditional is not None:
            kept.conditional = found.conditional
        kept.save(self.folder / f"{uid}.npz")


def answers_of_peer(
    question: Question, found: Mapping[str, NDArray[Any]], seconds: float
) -> Answers:
    """What `proteinmpnn.answers` said, on all residues of the chain."""
    told, n = peer_questions(question), len(question.problem)
    rows, scored = told["rows"], scored_rows(question.problem)

    def spread(values: NDArray[Any]) -> NDArray[np.float32]:
        """(..., R, …) → (..., L, …); NaN where nothing counts."""
        whole = np.full((n, *values.shape[1:]), np.nan, np.float32)
        whole[rows] = values
        whole[~scored] = np.nan
        return whole

    made = Answers({}, {}, seconds=seconds)
    for k, temperature in enumerate(question.temperatures):
        types = np.full(n, UNKNOWN)
        types[rows] = np.where(told["mask"], types_of(str(found["designs"][k])), UNKNOWN)
        made.designs[temperature] = Design(types, spread(found["drawn"][k]))
    for types, log_p in zip(question.sequences, found["log_p"], strict=True):
        made.log_p[sequence_string(types)] = spread(log_p.T).T
    if question.mutations:
        # Its types are in another order than ours.
        columns = [str(found["letters"]).index(letter) for letter in ONE_LETTER[:UNKNOWN]]
        made.conditional = spread(found["conditional"][:, columns])
    return made


def types_of(letters: str) -> NDArray[np.int64]:
    """(L,) aatype of one-letter codes."""
    return np.array([ONE_LETTER.index(letter) for letter in letters], np.int64)


def told_of_progress(name: str, number: int, store: AnswerStore) -> Callable[[str, Answers], None]:
    """`AnswerStore.keep`, and a line on standard error now and then."""
    done = 0

    def keep(uid: str, found: Answers) -> None:
        nonlocal done
        store.keep(uid, found)
        done += 1
        if done % 10 == 0 or done == number:
            print(f"{name}: {done} of {number} chains", file=sys.stderr, flush=True)

    return keep


def ask_peer(store: AnswerStore, python: Path | None, questions: Sequence[Question]) -> None:
    """Let the peer answer what the folder has no answer to.

    Raises
    ------
    SystemExit
        There are such questions and no Python for them, or the peer fails.
    """
    open_ones = {q.problem.name: q for q in map(store.still_asked, questions) if q is not None}
    if not open_ones:
        return
    if python is None:
        raise SystemExit(
            f"error: {store.folder} has no answer for {len(open_ones)} of {len(questions)} chains, "
            f"first {next(iter(open_ones))}: --peer-python PYTHON asks for them"
        )
    keep = told_of_progress(PEER, len(open_ones), store)
    run_script(
        python,
        SCRIPT,
        {name: peer_questions(question) for name, question in open_ones.items()},
        lambda name, found, seconds: keep(name, answers_of_peer(open_ones[name], found, seconds)),
    )
