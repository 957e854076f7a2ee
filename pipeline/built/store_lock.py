"""The lock of an output folder in a store, which has no locks: as good as objects allow."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from pipeline.errors import UsageError
from pipeline.files.storage import Folder, StorageError

BEAT_SECONDS = 15.0
"""So often does a build renew its lock."""

PATIENCE_SECONDS = 60.0
"""A lock that is not renewed for so long is of a build that was killed."""

POLL_SECONDS = 1.0


class InUse(UsageError):
    """Somebody else writes to the folder: a build, or a repair. One sentence."""


@dataclass(frozen=True, slots=True)
class _Holder:
    """What is in a lock.

    Attributes
    ----------
    beat : int
        Grows as long as the holder lives. So no two machines' clocks are compared.
    """

    process: int
    host: str
    since: str
    token: str
    beat: int = 0

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}, since {self.since}"

    @property
    def is_dead(self) -> bool:
        """Whether it was on this machine, and is no more."""
        if self.host != os.uname().nodename:
            return False
        # A container that is started again has the name and the number of the one before.
        return self.process == os.getpid() or not psutil.pid_exists(self.process)


@contextlib.contextmanager
def store_lock(
    folder: Folder, name: str, scratch: Path, tell: Callable[[str], None]
) -> Iterator[Callable[[], None]]:
    """Hold the lock of a folder; yield what raises `InUse` if somebody else has taken it since.

    Two builds that start within the same second may both get it: a store cannot prevent that. One
    of them hears of the other with its next beat.

    Parameters
    ----------
    folder : Folder
    name : str
        Of the lock's object.
    scratch : Path
        Folder on this machine.
    tell : callable
        Called with a sentence if the lock has to be watched for a while.

    Raises
    ------
    InUse
        On entering.
    StorageError
    """
    mine = _Holder(
        os.getpid(),
        os.uname().nodename,
        datetime.now(UTC).isoformat(timespec="seconds"),
        uuid.uuid4().hex,
    )
    wait_until_free(folder, name, tell)
    _write(folder, name, scratch, mine)
    _check_holder(folder, name, mine)
    end = threading.Event()
    intruders: list[_Holder] = []

    def beat() -> None:
        number = 0
        while not end.wait(BEAT_SECONDS):
            # A store that does not answer will be noticed by those who have work to put there.
            with contextlib.suppress(OSError):
                holder = _read(folder, name)
                if holder is not None and holder.token != mine.token:
                    intruders.append(holder)
                    return
                number += 1
                _write(folder, name, scratch, _Holder(**{**asdict(mine), "beat": number}))

    def check_mine() -> None:
        if intruders:
            raise _in_use(folder, intruders[0])

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield check_mine
    finally:
        end.set()
        thread.join()
        with contextlib.suppress(OSError):
            holder = _read(folder, name)
            if holder is not None and holder.token == mine.token:
                folder.delete(name)


def wait_until_free(folder: Folder, name: str, tell: Callable[[str], None]) -> None:
    """Return when the lock is nobody's any more; nothing is written.

    Raises
    ------
    InUse
        Its owner renews it.
    StorageError
    """
    before = _read(folder, name)
    if before is None or before.is_dead:
        return
    tell(
        f"{folder} has the lock of another build ({before}); if that does not renew it within "
        f"{PATIENCE_SECONDS:.0f} s, it was killed, and this command goes on"
    )
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        now = _read(folder, name)
        if now is None:
            return
        if now != before:
            raise _in_use(folder, now)


def _check_holder(folder: Folder, name: str, mine: _Holder) -> None:
    holder = _read(folder, name)
    if holder is not None and holder.token != mine.token:
        raise _in_use(folder, holder)


def _in_use(folder: Folder, holder: _Holder) -> InUse:
    return InUse(
        f"another build is writing to {folder} ({holder}); wait for it, or give another --out-dir"
    )


def _read(folder: Folder, name: str) -> _Holder | None:
    try:
        return _Holder(**json.loads(folder.read_bytes(name)))
    except StorageError:
        raise
    except (OSError, ValueError, TypeError):
        return None


def _write(folder: Folder, name: str, scratch: Path, holder: _Holder) -> None:
    with folder.appears_whole(name, scratch) as temporary:
        temporary.write_text(json.dumps(asdict(holder)), encoding="utf-8")
