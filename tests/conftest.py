"""What several test files share: a small dataset of real entries, built once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from pipeline.build.command import main
from tests.support.places import EXAMPLES
from tests.support.s3_server import BUCKET, S3Server, s3_server

if "PYTEST_XDIST_WORKER" in os.environ:
    # Test processes share the cores: threads of several would stand in each other's way.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


VARIABLE = "ELLIPSOID_FLOW_TEST_DEVICE"

# How long an example takes says what else the machine does.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Shells start background jobs so, and commands that tests start would inherit it: their Ctrl-C
    # would go unheard.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device", default="cpu", choices=("cpu", "cuda"), help="where tests of the model run"
    )


def pytest_configure(config: pytest.Config) -> None:
    device = config.getoption("--device")
    # Before the tests are imported, which read it: `tests.support.devices`.
    os.environ[VARIABLE] = device
    if device == "cpu":
        os.environ.setdefault("TRITON_INTERPRET", "1")
        return
    import torch

    if not torch.cuda.is_available():
        raise pytest.UsageError("--device cuda: torch finds no GPU here; leave it out for the CPU")


@pytest.fixture(scope="session")
def examples_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a build of the examples. Copy it before changing anything in it."""
    out_dir = tmp_path_factory.mktemp("examples") / "dataset"
    arguments = ["--pdb-dir", str(EXAMPLES), "--out-dir", str(out_dir), "--n-jobs", "1", "--quiet"]
    assert main(arguments) == 0
    return out_dir


@pytest.fixture(scope="module")
def running() -> Iterator[S3Server]:
    """A store with a bucket."""
    with s3_server() as server:
        server.make_bucket(BUCKET)
        yield server


@pytest.fixture
def s3(running: S3Server) -> Iterator[S3Server]:
    """The same; whatever a test has told it to do wrong, it works again after that."""
    yield running
    running.work()
