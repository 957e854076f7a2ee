"""Reading sources in turn; those in a store are fetched ahead of their turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from pipeline.files.storage import Folder, open_folder
from pipeline.sources.read import RawFile, read_source
from pipeline.sources.source_file import SourceFile
from pipeline.sources.stored import is_here

FILES_AHEAD = 16
"""Files that are on their way, or wait for their turn: with two requests for each and 30 ms for a
request, that is a file in 4 ms."""
BYTES_AHEAD = 64 << 20
"""Their bytes; a file that is larger comes alone."""


class SourceReader:
    """Reads sources as ``read_source`` does; what lies in a store, while others are worked on.

    A context manager: leaving it lets go of what is still on its way.

    Parameters
    ----------
    root : Path or Folder
        What the paths of the sources are relative to; a Path may carry a URI.
    max_bytes : int
        Limit of one source.
    """

    def __init__(self, root: Path | Folder, max_bytes: int) -> None:
        self.root = open_folder(root)
        self._max_bytes = max_bytes
        self._expected: deque[SourceFile] = deque()
        self._coming: dict[SourceFile, Future[RawFile]] = {}
        self._n_bytes = 0
        self._threads: ThreadPoolExecutor | None = None

    def __enter__(self) -> SourceReader:
        return self

    def __exit__(self, *_: object) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def expect(self, sources: Iterable[SourceFile]) -> None:
        """Say what will be read, in this order. (What is read without that is read then.)"""
        self._expected.extend(
            source
            for source in sources
            if not is_here(source.path, self.root) and source.size <= self._max_bytes
        )

    def read(self, source: SourceFile) -> RawFile:
        """The stored bytes of a source.

        Raises
        ------
        SourceError
        """
        self._fetch_ahead()
        if source not in self._coming:
            return read_source(source, self.root, self._max_bytes)
        try:
            return self._coming[source].result()
        finally:
            self.forget(source)

    def forget(self, source: SourceFile) -> None:
        """A source that was expected is not needed any more."""
        if self._coming.pop(source, None) is not None:
            self._n_bytes -= max(0, source.size)

    def _fetch_ahead(self) -> None:
        while self._expected and len(self._coming) < FILES_AHEAD:
            source = self._expected[0]
            size = max(0, source.size)
            if self._coming and self._n_bytes + size > BYTES_AHEAD:
                return
            if self._threads is None:
                self._threads = ThreadPoolExecutor(FILES_AHEAD)
            self._expected.popleft()
            self._n_bytes += size
            self._coming[source] = self._threads.submit(
                read_source, source, self.root, self._max_bytes
            )
