"""Modules that have moved: their old names stay for a release, and are the same things."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

MOVED = {
    "pipeline.frames": "pipeline.geometry.frames",
    "pipeline.gaussians": "pipeline.geometry.gaussians",
    "pipeline.storage": "pipeline.files.storage",
}


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_an_old_name_has_all_that_the_new_one_has(old: str, new: str) -> None:
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=f"{old} is {new} now"):
        before = importlib.import_module(old)
    now = importlib.import_module(new)
    public = [name for name in vars(now) if not name.startswith("_")]
    assert public
    assert all(getattr(before, name) is getattr(now, name) for name in public)


def test_nothing_of_ours_imports_an_old_name() -> None:
    code = "import pipeline.batching, pipeline.build.command, pipeline.verify.command"
    old = f"import sys; assert not {{*sys.modules}} & {{*{list(MOVED)}}}"
    subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:pipeline", "-c", f"{code}; {old}"],
        check=True,
    )
