"""What a folder remembers of its downloads: ``.fetch/``, which builds do not search.

A file is whole once it has its name, so the journal is no promise but spares reading: a file with
the size and time of its record is not looked into again. Whatever becomes of the journal, the worst
is that files are read once more.
"""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any, Literal

from pipeline.errors import UsageError
from pipeline.fetch.problems import CannotWrite
from pipeline.files.atomic import appears_whole
from pipeline.files.lock import Held, file_lock
from pipeline.sources.names import FETCH_STATE


@dataclass(frozen=True, slots=True)
class Row:
    """A line of ``fetch.csv``: what became of an entry.

    Attributes
    ----------
    status : str
        ``fetched``, ``there`` (before this run) or ``failed``.
    reason, message : str
        Of a failure.
    file : str
        Relative to the folder.
    url : str
        Where it was, or should have been; empty for a file that somebody else put there.
    bytes : int or None
        As stored.
    sha256 : str
        Of what is stored.
    attempts : int
    seconds : float
        With all waiting.
    """

    entry_id: str
    status: Literal["fetched", "there", "failed"]
    reason: str = ""
    message: str = ""
    file: str = ""
    url: str = ""
    bytes: int | None = None
    sha256: str = ""
    attempts: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Known:
    """A line of the journal: a file that was found to be good.

    Attributes
    ----------
    remote : str
        What the server calls the entry, version included.
    mtime_ns : int
        With the size, tells whether somebody changed the file since.
    """

    remote: str
    mtime_ns: int
    row: Row


class State:
    """The folder ``.fetch/``, locked for one run.

    Attributes
    ----------
    scratch : Path
        For files that are not finished.
    table : Path
        ``fetch.csv``.
    """

    def __init__(self, out_dir: Path) -> None:
        self._folder = out_dir / FETCH_STATE
        self.scratch = self._folder / "scratch"
        self.table = self._folder / "fetch.csv"
        self._journal_path = self._folder / "journal.jsonl"
        self._known: dict[str, Known] = {}
        self._journal: IO[str] | None = None

    @contextlib.contextmanager
    def locked(self) -> Iterator[State]:
        """Make the folder, keep other runs out, and sweep up what a killed one left.

        Raises
        ------
        UsageError
            Another run is downloading into it.
        CannotWrite
        """
        with contextlib.ExitStack() as stack:
            try:
                self.scratch.mkdir(parents=True, exist_ok=True)
                stack.enter_context(file_lock(self._folder / "lock"))
                self._sweep()
                # A table tells of a run that came to its end.
                self.table.unlink(missing_ok=True)
                self._read_journal()
                self._journal = stack.enter_context(open(self._journal_path, "a", encoding="utf-8"))
            except Held as holder:
                raise UsageError(
                    f"another download into {self._folder.parent} is running ({holder}); wait for "
                    "it, or give another --out-dir"
                ) from None
            except OSError as error:
                raise CannotWrite(f"cannot write to {self._folder.parent}: {error}") from error
            stack.callback(self._sweep)
            yield self

    def known(self, file: str) -> Known | None:
        """What the journal says of a file, by its name relative to the folder."""
        return self._known.get(file)

    def remember(self, known: Known) -> None:
        """Add to the journal.

        Raises
        ------
        CannotWrite
        """
        assert self._journal is not None
        self._known[known.row.file] = known
        try:
            self._journal.write(json.dumps(asdict(known)) + "\n")
            self._journal.flush()
        except OSError as error:
            raise CannotWrite(f"cannot write {self._journal_path}: {error.strerror}") from error

    def write_table(self, rows: Iterable[Row]) -> None:
        """Write ``fetch.csv``.

        Raises
        ------
        CannotWrite
        """
        names = [f.name for f in fields(Row)]
        try:
            with (
                appears_whole(self.table, self.scratch) as temporary,
                open(temporary, "w", encoding="utf-8", newline="") as file,
            ):
                table = csv.DictWriter(file, names)
                table.writeheader()
                table.writerows(asdict(row) for row in rows)
        except OSError as error:
            raise CannotWrite(f"cannot write {self.table}: {error.strerror}") from error

    def _sweep(self) -> None:
        with contextlib.suppress(OSError):
            for leftover in self.scratch.iterdir():
                leftover.unlink(missing_ok=True)

    def _read_journal(self) -> None:
        try:
            text = self._journal_path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return
        for line in text.splitlines():
            # A line that was cut off by a kill is no line.
            with contextlib.suppress(ValueError, TypeError, KeyError):
                known = _known(json.loads(line))
                self._known[known.row.file] = known
        if text and not text.endswith("\n"):
            with open(self._journal_path, "a", encoding="utf-8") as file:
                file.write("\n")


def _known(record: dict[str, Any]) -> Known:
    return Known(str(record["remote"]), int(record["mtime_ns"]), Row(**record["row"]))
