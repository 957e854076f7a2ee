"""Contigs and ranges of residues: what is read, and what is said of what cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.tasks.contigs import Contigs, Free, draw_contigs, parse_contigs
from model.tasks.inputs import InputStructure, read_inputs
from model.tasks.residue_ranges import ResidueRange, parse_ranges, remarks
from pipeline.errors import UsageError
from tests.support.odd_inputs import ENTRIES, moved, numbered, write

RANGES = st.builds(
    lambda chain, first, more, codes: (
        ResidueRange(chain) if first is None else ResidueRange(chain, first, first + more, *codes)
    ),
    st.text("ABab_19.-", min_size=1, max_size=3),
    st.one_of(st.none(), st.integers(-20, 2000)),
    st.integers(0, 300),
    st.tuples(st.sampled_from(["", "A", "b"]), st.sampled_from(["", "A", "C"])),
)
FREE = st.builds(
    lambda least, more: Free(least, least + more), st.integers(1, 50), st.integers(0, 50)
)
CONTIGS = st.lists(
    st.lists(st.one_of(RANGES, FREE), min_size=1, max_size=5).map(tuple), min_size=1, max_size=3
).map(tuple)


def written(contigs: Contigs) -> str:
    return "/0 ".join("/".join(map(str, segments)) for segments in contigs)


@given(CONTIGS)
def test_contigs_are_read_as_they_were_written(contigs: Contigs) -> None:
    assert parse_contigs(written(contigs)) == contigs


@given(CONTIGS, st.integers(0, 5))
def test_drawn_lengths_are_in_their_range_and_a_function_of_seed_and_name(
    contigs: Contigs, seed: int
) -> None:
    drawn = draw_contigs(contigs, seed, "a_1")
    assert drawn == draw_contigs(contigs, seed, "a_1")
    for before, after in zip(sum(contigs, ()), sum(drawn, ()), strict=True):
        if isinstance(before, Free):
            assert isinstance(after, Free)
            assert before.least <= after.least == after.most <= before.most
        else:
            assert after == before


def test_every_length_of_a_range_is_drawn() -> None:
    contigs = parse_contigs("3-5")
    found = {draw_contigs(contigs, 0, f"x_{k}")[0][0] for k in range(50)}
    assert found == {Free(3, 3), Free(4, 4), Free(5, 5)}


A = ResidueRange


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("15", ((Free(15, 15),),)),
        ("10-20", ((Free(10, 20),),)),
        ("0-10/A1-5", ((Free(0, 10), A("A", 1, 5)),)),
        ("A45-60", ((A("A", 45, 60),),)),
        ("A45", ((A("A", 45, 45),),)),
        ("A-5-10", ((A("A", -5, 10),),)),
        ("1:5-10", ((A("1", 5, 10),),)),
        ("A1:-5", ((A("A1", -5, -5),),)),
        ("A:5", ((A("A", 5, 5),),)),
        ("A-5--2", ((A("A", -5, -2),),)),
        ("A52A", ((A("A", 52, 52, "A", "A"),),)),
        ("A52-52B/4", ((A("A", 52, 52, "", "B"), Free(4, 4)),)),
        ("A52A-60", ((A("A", 52, 60, "A"),),)),
        ("A-2A--1B", ((A("A", -2, -1, "A", "B"),),)),
        ("A.2:5-10", ((A("A.2", 5, 10),),)),
        ("A-2:5B", ((A("A-2", 5, 5, "B", "B"),),)),
        ("5/A/A.2:/3", ((Free(5, 5), A("A"), A("A.2"), Free(3, 3)),)),
        (
            "10-20/A45-60/15/0 B1-30",
            ((Free(10, 20), A("A", 45, 60), Free(15, 15)), (A("B", 1, 30),)),
        ),
        (
            "[10-20/A45-60/15/0 b1-30]",
            ((Free(10, 20), A("A", 45, 60), Free(15, 15)), (A("b", 1, 30),)),
        ),
        ("  'A1-3/5/0'  ", ((A("A", 1, 3), Free(5, 5)),)),
    ],
)
def test_contigs_of_rfdiffusion_are_read(text: str, expected: Contigs) -> None:
    assert parse_contigs(text) == expected


@pytest.mark.parametrize(
    ("text", "token", "advice"),
    [
        ("", "--contigs", "is empty"),
        ("10-20/A45-60xy/15", "'A45-60xy'", "neither a number of new residues"),
        ("10-20/A60-45", "'A60-45'", "write A45-60"),
        ("20-10/A45-60", "'20-10'", "write 10-20"),
        ("10//A5-7", "'10//A5-7'", "a / too many"),
        ("10/A5-7/", "'10/A5-7/'", "a / too many"),
        ("10/0/B5-7", "'0'", "a blank before"),
        ("10 B5-7", "'10/0 B5-7'", "ends in /0"),
        ("10, B5-7", "'10,", "ends in /0"),
        ("A1-5/0 0-5", "'0-5'", "may come out empty"),
        ("99999", "'99999'", "more than 10,000"),
    ],
)
def test_what_is_wrong_with_contigs_is_named(text: str, token: str, advice: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_contigs(text)
    assert token in str(caught.value)
    assert advice in str(caught.value)


@given(st.text("AB019-/ _,x", max_size=20))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    sentence, contigs = "--contigs", None
    try:
        contigs = parse_contigs(text)
    except UsageError as error:
        sentence = str(error)
    assert "--contigs" in sentence
    if contigs is not None:
        assert parse_contigs(written(contigs)) == contigs


def test_fixed_residues_are_ranges_and_single_ones() -> None:
    assert parse_ranges("A10-20,A35, B7", "--fixed") == [
        A("A", 10, 20),
        A("A", 35, 35),
        A("B", 7, 7),
    ]
    assert parse_ranges("A52A,1:52-52B", "--fixed") == [
        A("A", 52, 52, "A", "A"),
        A("1", 52, 52, "", "B"),
    ]
    assert parse_ranges("B,1:,A5", "--fixed") == [A("B"), A("1"), A("A", 5, 5)]


@pytest.mark.parametrize("token", ["10-20", "7", "A5xy", "A.25", "A5A6"])
def test_what_names_no_residues_is_named(token: str) -> None:
    with pytest.raises(UsageError, match=f"--only: '{token}' names no residues"):
        parse_ranges(f"A1,{token}", "--only")


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_label_names_a_chain_that_no_author_calls_so(tmp_path: Path, entry: str) -> None:
    atoms = []
    for k, (label, author) in enumerate((("A", "H"), ("A-2", "H"), ("H", "L"))):
        part = numbered(entry, [str(number) for number in range(1, 21)])
        atoms += moved(part, 60.0 * k, chain=author, asym=label)
    path = write(tmp_path, "cif", atoms)
    ((_, structure),) = read_inputs(path)
    assert isinstance(structure, InputStructure)
    assert structure.chain_ids == ["H", "H.2", "L"]
    assert [structure.find_chain(i) for i in ("H", "H.2", "L", "A", "A-2")] == [0, 1, 2, 0, 1]
    said = remarks([A("A-2", 5, 6), A("H", 6, 6)], structure)
    assert said == ["odd: A-2 is the label_asym_id of chain H.2"]
    ((_, chosen),) = read_inputs(path, ["A-2"])
    assert isinstance(chosen, InputStructure)
    assert chosen.chain_ids == ["H.2"]
    assert chosen.notes[-1] == "odd.cif: A-2 is the label_asym_id of chain H.2"


def test_chains_are_separated_by_blanks_or_commas_and_those_that_touch_are_told_of(
    tmp_path: Path,
) -> None:
    atoms = []
    for k, (author, x) in enumerate((("A", 0.0), ("B", 60.0), ("C", 6.0), ("D", 120.0))):
        part = numbered(ENTRIES[0], [str(number) for number in range(1, 11)])
        atoms += moved(part, x, chain=author, asym="ABCD"[k])
    path = write(tmp_path, "cif", atoms)
    found = [next(read_inputs(path, chains))[1] for chains in (["A,D"], ["A", "D"], ["A,B", "C"])]
    for structure, ids in zip(found, ("AD", "AD", "ABC"), strict=True):
        assert isinstance(structure, InputStructure)
        assert structure.chain_ids == list(ids)
        told = [
            "odd.cif: --chains leaves out 1 chain within 5 Å of those that are read, and the "
            "network does not see what is left out: C"
        ]
        assert list(structure.notes) == ([] if "C" in ids else told)
