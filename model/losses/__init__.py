"""What training minimises."""

from model.losses.flow_loss import TIME_BINS, FlowLoss, LossTerm, LossWeights, binned

__all__ = ["TIME_BINS", "FlowLoss", "LossTerm", "LossWeights", "binned"]
