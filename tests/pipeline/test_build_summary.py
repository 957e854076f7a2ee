"""``build.json`` is read as what it was written from, or it is said what is wrong with it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.built.build_summary import (
    BuildSummary,
    Counts,
    FromManifest,
    FromSource,
    ListedShard,
    NotASummary,
    OtherSchema,
)
from pipeline.shards import SCHEMA_VERSION, UNITS


def summary(**more: Any) -> BuildSummary:
    values: dict[str, Any] = {
        "digest": "d" * 64,
        "schema_version": SCHEMA_VERSION,
        "config_hash": "c" * 64,
        "config": {"shape": "full", "filters": {"min_length": 1}},
        "counts": Counts(6, 3, 2, 1, 3, 4, 500, 1, 12_345),
        "reasons": {"skipped": {"alias": 2}, "failed": {"damaged": 1}},
        "examples": {"skipped": {"alias": {"input": "a", "message": None}}, "failed": {}},
        "drop_reasons": {"max-length": 1},
        "manifest": FromManifest(3, 1, ["1abc"]),
        "sources": {"PDB": FromSource(4, "CC0")},
        "units": UNITS,
        "software": {"python": "3.11"},
        "shards": [ListedShard("part-00000.parquet", "e" * 64, 12_345, 4, 500)],
    }
    return BuildSummary(**{**values, **more})


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"manifest": None},
        {"chains_without_confidence": 0},
        {"entries_without": {"method": 2}},
        {"derived_from": {"where": None}},
    ],
)
def test_a_summary_is_read_as_it_was_written(more: dict[str, Any]) -> None:
    written = summary(**more)
    assert BuildSummary.from_json(written.to_json().encode()) == written
    assert more.keys() <= json.loads(written.to_json()).keys()


def test_what_only_some_datasets_have_is_left_out_of_the_others() -> None:
    keys = json.loads(summary(manifest=None).to_json()).keys()
    assert "manifest" in keys
    assert not {"chains_without_confidence", "entries_without", "derived_from"} & keys


@pytest.mark.parametrize(
    ("place", "value", "why"),
    [
        (("digest",), None, "digest is null, which it cannot be"),
        (("counts", "chains"), True, "counts.chains is true, which it cannot be"),
        (("sources", "PDB", "licence"), 1, "sources.PDB.licence is 1, which it cannot be"),
        (("manifest", "first_not_found", 0), 1, "manifest.first_not_found.0 is 1, which"),
        (("manifest",), [], r"manifest is \[\], which it cannot be"),
        (("shards", 0), "part-00000", 'shards.0 is "part-00000", which it cannot be'),
        (("reasons", "failed"), [], r"reasons.failed is \[\], which it cannot be"),
        (("counts", "ok"), ..., "has no key counts.ok"),
        (("units",), ..., "has no key units"),
        (("shards", 0, "sha256"), ..., "has no key shards.0.sha256"),
    ],
)
def test_what_a_summary_cannot_say_is_named(place: tuple, value: Any, why: str) -> None:
    values = json.loads(summary().to_json())
    record = values
    for key in place[:-1]:
        record = record[key]
    if value is ...:
        del record[place[-1]]
    else:
        record[place[-1]] = value
    with pytest.raises(NotASummary, match=why):
        BuildSummary.from_json(json.dumps(values).encode())


def test_another_version_of_the_format_is_that_whatever_else_it_has() -> None:
    with pytest.raises(OtherSchema, match="schema version 99") as error:
        BuildSummary.from_json(b'{"schema_version": 99, "digest": "d"}')
    assert (error.value.version, error.value.digest) == (99, "d")
