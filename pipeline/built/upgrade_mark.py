"""A note in ``.build`` while shards are upgraded: some may be newer than ``build.json`` says."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.built.layout import Layout
from pipeline.files.atomic import appears_whole


@contextmanager
def upgrading(layout: Layout) -> Iterator[None]:
    """Within the block an upgrade replaces shards; if it is left by an error, the note stays."""
    with appears_whole(layout.root / layout.upgrade, layout.scratch) as temporary:
        temporary.write_text(_sha256(layout), encoding="ascii")
    yield
    (layout.root / layout.upgrade).unlink()


def was_interrupted(layout: Layout) -> bool:
    """Whether an upgrade of the dataset that ``build.json`` speaks of was begun and not ended."""
    try:
        return (layout.root / layout.upgrade).read_text(encoding="ascii") == _sha256(layout)
    except (OSError, ValueError):
        return False


def _sha256(layout: Layout) -> str:
    with open(layout.root / layout.build_json, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
