"""Training: ``python -m model.train fit --config model/configs/tiny.yaml --data.path shards/``."""

from model.train.flow_module import FlowModule
from model.train.optimizer import OptimizerConfig

__all__ = ["FlowModule", "OptimizerConfig"]
