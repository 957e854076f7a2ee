"""What commands load when they start."""

from __future__ import annotations

import subprocess
import sys

import pytest

ARRAY = "import pyarrow as pa; pa.array([1, 2])"


def loaded(code: str, *names: str) -> list[str]:
    """Which of some modules a new process has after some code, run as a module of ours."""
    script = (
        "import sys\n"
        "from pipeline.commands.without_pandas import without_pandas\n"
        f"exec({code!r}, {{'__name__': 'pipeline.some', 'without_pandas': without_pandas}})\n"
        f"print(*(name for name in {names!r} if name in sys.modules))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout.split()


def test_arrow_imports_no_pandas_for_us() -> None:
    pytest.importorskip("pandas")
    assert loaded(ARRAY, "pandas") == ["pandas"]
    assert loaded(f"without_pandas(); {ARRAY}", "pandas") == []
    # Nor through what of Arrow's is written in Python.
    compared = "import pyarrow as pa, pyarrow.compute as pc; pc.greater(pa.nulls(1, pa.int8()), 1)"
    assert loaded(f"without_pandas(); {compared}", "pandas") == []


def test_whoever_else_wants_pandas_has_it() -> None:
    pytest.importorskip("pandas")
    asked = "exec('import pandas', {'__name__': 'somebody'})"
    assert loaded(f"without_pandas(); {ARRAY}; {asked}", "pandas") == ["pandas"]


def test_geometry_of_numpy_arrays_loads_no_copy_of_numpy() -> None:
    code = "import numpy as np; from pipeline.geometry.frames import is_frame; is_frame(*np.eye(3))"
    names = ("pipeline.geometry.frames", "array_api_compat.numpy", "numpy.f2py")
    assert loaded(code, *names) == ["pipeline.geometry.frames"]
