"""Held-out chains, and the baseline that is fitted on the training split."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.evaluate.tally import NEAREST_TM
from model.flow.clean import BATCH_KEYS
from model.metrics import ModalRotamers, Structure, chi_angles, fit_modal_rotamers
from pipeline.dataset import ShardDataset

COLUMNS = [key for key in BATCH_KEYS if key != "lengths"]


def spread(n: int, limit: int | None) -> list[int]:
    """At most `limit` of n numbers, evenly spaced."""
    if limit is None or limit >= n:
        return list(range(n))
    return np.unique(np.linspace(0, n - 1, limit).round().astype(int)).tolist()


def items_of(dataset: ShardDataset, limit: int | None) -> list[dict[str, Any]]:
    """Chains to evaluate."""
    return [dataset[k] for k in spread(len(dataset), limit)]


def nearest_training(dataset: ShardDataset) -> dict[str, float]:
    """``chain_uid`` → TM-score to the nearest training chain, if pipeline.split looked for it."""
    index = dataset.index
    if NEAREST_TM not in index.column_names:
        return {}
    scores = zip(index["chain_uid"].to_pylist(), index[NEAREST_TM].to_pylist(), strict=True)
    return {uid: score for uid, score in scores if score is not None}


def fit_baseline(dataset: ShardDataset) -> ModalRotamers:
    """The most common rotamers of a split."""
    chi, aatype = [], []
    for known in _structures(dataset):
        chi.append(chi_angles(known.positions, known.mask, known.aatype))
        aatype.append(known.aatype)
    return fit_modal_rotamers(np.concatenate(chi), np.concatenate(aatype))


def ca_traces(dataset: ShardDataset, limit: int) -> list[NDArray[np.float64]]:
    """Cα of some chains, evenly spaced in the dataset."""
    traces = [
        known.ca[known.has_ca]
        for known in (Structure.from_item(dataset[k]) for k in spread(len(dataset), limit))
    ]
    return [trace for trace in traces if len(trace) >= 5]


def _structures(dataset: ShardDataset) -> Iterator[Structure]:
    for k in range(len(dataset)):
        yield Structure.from_item(dataset[k])
