"""Which chains of a dataset are shown: nine like most others, and nine that are not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.built.built_dataset import BuiltDataset
from pipeline.built.stored_chains import StoredChain, read_entries
from pipeline.report.extremes import Extreme
from pipeline.report.quality import numbers_of
from pipeline.shards import DamagedShard

N_SHOWN = 9
LEAST_LENGTH = 30
"""A chain of fewer residues is typical of nothing."""

_COLUMNS = ("chain_uid", "entry_id", "assembly", "shard", "row_group", "row")


@dataclass(frozen=True)
class Shown:
    """A chain of the gallery, and why it is there."""

    stored: StoredChain
    why: str


@dataclass(frozen=True)
class Gallery:
    """Chains like most others, and chains that are not; or why there are none to be seen."""

    typical: tuple[Shown, ...]
    strange: tuple[Shown, ...]
    problem: str = ""

    @property
    def uids(self) -> list[str]:
        return [shown.stored.chain.uid for shown in (*self.typical, *self.strange)]


def gallery(dataset: BuiltDataset, index: pa.Table, extremes: Sequence[Extreme]) -> Gallery:
    """Choose chains, and read them.

    Parameters
    ----------
    dataset : BuiltDataset
    index : pyarrow.Table
        Of the dataset.
    extremes : sequence of Extreme
        The chains with the largest ellipsoids.

    Returns
    -------
    Gallery
        Without chains where shards do not hold what the index says: the report's other sections
        are still to be had.

    Raises
    ------
    StorageError
    """
    uids = index["chain_uid"].to_pylist()
    strange = choose_strange(index, extremes)
    typical = choose_typical(index, {uid for uid, _ in strange})
    chosen = {uid: why for uid, why in [*((uids[k], why) for k, why in typical), *strange]}
    places = dataset.table("index.parquet", _COLUMNS)
    wanted = pc.is_in(places["chain_uid"], pa.array(list(chosen), pa.string()))
    try:
        read = {
            stored.chain.uid: Shown(stored, chosen[stored.chain.uid])
            for entry in read_entries(dataset, places.filter(wanted))
            for stored in entry
        }
    except DamagedShard as error:
        return Gallery((), (), str(error))
    return Gallery(tuple(read[uids[k]] for k, _ in typical), tuple(read[uid] for uid, _ in strange))


def choose_typical(index: pa.Table, without: Iterable[str]) -> list[tuple[int, str]]:
    """Rows, and what is said of each: from each ninth of the lengths the chain that is nearest to
    the middle of its like in length, helix, strand and radius."""
    left_out = pc.is_in(index["chain_uid"], pa.array(list(without), pa.string())).to_numpy()
    length = numbers_of(index, "length")
    rows = np.flatnonzero(~left_out & (length >= LEAST_LENGTH))
    if not len(rows):
        rows = np.flatnonzero(~left_out)
    rows = rows[np.argsort(length[rows], kind="stable")]
    columns = [np.log(length), numbers_of(index, "helix_fraction")]
    columns += [numbers_of(index, "strand_fraction")]
    columns += [np.log(np.maximum(numbers_of(index, "radius_of_gyration"), 1))]
    found = []
    for some in np.array_split(rows, N_SHOWN):
        if len(some):
            away = sum(_from_median(values[some]) for values in columns)
            k = int(some[np.argmin(away)])
            found.append((k, f"{length[k]:.0f} residues"))
    return found


def _from_median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    away = np.abs(values - np.median(values))
    return away / max(float(np.median(away)), 1e-6)


def choose_strange(index: pa.Table, extremes: Sequence[Extreme]) -> list[tuple[str, str]]:
    """``chain_uid``, and what is strange: the largest ellipsoids, the most breaks, the most
    clashes, the lowest pLDDT, in turns."""
    uids = index["chain_uid"]

    def worst(column: str, least: float, text: str, sign: int = 1) -> list[tuple[str, str]]:
        values = numbers_of(index, column)
        if column == "mean_b_factor":
            is_plddt = pc.fill_null(pc.equal(index["confidence_kind"], "plddt"), False)
            values = np.where(is_plddt.to_numpy(), values, np.nan)
        rows = np.flatnonzero(np.isfinite(values) & (sign * values >= least))
        rows = rows[np.argsort(-sign * values[rows], kind="stable")][:N_SHOWN]
        return [(uids[int(k)].as_py(), text.format(values[k])) for k in rows]

    reasons = [
        [(e.chain_uid, f"{e.residue}: {e.semi_axis:.1f} Å") for e in extremes],
        worst("n_breaks", 1, "breaks: {:.0f}"),
        worst("clashes_per_1000_atoms", 0.01, "clashes: {:.1f} of 1,000 atoms"),
        worst("mean_b_factor", -70, "mean pLDDT {:.0f}", sign=-1),
    ]
    chosen: dict[str, str] = {}
    for rank in range(N_SHOWN):
        for reason in reasons:
            if rank < len(reason) and len(chosen) < N_SHOWN:
                chosen.setdefault(*reason[rank])
    return list(chosen.items())
