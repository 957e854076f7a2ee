"""Biological assemblies: operators, copies and their names."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.parsing import ParseError
from pipeline.parsing.cif_entry import compose, expand
from tests.support.structure_text import chain, cif_text, loop, pdb_text, read

ATOMS = [*chain(["ALA", "GLY"], chain="A"), *chain(["SER"], chain="B", shift=9.0)]
MATRIX = [f"matrix[{i}][{j}]" for i in (1, 2, 3) for j in (1, 2, 3)]
VECTOR = [f"vector[{i}]" for i in (1, 2, 3)]
IDENTITY = (np.eye(3), np.zeros(3))
SHIFT = (np.eye(3), np.array([50.0, 0.0, 0.0]))
TURN = (np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), np.array([10.0, 0.0, 0.0]))
"""Does not commute with `SHIFT`."""


def with_assemblies(generators: list[list[str]], operators: dict[str, tuple]) -> str:
    rows = [
        [name, *(f"{x:.9f}" for x in rotation.ravel()), *(f"{x:.5f}" for x in vector)]
        for name, (rotation, vector) in operators.items()
    ]
    after = loop(
        "pdbx_struct_assembly_gen", ("assembly_id", "oper_expression", "asym_id_list"), generators
    ) + loop("pdbx_struct_oper_list", ("id", *MATRIX, *VECTOR), rows)
    return cif_text(ATOMS, after=after)


def labels(parsed) -> list[str]:
    return [c.label_asym_id for c in parsed.chains]


def moved(coords: np.ndarray, operator) -> np.ndarray:
    return np.rint(coords @ operator[0].T + operator[1] * 1000).astype(np.int64)


def test_the_asymmetric_unit_is_read_by_default():
    text = with_assemblies([["1", "1", "A"]], {"1": IDENTITY})
    parsed = read(text)
    assert labels(parsed) == ["A", "B"]
    assert {c.assembly for c in parsed.chains} == {None}


def test_an_assembly_holds_the_chains_and_copies_it_names():
    text = with_assemblies(
        [["1", "1,2", "A"], ["2", "3", "A,B"]], {"1": IDENTITY, "2": SHIFT, "3": TURN}
    )
    plain = {c.label_asym_id: c for c in read(text).chains}
    first = read(text, assembly="first")
    assert labels(first) == ["A", "A-2"]
    assert [c.auth_asym_id for c in first.chains] == ["A", "A-2"]
    assert [c.uid for c in first.chains] == ["test_1_1_A", "test_1_1_A-2"]
    assert np.array_equal(first.chains[0].coords, plain["A"].coords)
    assert np.array_equal(first.chains[1].coords, moved(plain["A"].coords, SHIFT))
    second = read(text, assembly="2")
    assert labels(second) == ["A", "B"]
    for found in second.chains:
        assert np.array_equal(found.coords, moved(plain[found.label_asym_id].coords, TURN))


def test_only_moved_copies_are_flagged_as_rounded():
    text = with_assemblies([["1", "1,2", "A"]], {"1": IDENTITY, "2": TURN})
    assert [c.coords_rounded for c in read(text, assembly="1").chains] == [False, True]


def test_nested_expressions_apply_the_last_operator_first():
    text = with_assemblies([["1", "(1,2)(P)", "B"]], {"1": IDENTITY, "2": SHIFT, "P": TURN})
    plain = read(text).chains[1].coords
    found = read(text, assembly="1").chains
    assert labels(read(text, assembly="1")) == ["B", "B-2"]
    assert np.array_equal(found[0].coords, moved(plain, TURN))
    assert np.array_equal(found[1].coords, moved(moved(plain, TURN), SHIFT))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("1", [("1",)]),
        ("1,2", [("1",), ("2",)]),
        ("(1-3)", [("1",), ("2",), ("3",)]),
        ("1-2,5", [("1",), ("2",), ("5",)]),
        ("(X0)(1-2)", [("X0", "1"), ("X0", "2")]),
        ("(1,2)(3,4)", [("1", "3"), ("1", "4"), ("2", "3"), ("2", "4")]),
        ("P", [("P",)]),
        ("1_555,2_655", [("1_555",), ("2_655",)]),
    ],
)
def test_operator_expressions_are_expanded(expression, expected):
    assert expand(expression) == expected


@pytest.mark.parametrize("expression", ["(1-99999)", "(1-200)(1-200)", "(1)x(2)", "1-999999999"])
def test_an_expression_that_is_none_or_too_long_is_refused(expression):
    with pytest.raises(ParseError):
        expand(expression)


@given(st.lists(st.sampled_from([IDENTITY, SHIFT, TURN]), min_size=1, max_size=4))
def test_composing_is_applying_one_after_the_other(steps):
    points = np.arange(12.0).reshape(4, 3)
    one = compose(steps)
    expected = points
    for rotation, vector in reversed(steps):
        expected = expected @ rotation.T + vector
    assert np.allclose(points @ one[0].T + one[1], expected)


def test_an_assembly_that_the_file_lacks_is_an_error_that_names_those_it_has():
    text = with_assemblies([["1", "1", "A"], ["7", "1", "B"]], {"1": IDENTITY})
    with pytest.raises(ParseError, match="1, 7") as caught:
        read(text, assembly="3")
    assert caught.value.reason == "no-assembly"


def test_an_assembly_with_an_unknown_operator_is_unknown_and_not_smaller():
    text = with_assemblies([["1", "1", "A"], ["1", "9", "B"], ["2", "1", "B"]], {"1": IDENTITY})
    with pytest.raises(ParseError):
        read(text, assembly="1")
    assert labels(read(text, assembly="first")) == ["B"]


def test_an_operator_that_is_not_finite_is_unknown():
    text = with_assemblies([["1", "1", "A"]], {"1": (np.full((3, 3), np.nan), np.zeros(3))})
    with pytest.raises(ParseError):
        read(text, assembly="1")


def test_too_many_chains_are_refused_before_they_are_made():
    text = with_assemblies([["1", "(1-2)", "A,B"]], {"1": IDENTITY, "2": SHIFT})
    assert len(read(text, assembly="1", max_assembly_chains=4).chains) == 4
    with pytest.raises(ParseError) as caught:
        read(text, assembly="1", max_assembly_chains=3)
    assert caught.value.reason == "assembly-too-large"


def biomt(number: int, operator) -> list[str]:
    return [
        f"REMARK 350   BIOMT{i + 1} {number:>3}"
        + "".join(f"{x:10.6f}" for x in operator[0][i])
        + f"{operator[1][i]:15.5f}"
        for i in range(3)
    ]


def test_remark_350_is_the_assembly_of_a_pdb_file():
    head = [
        "REMARK 350 BIOMOLECULE: 1",
        "REMARK 350 APPLY THE FOLLOWING TO CHAINS: A,",
        "REMARK 350                    AND CHAINS: B",
        *biomt(1, IDENTITY),
        *biomt(2, TURN),
    ]
    parsed = read(pdb_text(head, ATOMS, "END"), assembly="first")
    assert sorted(labels(parsed)) == ["A", "A-2", "B", "B-2"]
    coords = {c.label_asym_id: c.coords for c in parsed.chains}
    assert np.array_equal(coords["A-2"], moved(coords["A"], TURN))


def test_remark_350_names_the_blank_chain_null():
    head = ["REMARK 350 BIOMOLECULE: 1", "REMARK 350 APPLY THE FOLLOWING TO CHAINS: NULL"]
    text = pdb_text([*head, *biomt(1, IDENTITY)], chain(["ALA"], chain=" "), "END")
    assert labels(read(text, assembly="1")) == ["_"]


def test_every_model_has_its_copies():
    lines = pdb_text(
        ["REMARK 350 BIOMOLECULE: 1", "REMARK 350 APPLY THE FOLLOWING TO CHAINS: A"],
        [*biomt(1, IDENTITY), *biomt(2, SHIFT)],
        "MODEL        1", chain(["ALA"]), "ENDMDL", "MODEL        2", chain(["ALA"]), "ENDMDL",
    )  # fmt: skip
    parsed = read(lines, assembly="1", models="all")
    assert [(c.model, c.label_asym_id) for c in parsed.chains] == [
        (1, "A"), (1, "A-2"), (2, "A"), (2, "A-2"),
    ]  # fmt: skip
