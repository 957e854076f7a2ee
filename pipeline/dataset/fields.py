"""Stored columns → the fields of an item, many chains at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.features import unpack_mask
from pipeline.frames import frame_components
from pipeline.gaussians import local_components
from pipeline.residues import N_SLOTS
from pipeline.shards import Rows

ANGSTROM = 0.001


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


def decode(rows: Rows, fields: Sequence[str]) -> dict[str, NDArray]:
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
    wanted = set(fields)
    found: dict[str, NDArray] = {}
    lists = rows.lists
    frames = wanted & {"rotmats", "trans", "local_mean", "log_scale", "residue_mask"}
    if wanted & {"atom14_positions", "atom14_mask"} or frames:
        mask = unpack_mask(lists["atom14_mask"])
        found["atom14_mask"] = mask
    if "atom14_positions" in wanted or frames:
        stored = _by_slot(mask, *(lists[axis] for axis in "xyz"))
    if "atom14_positions" in wanted:
        # The product is rounded once, from float64; no array of that size is made.
        positions = np.empty(stored.shape, np.float32)
        np.multiply(stored, ANGSTROM, out=positions, casting="same_kind")
        found["atom14_positions"] = positions
    if frames:
        planes = np.ascontiguousarray(stored[:, :3].transpose(1, 2, 0)) * ANGSTROM
        n, ca, c = ((x, y, z) for x, y, z in planes)
        axes, origin, resolved = frame_components(n, ca, c, mask[:, :3].all(axis=1))
        found["residue_mask"] = resolved
        rows_of_axes = [axis[i] for i in range(3) for axis in axes]
        found["rotmats"] = _stack(rows_of_axes).reshape(-1, 3, 3)
        found["trans"] = _stack(origin)
        if frames & {"local_mean", "log_scale"}:
            xx, xy, xz, yy, yz, zz = np.ascontiguousarray(lists["covariance"].T, np.float64)
            x, y, z = np.ascontiguousarray(lists["centroid"].T, np.float64)
            mean, log_scale = local_components(axes, origin, (x, y, z), (xx, xy, xz, yy, yz, zz))
            found["local_mean"], found["log_scale"] = _stack(mean), _stack(log_scale)
        for name in ("trans", "local_mean"):
            if name in found and not resolved.all():
                found[name][~resolved] = 0
    return {
        name: np.asarray(found.get(name, lists.get(name)), FIELDS[name].stored) for name in fields
    }


def _stack(columns: Sequence[NDArray]) -> NDArray[np.float32]:
    """(R, k) of k columns."""
    found = np.empty((len(columns[0]), len(columns)), np.float32)
    for k, column in enumerate(columns):
        found[:, k] = column
    return found


def _by_slot(mask: NDArray[np.bool_], *axes: NDArray[np.int32]) -> NDArray[np.int32]:
    """(R, 14, 3) coordinates as stored, zeros where an atom is absent."""
    stored = np.zeros((mask.size, 3), np.int32)
    places = np.flatnonzero(mask)
    for k, values in enumerate(axes):
        stored[places, k] = values
    return stored.reshape(*mask.shape, 3)
