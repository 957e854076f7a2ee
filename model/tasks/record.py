"""`TaskRecord`: all that distinguishes one task from the others, above the flow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from model.flow.tasks import Task
from model.metrics import generation_metrics, row
from model.metrics.per_chain import Record
from model.tasks.inputs import InputStructure
from model.tasks.problem import Output, Problem
from model.tasks.request import Request
from model.tasks.residue_ranges import ResidueRange

Row: TypeAlias = dict[str, Any]


def numbers(record: Record) -> Row:
    """A record of `model.metrics` without the chain that it is of."""
    return {name: value for name, value in row(record).items() if name not in _CHAIN}


_CHAIN = ("chain_uid", "length")


def numbers_alone(problem: Problem, output: Output) -> Row:
    """What a protein is like, whatever it should be."""
    return numbers(generation_metrics(problem.name, output.structure))


@dataclass(frozen=True, kw_only=True)
class TaskRecord:
    """One task.

    Attributes
    ----------
    name : {"packing", "design", "inpainting", "unconditional"}
    title : callable
        Name of the input (or nothing) → what a file says that it holds.

    options : tuple of str
        Fields of `Request` that are for this task only.
    check : callable
        Raises `UsageError` if a request lacks what the task needs, or has what it cannot use.
    ranges : callable
        The residues of the input that a request names.
    problem : callable
        (request, name of the sample, input) → problem.
    held_out : callable
        (chain of a dataset, seed) → problem of an evaluation.
    takes_whole_input : bool
        Every residue of the input is part of the problem.
    takes_others : bool
        Ligands, metals and nucleic acids of the input are part of the problem.
    tells_others : bool
        They are not, and what else the file has of its chains is not either; but notes name it.
    notes : callable
        (request, problem, input) → what somebody should know of it, in sentences.
    flows : bool
        Frames or types are made from noise; if not, side chains alone are made.
    hides_frames : bool
        Where residues are is not given.

    compare : callable
        Measures against the reference of a problem, by name.
    is_comparable : callable
        Whether the reference of a problem can tell anything.
    of_input : tuple of str or None
        Which of these mean something if the reference is an input; all by default.
    alone : tuple of str
        Which measures of the protein alone an evaluation takes.
    shown : dict
        Measure → how the page of an evaluation calls it.
    of_evaluation : dict
        The same of measures that an evaluation makes beside these, of a likelihood.
    by_length : dict
        Measures that an evaluation plots against the length of the protein → their axis.
    ranked_error : str or None
        The measure that the predicted error should rank.
    has_baseline : bool
        An evaluation packs the same chains with modal rotamers.
    is_new : bool
        An evaluation compares what is made with itself and with known chains.
    """

    name: Task
    title: Callable[[str], str]

    options: tuple[str, ...]
    check: Callable[[Request], None]
    ranges: Callable[[Request], list[ResidueRange]] = lambda request: []
    problem: Callable[[Request, str, InputStructure], Problem]
    held_out: Callable[[Mapping[str, Any], int], Problem]
    takes_whole_input: bool = True
    takes_others: bool = False
    tells_others: bool = False
    notes: Callable[[Request, Problem, InputStructure], list[str]] = lambda *_: []
    flows: bool = True
    hides_frames: bool = False

    compare: Callable[[Problem, Output], Row]
    is_comparable: Callable[[Problem], bool] = lambda problem: problem.reference is not None
    of_input: tuple[str, ...] | None = None
    alone: tuple[str, ...] = ()
    shown: Mapping[str, str]
    of_evaluation: Mapping[str, str] = field(default_factory=dict)
    by_length: Mapping[str, str] = field(default_factory=dict)
    ranked_error: str | None = None
    has_baseline: bool = False
    is_new: bool = False
