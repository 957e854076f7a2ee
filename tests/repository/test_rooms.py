"""The plan of the house in docs/development.md: imports go down."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatch

import pytest

from tests.support.places import ROOT

PAGE = ROOT / "docs" / "development.md"

TOOL = re.compile(r"\.generate_\w+")
"""A module that is run by hand, and looks up from the room of the table that it writes."""

PACKAGES = ("pipeline", "model", "ellipsoid_flow")
WITH_TORCH = {"pipeline/batching", "pipeline/dataset", "pipeline/embed"}


def floors() -> dict[str, int]:
    """Room → its floor, as the page says."""
    rows = re.findall(r"^\| (\d+) \| `(\w+/\w+)` \|", PAGE.read_text(encoding="utf-8"), re.M)
    assert len(rows) == len({room for _, room in rows})
    return {room: int(floor) for floor, room in rows}


def modules() -> Iterator[tuple[str, ast.Module]]:
    """All but tools and old names."""
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            tree = ast.parse(path.read_text(encoding="utf-8"))
            if not TOOL.search(name) and not (ast.get_docstring(tree) or "").startswith(
                "The old name"
            ):
                yield name, tree


def imported(tree: ast.Module) -> Iterator[str]:
    """Modules, and names in modules, that are imported by their whole names, wherever."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(module: str) -> str:
    return "/".join(module.split(".")[:2])


def test_every_room_is_in_the_plan_and_the_plan_has_no_other() -> None:
    rooms = {room_of(name) for name, _ in modules()} - {*PACKAGES}
    assert {*floors()} == rooms, f"every room has a row in {PAGE.name}, and no row is of none"


def test_every_import_goes_to_a_lower_floor() -> None:
    floor = floors()
    upwards = {
        f"{name} → {target}"
        for name, tree in modules()
        for target in imported(tree)
        if target.partition(".")[0] in PACKAGES
        and "." in target
        and room_of(target) != room_of(name)
        and floor.get(room_of(target), 0) >= floor.get(room_of(name), 99)
    }
    assert not upwards, "imports go down"


def test_nothing_of_ours_imports_what_only_leads_to_it() -> None:
    inside = ((name, tree) for name, tree in modules() if not name.startswith("ellipsoid_flow"))
    targets = {target.partition(".")[0]: name for name, tree in inside for target in imported(tree)}
    assert "pipeline" in targets
    assert "ellipsoid_flow" not in targets, "it re-exports; import what it leads to"


def test_a_build_needs_no_torch() -> None:
    with_torch = {
        room_of(name)
        for name, tree in modules()
        if any(target.partition(".")[0] in ("torch", "transformers") for target in imported(tree))
    }
    assert {room for room in with_torch if room.startswith("pipeline/")} == WITH_TORCH


def test_nothing_imports_a_tool() -> None:
    assert list((ROOT / "pipeline").rglob("generate_*.py"))
    assert not [name for name, tree in modules() if any(map(TOOL.search, imported(tree)))]


def test_pytest_looks_into_every_folder_of_tests(pytestconfig: pytest.Config) -> None:
    """It passes over some names by itself, "build" among them, and says nothing."""
    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")}
    names = {part for folder in folders for part in folder.relative_to(ROOT).parts}
    assert "build" in names
    patterns = pytestconfig.getini("norecursedirs")
    assert not [name for name in names if any(fnmatch(name, pattern) for pattern in patterns)]
