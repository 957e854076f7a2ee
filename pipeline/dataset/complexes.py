"""`ComplexDataset`: the chains and interfaces of entries, each an item, and their weights."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import Dataset

from pipeline.built.built_dataset import UnreadableDataset
from pipeline.commands.words import several
from pipeline.dataset.dataset import ShardDataset
from pipeline.dataset.draw import Draw, repeat_of
from pipeline.dataset.items import Item
from pipeline.errors import UsageError
from pipeline.selection.selection import Selection, index_of_chains

INTERFACES = "interfaces.parquet"
_COLUMNS = ("chain_uid_1", "chain_uid_2", "n_atom_contacts", "n_ligands", "n_nucleotides")


@dataclass(frozen=True)
class AlphaFold3Weights:
    """Weights of chains and interfaces (J. Abramson et al. 2024, supplement, 2.5.1, equation 1).

    A chain or interface r is drawn in proportion to

        β_r / N_clust · (α_protein n_protein + α_nucleic n_nucleic + α_ligand n_ligand)

    N_clust is the number of chains in its cluster, or of interfaces between the same two clusters,
    and n the number of its molecules of each type. Shards hold proteins, so that a chain has one
    molecule and an interface two; nucleic acids and ligands count where some lie between the two
    chains, as one molecule each.

    Attributes
    ----------
    beta_chain, beta_interface : float
    alpha_protein, alpha_nucleic, alpha_ligand : float
    """

    beta_chain: float = 0.5
    beta_interface: float = 1.0
    alpha_protein: float = 3.0
    alpha_nucleic: float = 3.0
    alpha_ligand: float = 1.0

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if not (np.isfinite(value) and value >= 0):
                raise UsageError(f"{one.name} is not negative, but {value}")

    def of(
        self,
        is_interface: ArrayLike,
        cluster_size: ArrayLike,
        n_protein: ArrayLike,
        n_nucleic: ArrayLike = 0,
        n_ligand: ArrayLike = 0,
    ) -> NDArray[np.float64]:
        """(n,) weights of chains and interfaces, from (n,) arrays."""
        beta = np.where(is_interface, self.beta_interface, self.beta_chain)
        molecules = (
            self.alpha_protein * np.asarray(n_protein, np.float64)
            + self.alpha_nucleic * np.asarray(n_nucleic, np.float64)
            + self.alpha_ligand * np.asarray(n_ligand, np.float64)
        )
        return beta / np.asarray(cluster_size, np.float64) * molecules


class ComplexDataset(Dataset[Item]):
    """Every chosen chain, and every interface of two of them: its entry, cropped about it.

    First all chains, in the order of the entries, then all interfaces, in the order of the table.
    An interface is a row of ``interfaces.parquet`` with heavy atoms of both chains within 5 Å.

    Parameters
    ----------
    entries : ShardDataset
        With ``unit="entry"``. Its crop is of the chains that the item stands for: spatial about a
        residue of theirs, contiguous with some of each, at an interface of theirs.

    Attributes
    ----------
    item : (n,) int64
        The entry of each.
    places : (n, 2) int64
        Its one or two chains, by their places in the entry; -1 is none.
    is_interface : (n,) bool
    lengths : (n,) int64
        Residues, after cropping.
    chain_uids : list of str
        Names: ``chain_uid`` of the chain, or both with a ``+`` between.

    Raises
    ------
    UnreadableDataset
        The dataset has no table of interfaces.
    ValueError
        The items of `entries` are no entries.
    """

    def __init__(self, entries: ShardDataset):
        if entries.unit != "entry":
            raise ValueError('chains and interfaces are of entries: open them with unit="entry"')
        self.entries = entries
        selection = entries.selection
        counts = np.diff(selection.item_offsets)
        item_of, place_of = np.empty_like(selection.members), np.empty_like(selection.members)
        item_of[selection.members] = np.repeat(np.arange(len(counts)), counts)
        within = np.arange(len(selection.members)) - np.repeat(selection.item_offsets[:-1], counts)
        place_of[selection.members] = within
        pairs, self._nucleic, self._ligands = _interfaces(selection)
        # One interface of chains that are in different entries would be a table of other data.
        one, other = pairs.T
        if (item_of[one] != item_of[other]).any():
            k = int(np.argmax(item_of[one] != item_of[other]))
            names = " and ".join(selection.uids[int(c)].as_py() for c in pairs[k])
            raise UnreadableDataset(
                f"{selection.folder.describe(INTERFACES)}: {names} are not of one entry: the table "
                f"is of other data; {_made_by(selection)} makes it anew"
            )
        none = np.full(len(selection.members), -1)
        chains = np.concatenate([np.stack([selection.members, none], 1), pairs])
        self.item: NDArray[np.int64] = item_of[chains[:, 0]]
        self.places: NDArray[np.int64] = np.where(chains < 0, -1, place_of[chains])
        self.is_interface: NDArray[np.bool_] = chains[:, 1] >= 0
        self.lengths = entries.lengths[self.item]
        self._chains = chains

    def __len__(self) -> int:
        return len(self.item)

    def __repr__(self) -> str:
        n = int(self.is_interface.sum())
        return (
            f"{type(self).__name__}({several(len(self) - n, 'chain')} and "
            f"{several(n, 'interface')} of {self.entries!r})"
        )

    def __getitem__(self, number: int) -> Item:
        n = len(self)
        if not -n <= number < n:
            raise IndexError(f"item {number} of {n}")
        focus = [place for place in self.places[int(number)].tolist() if place >= 0]
        return self.entries.item(Draw(int(self.item[int(number)]), repeat_of(number)), focus)

    def set_epoch(self, epoch: int) -> None:
        """See `ShardDataset.set_epoch`."""
        self.entries.set_epoch(epoch)

    @cached_property
    def chain_uids(self) -> list[str]:
        uids = self.entries.selection.uids
        one = uids.take(pa.array(self._chains[:, 0])).to_pylist()
        both = uids.take(pa.array(self._chains[self.is_interface, 1])).to_pylist()
        n = len(one) - len(both)
        return one[:n] + [f"{a}+{b}" for a, b in zip(one[n:], both, strict=True)]

    def weights(
        self, weights: AlphaFold3Weights | None = None, clusters: str | None = "cluster"
    ) -> NDArray[np.float64]:
        """(n,) the weight of each, for `LengthBatchSampler`.

        Parameters
        ----------
        weights : AlphaFold3Weights, optional
        clusters : str, optional
            Column of the index or the splits: clusters of chains, of which those that were chosen
            count. None: each chain is a cluster of its own.

        Raises
        ------
        ValueError
            There is no such column, or a chain has no cluster.
        """
        weights = weights or AlphaFold3Weights()
        size = np.ones(len(self))
        if clusters is not None:
            size = _cluster_sizes(_codes(self.entries.selection, clusters), self._chains)
        between = np.zeros((2, len(self)))
        between[:, self.is_interface] = self._nucleic, self._ligands
        return weights.of(self.is_interface, size, 1 + self.is_interface, *between)


def _cluster_sizes(codes: NDArray[np.int64], chains: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n,) N_clust of chains (second is -1) and interfaces, from the clusters of chains."""
    clusters = np.where(chains < 0, -1, codes[chains])
    clusters.sort(axis=1)
    _, number, counts = np.unique(clusters, axis=0, return_inverse=True, return_counts=True)
    return counts[number.reshape(-1)].astype(np.float64)


