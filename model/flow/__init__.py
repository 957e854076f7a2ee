"""The flow: how proteins become noise, and noise proteins."""

from model.flow.clean import Clean, clean_from_batch
from model.flow.noise import Noise, draw_noise
from model.flow.product import Flow
from model.flow.state import (
    MODALITIES,
    Held,
    NoisyProtein,
    PerModality,
    Prediction,
    ProteinState,
    SelfConditioning,
    Times,
)
from model.flow.tasks import TASKS, Task, TaskWeights, draw_tasks, draw_times

__all__ = [
    "MODALITIES",
    "TASKS",
    "Clean",
    "Flow",
    "Held",
    "Noise",
    "NoisyProtein",
    "PerModality",
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
