"""Conditions mean what SQL says, nulls included, as DuckDB does; mistakes are explained."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.where import MAX_DEPTH, MAX_PREDICATES, WhereError, parse_where

COLUMNS = {
    "chain_uid": "text",
    "entry_id": "text",
    "assembly": "text",  # null throughout the examples
    "method": "text",
    "title": "text",
    "uniprot": "text",
    "release_date": "text",
    "source": "text",
    "shard": "text",  # a dictionary
    "model": "number",
    "resolution": "number",
    "length": "number",
    "n_resolved": "number",
    "n_breaks": "number",
    "taxonomy": "number",
    "helix_fraction": "number",
    "mean_b_factor": "number",
    "coords_rounded": "bool",
}
BY_KIND = {kind: [c for c, k in COLUMNS.items() if k == kind] for kind in COLUMNS.values()}


@pytest.fixture(scope="session")
def index(examples_dataset: Path) -> pa.Table:
    return pq.read_table(examples_dataset / "index.parquet")


@pytest.fixture(scope="session")
def chains(index: pa.Table) -> Iterator[duckdb.DuckDBPyConnection]:
    """The index as a table of DuckDB's."""
    with duckdb.connect() as connection:
        connection.register("index_table", index)
        connection.execute("set threads = 1")
        connection.execute("create table chains as from index_table")
        yield connection


# ---- conditions made at random, with values that occur in the index --------------------------


def literals(index: pa.Table, column: str) -> st.SearchStrategy[str]:
    values = [v for v in index[column].unique().to_pylist() if v is not None]
    if COLUMNS[column] == "bool":
        return st.sampled_from(["true", "FALSE"])
    if COLUMNS[column] == "number":
        # Rounded: DuckDB takes literals of many digits for other types than we do.
        known = sorted({f"{v:.2f}" if isinstance(v, float) else str(v) for v in values})
        return st.one_of(
            st.sampled_from([*known, "-1", "0", "2.5", "+60", ".5"]),
            st.integers(-500, 500).map(str),
        )
    known = sorted(values) or ["x"]
    return st.one_of(st.sampled_from(known), st.text("ab'%_1 é", max_size=3)).map(quoted)


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@st.composite
def patterns(draw: st.DrawFn, index: pa.Table, column: str) -> str:
    """A value of the column, with some of it replaced by the two wildcards."""
    values = [v for v in index[column].unique().to_pylist() if v is not None] or ["x"]
    text = draw(st.sampled_from(sorted(values)))
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, len(text)))
    middle = "".join(draw(st.sampled_from([c, c, "_"])) for c in text[start:end])
    before, after = (draw(st.sampled_from(["", "%"])) for _ in range(2))
    pattern = before + middle + after
    return quoted(draw(st.sampled_from([pattern, pattern.lower()])))


@st.composite
def predicates(draw: st.DrawFn, index: pa.Table) -> str:
    column = draw(st.sampled_from(sorted(COLUMNS)))
    kind = COLUMNS[column]
    values = literals(index, column)
    other = st.sampled_from(BY_KIND[kind])
    forms = ["is", "in", "compare"]
    forms += ["between"] if kind != "bool" else ["bare"]
    forms += ["like"] if kind == "text" else []
    form = draw(st.sampled_from(forms))
    maybe_not = draw(st.sampled_from(["", "not ", "NOT "]))
    name = draw(st.sampled_from([column, column.upper(), f'"{column}"']))
    if form == "is":
        return f"{name} is {maybe_not}null"
    if form == "bare":
        return f"{maybe_not}{name}"
    if form == "in":
        return f"{name} {maybe_not}in ({', '.join(draw(st.lists(values, min_size=1, max_size=4)))})"
    if form == "between":
        low, high = draw(values), draw(st.one_of(values, other))
        return f"{name} {maybe_not}between {low} and {high}"
    if form == "like":
        word = draw(st.sampled_from(["like", "ILIKE"]))
        return f"{name} {maybe_not}{word} {draw(patterns(index, column))}"
    signs = ["=", "==", "!=", "<>"] + (["<", "<=", ">", ">="] if kind != "bool" else [])
    # DuckDB takes a number with an exponent for a double, and all others of a list with it, whose
    # decimals are then none of a column of float32.
    alone = [st.just("1e2")] if kind == "number" else []
    sides = [name, draw(st.one_of(values, other, *alone))]
    if draw(st.booleans()):
        sides.reverse()
    return f"{sides[0]} {draw(st.sampled_from(signs))} {sides[1]}"


