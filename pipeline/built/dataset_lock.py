"""The lock of a dataset, here or in a store: builds hold it, and commands that mend or add."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from pipeline.built.layout import Layout
from pipeline.built.store_lock import InUse, wait_until_free
from pipeline.files.lock import Held, take


@contextlib.contextmanager
def locked(layout: Layout) -> Iterator[None]:
    """Keep builds and whoever else changes it out of the dataset.

    Raises
    ------
    InUse
    """
    (layout.root / layout.state).mkdir(exist_ok=True)
    # Nothing is written into it: a repair that finds nothing to mend leaves no trace.
    with open(layout.root / layout.lock, "a+") as lock:
        with _named(layout):
            take(lock, shared=False)
        yield


def check_unlocked(layout: Layout, tell: Callable[[str], None]) -> None:
    """See that nobody is writing to the dataset, without writing anything.

    Parameters
    ----------
    tell : callable
        Called with a sentence if that takes a while, as it may in a store.

    Raises
    ------
    InUse
    StorageError
    """
    if not layout.folder.is_local:
        try:
            wait_until_free(layout.folder, layout.lock, tell)
        except InUse:
            raise InUse(f"a build is writing to {layout.folder}; wait for its end") from None
        return
    with (
        _named(layout),
        contextlib.suppress(FileNotFoundError, PermissionError),
        open(layout.root / layout.lock) as lock,
    ):
        take(lock, shared=True)


@contextlib.contextmanager
def _named(layout: Layout) -> Iterator[None]:
    try:
        yield
    except Held as holder:
        sentence = f"a build is writing to {layout.folder} ({holder}); wait for its end"
        raise InUse(sentence) from None
