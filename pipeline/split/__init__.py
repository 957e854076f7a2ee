"""``python -m pipeline.split``: which chains train, validate and test, without leaks."""

from pipeline.split.assign import Assignment, assign_splits
from pipeline.split.chains import Chains, read_chains
from pipeline.split.options import SplitOptions

__all__ = [
    "Assignment",
    "Chains",
    "SplitOptions",
    "assign_splits",
    "read_chains",
]
