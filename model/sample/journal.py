"""`Journal`: the samples of a run that are finished, so that one that was stopped can go on."""

from __future__ import annotations

import json
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import numpy as np
import yaml

from model.checkpoint import checkpoint_named, own_networks
from model.errors import AlreadyThere
from model.output_folder import make_folder, write
from model.sample.options import SampleOptions
from model.sample.tables import OPTIONS, SampleRows
from model.trained_network import DEFAULT, default_for
from pipeline.commands.command_line import to_yaml
from pipeline.commands.words import dashed, listed

JOURNAL = "finished.jsonl"
"""A line that says what is asked for, and one for each sample; gone when all are finished."""

_NO_MATTER = ("out_dir", "overwrite", "resume", "quiet", "device", "batch_size")
"""Options that no sample depends on."""

Asked = dict[str, Any]


class Journal:
    """What is kept on the way of the samples that are finished.

    Parameters
    ----------
    options : SampleOptions

    Attributes
    ----------
    finished : dict
        Name → `SampleRows`; at first of the samples that a stopped run has left.
    was_complete : bool
        The folder is that of a run with these options that was not stopped.

    Raises
    ------
    AlreadyThere
        The folder holds files already and nothing is said of them, or the run that is to go on had
        other options or another network.
    """

    def __init__(self, options: SampleOptions):
        self._path = options.out_dir / JOURNAL
        self.finished: dict[str, SampleRows] = {}
        self.was_complete = False
        asked = _asked(options)
        left = [] if options.overwrite else _read(self._path)
        if not options.resume:
            advice = "; --resume goes on with the run that was stopped" if left else ""
            make_folder(options.out_dir, options.overwrite, advice)
        elif left:
            _check_same(options.out_dir, left[0], asked)
            try:
                self.finished = {row["name"]: SampleRows(**row) for row in left[1:]}
            except (TypeError, KeyError):
                raise _damaged(self._path) from None
        elif (options.out_dir / OPTIONS).is_file() and not self._path.exists():
            before = _options_of(options.out_dir / OPTIONS)
            _check_same(options.out_dir, _that_matter(before), _that_matter(_plain(options)))
            self.was_complete = True
            return
        else:
            # A run that was killed before its journal had a line has made nothing.
            for unfinished in options.out_dir.glob(f"{JOURNAL}*"):
                unfinished.unlink()
            make_folder(options.out_dir, overwrite=False)
        # The last line of what was killed may be cut off: all are written again.
        lines = [asked, *(asdict(rows) for rows in self.finished.values())]
        write(self._path, "".join(map(_line, lines)))
        self._file: IO[str] = self._path.open("a", encoding="utf-8")

    def add(self, rows: SampleRows) -> None:
        """A sample whose structure is written."""
        self.finished[rows.name] = rows
        self._file.write(_line(asdict(rows)))
        self._file.flush()

    def end(self) -> None:
        """All samples are finished, and their tables written."""
        self._file.close()
        self._path.unlink(missing_ok=True)


def _asked(options: SampleOptions) -> Asked:
    """What samples are a function of, but for the inputs' content."""
    asked = _that_matter(_plain(options))
    networks = [checkpoint_named(asked.pop("ckpt") or default_for(options.request.task))]
    if DEFAULT in own_networks():
        networks.append(checkpoint_named(DEFAULT))  # it may pack what another one designs
    return asked | {"ckpt": [_digest(path) for path in networks]}


def _digest(path: Path) -> str:
    digest = sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _options_of(path: Path) -> Asked:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        found = None
    if not isinstance(found, dict):
        raise _damaged(path)
    return found


def _damaged(path: Path) -> AlreadyThere:
    return AlreadyThere(f"{path} is damaged, or of another version; --overwrite begins anew")


def _plain(options: SampleOptions) -> Asked:
    found: Asked = yaml.safe_load(to_yaml(options))
    return found


def _that_matter(values: Asked) -> Asked:
    return {name: value for name, value in values.items() if name not in _NO_MATTER}


def _check_same(folder: Path, before: Asked, asked: Asked) -> None:
    names = sorted(before.keys() | asked.keys())
    if other := [dashed(name) for name in names if before.get(name) != asked.get(name)]:
        raise AlreadyThere(
            f"{folder} is of a run with another {listed(other)}: give what that run had, or "
            "another --out-dir"
        )


def _read(path: Path) -> list[Any]:
    """The lines that are whole; none without a journal.

    Raises
    ------
    AlreadyThere
    """
    if not path.is_file():
        return []
    lines = path.read_bytes().split(b"\n")
    try:
        found = [json.loads(line) for line in lines[:-1]]
    except ValueError:
        raise _damaged(path) from None
    if not all(isinstance(line, dict) for line in found):
        raise _damaged(path)
    return found


def _line(value: Asked) -> str:
    return json.dumps(value, default=_number) + "\n"


def _number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value)} in a table")
