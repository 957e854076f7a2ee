"""``python -m model.score``: how likely sequences are on structures, and the same in Python."""

from model.score.scorer import Scorer
from model.score.sequence_score import SequenceScore

__all__ = ["Scorer", "SequenceScore"]
