"""Random numbers that depend on nothing but words: on a seed and what they are drawn for."""

from __future__ import annotations

import hashlib

import numpy as np


def seed_bytes(*words: object, size: int = 16) -> bytes:
    """So many bytes, which change altogether with any word (BLAKE2b).

    What is drawn of them must stay the same from version to version: splits and samples are.
    """
    return hashlib.blake2b("\0".join(map(str, words)).encode(), digest_size=size).digest()


def seeded(*words: object) -> np.random.Generator:
    """A generator that is a pure function of its arguments (Philox: Salmon et al. 2011)."""
    return np.random.Generator(np.random.Philox(key=np.frombuffer(seed_bytes(*words), np.uint64)))
