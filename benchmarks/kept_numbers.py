"""Numbers that took long to find, kept in a file under what they are about."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Failure
from pipeline.files.atomic import appears_whole


def key_of(*things: NDArray[Any] | str | float) -> str:
    """A name for what is the same to the last bit: arrays, texts, numbers."""
    digest = sha256()
    for thing in things:
        array = np.asarray(thing)
        digest.update(f"{array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:32]


@dataclass
class KeptNumbers:
    """Key → numbers; without a file they are forgotten at the end."""

    path: Path | None = None
    numbers: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def opened(cls, folder: Path | None, name: str) -> KeptNumbers:
        """Those of a file of a folder; of a new one, or without a folder, none yet.

        Raises
        ------
        Failure
            The file cannot be read.
        """
        if folder is None:
            return cls()
        path = folder / name
        if not path.is_file():
            return cls(path)
        try:
            return cls(path, dict(json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError) as error:
            raise Failure(
                f"{path} cannot be read ({error}): remove it, and what it held is measured again"
            ) from None

    def keep(self, key: str, numbers: Sequence[float]) -> None:
        self.numbers[key] = [float(number) for number in numbers]
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with appears_whole(self.path, self.path.parent) as temporary:
                temporary.write_text(json.dumps(self.numbers), encoding="utf-8")

    def of(self, key: str, measure: Callable[[], Sequence[float]]) -> list[float]:
        """What is kept, or what is measured now."""
        if key not in self.numbers:
            self.keep(key, measure())
        return self.numbers[key]
