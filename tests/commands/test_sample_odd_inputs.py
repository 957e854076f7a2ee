"""What contigs, --fixed and --chains name in odd inputs, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.sample.sampler import read_problems
from model.tasks import Problem
from model.tasks.inputs import InputError, InputStructure, read_inputs
from model.tasks.request import Request
from model.tasks.residue_ranges import ResidueRange, find_rows
from pipeline.errors import UsageError
from tests.support.odd_inputs import ENTRIES, FORMATS, copies, numbered, without, write

pytestmark = [
    pytest.mark.parametrize("entry", ENTRIES),
    pytest.mark.parametrize("kind", FORMATS),
]


def read(path: Path) -> InputStructure:
    ((_, structure),) = read_inputs(path)
    assert isinstance(structure, InputStructure)
    return structure


def inpainted(path: Path, contigs: str) -> tuple[Problem, list[str]]:
    notes: list[str] = []
    (problem,), errors = read_problems(
        Request("inpainting", input=path, contigs=contigs), notes.append
    )
    assert errors == []
    return problem, notes


def kept_numbers(path: Path, contigs: str) -> list[str]:
    """Numbers of the residues of the input that contigs keep, found by their places."""
    problem, _ = inpainted(path, contigs)
    structure = read(path)
    places = {tuple(x): k for k, x in enumerate(structure.structure.ca)}
    rows = [places[tuple(x)] for x in problem.given.ca[problem.held_frames]]
    return [structure.describe(row) for row in rows]


def fixed_numbers(path: Path, fixed: str) -> tuple[list[str], list[str]]:
    notes: list[str] = []
    (problem,), _ = read_problems(Request("design", input=path, fixed=fixed), notes.append)
    structure = read(path)
    return [structure.describe(k) for k in np.flatnonzero(problem.held_sequence)], notes


def ladder(*ranges: tuple[int, int]) -> list[str]:
    """Numbers of ranges, one behind the other."""
    return [str(k) for first, last in ranges for k in range(first, last + 1)]


# ---- gaps ---------------------------------------------------------------------------------------


def test_a_contig_across_missing_residues_is_refused_and_its_parts_are_named(
    tmp_path: Path, kind: str, entry: str
) -> None:
    path = write(tmp_path, kind, without(numbered(entry, ladder((1, 40))), (20, 21, 22)))
    with pytest.raises(UsageError) as caught:
        inpainted(path, "5/A10-30/5")
    assert "'A10-30': 19 and 23 of chain A of odd are not bonded" in str(caught.value)
    assert "keep the parts (A10-19, A23-30), with new residues between" in str(caught.value)
    assert kept_numbers(path, "A10-19/3/A23-30") == [
        f"A{k}" for k in (*range(10, 20), *range(23, 31))
    ]
    assert len(kept_numbers(path, "A23-40")) == 18


def test_a_gap_that_was_numbered_away_is_refused_too(tmp_path: Path, kind: str, entry: str) -> None:
    atoms = numbered(entry, ladder((1, 19), (500, 502), (20, 37)))
    path = write(tmp_path, kind, without(atoms, (500, 501, 502)))
    with pytest.raises(UsageError, match="19 and 20 of chain A of odd are not bonded"):
        inpainted(path, "A10-30")


def test_numbers_that_skip_where_a_bond_is_are_one_piece(
    tmp_path: Path, kind: str, entry: str
) -> None:
    path = write(tmp_path, kind, numbered(entry, ladder((1, 19), (30, 50))))
    assert kept_numbers(path, "A10-35/5") == [f"A{k}" for k in (*range(10, 20), *range(30, 36))]


@pytest.mark.parametrize(
    ("residues", "parts"),
    [
        ("A5-15", "A5-10, A1001-1010, A11-15"),
        ("A5-1005", "A5-10, A1001-1005"),
    ],
)
def test_a_range_across_a_fused_protein_is_refused_and_its_parts_are_named(
    tmp_path: Path, kind: str, entry: str, residues: str, parts: str
) -> None:
    path = write(tmp_path, kind, numbered(entry, ladder((1, 10), (1001, 1010), (11, 20))))
    with pytest.raises(UsageError, match="do not rise from 5 to") as caught:
        inpainted(path, residues)
    assert parts in str(caught.value)
    with pytest.raises(UsageError, match="do not rise from 5 to"):
        fixed_numbers(path, residues)
    each = parts.replace(", ", "/")
    assert len(kept_numbers(path, each)) == len(fixed_numbers(path, parts)[0])
    assert kept_numbers(path, "A1003-1004/A12") == ["A1003", "A1004", "A12"]


def test_a_residue_that_is_there_twice_cannot_be_named(
    tmp_path: Path, kind: str, entry: str
) -> None:
    (chain,) = read(write(tmp_path, kind, numbered(entry, ladder((1, 20))))).chains
    numbers = np.minimum(chain.auth_seq_id, 18)
    structure = InputStructure.of("odd", [replace(chain, auth_seq_id=numbers)])
    with pytest.raises(UsageError, match="has 3 residues 18; number them anew to name one"):
        find_rows(ResidueRange("A", 5, 18), structure)
    assert find_rows(ResidueRange("A", 5, 17), structure).tolist() == list(range(4, 17))


# ---- insertion codes ----------------------------------------------------------------------------

KABAT = [*ladder((43, 52)), "52A", "52B", *ladder((53, 70))]


@pytest.mark.parametrize(
    ("residues", "expected"),
    [
        ("A52A", ["52A"]),
        ("A52", ["52"]),
        ("A52-52B", ["52", "52A", "52B"]),
        ("A52A-52B", ["52A", "52B"]),
        ("A:52A", ["52A"]),
        ("A51-52A", ["51", "52", "52A"]),
        ("A52A-54", ["52A", "52B", "53", "54"]),
        ("A51-53", ["51", "52", "52A", "52B", "53"]),
        ("A51-52", ["51", "52"]),
    ],
)
def test_insertion_codes_are_named_alone_and_as_ends(
    tmp_path: Path, kind: str, entry: str, residues: str, expected: list[str]
) -> None:
    path = write(tmp_path, kind, numbered(entry, KABAT))
    found, notes = fixed_numbers(path, residues)
    assert found == [f"A{k}" for k in expected]
    assert kept_numbers(path, f"3/{residues}/3") == found
    silent = residues not in ("A52", "A51-52")
    assert notes == ([] if silent else [f"odd: {residues!r} does not name 52A, 52B"])


def test_a_code_that_is_not_there_is_named_with_those_that_are(
    tmp_path: Path, kind: str, entry: str
) -> None:
    path = write(tmp_path, kind, numbered(entry, KABAT))
    for residues in ("A52C", "A52a", "A50-52C", "A52C-60"):
        with pytest.raises(UsageError, match=r"has no residue 52[Ca]; it has 52 52A 52B"):
            fixed_numbers(path, residues)
    with pytest.raises(UsageError, match=r"52B comes before 53|52A comes before 52B"):
        fixed_numbers(path, "A52B-52A")
    with pytest.raises(UsageError, match="'A52B-60' and 'A50-52B' have residues in common"):
        inpainted(path, "A50-52B/4/A52B-60")
    said = inpainted(path, "A50-52A/4/A52B-60")[1]
    assert [s for s in said if "what the file lacks of these residues" not in s] == []


def test_codes_that_run_backwards_are_in_the_order_of_the_file(
    tmp_path: Path, kind: str, entry: str
) -> None:
    path = write(tmp_path, kind, numbered(entry, ["1C", "1B", "1A", *ladder((1, 20))]))
    assert kept_numbers(path, "A1B-2") == ["A1B", "A1A", "A1", "A2"]
    assert kept_numbers(path, "A1-2") == ["A1", "A2"]


@pytest.mark.parametrize("residues", ["A-5-3", "A-3--1", "A-2", "A:-5-10"])
def test_numbers_below_zero_are_numbers(
    tmp_path: Path, kind: str, entry: str, residues: str
) -> None:
    path = write(tmp_path, kind, numbered(entry, ladder((-5, 20))))
    first, last = {"A-5-3": (-5, 3), "A-3--1": (-3, -1), "A-2": (-2, -2), "A:-5-10": (-5, 10)}[
        residues
    ]
    assert kept_numbers(path, residues) == [f"A{k}" for k in range(first, last + 1)]


# ---- chains under one id ------------------------------------------------------------------------


def test_the_first_of_equal_ids_keeps_it_and_the_next_are_numbered(
    tmp_path: Path, kind: str, entry: str
) -> None:
    path = write(tmp_path, kind, copies(entry, "AABA"))
    structure = read(path)
    assert structure.chain_ids == ["A", "A.2", "B", "A.3"] or structure.chain_ids == [
        *("A", "A.2", "A.3", "B")
    ]
    (note,) = structure.notes
    assert f"odd.{kind}: 3 chains have the id A: A is the first, and the next are A.2, A.3" in note
    assert kept_numbers(path, "A5-6/4/A.2:7/0 B9") == ["A5", "A6", "A.27", "B9"]
    assert fixed_numbers(path, "A.3:5-6,A2") == (["A2", "A.35", "A.36"], [note])
    ((_, chosen),) = read_inputs(path, ["A.2", "B"])
    assert isinstance(chosen, InputStructure)
    assert chosen.chain_ids == ["A.2", "B"]
    assert chosen.structure.ca[0, 0] == pytest.approx(structure.structure.ca[20, 0])


def test_ids_of_their_own_are_left_alone(tmp_path: Path, kind: str, entry: str) -> None:
    structure = read(write(tmp_path, kind, copies(entry, "ABa1")))
    assert structure.chain_ids == ["A", "B", "a", "1"]
    assert structure.notes == ()
    path = tmp_path / f"odd.{kind}"
    assert fixed_numbers(path, "1:3-4,a5")[0] == ["a5", "13", "14"]
    assert kept_numbers(path, "1:3-4/5/A7") == ["13", "14", "A7"]


def test_chains_that_are_not_there_or_named_twice_are_refused(
    tmp_path: Path, kind: str, entry: str
) -> None:
    path = write(tmp_path, kind, copies(entry, "AAB"))
    for chains, sentence in (
        (["A.3"], f"odd.{kind} has no chain A.3; it has A A.2 B"),
        (["B", "A.2", "B"], f"chain B of odd.{kind} is named twice"),
    ):
        ((_, found),) = read_inputs(path, chains)
        assert isinstance(found, InputError)
        assert sentence in str(found)
    with pytest.raises(UsageError, match=r"'A.3:5': odd has no chain A.3; it has A A.2 B"):
        fixed_numbers(path, "A.3:5")
