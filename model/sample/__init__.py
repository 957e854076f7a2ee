"""``python -m model.sample``: proteins from a trained network, and the same in Python."""

from model.sample.sampler import Sampler
from model.sample.samples import Sample, Samples
from model.tasks import Request

__all__ = ["Request", "Sample", "Sampler", "Samples"]
