"""Every module says of what its dicts and arrays are; mypy asks for it."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tests.support.places import ROOT

GENERIC = {"Callable", "NDArray", "Sequence", "dict", "list", "ndarray", "tuple"}


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


def test_no_module_is_excused_from_saying_so() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]
    assert settings["disallow_any_generics"]
    assert not settings.get("overrides")


def test_no_function_takes_more_than_seven_arguments_by_position() -> None:
    long = []
    for path in (
        p for room in ("pipeline", "model", "ellipsoid_flow") for p in (ROOT / room).rglob("*.py")
    ):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and not node.name.lstrip("_").startswith("from_"):
                names = [a.arg for a in (*node.args.posonlyargs, *node.args.args)]
                # torch gives the forward pass of an autograd function its context, and no keywords;
                # the functions of a GPU know none.
                if any(ast.unparse(d).startswith("triton.jit") for d in node.decorator_list):
                    continue
                if len(names) - (names[:1] in (["self"], ["cls"])) > 7 and names[0] != "ctx":
                    long.append(f"{path.name}: {node.name}")
    assert long == []


def test_no_annotation_leaves_out_of_what_something_is() -> None:
    modules = [
        path
        for room in ("pipeline", "model", "ellipsoid_flow")
        for path in (ROOT / room).rglob("*.py")
    ]
    assert modules
    assert {path.name: found for path in modules if (found := list(bare_types(path)))} == {}


def test_a_type_that_leaves_it_out_would_be_found(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("def f(a: NDArray, b: dict[str, list]) -> Iterator[tuple[int]]: ...")
    assert sorted(bare_types(module)) == ["NDArray", "list"]