def conditions(index: pa.Table) -> st.SearchStrategy[str]:
    return st.recursive(
        predicates(index),
        lambda inner: st.one_of(
            inner.map(lambda c: f"not {c}"),
            inner.map(lambda c: f"({c})"),
            st.lists(inner, min_size=2, max_size=3).map(" and ".join),
            st.lists(inner, min_size=2, max_size=3).map(" OR ".join),
        ),
        max_leaves=6,
    )


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_duckdb_finds_the_same_chains(
    data: st.DataObject, index: pa.Table, chains: duckdb.DuckDBPyConnection
) -> None:
    text = data.draw(conditions(index))
    assert found(index, text) == found_by_duckdb(chains, text)


def found(index: pa.Table, text: str) -> list[str]:
    return index.filter(parse_where(text, index.schema))["chain_uid"].to_pylist()


def found_by_duckdb(chains: duckdb.DuckDBPyConnection, text: str) -> list[str]:
    return [u for (u,) in chains.sql(f"select chain_uid from chains where {text}").fetchall()]


def test_the_comparison_with_duckdb_covers_nulls_and_finds_something(
    index: pa.Table, chains: duckdb.DuckDBPyConnection
) -> None:
    nulls = {c for c in COLUMNS if index[c].null_count}
    assert {"assembly", "method", "resolution", "uniprot"} <= nulls
    text = (
        "resolution < 2.5 and method = 'X-RAY DIFFRACTION' and length between 40 and 512 and "
        "n_breaks = 0 and source is not null and entry_id not in ('1abc', '2xyz')"
    )
    assert 0 < len(found(index, text)) < index.num_rows
    assert found(index, text) == found_by_duckdb(chains, text)


# ---- what conditions mean ----------------------------------------------------------------------


def matches(text: str, **columns: object) -> list[int]:
    table = pa.table(columns)
    rows = table.append_column("row", pa.array(range(table.num_rows)))
    return rows.filter(parse_where(text, table.schema))["row"].to_pylist()


def test_what_is_unknown_does_not_pass_and_neither_does_its_negation() -> None:
    resolution = [1.0, 3.0, None]
    assert matches("resolution < 2", resolution=resolution) == [0]
    assert matches("not resolution < 2", resolution=resolution) == [1]
    assert matches("resolution not in (1, 2)", resolution=resolution) == [1]
    assert matches("not (resolution in (1, 2))", resolution=resolution) == [1]
    assert matches("resolution not between 0 and 2", resolution=resolution) == [1]
    assert matches("resolution < 2 or resolution is null", resolution=resolution) == [0, 2]


def test_the_expression_stays_three_valued_when_it_is_negated_in_python() -> None:
    table = pa.table({"method": ["NMR", "EM", None]})
    expression = ~parse_where("method in ('NMR')", table.schema)
    assert table.filter(expression)["method"].to_pylist() == ["EM"]


def test_decimal_numbers_are_compared_in_the_precision_of_the_column() -> None:
    # 2.2 as float32 is above 2.2 as float64.
    stored = pa.array([2.2, 1.9], pa.float32())
    assert matches("resolution <= 2.2", resolution=stored) == [0, 1]
    assert matches("resolution = 2.2", resolution=stored) == [0]
    assert matches("resolution in (2.2)", resolution=stored) == [0]
    assert matches("resolution < 2.2", resolution=stored) == [1]


def test_whole_number_columns_compare_with_any_number() -> None:
    length = pa.array([60, 61, 127], pa.int8())
    assert matches("length < 60.5", length=length) == [0]
    assert matches("length in (60, 60.5, 61.0)", length=length) == [0, 1]
    assert matches("length in (60, 1000)", length=length) == [0]
    assert matches("length < 99999999999", length=length) == [0, 1, 2]
    assert matches("length < 1e30 and length > -1e30", length=length) == [0, 1, 2]


