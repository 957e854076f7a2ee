"""Foldcomp's compressed structures (FCZ), unpacked to PDB text.

Foldcomp's own reader believes what a file says: a damaged one ends the process, or never ends. So
everything that it allocates and loops by is checked first, against the length of the data.
"""

from __future__ import annotations

import struct

import numpy as np

from pipeline.extras import pip_line
from pipeline.sources.errors import CorruptStream, NotInstalled, TooLarge, TruncatedStream

MAGIC = b"FCMP"

# Residues, atoms, first residue number, first atom number, anchors, chain, side-chain angles, first
# and last residue, length of the title; then minima and steps of the six backbone angles.
_HEADER = struct.Struct("<4sHHHHBc2xIcc2xI12f")
_ANCHOR_COORDINATES = 9 * 4
_TERMINAL_OXYGEN = 1 + 3 * 4
_BACKBONE = 8
_B_FACTOR_STEPS = 2 * 4
# Atoms beside N, CA and C, one angle each, by the five bits that stand for a residue's type:
# ARNDCQEGHILKMFPSTWYV, and 23, unknown.
_ANGLES = np.full(32, -1, np.int64)
_ANGLES[23] = 0
_ANGLES[:20] = 2, 8, 5, 5, 3, 6, 6, 1, 7, 5, 5, 6, 5, 8, 4, 3, 4, 11, 9, 4
_PDB_LINE = 81


def is_fcz(head: bytes) -> bool:
    """Whether data that start with `head` are of Foldcomp."""
    return head[:4] == MAGIC


def unpack_fcz(data: bytes, max_bytes: int, *, name: str = "") -> bytes:
    """The structure as PDB text; a NUL byte may follow the data, as in a database.

    Raises
    ------
    NotInstalled
        The package ``foldcomp`` is missing.
    TruncatedStream, CorruptStream, TooLarge
    """
    name = name or "the data"
    data = _checked(data, max_bytes, name)
    try:
        import foldcomp
    except ImportError:
        raise NotInstalled(
            f"{name} is packed by Foldcomp; reading it needs an extra: "
            f"{pip_line('foldcomp')} (which is pip install foldcomp)"
        ) from None
    try:
        _, text = foldcomp.decompress(data)
    except MemoryError:
        raise
    except Exception as error:
        raise CorruptStream(f"{name} is damaged: Foldcomp cannot unpack it ({error})") from None
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text


def _checked(data: bytes, max_bytes: int, name: str) -> bytes:
    """The data without a NUL byte at the end, if all counts in them agree with each other."""
    if len(data) < _HEADER.size:
        raise TruncatedStream(f"{name} ends within the header of Foldcomp data; fetch it again")
    _, n_residues, _, _, _, n_anchors, chain, n_angles, _, _, n_title, *_ = _HEADER.unpack_from(
        data
    )
    if _PDB_LINE * (3 * n_residues + n_angles) > max_bytes:
        raise TooLarge(
            f"{name} unpacks to more than the limit of {max_bytes:,} bytes; raise the limit to "
            "read it"
        )
    title = _HEADER.size + 4 * n_anchors
    coordinates = title + n_title
    backbone = coordinates + _ANCHOR_COORDINATES * n_anchors + _TERMINAL_OXYGEN
    side_chains = backbone + _BACKBONE * n_residues
    end = side_chains + n_angles + _B_FACTOR_STEPS + n_residues
    if len(data) < end:
        raise TruncatedStream(f"{name} ends before its Foldcomp data do; fetch it again")
    if data[end:] not in (b"", b"\0"):
        raise CorruptStream(f"{name} holds bytes after its Foldcomp data; fetch it again")
    anchors = np.frombuffer(data, "<i4", n_anchors, _HEADER.size)
    types = np.frombuffer(data, np.uint8, _BACKBONE * n_residues, backbone)[::_BACKBONE] >> 3
    of_each = _ANGLES[types]
    text = data[title:coordinates] + chain
    sound = (
        n_residues > 0
        and n_anchors >= 2
        and anchors[0] == 0
        and anchors[-1] == n_residues - 1
        and (anchors[1:] >= anchors[:-1]).all()
        and (of_each >= 0).all()
        and min(text) >= 32  # no line ends: they would make records of it
    )
    if not sound:
        raise CorruptStream(f"{name} is damaged: its Foldcomp header does not fit; fetch it again")
    if of_each.sum() != n_angles:
        # Foldcomp would go on with the angles of other residues.
        raise CorruptStream(
            f"{name} has {n_angles:,} side-chain angles, and its sequence needs "
            f"{of_each.sum():,}: atoms were missing when it was packed; use the original file"
        )
    return data[:end]
