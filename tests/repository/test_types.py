"""Which modules are not strictly typed yet: a list in pyproject.toml that only shrinks."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tests.support.places import ROOT

GENERIC = {"Callable", "NDArray", "Sequence", "dict", "list", "ndarray", "tuple"}
MOST = 12
"""Take the module from the list, and one from this number, when its last bare type is gone."""


def not_strict() -> list[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]
    assert settings["disallow_any_generics"]
    return [
        module
        for override in settings["overrides"]
        if override.get("disallow_any_generics") is False
        for module in override["module"]
    ]


def bare_types(path: Path) -> Iterator[str]:
    """Names of generic types in annotations that do not say of what they are."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if annotation is None:
                continue
            told = {id(n.value) for n in ast.walk(annotation) if isinstance(n, ast.Subscript)}
            for name in ast.walk(annotation):
                if isinstance(name, ast.Name) and name.id in GENERIC and id(name) not in told:
                    yield name.id


def test_the_list_of_modules_that_are_not_strict_only_shrinks() -> None:
    assert len(not_strict()) <= MOST


def test_a_module_in_the_list_still_has_bare_types_and_no_module_beside_it_has() -> None:
    with_bare_types = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for room in ("pipeline", "model")
        for path in (ROOT / room).rglob("*.py")
        if any(bare_types(path))
    }
    assert with_bare_types == set(not_strict())


def test_no_function_of_the_model_takes_more_than_seven_arguments_by_position() -> None:
    long = []
    for path in (ROOT / "model").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("from_"):
                names = [a.arg for a in (*node.args.posonlyargs, *node.args.args)]
                # torch gives the forward pass of an autograd function its context, and no keywords.
                if len(names) - (names[:1] in (["self"], ["cls"])) > 7 and names[0] != "ctx":
                    long.append(f"{path.name}: {node.name}")
    assert long == []