def test_and_binds_before_or_and_not_before_and() -> None:
    columns = {"a": [True, True, False, False], "b": [True, False, True, False]}
    assert matches("a or b and not a", **columns) == [0, 1, 2]
    assert matches("(a or b) and not a", **columns) == [2]
    assert matches("not a and b", **columns) == [2]
    assert matches("not (a and b)", **columns) == [1, 2, 3]
    assert matches("not not a", **columns) == [0, 1]


def test_like_takes_every_character_but_two_as_it_is() -> None:
    title = ["a.c", "abc", "a\\c", "a\nc", "A.C", "xa.cx", "aéc", "a%c"]
    assert matches("title like 'a.c'", title=title) == [0]
    assert matches("title like 'a_c'", title=title) == [0, 1, 2, 3, 6, 7]
    assert matches("title like 'a\\c'", title=title) == [2]
    assert matches("title like 'a%'", title=title) == [0, 1, 2, 3, 6, 7]
    assert matches("title ilike '%A.C%'", title=title) == [0, 4, 5]
    assert matches("title not like '%a%'", title=title) == [4]


def test_texts_with_quotes_and_names_in_quotes() -> None:
    assert matches("title = 'it''s'", title=["it's", "its"]) == [0]
    assert matches('"in" = 1 and "a b" = 2', **{"in": [1, 1], "a b": [2, 3]}) == [0]


def test_a_name_is_found_whatever_its_case_unless_two_differ_by_case_alone() -> None:
    assert matches("LENGTH > 5", length=[5, 6]) == [1]
    assert matches("Length > 5", Length=[5, 6], length=[6, 5]) == [1]
    with pytest.raises(WhereError, match="more than one column"):
        matches("LENGTH > 5", Length=[5, 6], length=[6, 5])


def test_dates_are_compared_with_dates() -> None:
    day = pa.array([date(2020, 5, 1), date(2021, 5, 1), None])
    assert matches("day >= '2021-01-01'", day=day) == [1]
    assert matches("day not in ('2021-05-01')", day=day) == [0]
    with pytest.raises(WhereError, match="write it as in '2024-05-31'"):
        matches("day > 'May 2021'", day=day)


def test_whole_lists_of_ids_fit_in() -> None:
    ids = [f"{k:05d}" for k in range(100_000)]
    text = f"entry_id in ({', '.join(map(quoted, ids[::2]))})"
    assert len(matches(text, entry_id=ids)) == 50_000


def test_columns_without_order_can_be_tested_for_null() -> None:
    columns = {"blob": [b"x", None], "numbers": [[1], None]}
    assert matches("blob is not null and numbers is not null", **columns) == [0]
    for text in ("blob = 'x'", "blob in ('x')", "numbers > 3", "numbers between 1 and 2"):
        with pytest.raises(WhereError, match="can only be tested with is null"):
            matches(text, **columns)


# ---- mistakes ----------------------------------------------------------------------------------

SCHEMA = pa.schema(
    {
        "entry_id": pa.string(),
        "method": pa.string(),
        "resolution": pa.float32(),
        "length": pa.int32(),
        "coords_rounded": pa.bool_(),
    }
)


