"""The output folder: whose it is while a build writes to it, and of which configuration."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from typing import Any

from pipeline.built.errors import OutputError
from pipeline.built.layout import Layout
from pipeline.built.reading import Reading
from pipeline.built.store_lock import InUse, store_lock, wait_until_free
from pipeline.built.tables import withdraw
from pipeline.commands.words import MEBIBYTE, dashed, told
from pipeline.errors import UsageError
from pipeline.files.lock import Held, file_lock
from pipeline.files.place import Place
from pipeline.files.storage import Location, StorageError


def layout_of(out_dir: Location) -> Layout:
    """Of a folder here; or of one in a store, with a place on this machine for files in progress.

    That is the same one each time, so that what a killed build left there is swept up by the next.
    """
    place = Place(out_dir)
    if place.folder.is_local:
        return Layout(place)
    name = hashlib.sha256(place.folder.uri.encode()).hexdigest()[:16]
    here = Path(tempfile.gettempdir()) / f"ellipsoid-flow-{os.getuid()}-{name}"
    return Layout(place, here / "scratch")


@contextlib.contextmanager
def output_folder(
    layout: Layout, reading: Reading, overwrite: bool, tell: Callable[[str], None]
) -> Iterator[Callable[[], None]]:
    """Make the folder, lock it, and see that it belongs to this configuration.

    Parameters
    ----------
    layout : Layout
        From `layout_of`.
    reading : Reading
    overwrite : bool
        What another configuration built there is deleted.
    tell : callable
        Called with a sentence if that takes a while.

    Yields
    ------
    callable
        Raises `InUse` if another build has taken the folder since, which only a store allows.

    Raises
    ------
    InUse
        Another build is writing to it.
    UsageError
        Another configuration wrote it.
    OutputError
        It cannot be written to.
    """
    here = _prepared(layout)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_locked(here / "lock", layout))
            _clear(layout.scratch)
            stack.callback(_clear_if_possible, layout.scratch)
            check_ours = _nothing_to_check
            if not layout.folder.is_local:
                check_ours = stack.enter_context(
                    store_lock(layout.folder, layout.lock, layout.scratch, tell)
                )
            _sweep_up_tasks(layout, tell)
            _claim(layout, reading, overwrite)
        except OSError as error:
            raise OutputError.of(f"cannot write to {layout.folder}", error) from error
        yield check_ours


@contextlib.contextmanager
def task_folder(
    layout: Layout, index: int, of: int, tell: Callable[[str], None]
) -> Iterator[Layout]:
    """Share the folder with the other tasks of an array job, and keep builds out of it.

    Parameters
    ----------
    layout : Layout
        From `layout_of`.
    index, of : int
        Of the task; a second one of the same index is refused.

    Yields
    ------
    Layout
        Of the folder, with a place for files in progress that is this task's alone.

    Raises
    ------
    InUse
        A build is writing to it, or the same task.
    OutputError
    """
    here = _prepared(layout)
    work = layout.scratch / f"task-{index}-of-{of}"
    own = layout.task_lock(index, of)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(
                _locked(here / "lock", layout, shared="tasks of an array job, --part")
            )
            stack.enter_context(_locked(here / PurePath(own).name, layout, f"task {index}/{of}"))
            work.mkdir(exist_ok=True)
            _clear(work)
            stack.callback(shutil.rmtree, work, ignore_errors=True)
            if not layout.folder.is_local:
                # Its own lock first, then a look at the build's: a build does it the other way
                # round, so that one of the two sees the other.
                stack.enter_context(store_lock(layout.folder, own, work, tell))
                wait_until_free(layout.folder, layout.lock, tell)
        except OSError as error:
            raise OutputError.of(f"cannot write to {layout.folder}", error) from error
        yield Layout(layout.place, work)


def _prepared(layout: Layout) -> Path:
    """Make the folders; where this machine's locks of them are."""
    here = layout.root / layout.state if layout.work is None else layout.work.parent
    try:
        if layout.work is not None:
            make_private(here)
        layout.make_folders()
    except OSError as error:
        raise OutputError.of(f"cannot write to {layout.folder}", error) from error
    return here


