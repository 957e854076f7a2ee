"""One entry: is it there? Else attempts with growing pauses, a check, and its name at once."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from dataclasses import replace
from pathlib import Path

from pipeline.commands.words import MEBIBYTE
from pipeline.fetch.content import SUFFIXES, Content, check_content
from pipeline.fetch.download import Downloader
from pipeline.fetch.entry_ids import Wanted
from pipeline.fetch.options import FetchOptions
from pipeline.fetch.pace import Pace
from pipeline.fetch.problems import CannotWrite, FetchProblem
from pipeline.fetch.servers import fill_in
from pipeline.fetch.state import Known, Row, State
from pipeline.files.atomic import publish

FIRST_PAUSE = 1.0
LONGEST_BACK_OFF = 60.0
"""Seconds between attempts: doubled each time, up to the longest."""


class EntryFetcher:
    """Fetches entries, for several threads.

    Parameters
    ----------
    options : FetchOptions
    pattern : str
        From `servers.url_pattern`.
    state : State
    downloader : Downloader
    pace : Pace
    """

    def __init__(
        self,
        options: FetchOptions,
        pattern: str,
        state: State,
        downloader: Downloader,
        pace: Pace,
    ) -> None:
        self._options, self._pattern, self._state = options, pattern, state
        self._downloader, self._pace = downloader, pace
        self._max_bytes = options.max_file_size * MEBIBYTE

    def fetch(self, wanted: Wanted) -> Known | Row:
        """See that an entry is there; a new record of its file, or what else is to be told.

        Raises
        ------
        CannotWrite
        Stopped
        """
        begun = time.monotonic()
        if not self._options.overwrite and (there := self._find(wanted)) is not None:
            return there
        url = fill_in(self._pattern, wanted, self._options.format)
        row = Row(wanted.entry_id, "failed", url=url)
        temporary = self._state.scratch / f"{wanted.entry_id}.{threading.get_ident()}.part"
        try:
            for attempt in range(1, self._options.attempts + 1):
                row = replace(row, attempts=attempt)
                try:
                    content = self._attempt(url, temporary, wanted)
                except FetchProblem as problem:
                    if not problem.transient or attempt == self._options.attempts:
                        raise
                    self._back_off(problem, attempt)
                    continue
                row = replace(row, status="fetched", seconds=round(time.monotonic() - begun, 3))
                return self._keep(temporary, wanted, content, row)
            raise AssertionError("the last attempt ends in one way or the other")
        except FetchProblem as problem:
            return replace(
                row,
                reason=problem.reason,
                message=str(problem),
                seconds=round(time.monotonic() - begun, 3),
            )
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _attempt(self, url: str, temporary: Path, wanted: Wanted) -> Content:
        has_end = self._downloader.download(url, temporary)
        return self._check(temporary, wanted, has_end=has_end)

    def _check(self, path: Path, wanted: Wanted, *, has_end: bool) -> Content:
        try:
            return check_content(
                path, self._options.format, wanted, self._max_bytes, has_end=has_end
            )
        except OSError as error:
            raise CannotWrite(f"cannot read {path}: {error.strerror}") from error

    def _back_off(self, problem: FetchProblem, attempt: int) -> None:
        # Up to half more or less, or all that failed together would come back together.
        pause = min(LONGEST_BACK_OFF, FIRST_PAUSE * 2 ** (attempt - 1)) * random.uniform(0.5, 1.5)
        if problem.reason == "busy":
            # The server has enough of all of us, not of this entry.
            self._pace.keep_quiet(problem.pause if problem.pause is not None else pause)
        else:
            self._pace.sleep(pause)

    def _place(self, wanted: Wanted, suffix: str) -> str:
        name = f"{wanted.entry_id}.{self._options.format}{suffix}"
        return f"{wanted.middle}/{name}" if self._options.layout == "divided" else name

    def _path(self, file: str) -> Path:
        return self._options.out_dir / file

    def _find(self, wanted: Wanted) -> Known | Row | None:
        """The good file that is there: a row if the journal knows it, else a record for it."""
        for suffix in SUFFIXES.values():
            file = self._place(wanted, suffix)
            try:
                status = self._path(file).stat()
            except OSError:
                continue
            known = self._state.known(file)
            if known is not None and known.remote != wanted.remote:
                continue  # another version of the model
            if (
                known is not None
                and known.row.bytes == status.st_size
                and known.mtime_ns == status.st_mtime_ns
            ):
                return replace(known.row, status="there")
            with contextlib.suppress(FetchProblem, CannotWrite):
                # The end of a text is known of none that has no record.
                content = self._check(self._path(file), wanted, has_end=False)
                if content.suffix == suffix and (
                    known is None or known.row.sha256 in ("", content.sha256)
                ):
                    row = known.row if known is not None else Row(wanted.entry_id, "there")
                    return self._record(wanted, file, content, replace(row, status="there"))
        return None

    def _keep(self, temporary: Path, wanted: Wanted, content: Content, row: Row) -> Known:
        """Give the file its name; from here on it is there, whatever happens."""
        file = self._place(wanted, content.suffix)
        path = self._path(file)
        try:
            path.parent.mkdir(exist_ok=True)
            publish(temporary, path)
            for suffix in SUFFIXES.values():
                if suffix != content.suffix:  # an older one, which a build would read as well
                    self._path(self._place(wanted, suffix)).unlink(missing_ok=True)
            return self._record(wanted, file, content, row)
        except OSError as error:
            raise CannotWrite(f"cannot write {path}: {error.strerror}") from error

    def _record(self, wanted: Wanted, file: str, content: Content, row: Row) -> Known:
        row = replace(row, file=file, bytes=content.n_bytes, sha256=content.sha256)
        return Known(wanted.remote, self._path(file).stat().st_mtime_ns, row)
