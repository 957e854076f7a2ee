"""Where the tests of the model run: on the CPU, or where ``--device`` says.

Without a GPU, the kernels of attention are interpreted. Triton decides that when it is imported, so
the variable is set with the options, before any test.
"""

from __future__ import annotations

import importlib.util
import os

import pytest
import torch

VARIABLE = "ELLIPSOID_FLOW_TEST_DEVICE"
DEVICE = torch.device(os.environ.get(VARIABLE, "cpu"))

interpreted_or_on_gpu = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="the extra `gpu` is not installed"
)

on_gpu = pytest.mark.skipif(DEVICE.type != "cuda", reason="it is about a GPU: pytest --device cuda")
