"""What docs/attention.md shows runs, and what it says of options is so."""

from __future__ import annotations

import inspect
import re

import pytest

from model.attention import build_attention
from tests.support.places import ROOT

PAGE = (ROOT / "docs" / "attention.md").read_text(encoding="utf-8")
RUNNABLE = re.findall(r"(?ms)^<!-- runs -->\n```python\n(.*?)^```$", PAGE)


def test_all_python_blocks_are_marked_runnable() -> None:
    assert len(RUNNABLE) == len(re.findall(r"(?m)^```python$", PAGE)) > 0


@pytest.mark.parametrize("code", RUNNABLE)
def test_every_block_runs(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(code, "<attention.md>", "exec"), {"__name__": "documentation"})
    assert capsys.readouterr().out


def test_the_documented_options_exist_with_their_defaults() -> None:
    documented = re.findall(r"(?m)^\| `(\w+)=\"?([\w.]+)\"?` \|", PAGE)
    options = inspect.signature(build_attention).parameters
    assert {name for name, _ in documented} == {
        name for name, p in options.items() if p.default is not inspect.Parameter.empty
    }
    for name in {name for name, _ in documented}:
        first = next(value for n, value in documented if n == name)
        assert str(options[name].default) == first, name
