"""A script of ours that runs by the Python of another environment: arrays in, arrays out."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from child_process import end_with_parent_alone
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]


def run_script(
    python: Path,
    script: Path,
    questions: Mapping[str, Arrays],
    finished: Callable[[str, dict[str, NDArray[Any]], float], None],
) -> None:
    """Ask another environment, one question after another.

    Parameters
    ----------
    python : Path
        Of the environment.
    script : Path
        It is given two folders: of questions, an ``.npz`` each, and of answers, of the same names.
        On standard output it writes a line of JSON for each: ``file``, and the ``seconds`` that it
        took.
    questions : mapping
        Name → arrays.
    finished : callable
        Told of each name, its answer and its seconds, as soon as they are there.

    Raises
    ------
    SystemExit
        The script ends with an error.
    """
    with tempfile.TemporaryDirectory() as scratch:
        source, destination = Path(scratch, "in"), Path(scratch, "out")
        source.mkdir()
        destination.mkdir()
        named = {f"{k:06d}.npz": name for k, name in enumerate(questions)}
        for file, name in named.items():
            np.savez(source / file, **questions[name])  # type: ignore[arg-type]
        words = [str(python), str(script), str(source), str(destination)]
        with subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            text=True,
            cwd=scratch,
            preexec_fn=end_with_parent_alone,
        ) as process:
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    said = json.loads(line)
                    with np.load(destination / said["file"]) as found:
                        answer = dict(found)
                    finished(named[said["file"]], answer, said["seconds"])
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            raise SystemExit(
                f"error: {script.name} by {python} ended with status {process.returncode}; what it "
                "said is above, and --help says how to make its environment"
            )
