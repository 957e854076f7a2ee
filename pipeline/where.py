"""SQL-style conditions on a table's columns → pyarrow expressions.

    resolution < 2.5 and method = 'X-RAY DIFFRACTION' and length between 60 and 512

What is understood, and means what it means in SQL (three-valued logic: a comparison with null is
unknown, and what is not known to be true does not pass):

    condition   = conjunction { OR conjunction }
    conjunction = negation { AND negation }
    negation    = NOT negation | ( condition ) | predicate
    predicate   = operand ( = | == | != | <> | < | <= | > | >= ) operand
                | column [NOT] IN ( literal, … )     | column [NOT] BETWEEN operand AND operand
                | column [NOT] LIKE 'pattern'        | column [NOT] ILIKE 'pattern'
                | column IS [NOT] NULL               | column of type bool
    operand     = column | literal
    literal     = 'text' (a quote is doubled) | number | TRUE | FALSE

Columns may stand in double quotes. ``%`` and ``_`` of LIKE are any text and any character; ILIKE
ignores case. Nothing is ever evaluated as code.
"""

from __future__ import annotations

import difflib
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import UsageError

MAX_DEPTH = 100
"""Parentheses and NOTs inside one another; each costs a level of Python's stack."""

MAX_PREDICATES = 1000
"""Arrow walks a chain of ORs recursively, and dies of 20,000; IN has no such limit."""


class WhereError(UsageError):
    """A condition that cannot be understood; the message shows where, and what was expected."""


def parse_where(text: str, schema: pa.Schema) -> pc.Expression:
    """Turn a condition into an expression for filtering a table of this schema.

    Parameters
    ----------
    text : str
        See the module's description.
    schema : pyarrow.Schema
        Columns that may be named, and their types: a number is compared in the precision of its
        column (``resolution <= 2.2`` holds where 2.2 is stored as float32), a text with a column
        of dates is read as a date.

    Raises
    ------
    WhereError
        With the place in `text`, and the columns if a name is none of them.

    Examples
    --------
    >>> table = pa.table({"resolution": [1.8, 3.1, None], "n_breaks": [0, 0, 2]})
    >>> table.filter(parse_where("resolution < 2.5 or n_breaks > 0", table.schema)).num_rows
    2
    """
    return _Parser(text, schema).whole()


# ---- words -------------------------------------------------------------------------------------

