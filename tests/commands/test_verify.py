"""``python -m pipeline.verify`` finds what is wrong with a dataset, names it, writes nothing."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pipeline.verify.check_dataset
from pipeline.built.layout import Layout
from pipeline.features import ChainFeatures
from pipeline.shards import shard_schema
from pipeline.shards.writer import ROWS_PER_GROUP
from pipeline.verify.check_dataset import Thoroughness, check_dataset
from pipeline.verify.check_shard import DERIVED_COLUMNS
from pipeline.verify.command import main
from pipeline.verify.findings import Findings
from pipeline.verify.probe import KILLS, deadly
from tests.support import build_runs as runs
from tests.support.places import ROOT

TABLES = (
    "index.parquet",
    "inputs.parquet",
    "drops.parquet",
    "plan.parquet",
    "interfaces.parquet",
)
ONE = Thoroughness(n_jobs=1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of several small shards, a skipped file, a dropped chain and a link."""
    folder = tmp_path_factory.mktemp("whole")
    source = runs.write_peptides(folder / "in", 24, 30)
    (source / "two.pdb").write_text(runs.dimer(30))
    (source / "short.pdb").write_text(runs.peptide(5))
    (source / "notes.txt").write_text("nothing")
    (source / "link").symlink_to("nowhere.pdb")
    (source / "broken.pdb.gz").write_bytes(b"\x1f\x8b\x08 and no more")
    runs.build_here(source, folder / "out", min_part=60_000, min_length=10, status=1)
    assert len(runs.shards(folder / "out")) >= 5
    assert pq.read_table(folder / "out" / "drops.parquet").num_rows == 1
    return folder / "out"


