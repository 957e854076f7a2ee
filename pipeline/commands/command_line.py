"""Options of the commands: a documented dataclass becomes ``--options``, YAML and help.

jsonargparse does the work; this file gives it the spelling of the documentation (``--max-length``
beside ``--max_length``, in YAML too), plain flags (``--dry-run``), lists without brackets
(``--methods x-ray electron``), what a command is about as its first word (``verify OUT --quick``),
and errors of one line.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import re
import sys
import types
import typing
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar

import jsonargparse
import jsonargparse.typing
import yaml

from pipeline.commands.software import version_line
from pipeline.commands.words import dashed, no_such_option
from pipeline.errors import UsageError
from pipeline.files.place import Place

Options = TypeVar("Options")

jsonargparse.typing.register_type(Place)

_OWN = ("help", "config", "print_config", "version")
_TRUTHS = ("true", "false")


def parse_options(
    options: type[Options],
    program: str,
    description: str,
    arguments: Sequence[str] | None = None,
    *,
    first: str | None = None,
) -> Options:
    """Read the command line into a dataclass.

    Parameters
    ----------
    options : type
        Dataclass whose docstring documents its fields. A field whose type is a dataclass and whose
        metadata say ``flatten`` contributes its fields without a prefix: in a group of their own
        (`Filters`), or, if they say ``flatten="here"``, in its place (`Reading`). One whose
        metadata say ``also`` has a second name on the command line; one that says ``unit`` is a
        whole number of so many there; one that says ``option=False`` is none.
    program : str
        Shown in the usage line, such as ``python -m pipeline.build``; where the console script was
        started, ``ellipsoid-flow build`` is shown instead.
    arguments : sequence of str, optional
        Defaults to the process's own.
    first : str, optional
        Field whose option may be left out before its value (or values).

    Raises
    ------
    SystemExit
        Status 2 for wrong usage, 0 for ``--help`` and ``--print_config``.
    """
    parser: _Parser = _parser(options, as_started(program), description, first)  # type: ignore[arg-type]
    # What was asked for by a command line that then failed.
    vars(parser).pop("print_config", None)
    namespace = parser.parse_args(
        _normalise(list(sys.argv[1:] if arguments is None else arguments), parser)
    )
    return _made_of(options, namespace)


def as_started(program: str) -> str:
    """A command by the name that it was started by: of its module, or of the console script."""
    door = Path(sys.argv[0]).name
    if door != "ellipsoid-flow":
        return program
    return re.sub(r"^python -m (?:pipeline|model)\.", f"{door} ", program)


def to_yaml(options: Any) -> str:
    """The options as a file for ``--config``."""
    values = dict(_values(options))
    order = [f.name for group in _groups(type(options)) for f in dataclasses.fields(group)]
    values = {key: str(v) if isinstance(v := values[key], Path | Place) else v for key in order}
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _made_of(options: Any, values: Any) -> Any:
    """A dataclass of options as they were given."""
    given = {}
    for field in dataclasses.fields(options):
        nested = _nested(options, field)
        if nested is not None:
            given[field.name] = _made_of(nested, values)
        elif field.init and _is_option(field):
            value, unit = values[field.name], field.metadata.get("unit")
            given[field.name] = value if unit is None else value * unit
    return options(**given)


def _values(options: Any) -> Iterator[tuple[str, Any]]:
    """The options of a dataclass as they are given."""
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if _nested(type(options), field) is not None:
            yield from _values(value)
        elif "unit" in field.metadata:
            yield field.name, value // field.metadata["unit"]
        elif _is_option(field):
            yield field.name, value


def _is_option(field: dataclasses.Field[Any]) -> bool:
    return field.metadata.get("option", True)


# Reading annotations takes as long as parsing a command line.
_hints = cache(typing.get_type_hints)


def _nested(options: Any, field: dataclasses.Field[Any]) -> Any:
    hint = _hints(options)[field.name]
    return hint if dataclasses.is_dataclass(hint) and field.metadata.get("flatten") else None


def _groups(options: Any) -> list[Any]:
    """The dataclass with the fields that are to be in it, and those that have groups of their
    own."""
    if not any(_nested(options, f) for f in dataclasses.fields(options)):
        return [options]
    outer = dataclasses.make_dataclass(options.__name__, [*_here(options)], frozen=True)
    outer.__doc__ = "\n".join(_docs(options))
    return [outer, *_apart(options)]


def _here(options: Any) -> Iterator[tuple[str, Any, Any]]:
    """Names, types and defaults of the fields that have no group of their own."""
    hints = _hints(options)
    for field in dataclasses.fields(options):
        nested = _nested(options, field)
        if nested is None and _is_option(field):
            yield field.name, hints[field.name], _as_given(field)
        elif nested is not None and field.metadata["flatten"] == "here":
            yield from _here(nested)


def _apart(options: Any) -> Iterator[Any]:
    """The dataclasses that have groups of their own."""
    for field in dataclasses.fields(options):
        nested = _nested(options, field)
        if nested is not None and field.metadata["flatten"] != "here":
            yield nested
        if nested is not None:
            yield from _apart(nested)


def _docs(options: Any) -> Iterator[str]:
    yield inspect.cleandoc(options.__doc__)
    for field in dataclasses.fields(options):
        nested = _nested(options, field)
        if nested is not None and field.metadata["flatten"] == "here":
            _, heading, parameters = inspect.cleandoc(nested.__doc__).partition("Parameters\n---")
            yield f"\n{heading}{parameters}"


def _as_given(field: dataclasses.Field[Any]) -> Any:
    """A field with its default as on the command line."""
    if field.default_factory is not dataclasses.MISSING:
        return dataclasses.field(default_factory=field.default_factory)
    if "unit" in field.metadata:
        return dataclasses.field(default=field.default // field.metadata["unit"])
    return dataclasses.field(default=field.default)


class _Parser(jsonargparse.ArgumentParser):
    """Says in one line what is wrong with an option."""

    hints: dict[str, Any]
    first: str | None
    aliases: dict[str, str]

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        sys.stderr.write(
            f"error: {self._explain(message)}\ntip: {self.prog} --help lists all options\n"
        )
        sys.exit(2)

    def _explain(self, message: str) -> str:
        if required := re.search(r"arguments are required: (\w+)", message):
            return f"{dashed(required[1])} is required"
        if lacking := re.match(r"argument (--[\w-]+).*: expected one argument", message):
            key = _key(lacking[1])
            what = expected_of(self.hints[key]) if key in self.hints else "a value"
            return f"{lacking[1]} needs {what}"
        if wrong := re.search(r'[Pp]arser key "(\w+)"', message):
            value = re.findall(r"(?:Given|Got) value: (.*)", message)
            if wrong[1] in self.hints and value:
                expected = expected_of(self.hints[wrong[1]])
                return f"{dashed(wrong[1])} {_shown(value[-1])}: expected {expected}"
        if stray := re.match(r"[Uu]nrecognized arguments: (\S+)", message):
            return f"unexpected {stray[1]!r}: every value follows its option"
        return " ".join(message.split())


class Help(jsonargparse.DefaultHelpFormatter):
    """Descriptions with defaults, without Python's names of types."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30)

    def _get_help_string(self, action: argparse.Action) -> str:
        text = (action.help or "").replace("%", "%%")
        if action.dest in _OWN or not isinstance(action, jsonargparse._typehints.ActionTypeHint):
            return text
        if action.required:
            return f"{text} (required)"
        default = action.default
        if default is None:
            return f"{text} (default: none)"
        if isinstance(default, bool):
            off = f"on; {dashed(action.dest)} false switches it off"
            default = off if default else "off"
        return f"{text} (default: {default})"


