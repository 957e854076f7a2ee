"""``python -m pipeline.upgrade`` adds what a dataset lacks, and changes nothing else."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pipeline.upgrade.command as upgrade_command
from pipeline.build.command import main as build
from pipeline.built.layout import Layout
from pipeline.shards import ColumnToAdd, ShardWriter, shard_schema
from pipeline.split.command import main as split
from pipeline.subset.command import main as subset
from pipeline.upgrade.command import main
from pipeline.verify.check_dataset import Thoroughness, check_dataset
from tests.support import build_runs as runs

LATER = ["three_di"]


def without_later_columns(dataset: Path) -> None:
    """The dataset as the program built it before there were these columns."""
    summary = json.loads((dataset / "build.json").read_text())
    for listed in summary["shards"]:
        path = dataset / "shards" / listed["name"]
        table = pq.read_table(path).drop_columns(LATER)
        pq.write_table(table, path, row_group_size=5, compression="zstd", write_page_checksum=True)
        data = path.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        summary["counts"]["shard_bytes"] += len(data) - listed["bytes"]
        listed |= {"sha256": sha256, "bytes": len(data)}
        record = dataset / ".build" / f"{path.stem}.json"
        record.write_text(
            json.dumps(
                json.loads(record.read_text()) | {"shard_sha256": sha256, "shard_bytes": len(data)}
            )
        )
        place_rows(dataset, path)
    (dataset / "build.json").write_text(json.dumps(summary, indent=1) + "\n")


def place_rows(dataset: Path, path: Path) -> None:
    """Rewrite the index's places of a shard whose row groups have five rows."""
    index = pq.read_table(dataset / "index.parquet")
    names = index["shard"].to_pylist()
    group, row = index["row_group"].to_pylist(), index["row"].to_pylist()
    for place, k in enumerate(k for k, name in enumerate(names) if name == path.name):
        group[k], row[k] = divmod(place, 5)
    for name, values in (("row_group", group), ("row", row)):
        position = index.schema.get_field_index(name)
        index = index.set_column(position, name, pa.array(values, pa.int32()))
    pq.write_table(index, dataset / "index.parquet", write_page_checksum=True)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("upgrade")
    runs.write_peptides(folder / "in", 12)
    arguments = ["--pdb-dir", folder / "in", "--out-dir", folder / "new", "--n-jobs", "1"]
    assert build([*map(str, arguments), "--quiet"]) == 0
    shutil.copytree(folder / "new", folder / "old")
    without_later_columns(folder / "old")
    return folder


@pytest.fixture
def old(built: Path, tmp_path: Path) -> Iterator[Path]:
    """A dataset of before, in row groups of five."""
    shutil.copytree(built / "old", tmp_path / "old")
    yield tmp_path / "old"
    scratch = tmp_path / "old" / ".build" / "scratch"
    assert not scratch.exists() or not list(scratch.iterdir())


def rows(dataset: Path) -> pa.Table:
    return pa.concat_tables(
        [pq.read_table(path) for path in sorted((dataset / "shards").iterdir())]
    ).replace_schema_metadata(None)


def group_sizes(dataset: Path) -> list[int]:
    metas = [pq.ParquetFile(path).metadata for path in sorted((dataset / "shards").iterdir())]
    return [m.row_group(g).num_rows for m in metas for g in range(m.num_row_groups)]


def look(dataset: Path) -> list[str]:
    findings = check_dataset(Layout(dataset), Thoroughness(n_jobs=1))
    return [str(p) for p in findings.problems if p.remedy != "upgrade"]


def test_a_dataset_of_before_becomes_one_of_today(
    old: Path, built: Path, capfd: pytest.CaptureFixture
) -> None:
    before = {path.name: path.read_bytes() for path in old.iterdir() if path.suffix == ".parquet"}
    sizes, summary = group_sizes(old), json.loads((old / "build.json").read_text())
    assert main([str(old), "--quiet"]) == 0
    assert rows(old).equals(rows(built / "new"))
    assert group_sizes(old) == sizes  # where the index and embeddings say
    assert {name: (old / name).read_bytes() for name in before} == before
    now = json.loads((old / "build.json").read_text())
    for key in summary.keys() - {"shards", "counts"}:
        assert now[key] == summary[key]
    assert look(old) == []
    said = capfd.readouterr().out
    assert "added" in said
    assert "three_di to 1 shard\n" in said
    assert summary["digest"] in said
    assert main([str(old)]) == 0
    assert "has all columns" in capfd.readouterr().out
    assert json.loads((old / "build.json").read_text()) == now


