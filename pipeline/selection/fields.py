"""Stored columns → the fields of an item, many chains at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.features import unpack_mask
from pipeline.geometry.frames import Vector, frame_components
from pipeline.geometry.gaussians import local_components
from pipeline.geometry.three_di import CODES
from pipeline.residues import N_SLOTS
from pipeline.shards import Rows

ANGSTROM = 0.001

_BLOCK = 1024
"""Residues whose atoms are put in place at a time: what that needs stays in a core's cache."""


@dataclass(frozen=True, slots=True)
class Field:
    """A per-residue field of an item.

    Attributes
    ----------
    shape : tuple of int
        Behind the residue axis.
    stored : str
        NumPy type in memory and in caches.
    item : str
        NumPy type of the item's tensor.
    columns : tuple of str
        Columns of the shard that it is made of.
    """

    shape: tuple[int, ...]
    stored: str
    item: str
    columns: tuple[str, ...]

    @property
    def bytes_per_residue(self) -> int:
        return int(np.prod(self.shape, dtype=int)) * np.dtype(self.stored).itemsize


_ATOMS = ("x", "y", "z", "atom14_mask")
_GAUSSIAN = (*_ATOMS, "centroid", "covariance")

FIELDS: dict[str, Field] = {
    "aatype": Field((), "i1", "i8", ("aatype",)),
    "residue_index": Field((), "<i4", "i8", ("residue_index",)),
    "atom14_positions": Field((N_SLOTS, 3), "<f4", "f4", _ATOMS),
    "atom14_mask": Field((N_SLOTS,), "?", "?", ("atom14_mask",)),
    "rotmats": Field((3, 3), "<f4", "f4", _ATOMS),
    "trans": Field((3,), "<f4", "f4", _ATOMS),
    "local_mean": Field((3,), "<f4", "f4", _GAUSSIAN),
    "log_scale": Field((3,), "<f4", "f4", _GAUSSIAN),
    "centroid": Field((3,), "<f4", "f4", ("centroid",)),
    "covariance": Field((6,), "<f4", "f4", ("covariance",)),
    "residue_mask": Field((), "?", "?", _ATOMS),
    "auth_seq_id": Field((), "<i4", "i8", ("auth_seq_id",)),
    "b_factor": Field((), "<f4", "f4", ("b_factor",)),
    "sse": Field((), "i1", "i8", ("sse",)),
    "three_di": Field((), "i1", "i8", ("three_di",)),
}
"""Per-residue fields by name. ``chain_index`` is added when an item is put together: it says which
chain of the item a residue belongs to."""

DEFAULT_FIELDS = (
    "aatype",
    "residue_index",
    "chain_index",
    "atom14_positions",
    "atom14_mask",
    "rotmats",
    "trans",
    "local_mean",
    "log_scale",
    "centroid",
    "covariance",
    "residue_mask",
)


def columns_of(fields: Sequence[str]) -> list[str]:
    """The columns of a shard that fields are made of."""
    return list(dict.fromkeys(c for name in fields for c in FIELDS[name].columns))


