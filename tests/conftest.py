"""What several test files share: a small dataset of real entries, built once."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import settings

from pipeline.build.command import main

EXAMPLES = Path(__file__).parents[1] / "data_manifest" / "examples"

# How long an example takes says what else the machine does.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Shells start background jobs so, and commands that tests start would inherit it: their Ctrl-C
    # would go unheard.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def examples_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a build of the examples. Copy it before changing anything in it."""
    out_dir = tmp_path_factory.mktemp("examples") / "dataset"
    arguments = ["--pdb-dir", str(EXAMPLES), "--out-dir", str(out_dir), "--n-jobs", "1", "--quiet"]
    assert main(arguments) == 0
    return out_dir
