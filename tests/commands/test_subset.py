"""Subsets and merged datasets are datasets like those of a build, however they are made."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import groupby, pairwise
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pipeline.subset.command
from pipeline.build.command import main as build
from pipeline.built.layout import Layout
from pipeline.report import write_report
from pipeline.selection.selection import select
from pipeline.shards import ShardWriter, dataset_digest, open_shard, shard_schema
from pipeline.split.command import main as split
from pipeline.subset.command import main
from pipeline.where import parse_where
from tests.support.places import EXAMPLES, ROOT

TABLES = ("index.parquet", "inputs.parquet", "drops.parquet", "plan.parquet")


def subset(*arguments: object) -> Path:
    """Run the command, which must succeed; the folder it made. Without a report, for speed."""
    words = [str(a) for a in arguments]
    if "--report" not in words:
        words += ["--report", "false"]
    assert main(words) == 0
    return Path(words[words.index("--out-dir") + 1])


def rows_of(dataset: Path) -> dict[str, dict]:
    """Rows by name, read by their places in the index."""
    found = {}
    for place in pq.read_table(dataset / "index.parquet").to_pylist():
        with open_shard(dataset / "shards" / place["shard"]) as file:
            row = file.read_row_group(place["row_group"]).slice(place["row"], 1).to_pylist()[0]
        assert row["chain_uid"] == place["chain_uid"]
        found[row["chain_uid"]] = row
    return found


def summary_of(dataset: Path) -> dict:
    return json.loads((dataset / "build.json").read_text(encoding="utf-8"))


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def uids(dataset: Path, where: str | None = None) -> list[str]:
    index = pq.read_table(dataset / "index.parquet")
    if where is not None:
        index = index.filter(parse_where(where, index.schema))
    return index["chain_uid"].to_pylist()


def built(folder: Path, out_dir: Path, *arguments: str) -> Path:
    words = ["--pdb-dir", str(folder), "--out-dir", str(out_dir), "--n-jobs", "1", "--quiet"]
    assert build([*words, *arguments]) == 0
    return out_dir


@pytest.fixture(scope="session")
def halves(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The examples built in two halves."""
    folder = tmp_path_factory.mktemp("halves")
    # The same stem on either side: the other formats of an entry go with it.
    stems = sorted({path.name.split(".")[0] for path in EXAMPLES.iterdir()})
    for name in ("a", "b"):
        (folder / name).mkdir()
    for path in EXAMPLES.iterdir():
        half = "ab"[stems.index(path.name.split(".")[0]) % 2]
        shutil.copy(path, folder / half / path.name)
    return built(folder / "a", folder / "out-a"), built(folder / "b", folder / "out-b")


# ---- what a subset is ---------------------------------------------------------------------------


def test_a_subset_holds_the_rows_that_fulfil_the_condition_unchanged(
    examples_dataset: Path, tmp_path: Path
) -> None:
    where = "length > 100 and method is not null"
    made = subset(examples_dataset, "--out-dir", tmp_path / "out", "--where", where)
    everything, found = rows_of(examples_dataset), rows_of(made)
    assert list(found) == uids(examples_dataset, where)
    assert 0 < len(found) < len(everything)
    assert found == {uid: everything[uid] for uid in found}


def test_a_subset_of_everything_has_the_shards_and_tables_of_the_build(
    examples_dataset: Path, tmp_path: Path
) -> None:
    made = subset(examples_dataset, "--out-dir", tmp_path / "out")
    before, after = files_of(examples_dataset / "shards"), files_of(made / "shards")
    assert before == after
    assert pq.read_table(made / "index.parquet").equals(
        pq.read_table(examples_dataset / "index.parquet")
    )
    for name in ("inputs.parquet", "plan.parquet"):
        # Without the files that gave nothing.
        found, known = (
            {json.dumps(r, sort_keys=True) for r in pq.read_table(d / name).to_pylist()}
            for d in (made, examples_dataset)
        )
        assert found < known
    old, new = summary_of(examples_dataset), summary_of(made)
    for key in ("digest", "config", "config_hash", "schema_version", "units", "sources", "shards"):
        assert old[key] == new[key], key