# A notebook or a test calls a command again and again, and making one takes longer than reading a
# command line.
@cache
def _parser(options: Any, program: str, description: str, first: str | None) -> _Parser:
    groups = _groups(options)
    hints = {
        field.name: _hints(group)[field.name]
        for group in groups
        for field in dataclasses.fields(group)
        if field.init
    }
    required = [
        f"{f'[{dashed(f.name)}]' if f.name == first else dashed(f.name)} "
        f"{metavar_of(hints[f.name])}"
        for group in groups
        for f in dataclasses.fields(group)
        if f.name in hints
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
    ]
    parser = _Parser(
        prog=program,
        description=description,
        formatter_class=Help,
        usage=" ".join([program, *required, "[options]"]),
    )
    parser.hints, parser.first = hints, first
    parser.aliases = {
        f.metadata["also"]: f.name for f in dataclasses.fields(options) if "also" in f.metadata
    }
    for group in groups:
        parser.add_class_arguments(group)
    parser.add_argument(
        "--config",
        action="config",
        metavar="PATH",
        help="YAML file of options; the command line wins over it.",
    )
    parser.add_argument(
        "--version",
        action="version",
        version=version_line(),
        help="Print the version of ellipsoid-flow, and stop.",
    )
    for action in parser._actions:
        if action.dest in hints:
            option = dashed(action.dest)
            parser._option_string_actions[option] = action
            action.option_strings = [option]
            action.metavar = metavar_of(hints[action.dest])
        elif action.dest == "print_config":
            action.help = "Print the options, all others applied, as YAML for --config, and stop."
            action.metavar = ""
    for group in parser._action_groups:
        if group.title == (groups[0].__doc__ or "").strip().split("\n")[0].rstrip("."):
            group.title = "what is read and written, and how"
    return parser


def _key(word: str) -> str:
    return word.removeprefix("--").replace("-", "_")


