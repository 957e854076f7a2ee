"""Records of tasks: complete, and true to what they name."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from model.flow.tasks import HOLDS
from model.metrics import Structure
from model.tasks import TASK_RECORDS, TASKS, Output, Request, TaskRecord, numbers_alone
from pipeline.dataset import ShardDataset


def test_every_task_of_the_flow_has_a_record_under_its_name() -> None:
    assert tuple(TASK_RECORDS) == tuple(HOLDS) == TASKS
    assert all(record.name == name for name, record in TASK_RECORDS.items())


def test_an_option_of_a_task_is_a_field_of_a_request_and_of_no_other_task() -> None:
    options = Counter(name for record in TASK_RECORDS.values() for name in record.options)
    assert set(options) <= {field.name for field in fields(Request)}
    assert set(options.values()) == {1}


@pytest.mark.parametrize("record", TASK_RECORDS.values(), ids=lambda record: record.name)
def test_what_a_record_names_is_measured(record: TaskRecord, examples_dataset: Path) -> None:
    item = ShardDataset(examples_dataset, where="length between 20 and 80")[0]
    problem = record.held_out(item, 0)
    known, n = Structure.from_item(item), len(problem)
    output = Output(
        known, np.ones(n), np.ones(n), np.full((n, 20), -np.log(20)), np.ones(n, bool), []
    )
    alone = numbers_alone(problem, output)
    assert set(record.alone) <= set(alone)
    compared = record.compare(problem, output) if problem.reference is not None else {}
    assert set(record.of_input or ()) <= set(compared)
    evaluated = {*compared, *record.alone}
    assert {*record.shown, *record.by_length} <= evaluated
    assert record.hides_frames == (not problem.held_frames.all())
    assert record.ranked_error is None or record.ranked_error in evaluated
