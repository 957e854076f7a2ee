"""The documentation as a site: it is built from the pages as they are, without a warning."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from mkdocs.config import load_config

import ellipsoid_flow
from tests.support.places import ROOT


def test_every_page_of_the_documentation_is_in_the_menu() -> None:
    menu = repr(load_config(str(ROOT / "mkdocs.yml"))["nav"])
    assert [p.name for p in ROOT.glob("docs/*.md") if f"'{p.name}'" not in menu] == []
    notebooks = [f"notebooks/{p.stem}.md" for p in ROOT.glob("docs/notebooks/*.ipynb")]
    assert [name for name in notebooks if name not in menu] == []
    assert len(notebooks) >= 4


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_explains_every_public_name(tmp_path: Path) -> None:
    site = tmp_path / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(site)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    interface = (site / "api" / "index.html").read_text(encoding="utf-8")
    for name in ellipsoid_flow.__all__:
        assert f'id="{ellipsoid_flow.home_of(name)}.{name}"' in interface, name
    assert 'href="api/"' in (site / "index.html").read_text(encoding="utf-8")


def test_links_out_of_the_pages_lead_to_pages_of_the_site_or_are_names() -> None:
    """mkdocs itself lets links be that leave its folder."""
    given = (
        "[a](../README.md#start) [`model`](../model/__init__.py) [b](format.md) [c](https://x.y)"
    )
    made = "[a](index.md#start) `model` (`model/__init__.py`) [b](format.md) [c](https://x.y)"
    assert site_pages().relinked(given, "docs/x.md") == made
    assert site_pages().relinked("![p](docs/p.png)", "README.md") == "![p](p.png)"
    with pytest.raises(ValueError, match=r"docs/x\.md: there is no nothing\.md"):
        site_pages().relinked("[a](../nothing.md)", "docs/x.md")


def site_pages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_pages", ROOT / "docs" / "site_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
