"""What hangs together: chains of one cluster, and entries that share clusters.

Clusters are named by their first chain and components by their first entry, counted in the order of
the ids, so that no name depends on the order of rows or on which sequence represents a cluster.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


def connected_components(n: int, left: Integers, right: Integers) -> Integers:
    """Components of a graph.

    Parameters
    ----------
    n : int
        Nodes.
    left, right : (e,) int64
        Ends of the edges.

    Returns
    -------
    (n,) int64
        For each node the smallest node of its component.

    Notes
    -----
    Hooking and pointer jumping (Y. Shiloach, U. Vishkin, J. Algorithms 3, 57, 1982): in each
    round, the roots of both ends get the smaller of them as their parent.
    """
    parent = np.arange(n, dtype=np.int64)
    while True:
        a, b = parent[left], parent[right]
        apart = a != b
        if not apart.any():
            return parent
        a, b = a[apart], b[apart]
        np.minimum.at(parent, np.maximum(a, b), np.minimum(a, b))
        while not np.array_equal(jumped := parent[parent], parent):
            parent = jumped


def clusters_of_chains(keys: Integers, similar: Integers | None = None) -> Integers:
    """Chains of identical and, where it is known, of similar sequences.

    Parameters
    ----------
    keys : (n, 2) int64
        `Chains.keys`.
    similar : (m, 2) int64, optional
        Pairs of sequences, by their numbers, that belong together.

    Returns
    -------
    (n,) int64
        For each chain the first chain of its cluster.
    """
    n, n_keys = len(keys), int(keys.max(initial=-1)) + 1
    pairs = np.zeros((0, 2), np.int64) if similar is None else similar
    chain = np.arange(n, dtype=np.int64)
    left = np.concatenate([chain, chain, n + pairs[:, 0]])
    right = np.concatenate([n + keys[:, 0], n + keys[:, 1], n + pairs[:, 1]])
    return connected_components(n + n_keys, left, right)[:n]


def components_of_entries(
    entries: Integers, clusters: Integers, linked: NDArray[np.bool_]
) -> Integers:
    """Entries that share clusters, directly or by way of others.

    Parameters
    ----------
    entries : (n,) int64
        For each chain the number of its entry, from 0.
    clusters : (n,) int64
        For each chain the first chain of its cluster.
    linked : (n,) bool
        False where a chain's cluster shall not connect its entry to others.

    Returns
    -------
    (number of entries,) int64
        For each entry the first entry of its component.
    """
    n_entries = int(entries.max(initial=-1)) + 1
    return connected_components(
        n_entries + len(clusters), entries[linked], n_entries + clusters[linked]
    )[:n_entries]


def hub_clusters(
    entries: Integers, clusters: Integers, weights: Integers, limit: float
) -> NDArray[np.bool_]:
    """The clusters to cut so that no component of entries outweighs a limit.

    Of the clusters in components that are too heavy, those go first that most entries share with a
    chain of another cluster (antibodies, ubiquitin, fusion partners); as few as suffice.

    Parameters
    ----------
    entries, clusters : (n,) int64
        As in `components_of_entries`.
    weights : (n,) int64
        Of the chains.
    limit : float
        Largest weight of a component, not counting chains of clusters that are cut.

    Returns
    -------
    (n,) bool
        Chains whose cluster is cut. Components of a single cluster or entry stay as they are.
    """
    everything = np.ones(len(clusters), bool)
    component = components_of_entries(entries, clusters, everything)[entries]
    heavy = np.bincount(component, weights, minlength=len(clusters))[component] > limit
    # (entry, cluster) once each; an entry connects if it has several clusters.
    pairs = np.unique(np.stack([entries, clusters], axis=1)[heavy], axis=0)
    n_clusters = np.bincount(pairs[:, 0], minlength=int(entries.max(initial=-1)) + 1)
    bridging = pairs[n_clusters[pairs[:, 0]] > 1, 1]
    degree = np.bincount(bridging, minlength=len(clusters))
    hubs = np.flatnonzero(degree)
    hubs = hubs[np.argsort(-degree[hubs], kind="stable")]
    # All clusters of a component that has a hub are hubs: cutting all of them leaves no weight.
    heavy &= np.isin(clusters, hubs)

    def cut(k: int) -> NDArray[np.bool_]:
        return np.isin(clusters, hubs[:k])

    def fits(k: int) -> bool:
        linked = ~cut(k)
        of_entry = components_of_entries(entries, clusters, linked)
        component = of_entry[entries]
        counted = linked & heavy & (np.bincount(of_entry)[component] > 1)
        loads = np.bincount(component[counted], weights[counted], minlength=1)
        return bool(loads.max(initial=0) <= limit)

    # Cutting more never joins anything, so the smallest number is found by bisection.
    low, high = 0, len(hubs)
    while low < high:
        middle = (low + high) // 2
        if fits(middle):
            high = middle
        else:
            low = middle + 1
    return cut(low)
