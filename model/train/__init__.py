"""Training: ``python -m model.train fit --config model/configs/tiny.yaml --data.path shards/``."""

from pipeline.extras import explained

try:
    from model.train.flow_module import FlowModule
    from model.train.optimizer import OptimizerConfig
except ModuleNotFoundError as error:
    raise explained(error, "model.train") or error from None

__all__ = ["FlowModule", "OptimizerConfig"]