def _codes(selection: Selection, name: str) -> NDArray[np.int64]:
    table = index_of_chains(selection)
    if name not in table.column_names:
        raise ValueError(
            f"no column {name!r} in the index or the splits, for sizes of clusters; "
            f"`python -m pipeline.split {selection.folder}` makes clusters, and without "
            "(None) each chain is one of its own"
        )
    column = table[name]
    if column.null_count:
        raise ValueError(f"{column.null_count} of {len(column)} chains have no {name}")
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    codes = pc.dictionary_encode(column.combine_chunks())
    codes = codes.combine_chunks() if isinstance(codes, pa.ChunkedArray) else codes
    return codes.indices.to_numpy().astype(np.int64)


def _interfaces(
    selection: Selection,
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Interfaces of chosen chains: (p, 2) numbers of the chains, and whether there is nucleic acid
    and whether a ligand between them; what is not known is not there."""
    folder = selection.folder
    if not folder.exists(INTERFACES):
        raise UnreadableDataset(
            f"{folder}: no {INTERFACES}, which weights of interfaces need; {_made_by(selection)} "
            "makes it"
        )
    table = selection.dataset.table(INTERFACES, _COLUMNS)
    if missing := [name for name in _COLUMNS if name not in table.column_names]:
        raise UnreadableDataset(
            f"{folder.describe(INTERFACES)}: has no column {missing[0]}; {_made_by(selection)} "
            "makes it anew"
        )
    table = table.filter(pc.field("n_atom_contacts") > 0)
    ends = [pc.index_in(table[name], value_set=selection.uids) for name in _COLUMNS[:2]]
    known = pc.and_(*(pc.is_valid(end) for end in ends))
    pairs = np.stack([end.filter(known).to_numpy() for end in ends], axis=1).astype(np.int64)
    between = table.filter(known)
    touched = [
        np.asarray(pc.greater(pc.fill_null(between[name], 0), 0), bool)
        for name in ("n_nucleotides", "n_ligands")
    ]
    return pairs, touched[0], touched[1]


def _made_by(selection: Selection) -> str:
    return f"`python -m pipeline.upgrade {selection.folder}`"
