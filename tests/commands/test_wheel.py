"""The wheel: what is installed from it works in a folder that has nothing of the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.places import EXAMPLES, ROOT

PACKAGES = ("ellipsoid_flow", "pipeline", "model")


def test_every_file_of_the_packages_goes_into_the_wheel() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]
    matched = {
        path
        for package, globs in patterns.items()
        for glob in globs
        for path in (ROOT / package.replace(".", "/")).glob(glob)
    }
    there = {
        path
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc", ".so")
    }
    assert there <= matched
    assert {p.name for p in EXAMPLES.iterdir()} <= {path.name for path in matched}
    assert all((ROOT / package / "py.typed") in matched for package in PACKAGES)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that pip has installed the wheel into."""
    folder = tmp_path_factory.mktemp("wheel")
    source, target = folder / "source", folder / "installed"
    skipped = shutil.ignore_patterns("__pycache__", "*.so")
    for name in (*PACKAGES, EXAMPLES.parent.name):
        shutil.copytree(ROOT / name, source / name, ignore=skipped, symlinks=True)
    for name in ("README.md", "LICENSE", "pyproject.toml"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    plain = ["--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "wheel", *plain, "--wheel-dir", folder, source], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", target, wheel], check=True)
    shutil.rmtree(source)
    return target


@pytest.mark.slow
def test_a_wheel_is_all_that_it_takes_to_build_train_and_sample(
    installed: Path, tmp_path: Path
) -> None:
    for name in ("model.py", "pipeline.py"):
        (tmp_path / name).write_text("raise SystemExit('a file of the user ran')\n")

    def run(line: str) -> str:
        done = subprocess.run(
            [installed / "bin" / "ellipsoid-flow", *line.split()],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(installed)},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert run("--version").startswith("ellipsoid-flow 0")
    run("examples structures")
    run("build --pdb-dir structures --out-dir dataset --n-jobs 2 --quiet")
    assert json.loads((tmp_path / "dataset/build.json").read_text())["counts"]["chains"] == 35
    run("verify dataset --quick --n-jobs 2")
    # Batches come from two workers, also from such as start anew.
    workers = "--data.num_workers 2 --data.multiprocessing_context spawn --trainer.max_steps 2"
    run(f"train fit --config tiny --data.path dataset --run.dir runs/tiny {workers}")
    run(
        "sample --task packing --ckpt runs/tiny/checkpoints/last.ckpt "
        "--input structures/1orc.pdb.gz --out-dir packed"
    )
    run("sample --task packing --input structures/1orc.pdb.gz --out-dir packed_by_the_package_s")
    assert (tmp_path / "packed/1orc_1.cif").is_file()