_WORDS = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
  | (?P<text>'(?:[^']|'')*')
  | (?P<quoted>"(?:[^"]|"")*")
  | (?P<name>[^\W\d]\w*)
  | (?P<sign><=|>=|<>|!=|==|[=<>(),])
    """,
    re.VERBOSE,
)
_KEYWORDS = frozenset(
    ("and", "or", "not", "in", "between", "is", "null", "like", "ilike", "true", "false")
)


@dataclass(frozen=True, slots=True)
class _Word:
    """A piece of the text; `kind` is a keyword or sign itself, or name, text, number, end."""

    kind: str
    start: int
    end: int
    content: str


@dataclass(frozen=True, slots=True)
class _Column:
    field: pa.Field
    word: _Word


@dataclass(frozen=True, slots=True)
class _Literal:
    value: str | int | float | bool
    word: _Word


_Operand = _Column | _Literal

_COMPARE: dict[str, Callable[..., Any]] = {
    "=": pc.equal,
    "==": pc.equal,
    "!=": pc.not_equal,
    "<>": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


class _Parser:
    """Recursive descent over the words of one condition."""

    def __init__(self, text: str, schema: pa.Schema):
        self._text, self._schema = text, schema
        self._words = self._split()
        self._at = 0
        self._depth = 0
        self._n_predicates = 0

    def whole(self) -> pc.Expression:
        if self._next.kind == "end":
            self._fail("the condition is empty; write one such as length >= 60", self._next)
        condition = self._condition()
        if self._next.kind != "end":
            self._fail("expected and, or, or the end", self._next)
        return condition

    # ---- grammar

    def _condition(self) -> pc.Expression:
        terms = [self._conjunction()]
        while self._take("or"):
            terms.append(self._conjunction())
        return reduce(pc.or_kleene, terms)

    def _conjunction(self) -> pc.Expression:
        terms = [self._negation()]
        while self._take("and"):
            terms.append(self._negation())
        return reduce(pc.and_kleene, terms)

    def _negation(self) -> pc.Expression:
        word = self._next
        if word.kind not in ("not", "("):
            return self._predicate()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail(f"nested more than {MAX_DEPTH} deep; a list is shorter with in (…)", word)
        if self._take("not"):
            term = pc.invert(self._negation())
        else:
            self._take("(")
            term = self._condition()
            self._expect(")", "expected and, or, or the closing parenthesis")
        self._depth -= 1
        return term

    def _predicate(self) -> pc.Expression:
        self._n_predicates += 1
        if self._n_predicates > MAX_PREDICATES:
            self._fail(f"over {MAX_PREDICATES} comparisons; write column in (…)", self._next)
        left = self._operand()
        word = self._next
        if word.kind in _COMPARE:
            self._at += 1
            return self._comparison(left, word, self._operand())
        if isinstance(left, _Literal):
            self._fail("expected a comparison with a column after this value", left.word)
        negated = self._take("not")
        test = self._next
        if test.kind == "is" and not negated:
            self._at += 1
            negated = self._take("not")
            self._expect("null", "expected null: is null or is not null")
            valid = pc.is_valid(_values(left.field))
            return valid if negated else pc.invert(valid)
        if test.kind == "in":
            self._at += 1
            condition = self._membership(left)
        elif test.kind == "between":
            self._at += 1
            low = self._operand()
            self._expect("and", "expected and: between LOW and HIGH")
            high = self._operand()
            condition = pc.and_kleene(
                self._compare(left, ">=", low, low.word), self._compare(left, "<=", high, high.word)
            )
        elif test.kind in ("like", "ilike"):
            self._at += 1
            condition = self._likeness(left, ignore_case=test.kind == "ilike")
        elif negated:
            self._fail("expected in, between or like after not", test)
        elif pa.types.is_boolean(left.field.type):
            return _values(left.field)
        else:
            self._fail(
                f"expected a comparison of {left.field.name}: =, !=, <, <=, >, >=, in, between, "
                "like, is null",
                test,
            )
        return pc.invert(condition) if negated else condition

    def _operand(self) -> _Operand:
        word = self._next
        self._at += 1
        if word.kind == "name":
            return _Column(self._field(word), word)
        if word.kind == "text":
            return _Literal(word.content, word)
        if word.kind == "number":
            whole = re.fullmatch(r"[+-]?\d+", word.content)
            value = int(word.content) if whole and len(word.content) < 19 else float(word.content)
            return _Literal(value, word)
        if word.kind in ("true", "false"):
            return _Literal(word.kind == "true", word)
        if word.kind == "null":
            self._fail("nothing is equal to null; write is null or is not null", word)
        self._fail("expected a column or a value", word)

    # ---- meaning

    def _comparison(self, left: _Operand, sign: _Word, right: _Operand) -> pc.Expression:
        if isinstance(left, _Column):
            return self._compare(left, sign.kind, right, right.word)
        if isinstance(right, _Literal):
            self._fail("one side of a comparison must be a column", left.word)
        return self._compare(right, _MIRRORED.get(sign.kind, sign.kind), left, left.word)

    def _compare(self, column: _Column, sign: str, other: _Operand, at: _Word) -> pc.Expression:
        kind = _family(column.field.type)
        if kind == "other":
            self._fail(f"{_told(column.field)} and can only be tested with is null", column.word)
        if kind == "bool" and sign not in ("=", "==", "!=", "<>"):
            self._fail(f"{_told(column.field)}: = and != are all that compares it", column.word)
        if isinstance(other, _Literal):
            value = self._scalar(column.field, other)
        else:
            if _family(other.field.type) != kind:
                self._fail(f"{_told(column.field)}, but {_told(other.field)}", at)
            value = _values(other.field)
        return _COMPARE[sign](_values(column.field), value)

    def _membership(self, column: _Column) -> pc.Expression:
        if _family(column.field.type) == "other":
            self._fail(f"{_told(column.field)} and can only be tested with is null", column.word)
        self._expect("(", "expected a list in parentheses: in ('1abc', '2xyz')")
        scalars: list[pa.Scalar] = []
        while not scalars or self._take(","):
            item = self._operand()
            if isinstance(item, _Column):
                self._fail("a list holds values, no columns", item.word)
            scalars.append(self._scalar(column.field, item))
        self._expect(")", "expected a comma or the closing parenthesis")
        values = _values(column.field)
        # Scalars of one column may differ in width (60, 60.5): the widest holds them all.
        kinds = {s.type for s in scalars}
        kind = kinds.pop() if len(kinds) == 1 else pa.float64()
        members = pa.array([s.as_py() for s in scalars], kind)
        if kind != _plain(column.field.type):
            values = values.cast(kind)
        # Arrow calls null no member; in SQL it is unknown, so that NOT IN does not find it either.
        return pc.if_else(pc.is_valid(values), values.isin(members), pa.scalar(None, pa.bool_()))

    def _likeness(self, column: _Column, ignore_case: bool) -> pc.Expression:
        if _family(column.field.type) != "text":
            self._fail(f"{_told(column.field)}; like is for text", column.word)
        pattern = self._operand()
        if not (isinstance(pattern, _Literal) and isinstance(pattern.value, str)):
            self._fail("expected a pattern in single quotes, such as '%kinase%'", pattern.word)
        # A regular expression of our own: `match_like` has an escape character, SQL has none, and
        # its % ends at a line break.
        parts = [{"%": ".*", "_": "."}.get(c) or re.escape(c) for c in pattern.value]
        return pc.match_substring_regex(
            _values(column.field), rf"(?s)\A{''.join(parts)}\z", ignore_case=ignore_case
        )

    def _scalar(self, field: pa.Field, literal: _Literal) -> pa.Scalar:
        """The value in the column's own type, or, of numbers, in one that holds both."""
        value, kind, family = literal.value, _plain(field.type), _family(field.type)
        if family == "number" and isinstance(value, int | float) and not isinstance(value, bool):
            if pa.types.is_floating(kind):
                return pa.scalar(float(value), pa.float64()).cast(kind)
            if isinstance(value, float):
                return pa.scalar(value, pa.float64())
            try:
                return pa.scalar(value, kind)
            except (pa.ArrowInvalid, OverflowError):
                return pa.scalar(value, pa.int64())
        if family == "bool" and isinstance(value, bool):
            return pa.scalar(value)
        if family == "text" and isinstance(value, str):
            return pa.scalar(value, kind)
        if family == "time" and isinstance(value, str):
            try:
                return pa.scalar(value).cast(kind)
            except pa.ArrowInvalid:
                self._fail(f"{_told(field)}; write it as in '2024-05-31'", literal.word)
        told = {
            "text": f"write '{literal.word.content}' in single quotes",
            "number": "write a number, without quotes",
            "bool": "compare it with true or false",
            "time": "write it as in '2024-05-31'",
        }
        self._fail(f"{_told(field)}; {told[family]}", literal.word)

    # ---- words

    def _split(self) -> list[_Word]:
        words, at = [], 0
        while at < len(self._text):
            match = _WORDS.match(self._text, at)
            if match is None:
                self._fail_at_character(at)
            kind, content = str(match.lastgroup), match[0]
            if kind == "text":
                content = content[1:-1].replace("''", "'")
            elif kind == "quoted":
                kind, content = "name", content[1:-1].replace('""', '"')
            elif kind == "sign" or (kind == "name" and content.lower() in _KEYWORDS):
                kind = content.lower()
            if kind != "space":
                words.append(_Word(kind, match.start(), match.end(), content))
            at = match.end()
        return [*words, _Word("end", len(self._text), len(self._text) + 1, "")]

    def _fail_at_character(self, at: int) -> NoReturn:
        character = self._text[at]
        rest = _Word("", at, at + 1, "")
        if character in "'\"":
            self._fail(f"this quote {character} is not closed", rest)
        if character in "+-*/%":
            self._fail("there is no arithmetic: compare columns and values as they are", rest)
        self._fail("this means nothing here", rest)

    @property
    def _next(self) -> _Word:
        return self._words[self._at]

    def _take(self, kind: str) -> bool:
        is_next = self._next.kind == kind
        self._at += is_next
        return is_next

    def _expect(self, kind: str, message: str) -> None:
        if not self._take(kind):
            self._fail(message, self._next)

    def _field(self, word: _Word) -> pa.Field:
        """The column of this name, as written or else whatever its case."""
        names = self._schema.names
        folded = [name for name in names if name.lower() == word.content.lower()]
        matches = [name for name in names if name == word.content] or folded
        if len(matches) == 1:
            return self._schema.field(matches[0])
        if matches:
            self._fail(f"more than one column is called {word.content}", word)
        message = f"there is no column {word.content}"
        if near := difflib.get_close_matches(word.content.lower(), names, n=1):
            message += f"; did you mean {near[0]}?"
        else:
            message += f"; a text stands in single quotes: '{word.content}'"
        columns = textwrap.fill(
            f"columns: {', '.join(names)}", 100, subsequent_indent="  ", break_long_words=False
        )
        self._fail(message, word, columns)

    def _fail(self, message: str, word: _Word, *more: str) -> NoReturn:
        """Show the line, and the word in it."""
        start = self._text.rfind("\n", 0, word.start) + 1
        line = self._text[start:].partition("\n")[0]
        offset = word.start - start
        # The neighbourhood is enough of a list of a million ids.
        skipped = max(0, offset - 60)
        shown = line[skipped : offset + 60].replace("\t", " ")
        width = max(1, min(word.end - word.start, len(line) - offset, 60))
        caret = " " * (offset - skipped) + "^" * width
        raise WhereError("\n".join([message, f"  {shown}", f"  {caret}", *more]))


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _values(field: pa.Field) -> pc.Expression:
    """A column as an expression, dictionaries decoded."""
    column = pc.field(field.name)
    return column.cast(field.type.value_type) if pa.types.is_dictionary(field.type) else column


def _family(kind: pa.DataType) -> str:
    """What may be compared with what."""
    kind = _plain(kind)
    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return "number"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "text"
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return "time"
    return "other"


def _told(field: pa.Field) -> str:
    family = _family(field.type)
    what = {
        "text": "text",
        "number": "a number",
        "bool": "true or false",
        "time": "a date",
        "other": f"of type {field.type}",
    }
    return f"{field.name} is {what[family]}"
