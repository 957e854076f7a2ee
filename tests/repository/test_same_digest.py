"""The benchmark that builds a folder in many ways: what it finds, and that it finds nothing."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.places import EXAMPLES, ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import same_digest
from same_digest import HEADER, WAYS, Built, Outcome, Scene, Way, differences, table_rows

BUILT = Built(1.5, "a" * 64, "c" * 64, 35, {"shards/part-00000.parquet": "b" * 64})
OTHER_DIGEST = replace(BUILT, digest="c" * 64)
OTHER_INTERFACES = replace(BUILT, interfaces_digest="e" * 64)
OTHER_BYTES = replace(BUILT, shards={"shards/part-00000.parquet": "d" * 64})
ONE_SHARD_LESS = replace(BUILT, shards={})


def outcomes(way: str, built: Built | None, problem: str = "") -> list[Outcome]:
    return [Outcome(WAYS["one-core"], BUILT), Outcome(WAYS[way], built, problem)]


def same(rows: list[tuple[str, ...]]) -> list[str]:
    return [row[HEADER.index("same")] for row in rows]


def test_ways_that_agree_have_no_differences() -> None:
    found = outcomes("dask", replace(BUILT, seconds=7.0))
    assert differences(found) == []
    assert same(table_rows(found)) == ["yes", "yes"]


@pytest.mark.parametrize("way", WAYS)
def test_another_digest_is_a_difference_whatever_the_way(way: str) -> None:
    found = outcomes(way, OTHER_DIGEST)
    (sentence,) = differences(found)
    assert sentence == f"{WAYS[way].title}: digest {'c' * 64}, not {'a' * 64}"
    assert same(table_rows(found)) == ["yes", "NO"]


def test_other_interfaces_are_a_difference_whatever_the_way() -> None:
    found = outcomes("tar", OTHER_INTERFACES)
    (sentence,) = differences(found)
    assert "interfaces_digest" in sentence
    assert same(table_rows(found)) == ["yes", "NO"]


@pytest.mark.parametrize("built", [OTHER_BYTES, ONE_SHARD_LESS])
def test_shards_of_other_bytes_are_a_difference_only_where_the_plan_is_the_same(
    built: Built,
) -> None:
    (sentence,) = differences(outcomes("ray", built))
    assert "shards/part-00000.parquet" in sentence
    assert table_rows(outcomes("ray", built))[1][4] == "DIFFERENT"
    assert differences(outcomes("updates", built)) == []
    assert table_rows(outcomes("updates", built))[1][4] == "other cuts"


def test_a_way_that_could_not_be_gone_is_a_difference() -> None:
    found = outcomes("dask", None, "the cluster does not start")
    assert differences(found) == ["Dask cluster: the cluster does not start"]
    assert same(table_rows(found)) == ["yes", "NO"]
    nothing = [Outcome(WAYS["one-core"], None, "it broke"), Outcome(WAYS["tar"], BUILT)]
    assert len(differences(nothing)) == 2


def test_a_missing_package_is_named_with_its_pip_line(tmp_path: Path) -> None:
    way = Way("of nowhere", same_digest.one_core, True, "no_such_module", "dask")
    outcome = same_digest.attempt(way, Scene(tmp_path, [], tmp_path / "way", []))
    assert outcome.built is None
    assert "no_such_module is not installed: pip install -e '.[dask]'" in outcome.problem


def test_only_the_ways_that_are_asked_for_are_gone_after_one_core(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(same_digest, "attempt", lambda way, _: Outcome(way, BUILT))
    monkeypatch.setattr(same_digest, "with_chains", lambda _: [])
    scene = Scene(tmp_path, [], tmp_path, [])
    gone = [outcome.way for outcome in same_digest.compare_ways(["tar", "dask"], scene)]
    assert gone == [WAYS["one-core"], WAYS["dask"], WAYS["tar"]]


@pytest.mark.slow
def test_the_examples_are_the_same_dataset_however_they_are_built() -> None:
    command = [
        *(sys.executable, str(ROOT / "benchmarks" / "same_digest.py")),
        *(str(EXAMPLES), "--part-size", "1", "--markdown"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.strip("| ").split("|") for line in done.stdout.splitlines() if line[:1] == "|"]
    table = {row[0].strip(): dict(zip(HEADER, map(str.strip, row), strict=True)) for row in rows}
    for way in WAYS.values():
        row = table[way.title]
        assert row["same"] == "yes", row
        assert int(row["shards"]) >= 3 or way is WAYS["tar.gz"], row
        assert row["shards' bytes"] == "same" or not way.same_bytes, row
    assert f"{len(WAYS)} ways, one digest" in done.stdout
    assert "SIGINT when" in done.stdout
    assert "SIGKILL when" in done.stdout