@pytest.fixture
def dataset(whole: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(whole, tmp_path / "out")


def look(dataset: Path, how: Thoroughness = ONE) -> Findings:
    return check_dataset(Layout(dataset), how)


def files(findings: Findings) -> set[str]:
    return {p.file for p in findings.damage}


def checks(findings: Findings) -> set[tuple[str, str]]:
    return {(p.file, p.check) for p in findings.damage}


def flip(path: Path, position: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= 1 << bit
    path.write_bytes(data)


def shard(dataset: Path, k: int = 2) -> Path:
    return dataset / "shards" / f"part-{k:05d}.parquet"


def edit_json(path: Path, change: Callable[[Any], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content, indent=1) + "\n")


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """A table with other content, and checksums that agree with it."""
    before = pq.read_table(path)
    table = change(before)
    if table.schema.metadata is None:
        table = table.replace_schema_metadata(before.schema.metadata)
    pq.write_table(table, path, write_page_checksum=True, row_group_size=ROWS_PER_GROUP)


def forge(dataset: Path, change: Callable[[pa.Table], pa.Table], k: int = 2) -> None:
    """A shard with other content, of which build.json and the record know the hash."""
    path = shard(dataset, k)
    rewrite(path, change)
    sha256, size = hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size

    def into_summary(summary: dict) -> None:
        old = summary["shards"][k]["bytes"]
        summary["shards"][k] |= {"sha256": sha256, "bytes": size}
        summary["counts"]["shard_bytes"] += size - old

    edit_json(dataset / "build.json", into_summary)
    record = dataset / ".build" / f"{path.stem}.json"
    edit_json(record, lambda r: r.update(shard_sha256=sha256, shard_bytes=size))


def with_value(name: str, row: int, change: Callable[[Any], Any]) -> Callable[[pa.Table], pa.Table]:
    """A change of one value of a column."""

    def changed(table: pa.Table) -> pa.Table:
        values = table[name].to_pylist()
        values[row] = change(values[row])
        field = table.schema.field(name)
        column = pa.array(values, field.type)
        return table.set_column(table.schema.get_field_index(name), field, column)

    return changed


# ---- what is whole ------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--quick"], ["--sample", "0.2"], ["--sample", "7"]])
def test_a_whole_dataset_is_called_whole_and_left_untouched(
    whole: Path, options: list[str], capfd: pytest.CaptureFixture
) -> None:
    before = runs.snapshot(whole)
    assert main([str(whole), "--n-jobs", "1", *options]) == 0
    assert runs.snapshot(whole) == before
    said = capfd.readouterr().out
    assert said.splitlines()[-1] == f"{whole} is whole"
    assert runs.build_json(whole)["digest"] in said


def test_a_build_of_real_entries_is_whole_and_all_its_gaussians_are_recomputed(
    examples_dataset: Path,
) -> None:
    findings = look(examples_dataset)
    assert findings.problems == []
    counts = runs.build_json(examples_dataset)["counts"]
    assert findings.n_recomputed == findings.n_chains == counts["chains"] > 20
    assert findings.n_residues == counts["residues"]
    assert findings.recomputed_digest == findings.digest


@pytest.mark.parametrize(
    "options",
    [
        {"shape": "full"},
        {"base_thickness": 0.0},
        {"base_thickness": 2.0, "shape": "full"},
        {"min_length": 1000, "allow_empty": True},
    ],
    ids=str,
)
def test_whatever_the_ellipsoids_are_like_they_are_recomputed_as_such(
    tmp_path: Path, options: dict
) -> None:
    runs.build_here(runs.write_peptides(tmp_path / "in", 3), tmp_path / "out", **options)
    findings = look(tmp_path / "out")
    assert findings.problems == []
    assert findings.n_recomputed == (0 if "min_length" in options else 3)


def test_a_sample_has_the_size_asked_for_and_is_the_same_every_time(whole: Path) -> None:
    n = runs.build_json(whole)["counts"]["chains"]
    for sample, expected in ((5, 5), (0.25, -(-n // 4)), (10**6, n), (None, n)):
        found = [look(whole, Thoroughness(sample=sample, n_jobs=1)) for _ in range(2)]
        assert [f.n_recomputed for f in found] == [expected] * 2
    assert look(whole, Thoroughness(quick=True, n_jobs=1)).n_recomputed == 0


def test_a_dataset_without_what_resumes_its_build_is_whole(dataset: Path) -> None:
    shutil.rmtree(dataset / ".build")
    (dataset / "options.yaml").unlink()
    findings = look(dataset)
    assert findings.is_whole
    assert {p.file for p in findings.problems} == {"options.yaml"}


def test_several_processes_find_what_one_does(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flip(shard(dataset), 1000)
    rewrite(dataset / "index.parquet", with_value("length", 3, lambda n: n + 1))
    alone = look(dataset)
    monkeypatch.setattr(pipeline.verify.check_dataset, "BYTES_PER_WORKER", 1)
    together = look(dataset, Thoroughness(n_jobs=2))
    assert alone.problems == together.problems
    assert files(alone) == {"shards/part-00002.parquet", "index.parquet"}


# ---- flipped bits -------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    k=st.integers(0, 4),
    position=st.one_of(st.integers(0, 10**6), st.integers(-3000, -1)),
    bit=st.integers(0, 7),
    quick=st.booleans(),
)
def test_any_flipped_bit_of_any_shard_is_found_and_its_shard_named(
    whole: Path, k: int, position: int, bit: int, quick: bool
) -> None:
    path = shard(whole, k)
    data = path.read_bytes()
    try:
        flip(path, position, bit)
        findings = look(whole, Thoroughness(quick=quick, n_jobs=1))
        assert files(findings) == {f"shards/{path.name}"}
        assert (f"shards/{path.name}", "sha256") in checks(findings)
        assert findings.files_for("rebuild") == [f"shards/{path.name}"]
    finally:
        path.write_bytes(data)


@pytest.mark.parametrize("name", TABLES)
def test_a_flipped_bit_of_a_table_is_found_or_changes_nothing_that_is_read(
    whole: Path, dataset: Path, name: str
) -> None:
    path, data = dataset / name, (whole / name).read_bytes()
    original = pq.read_table(whole / name)
    rng = random.Random(name)
    n_found = 0
    for _ in range(15):
        path.write_bytes(data)
        flip(path, rng.randrange(len(data)), rng.randrange(8))
        findings = look(dataset, Thoroughness(quick=True, n_jobs=1))
        if findings.is_whole:
            assert pq.read_table(path).equals(original)
        else:
            n_found += 1
            assert name in files(findings)
            assert set(findings.files_for("rewrite")) == files(findings)
    assert n_found > 3


@pytest.mark.parametrize("name", ["index.parquet", "shards/part-00002.parquet"])
def test_a_footer_that_kills_whoever_looks_at_it_is_found_and_kills_nobody(
    dataset: Path, name: str
) -> None:
    """Arrow's C++ ends the process for some damage, instead of raising."""
    path = dataset / name
    data = path.read_bytes()
    footer = int.from_bytes(data[-8:-4], "little")
    rng = random.Random(3)
    for _ in range(3000):
        path.write_bytes(data)
        flip(path, -8 - rng.randrange(footer), rng.randrange(8))
        if deadly([path]):
            break
    else:
        pytest.skip("this version of Arrow survives everything")
    findings = look(dataset)
    assert (name, "unreadable") in checks(findings)
    assert files(findings) == {name}
    assert any(KILLS in p.message for p in findings.damage)


def is_nested(value: Any) -> bool:
    return isinstance(value, dict | list)


def items(value: Any) -> list[tuple[Any, Any]]:
    return list(value.items() if isinstance(value, dict) else enumerate(value))


def below(value: Any, *path: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """The path of every key, and of every element of a list, and what is there."""
    for key, inner in items(value):
        yield (*path, key), inner
        if is_nested(inner):
            yield from below(inner, *path, key)


def with_change(value: Any, path: tuple[Any, ...], change: Callable[[Any, Any], tuple]) -> Any:
    """The same, but for the key at a path, or its value."""
    first, *rest = path
    pairs = [
        (k, v) if k != first else (k, with_change(v, (*rest,), change)) if rest else change(k, v)
        for k, v in items(value)
    ]
    return dict(pairs) if isinstance(value, dict) else [v for _, v in pairs]


def flipped(text: str) -> str:
    return chr(ord(text[0]) ^ 1) + text[1:]


def renamed(key: str, value: Any) -> tuple[str, Any]:
    return flipped(key), value


def of_other_value(key: Any, value: Any) -> tuple[Any, Any]:
    return key, flipped(value) if value and isinstance(value, str) else other(value)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset whose build.json has something to say under every key."""
    folder = tmp_path_factory.mktemp("told")
    source = runs.write_peptides(folder / "in", 6, 30)
    (source / "short.pdb").write_text(runs.peptide(5))
    (source / "notes.txt").write_text("nothing")
    (source / "broken.pdb.gz").write_bytes(b"\x1f\x8b\x08 and no more")
    manifest = folder / "m.csv"
    manifest.write_text("entry_id\np000\np001\np002\np003\nshort\nbroken\nabsent\n")
    runs.build_here(
        source, folder / "out", manifest=manifest, min_part=40_000, min_length=10, status=1
    )
    summary = runs.build_json(folder / "out")
    assert all(summary.values())
    assert all(summary["reasons"].values())
    assert len(summary["shards"]) >= 2
    return folder / "out"


@pytest.mark.parametrize("change", [renamed, of_other_value])
def test_every_key_and_value_of_build_json_counts_but_for_what_nothing_else_knows(
    told: Path, change: Callable[[Any, Any], tuple]
) -> None:
    path = told / "build.json"
    before = path.read_text()
    summary = json.loads(before)
    try:
        for place, value in below(summary):
            if not isinstance(place[-1], str) if change is renamed else is_nested(value):
                continue
            path.write_text(json.dumps(with_change(summary, place, change), indent=1) + "\n")
            findings = look(told, Thoroughness(quick=True, n_jobs=1))
            is_value = change is of_other_value
            match place:
                case ("software", _):
                    assert findings.is_whole, place
                case ("sources", _, "licence") | ("manifest", *_, _) if is_value:
                    assert findings.is_whole, place
                case ("manifest", "chains_not_found" | "first_chains_not_found"):
                    assert findings.is_whole, "builds of before had no such keys"
                case ("shards", _, "name") if is_value:
                    # A shard that is not there, and another that nothing knows.
                    assert f"shards/{flipped(value)}" in files(findings), place
                case _:
                    assert files(findings) == {"build.json"}, place
    finally:
        path.write_text(before)
    assert look(told).is_whole


# ---- damaged and misplaced files ----------------------------------------------------------------


def test_a_truncated_shard_is_named_with_both_sizes(dataset: Path) -> None:
    path = shard(dataset)
    data = path.read_bytes()
    path.write_bytes(data[:-100])
    findings = look(dataset)
    assert checks(findings) == {
        ("shards/part-00002.parquet", "size"),
        ("shards/part-00002.parquet", "unreadable"),
    }
    assert f"{len(data) - 100:,} bytes" in str(findings.problems[0])
    path.write_bytes(b"")
    assert files(look(dataset)) == {"shards/part-00002.parquet"}


@pytest.mark.parametrize("name", ["shards/part-00001.parquet", *TABLES, "build.json"])
def test_a_missing_file_is_named(dataset: Path, name: str) -> None:
    (dataset / name).unlink()
    findings = look(dataset)
    assert checks(findings) == {(name, "missing")}
    wanted = "rebuild" if name.startswith("shards") else "rewrite"
    assert findings.files_for(wanted) == [name]  # type: ignore[arg-type]


def test_two_shards_that_were_swapped_are_called_by_each_others_names(dataset: Path) -> None:
    first, second = shard(dataset, 1), shard(dataset, 3)
    first.rename(dataset / "third")
    second.rename(first)
    (dataset / "third").rename(second)
    findings = look(dataset)
    assert [str(p) for p in findings.problems] == [
        "shards/part-00001.parquet: holds the content of part-00003.parquet",
        "shards/part-00003.parquet: holds the content of part-00001.parquet",
    ]


def test_a_shard_of_another_schema_version_is_named_with_both_versions(dataset: Path) -> None:
    def another(table: pa.Table) -> pa.Table:
        return table.replace_schema_metadata({**table.schema.metadata, b"schema_version": b"7"})

    rewrite(shard(dataset), another)
    findings = look(dataset)
    (problem,) = [p for p in findings.damage if p.check == "schema-version"]
    assert problem.file == "shards/part-00002.parquet"
    assert "7" in problem.message
    forge(dataset, another)
    assert ("shards/part-00002.parquet", "schema-version") in checks(look(dataset))


def test_a_dataset_of_another_schema_version_is_said_to_be_that_and_nothing_else(
    dataset: Path, capfd: pytest.CaptureFixture
) -> None:
    edit_json(dataset / "build.json", lambda s: s.update(schema_version=7))
    assert main([str(dataset)]) == 1
    said = capfd.readouterr().out
    assert said.count("damaged  ") == 1
    assert "schema version 7" in said
    assert "version of the program that built it" in said


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.drop_columns(["sse"]),
        lambda t: t.set_column(0, "chain_uid", t["chain_uid"].cast(pa.large_string())),
        lambda t: t.rename_columns(["uid", *t.column_names[1:]]),
    ],
    ids=["column missing", "other type", "renamed"],
)
def test_a_shard_with_other_columns_is_named(
    dataset: Path, change: Callable[[pa.Table], pa.Table]
) -> None:
    forge(dataset, change)
    assert ("shards/part-00002.parquet", "schema") in checks(look(dataset))
    assert ("shards/part-00002.parquet", "schema") in checks(
        look(dataset, Thoroughness(quick=True, n_jobs=1))
    )


@pytest.mark.parametrize("name", ["part-00099.parquet", "notes.txt"])
def test_a_file_that_is_not_of_the_dataset_is_named(dataset: Path, name: str) -> None:
    shutil.copy(shard(dataset), dataset / "shards" / name)
    findings = look(dataset)
    assert checks(findings) == {(f"shards/{name}", "stray")}
    assert findings.files_for("by-hand") == [f"shards/{name}"]


def test_what_an_interrupted_build_left_over_is_remarked_and_no_damage(dataset: Path) -> None:
    (dataset / ".build" / "scratch" / "part-00000.parquet.1.tmp").write_text("half")
    findings = look(dataset)
    assert findings.is_whole
    assert [p.check for p in findings.problems] == ["leftover"]


def test_splits_that_cannot_be_read_are_named(dataset: Path) -> None:
    path = dataset / "splits.parquet"
    uids = pq.read_table(dataset / "index.parquet", columns=["chain_uid"])
    pq.write_table(uids, path, write_page_checksum=True)
    assert look(dataset).is_whole
    flip(path, 30)
    assert files(look(dataset)) == {"splits.parquet"}


# ---- tables that do not agree -------------------------------------------------------------------


def other(value: Any) -> Any:
    """Another value of the same type."""
    if value is None or isinstance(value, str):
        return "other" if value != "1" else "2"
    if isinstance(value, bytes):
        return bytes(32)
    return not value if isinstance(value, bool) else value + 1


@pytest.mark.parametrize(
    "name",
    [
        *("chain_uid", "entry_id", "label_asym_id", "model", "length", "n_resolved"),
        *("coords_rounded", "radius_of_gyration", "mean_b_factor", "row_sha256", "title"),
        *("row_group", "row"),
    ],
)
@pytest.mark.parametrize("quick", [False, True])
def test_an_altered_value_of_the_index_is_found(dataset: Path, name: str, quick: bool) -> None:
    rewrite(dataset / "index.parquet", with_value(name, 4, other))
    findings = look(dataset, Thoroughness(quick=quick, n_jobs=1))
    assert checks(findings) == {("index.parquet", "index")}
    (problem,) = findings.damage
    assert name in problem.message


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.slice(1),
        lambda t: pa.concat_tables([t, t.slice(0, 1)]),
        lambda t: t.take(pa.array([*range(8, len(t)), *range(8)])),
        lambda t: t.take(pa.array([1, 0, *range(2, len(t))])),
        lambda t: t.slice(0, 0),
        with_value("shard", 2, lambda _: "part-00077.parquet"),
    ],
    ids=["row missing", "row twice", "other order", "rows swapped", "empty", "no such shard"],
)
def test_an_index_of_other_rows_is_found(
    dataset: Path, change: Callable[[pa.Table], pa.Table]
) -> None:
    rewrite(dataset / "index.parquet", change)
    assert files(look(dataset)) == {"index.parquet"}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("inputs.parquet", lambda t: t.slice(1)),
        ("inputs.parquet", lambda t: t.filter(pc.is_valid(t["part"]))),
        ("inputs.parquet", with_value("n_chains", 3, lambda n: n + 1)),
        ("inputs.parquet", with_value("n_residues", 3, lambda n: n + 1)),
        ("inputs.parquet", with_value("part", 3, lambda n: n + 1)),
        ("inputs.parquet", with_value("entry_id", 3, lambda _: "other")),
        ("inputs.parquet", with_value("status", 5, lambda _: "fine")),
        ("inputs.parquet", lambda t: t.drop_columns(["sha256"])),
        ("drops.parquet", lambda t: t.slice(1)),
        ("drops.parquet", with_value("input", 0, lambda _: "p001.pdb")),
        ("plan.parquet", lambda t: t.slice(1)),
        ("plan.parquet", with_value("part", 0, lambda n: n + 1)),
        ("plan.parquet", with_value("path", 0, lambda _: "p.pdb")),
    ],
)
def test_tables_that_disagree_are_found(
    dataset: Path, name: str, change: Callable[[pa.Table], pa.Table]
) -> None:
    rewrite(dataset / name, change)
    findings = look(dataset)
    assert files(findings) == {name}, findings.problems
    assert findings.files_for("rewrite") == [name]


def test_statistics_that_would_hide_rows_from_a_query_are_found(dataset: Path) -> None:
    """The footer has no checksum, and DuckDB passes over row groups by what it says."""
    path = dataset / "index.parquet"
    data = path.read_bytes()
    uids = pq.read_table(path)["chain_uid"].to_pylist()
    last = max(uids).encode()
    at = data.rindex(last)  # the largest value, in the statistics
    path.write_bytes(data[:at] + b"a" + data[at + 1 :])
    assert pq.read_table(path)["chain_uid"].to_pylist() == uids
    assert checks(look(dataset)) == {("index.parquet", "statistics")}


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["counts"].update(chains=s["counts"]["chains"] + 1),
        lambda s: s["counts"].update(found=s["counts"]["found"] - 1),
        lambda s: s["counts"].update(entries=1),
        lambda s: s.update(digest="0" * 64),
        lambda s: s["config"].update(base_thickness=0.6),
        lambda s: s.update(config_hash="0" * 64),
        lambda s: s["reasons"].update(failed={}),
        lambda s: s["drop_reasons"].update(other=1),
        lambda s: s["sources"].clear(),
        lambda s: s["shards"][1].update(sha256="0" * 64),
        lambda s: s["shards"][1].update(bytes=3),
        lambda s: s["shards"][1].update(chains=99),
        lambda s: s["shards"][1].update(name="../part-00001.parquet"),
        lambda s: s["units"].update(centroid="nm"),
        lambda s: s.pop("counts"),
        lambda s: s.update(shards="none"),
    ],
)
def test_a_build_json_that_is_wrong_is_blamed_itself(
    dataset: Path, change: Callable[[dict], None]
) -> None:
    edit_json(dataset / "build.json", change)
    findings = look(dataset)
    assert files(findings) == {"build.json"}, findings.problems
    assert findings.files_for("rewrite") == ["build.json"]


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_a_build_json_that_is_none_is_said_to_be(dataset: Path, text: bytes) -> None:
    (dataset / "build.json").write_bytes(text)
    assert checks(look(dataset)) == {("build.json", "unreadable")}


# ---- shards whose hashes are right and whose content is wrong -----------------------------------


def first_plus(n: float) -> Callable[[list], list]:
    return lambda values: [values[0] + n, *values[1:]]


@pytest.mark.parametrize(
    ("name", "change", "check"),
    [
        ("x", first_plus(1), "row-sha256"),
        ("residue_index", first_plus(-1), "row-sha256"),
        ("auth_seq_id", first_plus(1), "row-sha256"),
        ("entity_sequence", lambda _: "MKV", "row-sha256"),
        ("row_sha256", lambda _: bytes(32), "row-sha256"),
        ("residue_index", lambda v: [v[1], v[0], *v[2:]], "values"),
        ("aatype", lambda v: [21, *v[1:]], "values"),
        ("aatype", lambda v: [7, *v[1:]], "values"),  # Gly has no CB
        ("ins_code", lambda v: ["AB", *v[1:]], "values"),
        ("sse", lambda v: [3, *v[1:]], "values"),
        ("three_di", lambda s: "b" + s[1:], "values"),
        ("three_di", lambda s: s[1:], "lists"),
        ("sequence", lambda s: "W" + s[1:], "values"),
        ("chain_uid", lambda _: "p999_1_A", "identity"),
        ("model", lambda n: n + 1, "identity"),
        ("y", lambda v: v[1:], "lists"),
        ("length", lambda n: n + 1, "lists"),
        ("centroid", lambda v: [[v[0][0] + 1e-3, *v[0][1:]], *v[1:]], "gaussians"),
        ("covariance", lambda v: [[np.nan, *v[0][1:]], *v[1:]], "gaussians"),
        ("covariance", lambda v: [[2 * a for a in v[0]], *v[1:]], "gaussians"),
        ("n_resolved", lambda n: n - 1, "derived"),
        ("n_breaks", lambda n: n + 1, "derived"),
        ("radius_of_gyration", lambda r: r * 1.001, "derived"),
        ("mean_b_factor", lambda _: None, "derived"),
        ("fraction_x", lambda _: 0.5, "derived"),
        ("coil_fraction", lambda f: f - 0.1, "derived"),
        ("sse", lambda v: [(s + 1) % 3 for s in v], "derived"),
    ],
)
def test_a_row_that_contradicts_itself_is_found_and_named(
    dataset: Path, name: str, change: Callable, check: str
) -> None:
    forge(dataset, with_value(name, 1, change))
    findings = look(dataset)
    problems = [p for p in findings.damage if p.file == "shards/part-00002.parquet"]
    assert check in {p.check for p in problems}, findings.problems
    uid = pq.read_table(shard(dataset))["chain_uid"][1].as_py()
    if check != "lists":
        assert all(uid in p.message for p in problems)


# ---- derived columns ----------------------------------------------------------------------------

DERIVED = [field.name for field in fields(ChainFeatures)]

WITH_NEW_COLUMNS = {
    "pipeline.features": """
from dataclasses import replace
_compute = compute_features

@dataclass(frozen=True, slots=True)
class ChainFeatures(ChainFeatures):
    n_lysines: int = 0
    is_lysine: NDArray[np.int8] = None

def compute_features(chains, **options):
    lysines = [(chain.aatype == 11).astype(np.int8) for chain in chains]
    return [
        replace(f, n_lysines=int(k.sum()), is_lysine=k)
        for f, k in zip(_compute(chains, **options), lysines, strict=True)
    ]
""",
    "pipeline.shards.schema": """
SCALARS += (_required("n_lysines", pa.int32()),)
RESIDUES += (_required("is_lysine", _per_residue(pa.int8())),)
INDEX_COLUMNS += ("n_lysines",)
""",
}
"""What whoever adds a derived column writes, in features and schema, and nowhere else."""


def altered(value: Any) -> Any:
    """Other numbers; of classes, other classes."""
    if isinstance(value, list):
        return [altered(v) for v in value]
    if isinstance(value, str):
        return value.replace("X", "A")
    return value + 1.0 if isinstance(value, float) else (value + 1) % 3


def said_of(findings: Findings, path: Path) -> list[str]:
    return [p.message for p in findings.damage if p.file == f"shards/{path.name}"]


def test_what_is_computed_again_is_all_that_is_derived() -> None:
    assert sorted(DERIVED_COLUMNS) == sorted(DERIVED)
    assert set(DERIVED) <= set(shard_schema().names)


@pytest.mark.parametrize("name", DERIVED)
def test_any_derived_column_that_was_altered_is_found_and_named(dataset: Path, name: str) -> None:
    forge(dataset, with_value(name, 1, altered))
    said = said_of(look(dataset), shard(dataset))
    assert any(message.startswith(f"{name} is not that of ") for message in said), said


def test_a_derived_column_of_tomorrow_is_computed_again(tmp_path: Path) -> None:
    runs.write_peptides(tmp_path / "in", 3)
    more: dict[str, Any] = {"append": WITH_NEW_COLUMNS, "folder": tmp_path}
    out = tmp_path / "out"
    built = runs.run("--pdb-dir", tmp_path / "in", "--out-dir", out, "--n-jobs", 1, **more)
    assert built.status == 0, built.err

    def verified() -> runs.Result:
        return runs.run(out, "--n-jobs", 1, module="pipeline.verify", **more)

    assert verified().status == 0
    columns = ("n_lysines", "is_lysine")
    for name in columns:
        forge(out, with_value(name, 1, altered), k=0)
    found = verified()
    assert found.status == 1
    for name in columns:
        assert f"{name} is not that of the coordinates" in " ".join(found.out.split())


def test_the_last_bit_of_a_gaussian_may_differ(dataset: Path) -> None:
    def bit(values: list) -> list:
        first = [float(np.nextafter(np.float32(a), np.float32(np.inf))) for a in values[0]]
        return [first, *values[1:]]

    forge(dataset, with_value("covariance", 1, bit))
    forge(dataset, with_value("centroid", 1, bit))
    assert look(dataset).is_whole


def test_rows_that_were_exchanged_with_all_hashes_made_to_fit_are_found_by_the_digest(
    dataset: Path,
) -> None:
    """Another chain, consistent in itself, under build.json's old digest."""
    stranger = pq.read_table(shard(dataset, 3)).slice(0, 1)
    uid = stranger["chain_uid"][0].as_py()
    forge(dataset, lambda t: pa.concat_tables([stranger, t.slice(1)]))
    found = look(dataset)
    assert ("build.json", "digest") in checks(found)
    assert any(p.check == "identity" and uid in p.message for p in found.damage)


# ---- the command --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["/nowhere"], "no such folder"),
        (["OUT", "--repair", "--dataset", "ftp://bucket/set"], "s3://, gs:// or file://"),
        ([], "--dataset is required"),
        (["OUT", "--sample", "0"], "--sample 0"),
        (["OUT", "--sample", "1.5"], "--sample 1.5"),
        (["OUT", "--sample", "-1"], "--sample -1"),
        (["OUT", "--sample", "nan"], "--sample nan"),
        (["OUT", "--sample", "3", "--quick"], "--quick"),
        (["OUT", "--n-jobs", "-1"], "--n-jobs"),
        (["OUT", "--quik"], "--quick"),
        (["OUT", "--pdb-dir", "/"], "--repair"),
        (["OUT", "--repair", "--pdb-dir", "/nowhere"], "/nowhere"),
        (["OUT", "--json", "/nowhere/a.json"], "/nowhere"),
        (["OUT/shards"], "pipeline.build"),
        (["OUT/build.json"], "is a file"),
    ],
)
def test_wrong_usage_ends_with_2_and_a_sentence(
    whole: Path, arguments: list[str], said: str, capfd: pytest.CaptureFixture
) -> None:
    before = runs.snapshot(whole)
    try:
        status = main([a.replace("OUT", str(whole)) for a in arguments])
    except SystemExit as error:
        status = error.code  # type: ignore[assignment]
    assert status == 2
    captured = capfd.readouterr()
    assert said in captured.err
    assert "Traceback" not in captured.err
    assert runs.snapshot(whole) == before


def test_a_build_that_was_not_finished_is_not_called_damaged(
    dataset: Path, capfd: pytest.CaptureFixture
) -> None:
    for name in (*TABLES, "build.json"):
        (dataset / name).unlink()
    assert main([str(dataset)]) == 2
    assert "not finished" in capfd.readouterr().err


def test_the_folder_may_stand_before_or_after_the_flags(whole: Path) -> None:
    for arguments in (
        [str(whole), "--quick", "--quiet"],
        ["--quick", str(whole)],
        ["--quiet", "--quick", str(whole), "--n-jobs", "1"],
        ["--dataset", str(whole), "--quick"],
        ["--quick", "true", "--dataset", str(whole)],
    ):
        assert main(arguments) == 0


def test_many_problems_are_cut_short_and_listed_whole_in_json(
    dataset: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    for name in runs.shards(dataset):
        shutil.copy(shard(dataset), dataset / "shards" / f"x-{name}")
        flip(dataset / "shards" / name, 2000)
    for k in range(20):
        (dataset / "shards" / f"stray-{k}").touch()
    report = tmp_path / "found.json"
    before = runs.snapshot(dataset)
    assert main([str(dataset), "--n-jobs", "1", "--json", str(report)]) == 1
    assert runs.snapshot(dataset) == before
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) < 30
    assert any("more (--json FILE lists all)" in line for line in lines)
    assert "is damaged" in lines[-1]
    assert "pipeline.verify" in "\n".join(lines)
    content = json.loads(report.read_text())
    assert content["whole"] is False
    assert len(content["problems"]) > 30
    problem = content["problems"][0]
    assert problem.keys() == {"file", "check", "message", "remedy", "damage"}
    assert problem["file"] == "shards/part-00000.parquet"
    assert problem["remedy"] == "rebuild"


def test_every_problem_says_what_to_do_in_the_end(
    dataset: Path, capfd: pytest.CaptureFixture
) -> None:
    flip(shard(dataset), 2000)
    (dataset / "index.parquet").unlink()
    (dataset / "shards" / "stray").touch()
    assert main([str(dataset), "--n-jobs", "1"]) == 1
    said = capfd.readouterr().out
    assert f"python -m pipeline.verify {dataset} --repair builds 1 shard again" in said
    assert "writes index.parquet anew" in said
    assert "move or delete" in said


def test_verifying_needs_no_torch(whole: Path) -> None:
    code = (
        "import sys; from pipeline.verify.command import main; "
        f"assert main([{str(whole)!r}, '--n-jobs', '1']) == 0; assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
