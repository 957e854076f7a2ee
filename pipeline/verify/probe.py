"""Whether reading a Parquet file kills the process that reads it.

Damaged pages are found by their checksums. The footer has none, and some damage of it (sizes of
values in the statistics) makes Arrow's C++ end the process instead of raising. So files whose bytes
are not known to be good are read by a process of its own first, which is this file run as a script:
it imports nothing but Arrow.
"""

from __future__ import annotations

import atexit
import json
import select
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

KILLS = "its footer is so damaged that reading it kills the process"

SECONDS = 600.0
"""For one file; a footer that is wrong might also make a reader go on for ever."""


def deadly(paths: Iterable[Path]) -> list[Path]:
    """Those of some Parquet files that kill, or hang, the process that reads them.

    Files that are missing, or that raise what can be caught, are none of them.
    """
    return [path for path in paths if path.is_file() and not _PROBE.survives(path)]


class _Probe:
    """A process that reads what it is told to, started when it is needed, and again after it
    died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def survives(self, path: Path) -> bool:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(str(path.absolute())).encode() + b"\n")
        stdin.flush()
        ready, _, _ = select.select([stdout], [], [], SECONDS)
        if ready and stdout.read(1) == b".":
            return True
        self.end()
        return False

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


_PROBE = _Probe()
atexit.register(_PROBE.end)


def read_everything(path: str) -> None:
    """Open, look at all there is in the footer, and decode every page."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        meta = file.metadata
        for g in range(meta.num_row_groups):
            for c in range(meta.num_columns):
                said = meta.row_group(g).column(c).statistics
                if said is not None and said.has_min_max:
                    _ = said.min, said.max, said.null_count
        for g in range(meta.num_row_groups):
            file.read_row_group(g, use_threads=False).validate(full=True)


def main() -> None:
    """Read the files that standard input names, one a line, and write a byte after each."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        with suppress(Exception):  # whoever reads it next can catch it as well
            read_everything(json.loads(line))
        sys.stdout.write(".")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