def test_the_digest_is_that_of_a_build_of_just_these_entries(
    examples_dataset: Path, tmp_path: Path
) -> None:
    some = ("1ubi", "3jqh", "5pti", "1lcd")
    (tmp_path / "in").mkdir()
    for path in EXAMPLES.iterdir():
        if path.name.startswith(some):
            shutil.copy(path, tmp_path / "in" / path.name)
    alone = built(tmp_path / "in", tmp_path / "built")
    where = f"entry_id in ({', '.join(repr(e) for e in some)})"
    made = subset(examples_dataset, "--out-dir", tmp_path / "out", "--where", where)
    old, new = summary_of(alone), summary_of(made)
    same = ("digest", "schema_version", "config", "config_hash", "units", "drop_reasons")
    same += ("reasons", "examples", "sources")
    for key in same:
        assert old[key] == new[key], key
    assert {**old["counts"], "shard_bytes": 0} == {**new["counts"], "shard_bytes": 0}
    for name in TABLES[1:]:
        ours, theirs = (
            [{**r, "seconds": 0, "mtime_ns": 0} for r in pq.read_table(d / name).to_pylist()]
            for d in (made, alone)
        )
        assert ours == theirs, name


def test_every_number_of_a_subset_agrees_with_every_other(
    examples_dataset: Path, tmp_path: Path
) -> None:
    # 1bd2 loses some of its chains, 3jqh keeps its files in two formats.
    where = "chain_uid in ('1bd2_1_A', '1bd2_1_D', '1ubi_1_A') or entry_id like '3%'"
    made = subset(examples_dataset, "--out-dir", tmp_path / "out", "--where", where)
    check_consistent(made)
    inputs = {r["input"]: r for r in pq.read_table(made / "inputs.parquet").to_pylist()}
    assert inputs["1bd2.cif.gz"]["n_chains"] == 2
    assert {r["status"] for r in inputs.values()} == {"ok", "skipped"}


def check_consistent(dataset: Path) -> None:
    summary = summary_of(dataset)
    counts = summary["counts"]
    index = pq.read_table(dataset / "index.parquet")
    inputs = pq.read_table(dataset / "inputs.parquet").to_pylist()
    drops = pq.read_table(dataset / "drops.parquet").to_pylist()
    statuses = Counter(r["status"] for r in inputs)
    assert counts["found"] == counts["ok"] + counts["skipped"] + counts["failed"] == len(inputs)
    assert all(counts[s] == statuses[s] for s in ("ok", "skipped", "failed"))
    assert counts["chains"] == index.num_rows == sum(r["n_chains"] for r in inputs)
    assert counts["residues"] == sum(index["length"].to_pylist())
    assert counts["residues"] == sum(r["n_residues"] for r in inputs)
    assert counts["dropped_chains"] == len(drops) == sum(r["n_dropped"] for r in inputs)
    assert counts["entries"] == len(set(index["entry_id"].to_pylist()))
    rows = zip(index["chain_uid"].to_pylist(), index["row_sha256"].to_pylist(), strict=True)
    assert summary["digest"] == dataset_digest(rows)
    config = json.dumps(summary["config"], sort_keys=True)
    assert summary["config_hash"] == hashlib.sha256(config.encode()).hexdigest()
    of_shard = Counter(index["shard"].to_pylist())
    of_part: Counter[str] = Counter()
    for r in inputs:
        of_part[f"part-{r['part']:05d}.parquet"] += r["n_chains"]
    assert of_shard == +of_part
    assert {p.name for p in (dataset / "shards").iterdir()} == set(of_shard)
    for shard in summary["shards"]:
        path = dataset / "shards" / shard["name"]
        data = path.read_bytes()
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (shard["sha256"], shard["bytes"])
        with open_shard(path) as file:
            assert file.metadata.num_rows == shard["chains"] == of_shard[shard["name"]]
            metadata = {k.decode(): v.decode() for k, v in file.schema_arrow.metadata.items()}
            assert metadata["config_hash"] == summary["config_hash"]
            assert json.loads(metadata["units"]) == summary["units"]
            sizes = [
                file.metadata.row_group(g).num_rows for g in range(file.metadata.num_row_groups)
            ]
            assert all(size == 64 for size in sizes[:-1])
            assert 0 < sizes[-1] <= 64
    planned = {
        r["entry_id"]: r["part"] for r in pq.read_table(dataset / "plan.parquet").to_pylist()
    }
    assert planned == {r["entry_id"]: r["part"] for r in inputs}