def _sweep_up_tasks(layout: Layout, tell: Callable[[str], None]) -> None:
    """Remove the locks of an array job's tasks; in a store, once nobody renews them any more."""
    for name in layout.folder.list(layout.state):
        if re.fullmatch(r"task-\d+-of-\d+\.lock", name):
            lock = f"{layout.state}/{name}"
            if not layout.folder.is_local:
                wait_until_free(layout.folder, lock, tell)
            layout.folder.delete(lock)


def _nothing_to_check() -> None:
    """A lock of the file system cannot be lost."""


@contextlib.contextmanager
def _locked(
    path: Path, layout: Layout, what: str = "another build", *, shared: str | None = None
) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(file_lock(path, shared=shared))
        except Held as holder:
            raise InUse(
                f"{what} is writing to {layout.folder} ({holder}); wait for it, or give another "
                "--out-dir"
            ) from None
        except OSError as error:
            raise OutputError(f"cannot lock {path}: {error}") from error
        yield


def make_private(place: Path) -> None:
    """A folder where anybody may make folders: nobody else may have made this one."""
    with contextlib.suppress(FileExistsError):
        place.mkdir(mode=0o700)
    status = place.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise PermissionError(f"{place} belongs to somebody else; set TMPDIR to another folder")


def _clear(scratch: Path) -> None:
    for leftover in scratch.iterdir():
        if leftover.is_dir():  # of one task among several
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _clear_if_possible(scratch: Path) -> None:
    with contextlib.suppress(OSError):
        _clear(scratch)


def check_configuration(layout: Layout, reading: Reading) -> None:
    """See that a build of this configuration may go on in the folder without deleting anything.

    Raises
    ------
    UsageError
    """
    known = _known_identity(layout)
    current = json.loads(json.dumps(reading.identity()))
    if known is None and layout.folder.exists(layout.build_json):
        raise UsageError(
            f"{layout.folder} holds a finished dataset, but not what a build needs to go on in it "
            "(.build was not copied with it?); give another --out-dir, or --overwrite to delete it "
            "and start anew"
        )
    if known is not None and known != current:
        if "derived_from" in known:
            raise UsageError(
                f"{layout.folder} was made by pipeline.subset out of other datasets, and no build "
                "goes on in it; give another --out-dir, or --overwrite to delete it and start anew"
            )
        raise UsageError(
            f"{layout.folder} was built with another configuration "
            f"({difference(known, current)}); give another --out-dir, or --overwrite to "
            "delete it and start anew"
        )


def _claim(layout: Layout, reading: Reading, overwrite: bool) -> None:
    if not overwrite:
        check_configuration(layout, reading)
    identity = reading.identity()
    if _known_identity(layout) != json.loads(json.dumps(identity)):
        if overwrite:
            withdraw(layout)
            # Only what builds make: the folder may hold what somebody else put there.
            _delete(layout, layout.state, "part-*.json")
            _delete(layout, layout.shards, "part-*.parquet")
        with layout.folder.appears_whole(layout.config, layout.scratch) as temporary:
            temporary.write_text(json.dumps(identity, indent=1), encoding="utf-8")


def _known_identity(layout: Layout) -> dict[str, Any] | None:
    try:
        return json.loads(layout.folder.read_bytes(layout.config))
    except StorageError:
        raise
    except (OSError, ValueError):
        return None


def _delete(layout: Layout, folder: str, pattern: str) -> None:
    for name in layout.folder.list(folder):
        if PurePath(name).match(pattern):
            layout.folder.delete(f"{folder}/{name}")


_VERSIONS = {
    "schema_version": "shards have another format",
    "components_version": "residues are named by another table",
    "parsing_version": "files become rows by other rules",
}


def difference(known: dict[str, Any], current: dict[str, Any]) -> str:
    """Where two configurations differ, by the names of options; empty if they do not."""
    parts = []
    for key in sorted({*known, *current}):
        before, after = known.get(key), current.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            inner = difference(before, after)
            if inner:
                parts.append(inner)
        elif before != after:
            name = key if key.endswith("_version") else dashed(key.removesuffix("_sha256"))
            if key == "max_file_size":  # given in MiB
                before, after = (int(v or 0) // MEBIBYTE for v in (before, after))
            why = f": {_VERSIONS[key]}" if key in _VERSIONS else ""
            parts.append(f"{name}: {told(before)} then, {told(after)} now{why}")
    return ", ".join(parts)
