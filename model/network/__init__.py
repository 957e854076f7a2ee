"""The network: noisy protein → clean protein."""

from model.network.config import NetworkConfig
from model.network.network import BlockInput, FlowNetwork

__all__ = ["BlockInput", "FlowNetwork", "NetworkConfig"]
