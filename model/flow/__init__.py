"""The flow: how proteins become noise, and noise proteins."""

from model.flow.clean import Clean, clean_from_batch
from model.flow.noise import Noise, draw_noise
from model.flow.product import Flow
from model.flow.state import (
    NoisyProtein,
    Prediction,
    ProteinState,
    SelfConditioning,
    Times,
)
from model.flow.tasks import TASKS, Task, TaskWeights, draw_tasks, draw_times

__all__ = [
    "TASKS",
    "Clean",
    "Flow",
    "Noise",
    "NoisyProtein",
    "Prediction",
    "ProteinState",
    "SelfConditioning",
    "Task",
    "TaskWeights",
    "Times",
    "clean_from_batch",
    "draw_noise",
    "draw_tasks",
    "draw_times",
]
