"""Tasks: what each is asked, what it holds, and how its result is measured."""

from model.flow.tasks import TASKS, Task
from model.tasks.design import DESIGN
from model.tasks.inpainting import INPAINTING
from model.tasks.packing import PACKING
from model.tasks.problem import Output, Problem
from model.tasks.record import TaskRecord, numbers_alone
from model.tasks.request import Request
from model.tasks.unconditional import UNCONDITIONAL

TASK_RECORDS: dict[Task, TaskRecord] = {
    record.name: record for record in (PACKING, DESIGN, INPAINTING, UNCONDITIONAL)
}
"""By name, in the order of `TASKS`. An entry here, its name in `model.flow.tasks` and what it holds
there are all that a new one needs."""

__all__ = [
    "TASKS",
    "TASK_RECORDS",
    "Output",
    "Problem",
    "Request",
    "Task",
    "TaskRecord",
    "numbers_alone",
]