def test_shards_end_at_entries_and_are_about_as_large_as_asked(
    examples_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline.subset.command, "MEBIBYTE", 100_000)
    made = subset(examples_dataset, "--out-dir", tmp_path / "out", "--shard-size", 1)
    check_consistent(made)
    shards = summary_of(made)["shards"]
    assert len(shards) > 2
    index = pq.read_table(made / "index.parquet").to_pylist()
    places = {(r["entry_id"], r["shard"]) for r in index}
    assert len({entry for entry, _ in places}) == len(places)
    entries = Counter(r["entry_id"] for r in index)
    for shard in shards:
        members = {entry for entry, name in places if name == shard["name"]}
        # Small shards weigh more: each column has its headers.
        assert shard["bytes"] < 130_000 or len(members) == 1, entries


# ---- lists --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "1ubi_1_A\n\n# a remark\n1bd2_1_D\n", {"1ubi_1_A", "1bd2_1_D"}),
        ("a.txt", "1ubi\n1k6p\n", {"1ubi_1_A", "1k6p_1_A", "1k6p_1_B"}),
        ("a.txt", "1UBI\n", {"1ubi_1_A"}),
        ("a.csv", "chain_uid,split\n1ubi_1_A,train\n1bd2_1_D,test\n", {"1ubi_1_A", "1bd2_1_D"}),
        ("a.csv", "split,entry_id\ntrain,1UBI\n", {"1ubi_1_A"}),
        ("a.csv", "entry_id,chain\n1bd2,D\n1bd2,E\n1ubi,\n", {"1ubi_1_A", "1bd2_1_D", "1bd2_1_E"}),
        ("a.csv", "\ufeffchain_uid\r\n1ubi_1_A\r\n", {"1ubi_1_A"}),
    ],
)
def test_a_list_names_chains_or_entries(
    name: str, content: str, expected: set[str], examples_dataset: Path, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8", newline="")
    made = subset(examples_dataset, "--out-dir", tmp_path / "out", "--list", path)
    assert set(uids(made)) == expected
    said = summary_of(made)["derived_from"]
    assert said["list_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert said["list_not_found"] == 0


def test_names_that_no_dataset_has_are_told_and_counted(
    examples_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "list.txt"
    path.write_text("1ubi\n9zzz\n1bd2_1_Z\n")
    made = subset(examples_dataset, "--out-dir", tmp_path / "out", "--list", path)
    assert "note: 2 of the names" in (said := capsys.readouterr().err)
    assert "1bd2_1_Z, 9zzz" in said
    assert summary_of(made)["derived_from"]["list_not_found"] == 2


def test_chains_and_entries_that_a_table_names_in_vain_are_told_and_counted(
    examples_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "list.csv"
    path.write_text('entry_id,chain\n1BD2,D\n1bd2,Z\n1bd2,"A,B"\n9zzz,A\n9zzz,B\n1ubi,\n')
    made = subset(examples_dataset, "--out-dir", tmp_path / "out", "--list", path)
    assert uids(made) == uids(examples_dataset, "chain_uid in ('1bd2_1_D', '1ubi_1_A')")
    said = " ".join(capsys.readouterr().err.split())
    assert "note: 3 of the names" in said
    assert "1bd2 A,B, 1bd2 Z, 9zzz; 'A,B' looks like several: one chain belongs on each" in said
    assert summary_of(made)["derived_from"]["list_not_found"] == 3


def test_a_chain_counts_as_found_if_any_of_several_sources_has_it(
    examples_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    halves = [tmp_path / name for name in ("d", "e")]
    for half, chain in zip(halves, "DE", strict=True):
        subset(examples_dataset, "--out-dir", half, "--where", f"chain_uid = '1bd2_1_{chain}'")
    path = tmp_path / "list.csv"
    path.write_text("entry_id,chain\n1bd2,D\n1bd2,E\n")
    capsys.readouterr()
    assert len(uids(subset(*halves, "--out-dir", tmp_path / "out", "--list", path))) == 2
    assert "names of" not in capsys.readouterr().err


def test_a_list_and_a_condition_are_both_fulfilled(examples_dataset: Path, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("1bd2\n1ubi\n")
    arguments = ["--out-dir", tmp_path / "out", "--list", path, "--where", "length > 200"]
    assert uids(subset(examples_dataset, *arguments)) == uids(
        examples_dataset, "entry_id = '1bd2' and length > 200"
    )


# ---- merging ------------------------------------------------------------------------------------


def test_halves_merge_into_the_whole(
    halves: tuple[Path, Path], examples_dataset: Path, tmp_path: Path
) -> None:
    made = subset(*halves, "--out-dir", tmp_path / "out")
    check_consistent(made)
    assert summary_of(made)["digest"] == summary_of(examples_dataset)["digest"]
    assert rows_of(made) == rows_of(examples_dataset)


def test_the_order_and_place_of_the_sources_change_nothing(
    halves: tuple[Path, Path], tmp_path: Path
) -> None:
    one = subset(*halves, "--out-dir", tmp_path / "one")
    elsewhere = [shutil.copytree(h, tmp_path / f"copy-{k}") for k, h in enumerate(halves)]
    other = subset(*reversed(elsewhere), "--out-dir", tmp_path / "deep" / "other")
    assert files_of(one) == files_of(other)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
@pytest.mark.slow
def test_any_overlapping_pieces_merge_into_their_union(
    data: st.DataObject, examples_dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("pieces")
    names = uids(examples_dataset)
    n_pieces = data.draw(st.integers(2, 3))
    pieces = [
        data.draw(st.sets(st.sampled_from(names), min_size=1), label=f"piece {k}")
        for k in range(n_pieces)
    ]
    made = []
    small = ["--shard-size", 1]
    for k, piece in enumerate(pieces):
        (folder / f"{k}.txt").write_text("\n".join(sorted(piece)))
        arguments = ["--out-dir", folder / str(k), "--list", folder / f"{k}.txt"]
        made.append(subset(examples_dataset, *arguments))
    with mock.patch(
        "pipeline.subset.command.MEBIBYTE", data.draw(st.sampled_from([20_000, 2**20]))
    ):
        union = subset(*made, "--out-dir", folder / "union", *small)
        again = subset(*data.draw(st.permutations(made)), "--out-dir", folder / "again", *small)
    check_consistent(union)
    entries = [entry for entry, _ in groupby(pq.read_table(union / "index.parquet")["entry_id"])]
    assert len(set(entries)) == len(entries), "chains of an entry stand together"
    assert files_of(union) == files_of(again)
    assert set(uids(union)) == set().union(*pieces)
    duplicates = sum(map(len, pieces)) - len(set().union(*pieces))
    assert summary_of(union)["derived_from"]["duplicates"] == duplicates
    rows = rows_of(examples_dataset)
    assert rows_of(union) == {uid: rows[uid] for uid in uids(union)}


def test_where_rows_come_from_is_written_down(examples_dataset: Path, tmp_path: Path) -> None:
    part = subset(examples_dataset, "--out-dir", tmp_path / "a", "--where", "length > 100")
    made = subset(part, examples_dataset, "--out-dir", tmp_path / "b", "--where", "n_breaks = 0")
    said = summary_of(made)["derived_from"]
    assert said["where"] == "n_breaks = 0"
    by_digest = {d["digest"]: d for d in said["datasets"]}
    whole = by_digest[summary_of(examples_dataset)["digest"]]
    first = by_digest[summary_of(part)["digest"]]
    assert whole["chains"] == 35
    assert first["derived_from"] == summary_of(part)["derived_from"]
    assert first["kept"] + whole["kept"] == summary_of(made)["counts"]["chains"]
    assert str(tmp_path) not in json.dumps(summary_of(made))


def altered(dataset: Path, folder: Path, change: str) -> Path:
    """A copy in which one thing differs."""
    copy = Path(shutil.copytree(dataset, folder))
    summary = summary_of(copy)
    if change == "row":
        (path,) = (copy / "shards").iterdir()
        table = pq.read_table(path)
        digests = table["row_sha256"].to_pylist()
        digests[3] = bytes(32)
        column = pa.array(digests, pa.binary(32))
        at = table.schema.get_field_index("row_sha256")
        table = table.set_column(at, table.schema.field(at), column)
        metadata = {k.decode(): v.decode() for k, v in table.schema.metadata.items()}
        with ShardWriter(path, metadata) as writer:
            writer.add_rows(table.cast(shard_schema()))
        index = pq.read_table(copy / "index.parquet")
        at = index.schema.get_field_index("row_sha256")
        index = index.set_column(at, index.schema.field(at), column)
        pq.write_table(index, copy / "index.parquet")
        summary["digest"] = "0" * 64
    elif change == "schema":
        summary["schema_version"] = 2
    else:
        key, value = change.split("=")
        summary["config"][key] = json.loads(value)
    (copy / "build.json").write_text(json.dumps(summary))
    return copy


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("row", "have different chains under one name: "),
        ("schema", "schema version 2, and this program reads 1"),
        ("base_thickness=0.7", "different --base-thickness (0.5 and 0.7)"),
        ('shape="full"', "different --shape"),
        ("components_version=99", "--allow-mixed joins them"),
        ('assembly="1"', "different --assembly"),
    ],
)
def test_datasets_that_do_not_go_together_are_refused(
    change: str,
    message: str,
    examples_dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = altered(examples_dataset, tmp_path / "other", change)
    out = tmp_path / "out"
    assert main([str(examples_dataset), str(other), "--out-dir", str(out)]) == 1
    assert message in capsys.readouterr().err
    assert {p.name for p in tmp_path.iterdir()} == {"other"}


def test_what_may_be_mixed_is_mixed_when_asked_and_named(
    examples_dataset: Path, tmp_path: Path
) -> None:
    other = altered(examples_dataset, tmp_path / "other", "components_version=99")
    made = subset(examples_dataset, other, "--out-dir", tmp_path / "out", "--allow-mixed")
    check_consistent(made)
    summary = summary_of(made)
    assert summary["config"]["components_version"] is None
    configs = [d["config"]["components_version"] for d in summary["derived_from"]["datasets"]]
    assert sorted(configs) == [1, 99]
    thicker = altered(examples_dataset, tmp_path / "thicker", "base_thickness=0.7")
    arguments = [str(examples_dataset), str(thicker), "--out-dir", str(tmp_path / "no")]
    assert main([*arguments, "--allow-mixed"]) == 1


def test_filters_that_differ_become_null_and_the_rest_stays(
    halves: tuple[Path, Path], tmp_path: Path
) -> None:
    filtered = built(EXAMPLES, tmp_path / "filtered", "--min-length", "50", "--max-breaks", "9")
    made = subset(halves[0], filtered, "--out-dir", tmp_path / "out")
    check_consistent(made)
    config = summary_of(made)["config"]
    assert config["filters"]["min_length"] is None
    assert config["filters"]["max_breaks"] is None
    assert config["filters"]["min_resolved"] == 1
    assert config["base_thickness"] == 0.5
    # A chain that the filters of one dataset dropped and the other kept is not among the dropped.
    drops = pq.read_table(made / "drops.parquet").to_pylist()
    kept = {tuple(u.split("_")) for u in uids(made)}
    assert all((d["entry_id"], str(d["model"]), d["label_asym_id"]) not in kept for d in drops)
    assert any(
        "under 50" in d["detail"]
        for d in pq.read_table(tmp_path / "filtered" / "drops.parquet").to_pylist()
    )


# ---- the folder ---------------------------------------------------------------------------------


def test_a_build_does_not_go_on_in_the_folder_of_a_subset(
    examples_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = subset(examples_dataset, "--out-dir", tmp_path / "out", "--where", "length > 100")
    before = files_of(made / "shards"), (made / "build.json").read_bytes()
    arguments = ["--pdb-dir", str(EXAMPLES), "--out-dir", str(made), "--n-jobs", "1", "--quiet"]
    assert build(arguments) == 2
    assert "pipeline.subset" in capsys.readouterr().err
    assert (files_of(made / "shards"), (made / "build.json").read_bytes()) == before


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--where", "lenght > 3"], 2, "did you mean length?"),
        (["--where", "length < 0"], 1, "no chain fulfils length < 0"),
        (["--list", "nowhere.txt"], 2, "cannot be read"),
        (["--list", "empty.txt"], 2, "names nothing"),
        (["--list", "table.csv"], 2, "the first line of a CSV names a column"),
        (["--list", "binary"], 2, "is no text"),
        (["--list", "unknown.txt"], 1, "no chain is in the list"),
        (["--shard-size", "0"], 2, "--shard-size is at least 1, found 0"),
        (["--wher", "x"], 2, "did you mean --where?"),
    ],
)
def test_wrong_usage_is_one_sentence_and_leaves_nothing(
    arguments: list[str],
    status: int,
    message: str,
    examples_dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    contents = {
        "empty.txt": b"\n# nothing\n",
        "table.csv": b"a,b\n1,2\n",
        "binary": b"\xff\xfe\x00",
        "unknown.txt": b"9zzz\n",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    try:
        found = main([str(examples_dataset), "--out-dir", "out", *arguments])
    except SystemExit as exit_:
        found = int(str(exit_.code))
    assert message in capsys.readouterr().err
    assert found == status
    assert {p.name for p in tmp_path.iterdir()} == set(contents)


@pytest.mark.parametrize(
    ("sources", "out_dir", "message"),
    [
        (["nowhere"], "out", "has no build.json"),
        (["data"], "data", "is not empty; give another, or --overwrite"),
        (["data", "--overwrite"], "data", "holds the source"),
        (["data/../data", "--overwrite"], "data", "holds the source"),
        (["data"], "file", "is a file; give a folder"),
        (["data"], "mine", "is not empty"),
        (["data", "--overwrite"], "mine", "holds what is of no dataset (thesis.tex)"),
        (["data"], "s3://bucket/x", "give a folder of this machine"),
    ],
)
def test_folders_are_not_lost(
    sources: list[str],
    out_dir: str,
    message: str,
    examples_dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(examples_dataset, "data")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("mine")
    before = files_of(tmp_path)
    assert main([*sources, "--out-dir", out_dir]) in (1, 2)
    assert message in capsys.readouterr().err
    assert files_of(tmp_path) == before


def test_overwrite_replaces_the_dataset_and_nothing_of_the_old_one_stays(
    examples_dataset: Path, tmp_path: Path
) -> None:
    out = subset(examples_dataset, "--out-dir", tmp_path / "out", "--where", "length > 100")
    (out / "report.html").write_text("of the old one")
    again = ["--out-dir", out, "--where", "length <= 100", "--overwrite"]
    subset(examples_dataset, *again)
    assert uids(out) == uids(examples_dataset, "length <= 100")
    check_consistent(out)
    whole = {*TABLES, "interfaces.parquet", "build.json", "shards", ".build"}
    assert {p.name for p in out.iterdir()} == whole
    assert {p.name for p in tmp_path.iterdir()} == {"out"}


def test_an_empty_folder_that_is_there_is_filled(examples_dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    check_consistent(subset(examples_dataset, "--out-dir", tmp_path / "out"))


@pytest.mark.parametrize("damage", ["flip", "cut", "missing"])
def test_a_damaged_source_is_named_and_what_was_there_stays(
    damage: str, examples_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Path(shutil.copytree(examples_dataset, tmp_path / "data"))
    (path,) = (data / "shards").iterdir()
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 3] ^= 4
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.unlink()
    out = subset(examples_dataset, "--out-dir", tmp_path / "out", "--where", "length > 100")
    before = files_of(out)
    assert main([str(data), "--out-dir", str(out), "--overwrite"]) == 1
    assert "part-00000.parquet" in capsys.readouterr().err
    assert files_of(out) == before
    assert {p.name for p in tmp_path.iterdir()} == {"data", "out"}


def test_an_index_that_points_elsewhere_is_noticed(
    examples_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Path(shutil.copytree(examples_dataset, tmp_path / "data"))
    index = pq.read_table(data / "index.parquet")
    for rows in (index["row"].to_numpy()[::-1], np.full(index.num_rows, 500, np.int32)):
        at = index.schema.get_field_index("row")
        pq.write_table(index.set_column(at, "row", pa.array(rows)), data / "index.parquet")
        assert main([str(data), "--out-dir", str(tmp_path / "out")]) == 1
        assert "does not hold what the index says" in capsys.readouterr().err


def test_a_termination_leaves_what_was_there(examples_dataset: Path, tmp_path: Path) -> None:
    program = (
        "import sys, time\n"
        "import pipeline.subset.command as command\n"
        "def slow(*_):\n"
        "    print('writing', flush=True)\n"
        "    time.sleep(60)\n"
        "command.subset_tables = slow\n"
        "sys.exit(command.main(sys.argv[1:]))\n"
    )
    arguments = [str(examples_dataset), "--out-dir", str(tmp_path / "out")]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    (temporary,) = tmp_path.iterdir()
    assert list((temporary / "shards").iterdir()), "the shards are written by now"
    process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    _, said = process.communicate(timeout=30)
    assert time.monotonic() - started < 20
    assert process.returncode == 130
    assert "is as it was" in said
    assert not list(tmp_path.iterdir())


def test_the_command_needs_no_torch(examples_dataset: Path, tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from pipeline.subset.command import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    arguments = [str(examples_dataset), "--out-dir", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, timeout=60, check=False
    )
    assert done.returncode == 0


# ---- splits and the page -----------------------------------------------------------------------


def with_splits(dataset: Path, folder: Path, *more: object) -> Path:
    """A copy of a dataset that was split."""
    out = Path(shutil.copytree(dataset, folder))
    words = [out, "--clusters", "identical", "--overwrite", *more]
    assert split([str(word) for word in words]) == 0
    return out


def splits_of(dataset: Path) -> dict[str, dict]:
    rows = pq.read_table(dataset / "splits.parquet").to_pylist()
    assert [r["chain_uid"] for r in rows] == sorted(r["chain_uid"] for r in rows)
    return {row["chain_uid"]: row for row in rows}


def test_splits_are_those_of_the_source_for_the_kept_chains(
    examples_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = with_splits(examples_dataset, tmp_path / "source")
    made = subset(source, "--out-dir", tmp_path / "out", "--where", "length > 100")
    everything, kept = splits_of(source), splits_of(made)
    assert list(kept) == sorted(uids(made))
    assert kept == {uid: everything[uid] for uid in kept}
    assert len({row["split"] for row in kept.values()}) > 1
    assert "splits" not in capsys.readouterr().err
    # Readers take them for splits of this dataset, and know of which run they are.
    metadata = pq.read_schema(made / "splits.parquet").metadata
    assert metadata[b"digest"].decode() == summary_of(made)["digest"]
    assert metadata[b"split_digest"].decode() == summary_of(source)["digest"]
    assert len(select(made, split="train").uids) == sum(
        row["split"] == "train" for row in kept.values()
    )


def test_splits_of_one_run_join_again_through_any_number_of_subsets(
    examples_dataset: Path, tmp_path: Path
) -> None:
    source = with_splits(examples_dataset, tmp_path / "source")
    short = subset(source, "--out-dir", tmp_path / "short", "--where", "length < 150")
    long = subset(source, "--out-dir", tmp_path / "long", "--where", "length > 50")
    longest = subset(long, "--out-dir", tmp_path / "longest", "--where", "length > 100")
    both = subset(longest, short, "--out-dir", tmp_path / "both")
    assert splits_of(both) == splits_of(source)
    other = subset(short, source, "--out-dir", tmp_path / "other")
    assert (other / "splits.parquet").read_bytes() == (both / "splits.parquet").read_bytes()


def test_without_splits_there_are_none_and_nothing_is_said(
    examples_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = subset(examples_dataset, "--out-dir", tmp_path / "out")
    assert not (made / "splits.parquet").exists()
    assert capsys.readouterr().err == ""


def reseeded(a: Path, b: Path, folder: Path) -> tuple[Path, Path]:
    return with_splits(a, folder / "a"), with_splits(b, folder / "b", "--seed", "1")


def one_without(a: Path, b: Path, folder: Path) -> tuple[Path, Path]:
    return with_splits(a, folder / "a"), b


def apart(a: Path, b: Path, folder: Path) -> tuple[Path, Path]:
    return with_splits(a, folder / "a"), with_splits(b, folder / "b")


def stale(a: Path, b: Path, folder: Path) -> tuple[Path, Path]:
    one, other = with_splits(a, folder / "a"), with_splits(b, folder / "b")
    shutil.copy(one / "splits.parquet", other / "splits.parquet")
    return one, other


def damaged(a: Path, b: Path, folder: Path) -> tuple[Path, Path]:
    one, other = with_splits(a, folder / "a"), with_splits(b, folder / "b")
    for folder in (one, other):
        (folder / "splits.parquet").write_bytes(b"PAR1 and no more PAR1")
    return one, other


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (one_without, "has none"),
        (apart, "were split apart"),
        (reseeded, "were split apart"),
        (stale, "made for another state"),
        (damaged, "splits.parquet: "),
    ],
)
def test_splits_that_do_not_fit_together_are_left_out_with_a_reason(
    make: Callable[[Path, Path, Path], tuple[Path, Path]],
    why: str,
    halves: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sources = make(*halves, tmp_path)
    capsys.readouterr()
    out = subset(*sources, "--out-dir", tmp_path / "out")
    assert not (out / "splits.parquet").exists()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("note: the splits of the sources were left out: ")
    assert why in line
    assert line.endswith(f"; new ones: `python -m pipeline.split {out}`")
    assert split([str(out), "--clusters", "identical", "--dry-run"]) == 0


def test_splits_that_contradict_each_other_are_left_out(
    examples_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = with_splits(examples_dataset, tmp_path / "source")
    copy = subset(source, "--out-dir", tmp_path / "copy", "--where", "length > 100")
    table = pq.read_table(copy / "splits.parquet")
    other = pa.array(["elsewhere"] * table.num_rows)
    at = table.schema.get_field_index("split")
    pq.write_table(table.set_column(at, table.schema.field(at), other), copy / "splits.parquet")
    capsys.readouterr()
    out = subset(copy, source, "--out-dir", tmp_path / "out")
    assert not (out / "splits.parquet").exists()
    assert "in another split or cluster" in capsys.readouterr().err


def test_a_source_that_gives_no_chain_has_no_say_in_the_splits(
    halves: tuple[Path, Path], tmp_path: Path
) -> None:
    one, other = one_without(*halves, tmp_path)
    names = tmp_path / "names.txt"
    names.write_text("\n".join(uids(one)))
    made = subset(one, other, "--out-dir", tmp_path / "out", "--list", names)
    assert splits_of(made) == splits_of(one)


def test_the_page_is_that_which_the_report_makes(examples_dataset: Path, tmp_path: Path) -> None:
    source = with_splits(examples_dataset, tmp_path / "source")
    made = subset(source, "--out-dir", tmp_path / "small", "--report")
    page = (made / "report.html").read_bytes()
    assert b"<title>small: dataset report" in page
    (made / "report.html").unlink()
    write_report(made)
    assert (made / "report.html").read_bytes() == page


def test_a_page_that_cannot_be_made_is_a_warning(
    examples_dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fails(_: Path) -> None:
        raise OSError("no room")

    monkeypatch.setattr(pipeline.subset.command, "write_report", fails)
    made = subset(examples_dataset, "--out-dir", tmp_path / "out", "--report")
    said = "warning: the dataset is finished, its report is not: no room\n"
    assert capsys.readouterr().err == said
    check_consistent(made)


# ---- the writer ---------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 150), max_size=5))
def test_rows_make_the_same_file_in_whatever_pieces_they_come(
    cuts: list[int], examples_dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    table = pq.read_table(examples_dataset / "shards" / "part-00000.parquet").cast(shard_schema())
    table = pa.concat_tables([table] * 4)  # 140 rows: two full row groups and a rest
    bounds = [0, *sorted(min(c, table.num_rows) for c in cuts), table.num_rows]
    with ShardWriter(folder / "pieces", {}) as writer:
        for begin, end in pairwise(bounds):
            writer.add_rows(table.slice(begin, end - begin))
    with ShardWriter(folder / "whole", {}) as writer:
        writer.add_rows(table)
    assert writer.n_rows == 140
    assert (folder / "pieces").read_bytes() == (folder / "whole").read_bytes()
    file = pq.ParquetFile(folder / "whole")
    sizes = [file.metadata.row_group(g).num_rows for g in range(file.metadata.num_row_groups)]
    assert sizes == [64, 64, 12]
    assert file.read().equals(table)


def test_rows_of_another_schema_are_refused(examples_dataset: Path, tmp_path: Path) -> None:
    table = pq.read_table(examples_dataset / "shards" / "part-00000.parquet").cast(shard_schema())
    for wrong in (table.drop_columns(["sse"]), table.select(table.column_names[::-1])):
        with (
            pytest.raises(ValueError, match="other columns than a shard"),
            ShardWriter(tmp_path / "x", {}) as writer,
        ):
            writer.add_rows(wrong)


def listed(paths: Iterable[Path]) -> list[str]:
    return sorted(path.name for path in paths)


def test_the_layout_of_a_subset_is_that_of_a_build(examples_dataset: Path, tmp_path: Path) -> None:
    made = subset(examples_dataset, "--out-dir", tmp_path / "out")
    assert all((made / name).exists() for name in Layout.results)
    assert set(listed(made.iterdir())) <= set(listed(examples_dataset.iterdir()))
    for name in TABLES:
        ours, theirs = (pq.read_schema(d / name) for d in (made, examples_dataset))
        assert ours.equals(theirs), name