def decode(rows: Rows, fields: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Fields of all residues of some rows.

    Parameters
    ----------
    rows : Rows
        With the columns that `columns_of` tells.
    fields : sequence of str
        Keys of `FIELDS`.

    Returns
    -------
    dict
        Name → ``(R, *shape)`` array of the field's stored type. Frames and local Gaussians are
        computed in float64 from the exact coordinates, by the code that built the shard;
        unresolved residues have the identity and zeros.
    """
    lists = rows.lists
    wanted = set(fields)
    arrays: dict[str, NDArray[Any]] = {}
    frames = wanted & {"rotmats", "trans", "local_mean", "log_scale", "residue_mask"}
    if "three_di" in wanted:
        arrays["three_di"] = CODES[lists["three_di"]]
    if "atom14_mask" in wanted:
        arrays["atom14_mask"] = unpack_mask(lists["atom14_mask"])
    if "atom14_positions" in wanted or frames:
        bits = lists["atom14_mask"]
        counts = np.bitwise_count(bits)
        first = np.cumsum(counts, dtype=np.int64) - counts
        # Behind the last atom zeros, so that 14 may be read from any residue's first one on.
        coords = [np.concatenate((lists[axis], np.zeros(N_SLOTS, np.int32))) for axis in "xyz"]
    if "atom14_positions" in wanted:
        arrays["atom14_positions"] = _by_slot(bits, counts, first, coords)
    if frames:
        n, ca, c = _backbone(first, coords)
        axes, origin, resolved = frame_components(n, ca, c, (bits & _BACKBONE) == _BACKBONE)
        arrays["residue_mask"] = resolved
        if "rotmats" in wanted:
            rows_of_axes = [axis[i] for i in range(3) for axis in axes]
            arrays["rotmats"] = _stack(rows_of_axes).reshape(-1, 3, 3)
        arrays["trans"] = _stack(origin)
        if frames & {"local_mean", "log_scale"}:
            xx, xy, xz, yy, yz, zz = np.ascontiguousarray(lists["covariance"].T, np.float64)
            x, y, z = np.ascontiguousarray(lists["centroid"].T, np.float64)
            mean, log_scale = local_components(axes, origin, (x, y, z), (xx, xy, xz, yy, yz, zz))
            arrays["local_mean"], arrays["log_scale"] = _stack(mean), _stack(log_scale)
        unresolved = np.flatnonzero(~resolved)
        for name in arrays.keys() & {"trans", "local_mean"}:
            arrays[name][unresolved] = 0
    return {
        name: np.asarray(arrays.get(name, lists.get(name)), FIELDS[name].stored) for name in fields
    }


def _stack(columns: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
    """(R, k) of k columns."""
    stacked = np.empty((len(columns[0]), len(columns)), np.float32)
    for k, column in enumerate(columns):
        stacked[:, k] = column
    return stacked


_BACKBONE = np.uint16(0b111)
"""Bits of N, CA and C, the first three slots."""

_KEEP = np.where(np.arange(3 * N_SLOTS) < 3 * np.arange(N_SLOTS + 1)[:, None], -1, 0).astype("<i4")
"""(15, 42): for a residue of k atoms, all bits of their coordinates and none of the rest."""


def _backbone(first: NDArray[np.int64], coords: Sequence[NDArray[np.int32]]) -> list[Vector]:
    """N, CA and C in Å, exactly as the builder had them; anything where one of them is absent."""
    atoms = []
    for slot in range(3):
        x, y, z = (c.take(first + slot) * ANGSTROM for c in coords)
        atoms.append((x, y, z))
    return atoms


def _by_slot(
    bits: NDArray[np.uint16],
    counts: NDArray[np.uint8],
    first: NDArray[np.int64],
    coords: Sequence[NDArray[np.int32]],
) -> NDArray[np.float32]:
    """(R, 14, 3) positions in Å, zeros where an atom is absent.

    A residue's atoms lie one behind the other, and nearly all residues have their first slots full
    and the others empty: then its row is the 42 numbers from its first atom on, those of the next
    residues cleared. Putting every atom in its place by an index takes a third longer.

    Parameters
    ----------
    bits : (R,) uint16
        Masks.
    counts, first : (R,)
        Atoms of each residue, and the first of them.
    coords : three (A + 14,) arrays
        As stored; the last 14 are zeros.
    """
    atoms = np.empty((len(coords[0]), 3), np.float32)
    for k, values in enumerate(coords):
        atoms[:, k] = values * ANGSTROM  # rounded once, from float64
    windows = np.lib.stride_tricks.sliding_window_view(atoms.reshape(-1), 3 * N_SLOTS)
    positions = np.empty((len(bits), N_SLOTS, 3), np.float32)
    rows = positions.reshape(-1, 3 * N_SLOTS).view(np.int32)
    for begin in range(0, len(rows), _BLOCK):
        here = slice(begin, begin + _BLOCK)
        window = windows[3 * first[here]].view(np.int32)
        np.bitwise_and(window, _KEEP.take(counts[here], axis=0), out=rows[here])
    gaps = np.flatnonzero(bits & (bits + np.uint16(1)))
    if len(gaps):
        mask = unpack_mask(bits[gaps])
        places = first[gaps, None] + np.cumsum(mask, axis=1) - 1
        positions[gaps] = atoms[np.where(mask, places, -1)]
    return positions
