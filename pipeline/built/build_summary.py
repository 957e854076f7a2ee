"""``build.json``: what a build, or `pipeline.subset`, says of its dataset."""

from __future__ import annotations

import json
import types
import typing
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any

from pipeline.shards import SCHEMA_VERSION


class NotASummary(ValueError):
    """A text is no ``build.json``: the sentence, which goes on behind its name, says why."""


class OtherSchema(ValueError):
    """The summary of a dataset in another version of the format."""

    def __init__(self, version: int, digest: str):
        super().__init__(f"schema version {version}, and this program reads {SCHEMA_VERSION}")
        self.version, self.digest = version, digest


@dataclass(frozen=True, slots=True)
class Counts:
    """Files, of which ``found`` is the sum of the next three; chains; bytes of all shards."""

    found: int
    ok: int
    skipped: int
    failed: int
    entries: int
    chains: int
    residues: int
    dropped_chains: int
    shard_bytes: int


@dataclass(frozen=True, slots=True, order=True)
class ListedChain:
    """A chain that a manifest lists."""

    entry_id: str
    chain: str


@dataclass(frozen=True, slots=True)
class FromManifest:
    """How much of the manifest was there.

    Attributes
    ----------
    entries, not_found : int
        Entries that it names, and those that are in no file.
    chains_not_found : int
        Chains that it names of entries that were read, and that these lack.
    first_chains_not_found : list of ListedChain
    """

    entries: int
    not_found: int
    first_not_found: list[str]
    chains_not_found: int = 0
    first_chains_not_found: list[ListedChain] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class FromSource:
    """What of a dataset is from one archive, and how it may be used."""

    chains: int
    licence: str


@dataclass(frozen=True, slots=True)
class ListedShard:
    """One shard."""

    name: str
    sha256: str
    bytes: int
    chains: int
    residues: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSummary:
    """What the file holds; it is the last that is written, and makes a folder a dataset.

    Attributes
    ----------
    interfaces_digest : str or None
        Of ``interfaces.parquet``; None if there is no such table.
    config : dict
        `Reading.identity`; of a subset, with null where its sources differ.
    reasons : dict
        ``skipped`` and ``failed`` → reason → number of files, the commonest first.
    examples : dict
        ``skipped`` and ``failed`` → reason → the first file, and what was said about it.
    drop_reasons : dict
        Reason → number of chains.
    chains_without_confidence : int or None
        Chains that passed a filter by confidence because they have none, if there was one.
    entries_without : dict or None
        Property → entries that passed a filter by it because they do not say it, if there was one.
    sources : dict
        By the name of the archive.
    derived_from : dict or None
        What a subset was chosen from.
    """

    digest: str
    interfaces_digest: str | None = None
    schema_version: int
    config_hash: str
    config: dict[str, Any]
    counts: Counts
    reasons: dict[str, dict[str, int]]
    examples: dict[str, dict[str, dict[str, str | None]]]
    drop_reasons: dict[str, int]
    chains_without_confidence: int | None = None
    entries_without: dict[str, int] | None = None
    manifest: FromManifest | None
    sources: dict[str, FromSource]
    units: dict[str, str]
    software: dict[str, str]
    shards: list[ListedShard]
    derived_from: dict[str, Any] | None = None

    def to_json(self) -> str:
        """The text of the file."""
        left_out = [f.name for f in fields(self) if f.default is None]
        values = asdict(self)
        for name in left_out:
            if values[name] is None:
                del values[name]
        return json.dumps(values, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: bytes) -> BuildSummary:
        """What `to_json` gave.

        Raises
        ------
        OtherSchema
        NotASummary
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise NotASummary(f"is no JSON: {str(error).partition(chr(10))[0]}") from error
        if not isinstance(values, dict):
            raise NotASummary("holds no object")
        version = _value(values, "schema_version", int)
        if version != SCHEMA_VERSION:
            raise OtherSchema(version, _value(values, "digest", str))
        return _record(values, cls, "")


OF_FILE = ("input", "status", "reason", "message")
"""What `count_reasons` asks of a file: attributes of its record, columns of ``inputs.parquet``."""


def count_reasons(
    files: Iterable[Sequence[str | None]],
) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, dict[str, str | None]]]]:
    """`reasons` and `examples` of files in their order, each of them given by its `OF_FILE`."""
    counts: dict[str, Counter[str]] = {"skipped": Counter(), "failed": Counter()}
    examples: dict[str, dict[str, dict[str, str | None]]] = {status: {} for status in counts}
    for name, status, reason, message in files:
        if reason and status in counts:
            counts[status][reason] += 1
            examples[status].setdefault(reason, {"input": name, "message": message})
    return {status: dict(c.most_common()) for status, c in counts.items()}, examples


_hints = cache(typing.get_type_hints)


def _value(record: dict[str, Any], name: str, kind: Any, where: str = "") -> Any:
    if name not in record:
        raise NotASummary(f"has no key {where}{name}")
    return _typed(record[name], kind, f"{where}{name}")


def _record(values: dict[str, Any], kind: Any, where: str) -> Any:
    hints = _hints(kind)
    return kind(
        **{
            f.name: _value(values, f.name, hints[f.name], where)
            for f in fields(kind)
            if (f.default is MISSING and f.default_factory is MISSING) or f.name in values
        }
    )


def _typed(value: Any, kind: Any, where: str) -> Any:
    """A value out of JSON as the type of a field says."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any or type(value) is kind:
        return value
    if origin is types.UnionType:
        return None if value is None else _typed(value, inner[0], where)
    if is_dataclass(kind) and isinstance(value, dict):
        return _record(value, kind, f"{where}." if where else "")
    if origin is dict and isinstance(value, dict):
        return {key: _typed(v, inner[1], f"{where}.{key}") for key, v in value.items()}
    if origin is list and isinstance(value, list):
        return [_typed(v, inner[0], f"{where}.{k}") for k, v in enumerate(value)]
    raise NotASummary(f"{where} is {json.dumps(value)[:40]}, which it cannot be")
