"""Where things are that tests read."""

from __future__ import annotations

from pathlib import Path

SUPPORT = Path(__file__).parent
ROOT = SUPPORT.parents[1]
"""Of the repository."""

DATA = SUPPORT.parent / "data"
EXAMPLES = ROOT / "data_manifest" / "examples"

SHARED = ROOT.parent / "shared"
"""Structures that only some machines have; elsewhere the tests that need them are skipped."""

STRUCTURES = SHARED / "structures"
