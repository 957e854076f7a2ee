"""A value of a CIF means the same however it is written."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.chain import Chain
from pipeline.parsing import NotAStructure, ParsedEntry, ParseError, read_chains
from pipeline.parsing.cif_words import tokenise_raw
from pipeline.parsing.numbers import cif_number, decimals, integers
from pipeline.residues import sequence_string
from pipeline.sources import decompress
from tests.pipeline.parsing.test_parsing_bcif import as_bcif
from tests.support.places import EXAMPLES
from tests.support.structure_text import (
    COLUMNS,
    chain,
    change,
    cif_text,
    entity,
    loop,
    read,
    residue,
)

ENTRIES = pytest.mark.parametrize("name", ["1a8o.cif.gz", "3jqh.cif", "1pfe.cif.gz"])
COORDINATES = ("Cartn_x", "Cartn_y", "Cartn_z")
DECIMALS = (*COORDINATES, "occupancy", "B_iso_or_equiv")
INTEGERS = ("id", "label_seq_id", "auth_seq_id", "pdbx_PDB_model_num")
NAMES = (
    *("group_PDB", "type_symbol", "label_atom_id", "label_alt_id", "label_comp_id"),
    *("label_asym_id", "label_entity_id", "pdbx_PDB_ins_code", "auth_comp_id", "auth_asym_id"),
)

Change = Callable[[str], str]


def content(name: str) -> str:
    return decompress((EXAMPLES / name).read_bytes(), 2**30).decode()


def rewritten(text: str, changes: Mapping[str, Change], aligned: bool = False) -> str:
    """An mmCIF file whose atom table has other words for the same values; ``.`` and ``?`` stay."""
    begin = text.index("loop_\n_atom_site.group_PDB")
    end = text.index("\n#", begin) + 1
    words = [word.decode() for word, _ in tokenise_raw(text[begin + 6 : end].encode())]
    n = next(k for k, word in enumerate(words) if not word.startswith("_atom_site."))
    tags = [word.removeprefix("_atom_site.") for word in words[:n]]
    rows = [words[k : k + n] for k in range(n, len(words), n)]
    for k, tag in enumerate(tags):
        if tag in changes:
            for row in rows:
                if row[k] not in ".?":
                    row[k] = changes[tag](row[k])
    return text[:begin] + loop("atom_site", tags, rows, aligned) + text[end:]


def in_quotes(word: str, mark: str = "'", pad: str = "") -> str:
    if word[0] in "'\"":
        word = word[1:-1]
    if mark in word:
        mark = "'" if mark == '"' else '"'
    return f"{mark}{pad}{word}{pad}{mark}"


def with_exponent(word: str) -> str:
    """``-12.345`` as ``-12345e-3``."""
    digits = word.replace(".", "")
    places = len(word.partition(".")[2])
    return f"{digits}e-{places}"


def scientific(word: str) -> str:
    """``-12.345`` as ``-1.2345E+01``."""
    return f"{Decimal(word):.{len(word)}E}"


WAYS: dict[str, dict[str, Change]] = {
    "exponents": dict.fromkeys(DECIMALS, with_exponent),
    "scientific": dict.fromkeys(COORDINATES, scientific),
    "uncertainties": dict.fromkeys(DECIMALS, lambda w: f"{w}(12)"),
    "uncertain exponents": dict.fromkeys(COORDINATES, lambda w: f"{with_exponent(w)}(3)"),
    "exponents of the uncertain": dict.fromkeys(COORDINATES, lambda w: f"{w}(3)e0"),
    "plus signs": dict.fromkeys(COORDINATES, lambda w: w if w[0] == "-" else f"+{w}"),
    "quoted numbers": dict.fromkeys((*DECIMALS, *INTEGERS), in_quotes),
    "quoted names": dict.fromkeys(NAMES, in_quotes),
    "all quoted": dict.fromkeys((*DECIMALS, *INTEGERS, *NAMES), lambda w: in_quotes(w, '"')),
    "padded in quotes": dict.fromkeys(
        (*DECIMALS, *INTEGERS, *NAMES), lambda w: in_quotes(w, pad="  ")
    ),
    "padded records": {"group_PDB": lambda w: f'"{w:<6}"'},
    "quoted exponents": dict.fromkeys(DECIMALS, lambda w: in_quotes(with_exponent(w))),
}


def differing(one: ParsedEntry, other: ParsedEntry, *but: str) -> list[str]:
    if len(one.chains) != len(other.chains):
        return [f"{len(one.chains)} and {len(other.chains)} chains"]
    return [
        f.name
        for a, b in zip(one.chains, other.chains, strict=True)
        for f in fields(Chain)
        if f.name not in but and not np.array_equal(getattr(a, f.name), getattr(b, f.name))
    ]


@ENTRIES
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("aligned", [True, False])
def test_a_value_written_otherwise_is_the_same_value(name: str, way: str, aligned: bool):
    plain = content(name)
    other = read(rewritten(plain, WAYS[way], aligned))
    assert not differing(read(plain), other)
    assert other.flags == []


@pytest.mark.parametrize("way", ["exponents", "uncertainties", "all quoted", "padded in quotes"])
def test_binary_columns_of_strings_hold_the_same_values(way: str):
    plain = cif_text(
        chain(["ALA", "SER", "MSE", "GLY"]), before=entity(["ALA", "SER", "MSE", "GLY"])
    )
    other = read_chains(as_bcif(rewritten(plain, WAYS[way])), "test")
    assert other.format == "bcif"
    assert not differing(read(plain), other)


@pytest.mark.parametrize(
    "word",
    [
        *[
            "1e",
            "e3",
            "(12)",
            "1.5()",
            "1.5(2",
            "1.5(2)(3)",
            "1.5(2)e3(4)",
            "1e2.5",
            "1e+-2",
            "--1e3",
        ],
        *["1.5 (2)", "1.5(a)", "nan", "inf", "1_0", "0x1A", "'1.5", "1.5'", "1d3", "''", "1e99999"],
    ],
)
def test_what_is_no_number_of_cif_is_none(word: str):
    cells = np.frombuffer(word.ljust(16).encode(), np.uint8).reshape(1, -1)
    values, valid, _ = decimals(cells, 3, cif_values=True)
    assert (values.tolist(), valid.tolist()) == ([0], [False])
    assert cif_number(word) is None


def test_a_million_digits_cost_little_time():
    started = time.perf_counter()
    for word in (b"1" * 10**6 + b"x", b"." + b"1" * 10**6 + b"(", b"1e" + b"1" * 10**6):
        assert cif_number(word.decode()) is None
    assert time.perf_counter() - started < 2


@given(
    st.sampled_from(["", "-", "+"]),
    st.text("0123456789", max_size=7),
    st.one_of(st.none(), st.text("0123456789", max_size=7)),
    st.one_of(st.none(), st.integers(-12, 8)),
    st.sampled_from(["", "(1)", "(123)"]),
    st.sampled_from(["{}", "'{}'", '" {} "']),
    st.integers(0, 4),
)
@example("", "0", "0005", None, "(5)", "{}", 3)
@example("-", "25", None, -1, "", "{}", 0)
@example("", "9999999", "9999999", 8, "", "{}", 4)
def test_numbers_of_cif_are_those_of_pythons_decimal(
    sign, whole, fraction, exponent, uncertainty, quotes, places
):
    number = sign + whole + ("" if fraction is None else f".{fraction}")
    number += "" if exponent is None else f"e{exponent}"
    word = quotes.format(number + uncertainty).encode()
    (value,), (valid,), (exact,) = decimals(
        np.frombuffer(word, np.uint8).reshape(1, -1), places, cif_values=True
    )
    if not whole and not fraction:
        assert not valid
        return
    scaled = Decimal(number).scaleb(places)
    if abs(scaled) >= 10**18:
        assert not valid or value == scaled
        return
    assert valid
    assert value == int(scaled.to_integral_value(ROUND_HALF_EVEN))
    assert exact == (value == scaled)
    assert cif_number(number + uncertainty) == pytest.approx(float(number))


def test_integers_are_unquoted_may_end_in_point_zero_and_nothing_else_becomes_one():
    words = ["'12'", '"-7"', "' 3 '", "'1.0'", "'1e2'", "12", "'x'", "1(2)", "'.'", "?"]
    words += ["12.0", "-3.00", "7.5", "."]
    cells = np.frombuffer(b"".join(w.encode().ljust(6) for w in words), np.uint8).reshape(-1, 6)
    values, valid = integers(cells, cif_values=True)
    assert values[valid].tolist() == [12, -7, 3, 1, 12, 12, -3]
    assert np.flatnonzero(valid).tolist() == [0, 1, 2, 3, 5, 10, 11]
    assert np.flatnonzero(integers(cells)[1]).tolist() == [5]


@pytest.mark.parametrize("form", ["{}", "{}(2)", "'{}'", "{}e0", "' {} '"])
def test_numbers_of_the_header_are_read_like_those_of_atoms(form: str):
    refine = f"_refine.ls_d_res_high {form.format('1.50')}\n# \n"
    operator = [form.format(v) for v in ("1.0", "0.0", "0.0", "25.5")]
    tags = [f"matrix[{i}][{j}]" for i in (1, 2, 3) for j in (1, 2, 3)]
    tags = ["id", *tags, *(f"vector[{i}]" for i in (1, 2, 3))]
    one, zero, _, shift = operator
    operators = [["1", one, zero, zero, zero, one, zero, zero, zero, one, shift, zero, zero]]
    assembly = (
        "_pdbx_struct_assembly_gen.assembly_id 1\n_pdbx_struct_assembly_gen.oper_expression 1\n"
        "_pdbx_struct_assembly_gen.asym_id_list A\n# \n"
    ) + loop("pdbx_struct_oper_list", tags, operators)
    text = cif_text(chain(["ALA", "SER"]), before=refine + entity(["ALA", "SER"]) + assembly)
    plain, moved = read(text).chains[0], read(text, assembly="1").chains[0]
    assert plain.metadata.resolution == 1.5
    assert (moved.coords - plain.coords).tolist() == [[25500, 0, 0]] * len(plain.coords)


@pytest.mark.parametrize("word", ["?", ".", "nan", "1_0", "high", "1.5 to 2", "-1.5"])
def test_a_resolution_that_is_no_number_is_unknown(word: str):
    quoted = f"'{word}'" if " " in word else word
    text = cif_text(chain(["ALA"]), before=f"_refine.ls_d_res_high {quoted}\n# \n")
    assert read(text).chains[0].metadata.resolution is None


def test_padded_ids_of_entities_and_chains_are_those_of_the_atoms():
    sequence = ["ALA", "SER", "GLY"]
    plain = cif_text(chain(sequence), before=entity(sequence))
    padded = plain.replace("_entity.id 1", "_entity.id '1  '").replace(
        "_entity_poly.entity_id 1", '_entity_poly.entity_id " 1"'
    )
    assert padded.count("'1  '") == padded.count('" 1"') == 1
    assert not differing(read(plain), read(padded))


def test_a_quoted_dot_or_question_mark_is_a_value():
    atoms = change(chain(["ALA"]), altloc="'.'")
    assert read(cif_text(atoms).replace("\"'.'\"", "'.'")).chains[0].n_altloc == 1


# ---- an insertion code within the author's number ----------------


def with_codes_in_numbers(text: str) -> str:
    """Insertion codes moved into ``auth_seq_id``."""
    marker = "\0"
    numbers = rewritten(text, {"pdbx_PDB_ins_code": lambda w: f"{marker}{w}"})
    head, body = numbers.split("loop_\n_atom_site.", 1)
    lines = body.split("\n")
    tags = ["_atom_site." + lines[0], *(x for x in lines if x.startswith("_atom_site."))]
    code, number = (tags.index(f"_atom_site.{t}") for t in ("pdbx_PDB_ins_code", "auth_seq_id"))
    for k, line in enumerate(lines):
        if marker in line:
            words = line.split(" ")
            words[number] += words[code][1:]
            words[code] = "?"
            lines[k] = " ".join(words)
    return head + "loop_\n_atom_site." + "\n".join(lines)


@pytest.mark.parametrize(
    "codes",
    [{52: "AB"}, {1: "A"}, {10: "ABCDEFGH", 11: "X"}, {3: "ba"}],
)
@pytest.mark.parametrize("form", ["cif", "bcif"])
@pytest.mark.parametrize("column", [True, False])
def test_an_insertion_code_within_the_number_is_one(codes, form, column):
    first = min(codes) - 1
    numbers = []
    for number in range(first, first + 8):
        numbers += [(number, ""), *((number, code) for code in codes.get(number, ""))]
    atoms, joined = [], []
    for place, (number, code) in enumerate(numbers):
        here = change(residue("ALA", 1, place=place), seq=".", number=str(number))
        atoms += change(here, ins=code)
        joined += change(here, number=f"{number}{code}")
    plain = cif_text(atoms)
    left_out = () if column else ("pdbx_PDB_ins_code",)
    columns = [c for c in COLUMNS if c not in left_out]
    text = cif_text(joined, columns=columns)
    found = read(text) if form == "cif" else read_chains(as_bcif(text), "test")
    assert len(found.chains) == 1
    assert found.flags == []
    assert not differing(read(plain), found)


def test_the_insertion_codes_of_an_entry_may_stand_in_its_numbers():
    plain = content("4zhl.cif.gz")
    moved = with_codes_in_numbers(plain)
    assert moved.count("\0") == 0
    assert re.search(r" [0-9]+[A-Z] ", moved)
    assert not differing(read(plain), read(moved))


@pytest.mark.parametrize("number", ["A52", "52AB", "5 2", "52.5", "*", "x"])
def test_other_numbers_that_are_none_are_counted_on_as_before(number: str):
    atoms = change(chain(["ALA"] * 3), seq=".")
    odd = [*atoms[:5], *change(atoms[5:10], number=number), *atoms[10:]]
    (only,) = read(cif_text(odd)).chains
    assert only.auth_seq_id.tolist() == [1, 2, 3]
    assert not only.ins_code.any()


def test_an_insertion_code_of_its_own_is_not_overruled():
    atoms = change(residue("ALA", 1), seq=".", number="52A", ins="B")
    assert read(cif_text(atoms)).chains[0].auth_seq_id.tolist() == [1]  # counted on, as before
    agreeing = change(residue("ALA", 1), seq=".", number="52A", ins="A")
    (only,) = read(cif_text(agreeing)).chains
    assert (only.auth_seq_id.tolist(), bytes(only.ins_code)) == ([52], b"A")


# ---- byte strings in BinaryCIF ----------------


def with_byte_strings(value: Any) -> Any:
    if isinstance(value, dict):
        return {with_byte_strings(k): with_byte_strings(v) for k, v in value.items()}
    if isinstance(value, list):
        return [with_byte_strings(v) for v in value]
    return value.encode() if isinstance(value, str) else value


def with_byte_values(value: Any) -> Any:
    """Text keys, but what the values say in bytes."""
    if isinstance(value, dict):
        return {k: with_byte_values(v) for k, v in value.items()}
    return (
        [with_byte_values(v) for v in value]
        if isinstance(value, list)
        else (value.encode() if isinstance(value, str) else value)
    )


BINARY = pytest.mark.parametrize("name", ["3jqh.bcif", "1gbt.bcif.gz", "6wg6.bcif.gz"])


@BINARY
@pytest.mark.parametrize(
    "write",
    [
        lambda tree: msgpack.packb(with_byte_strings(tree), use_bin_type=True),
        lambda tree: msgpack.packb(with_byte_values(tree), use_bin_type=True),
        lambda tree: msgpack.packb(tree, use_bin_type=False),
        lambda tree: msgpack.packb(with_byte_strings(tree), use_bin_type=False),
    ],
    ids=["bytes", "byte values", "old strings", "old bytes"],
)
def test_binarycif_with_byte_strings_is_read(name: str, write):
    data = decompress((EXAMPLES / name).read_bytes(), 2**30)
    other = read_chains(write(msgpack.unpackb(data, strict_map_key=False)), "test")
    plain = read_chains(data, "test")
    assert other.format == "bcif"
    assert not differing(plain, other)
    assert other.metadata == plain.metadata


@BINARY
def test_damaged_binarycif_with_byte_strings_ends_in_words(name: str):
    data = decompress((EXAMPLES / name).read_bytes(), 2**30)
    tree = with_byte_strings(msgpack.unpackb(data, strict_map_key=False))
    written = msgpack.packb(tree, use_bin_type=True)
    for cut in (len(written) // 3, len(written) - 5):
        with pytest.raises((ParseError, NotAStructure)):
            read_chains(written[:cut], "test")


# ---- white space ----------------


@pytest.mark.parametrize("name", ["1a8o.cif.gz", "3jqh.cif", "1as5.cif.gz"])
def test_tabs_part_values_as_blanks_do(name: str):
    plain = content(name)
    text = rewritten(plain, {})
    begin = text.index("\nATOM")
    end = text.index("\n#", begin)
    tabbed = text[:begin] + re.sub(r" +", "\t", text[begin:end]) + text[end:]
    assert not differing(read(plain), read(tabbed))


def test_tabs_and_blanks_in_columns_of_one_width_are_white_space():
    text = cif_text(chain(["ALA"] * 3))
    begin = text.index("\nATOM")
    rows = text[begin:].replace("N  ", "N\t ").replace("  ", " \t")
    assert "\t" in rows
    found = read(text[:begin] + rows)
    assert not differing(read(text), found)
    assert sequence_string(found.chains[0].aatype) == "AAA"


def test_a_file_of_utf_16_is_skipped_by_that_name():
    with pytest.raises(NotAStructure, match="UTF-16"):
        read_chains(cif_text(chain(["ALA"])).encode("utf-16"), "test")
