"""Sums of the terms of the loss over many steps, by name and by bin of time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields

import torch
import torch.distributed

from model.losses import TIME_BINS, LossTerm, LossWeights, binned


class LossSums:
    """Collects terms; nothing is read from the device before it is asked for."""

    def __init__(self) -> None:
        self._terms: list[dict[str, LossTerm]] = []
        self._sums: dict[str, list[float]] = {}

    def add(self, terms: Mapping[str, LossTerm]) -> None:
        """Terms of one batch."""
        self._terms.append({name: term.detach() for name, term in terms.items()})

    def add_value(self, name: str, value: float, count: float = 1) -> None:
        """Anything else that has a mean."""
        entry = self._sums.setdefault(name, [0.0, 0.0])
        entry[0] += value
        entry[1] += count

    def state_dict(self) -> dict[str, list[float]]:
        """Of all processes, and the same in each; all of them have to ask."""
        return {name: list(entry) for name, entry in self.totals().items()}

    def load_state_dict(self, state: Mapping[str, list[float]]) -> None:
        """The first process goes on with what all had, the others with nothing."""
        self.clear()
        if not _processes() or torch.distributed.get_rank() == 0:
            self._sums = {name: list(entry) for name, entry in state.items()}

    def clear(self) -> None:
        self._terms, self._sums = [], {}

    def totals(self) -> dict[str, tuple[float, float]]:
        """Name → (sum, count), over all processes of the run; all of them have to ask."""
        self._gather()
        everyone = [self._sums]
        if _processes():
            everyone = [{} for _ in range(_processes())]
            torch.distributed.all_gather_object(everyone, self._sums)
        found: dict[str, tuple[float, float]] = {}
        for sums in everyone:
            for name, (value, count) in sums.items():
                before = found.get(name, (0.0, 0.0))
                found[name] = (before[0] + value, before[1] + count)
        return found

    def _gather(self) -> None:
        for name, term in _on_cpu(self._terms):
            for k, (value, count) in binned(term).items():
                self.add_value(name, value, count)
                self.add_value(f"{name}@{k}", value, count)
        self._terms = []


def _on_cpu(steps: list[dict[str, LossTerm]]) -> Iterator[tuple[str, LossTerm]]:
    """Terms of many steps by name, in three copies: each of them waits for the device."""
    named = [item for terms in steps for item in terms.items()]
    if named:
        sizes = [len(term.value) for _, term in named]
        columns = (
            torch.cat([getattr(term, field.name) for _, term in named]).cpu().split(sizes)
            for field in fields(LossTerm)
        )
        for (name, _), row in zip(named, zip(*columns, strict=True), strict=True):
            yield name, LossTerm(*row)


def _processes() -> int:
    """How many there are in a distributed run, 0 in any other."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_world_size()
    return 0


def means(totals: Mapping[str, tuple[float, float]], prefix: str) -> dict[str, float]:
    """Metrics of `LossSums.totals`, such as ``train/chi`` and ``train_by_time/chi_0.25-0.50``.

    Terms that never counted are left out.
    """
    found = {}
    for name, (value, count) in totals.items():
        if count:
            term, at, k = name.partition("@")
            if at:
                begin, end = int(k) / TIME_BINS, (int(k) + 1) / TIME_BINS
                found[f"{prefix}_by_time/{term}_{begin:.2f}-{end:.2f}"] = value / count
            else:
                found[f"{prefix}/{term}"] = value / count
    return found


def weighted(totals: Mapping[str, tuple[float, float]], weights: LossWeights) -> float:
    """The loss of the mean terms."""
    total = 0.0
    for name, weight in asdict(weights).items():
        value, count = totals.get(name, (0.0, 0.0))
        if count:
            total += weight * value / count
    return total