@pytest.mark.parametrize(
    ("text", "message", "marked"),
    [
        ("resolutoin < 2", "no column resolutoin; did you mean resolution?", "resolutoin"),
        ("entry_id = kinase", "a text stands in single quotes: 'kinase'", "kinase"),
        ('method = "NMR"', "a text stands in single quotes: 'NMR'", '"NMR"'),
        ("entry_id = 5", "entry_id is text; write '5' in single quotes", "5"),
        ("length > '5'", "length is a number; write a number, without quotes", "'5'"),
        ("length = true", "length is a number", "true"),
        ("coords_rounded = 1", "compare it with true or false", "1"),
        ("coords_rounded < true", "= and != are all", "coords_rounded"),
        ("length = method", "length is a number, but method is text", "method"),
        ("length", "expected a comparison of length", None),
        ("length like '5'", "like is for text", "length"),
        ("entry_id like entry_id", "expected a pattern in single quotes", None),
        ("length = null", "write is null or is not null", "null"),
        ("length in (1, null)", "write is null or is not null", "null"),
        ("length in (1, length)", "a list holds values, no columns", None),
        ("length in ()", "expected a column or a value", ")"),
        ("length in 5", "expected a list in parentheses", "5"),
        ("length between 1 or 2", "expected and", "or"),
        ("length not 5", "expected in, between or like after not", "5"),
        ("length is 5", "expected null", "5"),
        ("1 = 1", "one side of a comparison must be a column", None),
        ("5 in (5)", "expected a comparison with a column", None),
        ("(length > 5", "closing parenthesis", None),
        ("length > 5)", "expected and, or, or the end", ")"),
        ("length > 5 length < 7", "expected and, or, or the end", None),
        ("length >", "expected a column or a value", None),
        ("length > 5 and", "expected a column or a value", None),
        ("entry_id = '1a8o", "this quote ' is not closed", "'"),
        ("length / 2 > 4", "there is no arithmetic", "/"),
        ("length > 5; drop table chains", "this means nothing here", ";"),
        ("length > 5_000", "this means nothing here", "5"),
        ("length > 0x10", "this means nothing here", "0"),
        ("", "the condition is empty", None),
        (" \n", "the condition is empty", None),
    ],
)
def test_a_mistake_is_shown_and_explained(text: str, message: str, marked: str | None) -> None:
    with pytest.raises(WhereError) as error:
        parse_where(text, SCHEMA)
    first, line, caret, *_ = str(error.value).split("\n")
    assert message in first
    if marked is not None:
        start = caret.index("^")
        assert line[start : start + len(marked)] == marked
        assert caret.count("^") == len(marked)


def test_a_name_that_is_none_lists_the_columns() -> None:
    with pytest.raises(WhereError) as error:
        parse_where("kinase", SCHEMA)
    assert str(error.value).endswith(
        "columns: entry_id, method, resolution, length, coords_rounded"
    )


def test_the_mistake_is_found_in_its_line_and_long_lines_are_cut() -> None:
    with pytest.raises(WhereError) as error:
        parse_where("length > 5\n  and lenght < 9", SCHEMA)
    assert str(error.value).split("\n")[1:3] == ["    and lenght < 9", "        ^^^^^^"]
    ids = ", ".join(f"'{k}'" for k in range(10_000))
    with pytest.raises(WhereError) as error:
        parse_where(f"entry_id in ({ids}, 7, {ids})", SCHEMA)
    line, caret = str(error.value).split("\n")[1:3]
    assert len(line) < 130
    assert line[caret.index("^")] == "7"


def test_what_would_kill_arrow_or_python_is_refused() -> None:
    deep = "(" * MAX_DEPTH + "length > 1" + ")" * MAX_DEPTH
    table = pa.table({"length": [1, 2]})
    assert table.filter(parse_where(deep, table.schema)).num_rows == 1
    for opened, closed in (("(", ")"), ("not ", "")):
        with pytest.raises(WhereError, match="nested more than"):
            parse_where(opened * 100_000 + "length > 1" + closed * 100_000, SCHEMA)
    many = " or ".join(["length = 1"] * MAX_PREDICATES)
    assert table.filter(parse_where(many, table.schema)).num_rows == 1
    with pytest.raises(WhereError, match=r"write column in \(…\)"):
        parse_where(many + " or length = 1", SCHEMA)


@settings(max_examples=300, deadline=None)
@given(
    text=st.text(
        "()'\"=<>!,.-+ 15e\nlength and or not in between is null like true é;", max_size=60
    )
)
@example("length in (1,")
@example("length > 1.")
@example("length > 999999999999999999999999")
def test_any_text_is_a_condition_or_a_mistake_that_is_explained(text: str) -> None:
    try:
        expression = parse_where(text, SCHEMA)
    except WhereError:
        return
    SCHEMA.empty_table().filter(expression)


def test_a_number_too_large_for_its_column_is_above_all_of_it() -> None:
    assert matches("x < 1e39", x=pa.array([1.0, math.inf], pa.float32())) == [0]


def test_an_expression_works_as_a_filter_of_a_dataset(examples_dataset: Path) -> None:
    path = examples_dataset / "index.parquet"
    expression = parse_where("entry_id like '1%' and length > 50", pq.read_schema(path))
    assert isinstance(expression, pc.Expression)
    rows = pq.read_table(path, filters=expression)
    assert 0 < rows.num_rows < pq.read_metadata(path).num_rows