def test_verify_accepts_a_dataset_of_before_and_says_what_adds_the_column(
    old: Path, capfd: pytest.CaptureFixture
) -> None:
    assert look(old) == []
    findings = check_dataset(Layout(old), Thoroughness(n_jobs=1))
    assert findings.is_whole
    (remark,) = findings.problems
    assert "three_di" in remark.message
    assert "pipeline.upgrade" in remark.message


def test_splits_remain_valid(old: Path, capfd: pytest.CaptureFixture) -> None:
    split_again = [str(old), "--clusters", "identical"]
    assert split(split_again) == 0
    assert main([str(old), "--quiet"]) == 0
    capfd.readouterr()
    assert split(split_again) == 0
    assert "unchanged" in capfd.readouterr().out


def test_a_build_goes_on_in_an_upgraded_folder_without_building_anything(
    old: Path, built: Path
) -> None:
    assert main([str(old), "--quiet"]) == 0
    before = (old / "build.json").read_bytes()
    shards = {path: path.read_bytes() for path in (old / "shards").iterdir()}
    arguments = ["--pdb-dir", built / "in", "--out-dir", old, "--n-jobs", "1", "--quiet"]
    assert build([str(a) for a in arguments]) == 0
    assert {path: path.read_bytes() for path in (old / "shards").iterdir()} == shards
    assert json.loads((old / "build.json").read_bytes()) == json.loads(before)


def test_an_interrupted_upgrade_goes_on(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(upgrade_command, "appears_whole", stop)  # of build.json
        assert main([str(old), "--quiet"]) == 130
    shard = old / "shards" / "part-00000.parquet"
    assert pq.read_schema(shard).names == shard_schema().names
    whole = check_dataset(Layout(old), Thoroughness(n_jobs=1))
    assert whole.is_whole
    assert f"`python -m pipeline.upgrade {old}` goes on" in whole.problems[0].message
    # Whoever does not read the shards cannot know that nothing else befell them.
    assert not check_dataset(Layout(old), Thoroughness(quick=True, n_jobs=1)).is_whole
    upgraded = shard.read_bytes()
    pq.write_table(pq.read_table(shard).slice(1), shard)
    assert not check_dataset(Layout(old), Thoroughness(n_jobs=1)).is_whole
    shard.write_bytes(upgraded)
    assert main([str(old), "--quiet"]) == 0
    assert check_dataset(Layout(old), Thoroughness(n_jobs=1)).problems == []


def test_a_shard_that_cannot_be_upgraded_stays_as_it_was(
    old: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    before = {path: path.read_bytes() for path in old.rglob("*.*") if path.is_file()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ShardWriter, "add_group", full)
    assert main([str(old), "--quiet"]) == 1
    said = capfd.readouterr().err
    assert "No space left on device" in said
    assert "part-00000.parquet" in said
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("change", ["flip", "other rows", "missing"])
def test_a_damaged_shard_is_named_and_left_alone(
    old: Path, change: str, capfd: pytest.CaptureFixture
) -> None:
    path = old / "shards" / "part-00000.parquet"
    if change == "flip":
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif change == "missing":
        path.unlink()
    else:
        assert main([str(old), "--quiet"]) == 0
        pq.write_table(pq.read_table(path).slice(1), path)
    before = path.read_bytes() if path.exists() else None
    assert main([str(old), "--quiet"]) == 1
    said = capfd.readouterr().err
    assert str(path) in said
    assert "pipeline.verify" in said
    assert (path.read_bytes() if path.exists() else None) == before


def test_a_subset_of_a_dataset_of_before_has_all_columns(
    old: Path, built: Path, tmp_path: Path
) -> None:
    for source, out in ((old, "a"), (built / "new", "b")):
        arguments = [source, "--out-dir", tmp_path / out, "--where", "length > 10"]
        assert subset([str(a) for a in arguments]) == 0
    assert rows(tmp_path / "a").equals(rows(tmp_path / "b"))


def test_a_reader_that_wants_the_column_says_what_adds_it(old: Path) -> None:
    pytest.importorskip("torch")
    from pipeline.dataset import ShardDataset

    assert len(ShardDataset(old)[0]["aatype"]) == 40
    with pytest.raises(ColumnToAdd, match=r"a column three_di.*pipeline\.upgrade"):
        ShardDataset(old, columns=["aatype", "three_di"])[0]
    assert main([str(old), "--quiet"]) == 0
    assert len(ShardDataset(old, columns=["aatype", "three_di"])[0]["three_di"]) == 40


def test_of_many_entries_without_interfaces_the_first_are_named_and_all_are_counted() -> None:
    names = [f"{k}abc" for k in range(1, 8)]
    assert upgrade_command.told_of_crowded(names[:2]) == "1abc, 2abc: too many atoms in one place"
    assert upgrade_command.told_of_crowded(names) == (
        "7 entries, such as 1abc, 2abc, 3abc, 4abc, 5abc: too many atoms in one place"
    )
