"""The configurations that come with the package, by their names: ``--config tiny``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import UsageError

CONFIGS = Path(__file__).parents[1] / "configs"


def names() -> list[str]:
    """Of the configurations in the package."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def with_configurations(words: Sequence[str]) -> list[str]:
    """A command line in which names of configurations are paths; a file of that name comes first.

    Raises
    ------
    UsageError
        There is neither a file nor a configuration of a name.
    """
    found: list[str] = []
    for word in words:
        if found[-1:] in (["--config"], ["-c"]):
            found.append(_path_of(word))
        elif word.startswith("--config="):
            found.append(f"--config={_path_of(word.partition('=')[2])}")
        else:
            found.append(word)
    return found


def _path_of(word: str) -> str:
    if Path(word).is_file():
        return word
    if word in names():
        return str(CONFIGS / f"{word}.yaml")
    # Anything else may be YAML itself, which Lightning reads.
    if word.replace("-", "_").isidentifier() or word.endswith((".yaml", ".yml")):
        raise UsageError(
            f"--config {word}: there is no such file, and the package has {', '.join(names())}"
        )
    return word
