"""Held-out chains → problems of every task, and the baseline fitted on the training split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.flow.clean import BATCH_KEYS, clean_from_batch
from model.flow.noise import draw_noise
from model.flow.state import Held
from model.flow.tasks import TASKS, Task, held_for
from model.metrics import ModalRotamers, Structure, chi_angles, fit_modal_rotamers
from model.sample.problems import Problem, new_labels, unconditional_problem
from pipeline.batching import collate
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


def problem_of(task: Task, item: Mapping[str, Any], seed: int) -> Problem:
    """A held-out chain as a problem of a task, with the chain as its reference.

    Packing holds frames and types, design frames alone, inpainting a motif drawn as in training
    (one to three segments, a tenth to half of the residues), unconditional only the length.
    """
    uid, known = item["chain_uid"], Structure.from_item(item)
    n = len(known)
    if task == "unconditional":
        return unconditional_problem(uid, [n])
    everything, nothing = np.ones(n, bool), np.zeros(n, bool)
    if task == "inpainting":
        held = _motif(item, seed)
        motif, atoms, types = (m[0].numpy() for m in (held.frames, held.atoms, held.sequence))
    else:
        motif, atoms = everything, nothing
        types = everything if task == "packing" else nothing
    return Problem(
        name=uid,
        task=task,
        given=known,
        held_frames=motif,
        held_atoms=atoms,
        held_sequence=types,
        labels=new_labels([n]),
        reference=known,
        source=uid,
        embedding=np.asarray(item["embedding"]) if "embedding" in item else None,
    )


def _motif(item: Mapping[str, Any], seed: int) -> Held:
    known = {key: item[key] for key in ("chain_uid", *COLUMNS)}
    clean = clean_from_batch(collate([known]))
    n = clean.mask.shape[1]
    noise = draw_noise([f"motif of {item['chain_uid']}"], [n], n, seed, 0)
    return held_for(torch.tensor([TASKS.index("inpainting")]), clean, noise)


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