def _plain(hint: Any) -> Any:
    """The type without its None."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(h for h in typing.get_args(hint) if h is not type(None))
    return hint


def _is_list(hint: Any) -> bool:
    return typing.get_origin(_plain(hint)) is list


def expected_of(hint: Any) -> str:
    """What to give for a type, in words."""
    hint = _plain(hint)
    if _is_list(hint):
        (item,) = typing.get_args(hint)
        if typing.get_origin(item) is Literal:
            return f"some of {', '.join(map(str, typing.get_args(item)))}"
        return "one or more values"
    if typing.get_origin(hint) is Literal:
        return " or ".join(map(str, typing.get_args(hint)))
    words = {
        int: "a whole number",
        float: "a number",
        bool: "true, false or nothing",
        Path: "a path",
        Place: "a path",
        str: "a text",
    }
    return words.get(hint, str(hint))


def metavar_of(hint: Any) -> str:
    """What stands for a value of this type in the help; nothing for a flag."""
    hint = _plain(hint)
    if hint is bool:
        return ""
    if _is_list(hint):
        return "LIST" if dataclasses.is_dataclass(typing.get_args(hint)[0]) else "NAME ..."
    if typing.get_origin(hint) is Literal:
        return "{" + ",".join(map(str, typing.get_args(hint))) + "}"
    return {int: "N", float: "X", Path: "PATH", Place: "PATH"}.get(hint, "TEXT")


def _shown(value: str) -> str:
    """A value as it was typed: without the list that was made of it."""
    if value.startswith("['") and value.endswith("']"):
        return " ".join(part.strip(" '") for part in value[1:-1].split(","))
    return value


def _normalise(arguments: list[str], parser: _Parser) -> list[str]:
    """Rewrite flags, lists and configuration files into what jsonargparse reads."""
    configs: list[str] = []
    result: list[str] = []
    # Values of the lists so far: one that is given twice has the values of both.
    lists: dict[str, list[str]] = {}
    for key, values in _grouped(arguments, parser):
        if _is_list(parser.hints.get(key)) and values and not values[0].startswith("["):
            values = lists[key] = [*lists.get(key, []), *values]
        # What comes later wins, and that is the command line wherever --config stands in it.
        (configs if key == "config" else result).extend(_option(key, values, parser))
    return configs + result


def _grouped(arguments: list[str], parser: _Parser) -> Iterator[tuple[str, list[str]]]:
    """Options with the words that they take; words that none takes belong to `first`."""
    words = deque(arguments)
    named: set[str] = set()

    def take(most: int | None = None) -> list[str]:
        values: list[str] = []
        while words and not words[0].startswith("--") and len(values) != most:
            values.append(words.popleft())
        return values

    while words:
        word = words.popleft()
        if word == "-h":
            yield "help", []
            continue
        first = None if parser.first in named else parser.first
        if first is not None and not word.startswith("-"):
            words.appendleft(word)
            key, equals, value = first, "", ""
        elif word.startswith("--"):
            option, equals, value = word.partition("=")
            key = parser.aliases.get(_key(option), _key(option))
            if key not in parser.hints and key not in _OWN:
                parser.error(_no_such_option(option, parser))
        else:
            parser.error(f"unrecognized arguments: {word}")
        named.add(key)
        hint = parser.hints.get(key)
        if equals:
            yield key, [value]
        elif hint is bool and first is not None and words and words[0].lower() not in _TRUTHS:
            yield key, []  # what comes next is not the flag's
        else:
            yield key, take(None if _is_list(hint) else 1)


def _option(key: str, values: list[str], parser: _Parser) -> list[str]:
    """One option with its values, as jsonargparse spells it."""
    if key == "config":
        if len(values) != 1:
            parser.error("--config needs a path")
        return ["--config", json.dumps(_read_config(values[0], parser), default=str)]
    if key in _OWN:
        return [f"--{key}" + (f"={values[0]}" if values else "")]
    if parser.hints[key] is bool and not values:
        values = ["true"]
    if _is_list(parser.hints[key]) and values and not values[0].startswith("["):
        values = [json.dumps(values)]
    # With "=", a value may begin with a dash.
    option = dashed(key)
    return [f"{option}={values[0]}", *values[1:]] if values else [option]


def _no_such_option(option: str, parser: _Parser) -> str:
    key = _key(option)
    if (plain := key.removeprefix("no_")) != key and parser.hints.get(plain) is bool:
        return f"there is no option {option}; {dashed(plain)} false says that"
    known = [*map(dashed, parser.hints), *(f"--{name}" for name in _OWN)]
    return no_such_option(option, known, spelled=dashed(key))


def options_file(path: str) -> dict[str, Any]:
    """What a YAML file for ``--config`` holds.

    Raises
    ------
    UsageError
        There is none, or it holds something else.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--config {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {path} is no YAML: {' '.join(str(error).split())}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"--config {path}: expected lines such as 'max_length: 512'")
    return content


def _read_config(path: str, parser: _Parser) -> dict[str, Any]:
    """A YAML file of options: keys with dashes or underscores."""
    try:
        content = options_file(path)
    except UsageError as error:
        parser.error(str(error))
    values = {}
    for name, value in content.items():
        key = _key(str(name))
        if key not in parser.hints:
            parser.error(f"--config {path}: {_no_such_option(dashed(key), parser)}")
        # YAML takes an assembly's id for a number, and a day for a date.
        if _plain(parser.hints[key]) is str and isinstance(value, int | float | date):
            value = str(value)
        values[key] = value
    return values
