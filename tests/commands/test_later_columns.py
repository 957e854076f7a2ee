"""Datasets that were built before there were all the columns of today: every command takes them."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.built.built_dataset import BuiltDataset
from pipeline.built.layout import Layout
from pipeline.built.stored_chains import read_entries
from pipeline.export.command import main as export
from pipeline.report import write_report
from pipeline.selection.selection import select
from pipeline.shards import LATER_COLUMNS, open_shard, read_rows
from pipeline.subset.command import main as subset
from pipeline.upgrade.command import main as upgrade
from pipeline.verify.check_dataset import Thoroughness, check_dataset
from pipeline.where import WhereError
from tests.support import build_runs as runs


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("later")
    source = runs.write_peptides(folder / "in", 8, 30)
    runs.build_here(source, folder / "new", min_part=60_000)
    return folder / "new"


@pytest.fixture
def old(new: Path, tmp_path: Path) -> Path:
    """The same dataset as it was when there were none of the later columns."""
    folder = shutil.copytree(new, tmp_path / "old")
    summary = json.loads((folder / "build.json").read_text())
    for k, path in enumerate(sorted((folder / "shards").iterdir())):
        without_later_columns(path)
        sha256, size = hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size
        summary["counts"]["shard_bytes"] += size - summary["shards"][k]["bytes"]
        summary["shards"][k] |= {"sha256": sha256, "bytes": size}
        record = folder / ".build" / f"{path.stem}.json"
        said = json.loads(record.read_text()) | {"shard_sha256": sha256, "shard_bytes": size}
        record.write_text(json.dumps(said))
    without_later_columns(folder / "index.parquet")
    (folder / "build.json").write_text(json.dumps(summary))
    return folder


def without_later_columns(path: Path) -> None:
    table = pq.read_table(path)
    later = LATER_COLUMNS.intersection(table.column_names)
    metadata = {k: v for k, v in (table.schema.metadata or {}).items() if k != b"ARROW:schema"}
    table = table.drop_columns(list(later)).replace_schema_metadata(metadata)
    pq.write_table(table, path, compression="zstd", row_group_size=64, write_page_checksum=True)


def columns(path: Path) -> set[str]:
    return set(pq.read_schema(path).names)


def test_verify_finds_nothing_wrong_with_it(old: Path) -> None:
    assert check_dataset(Layout(old), Thoroughness(n_jobs=1)).is_whole
    assert check_dataset(Layout(old), Thoroughness(n_jobs=1, quick=True)).is_whole


def test_its_rows_have_nulls(old: Path) -> None:
    path = old / "shards" / "part-00000.parquet"
    with open_shard(path) as shard:
        rows = read_rows(shard, path, [0], ["chain_uid", "r_free", "n_chirality_errors"])
    assert rows.scalars.column_names == ["length", "chain_uid", "r_free", "n_chirality_errors"]
    assert rows.scalars["r_free"].null_count == len(rows)
    assert rows.scalars["n_chirality_errors"].type == pa.int32()


def test_its_chains_are_read_and_exported(old: Path, tmp_path: Path) -> None:
    dataset = BuiltDataset.open(old)
    stored = [s for entry in read_entries(dataset, dataset.index()) for s in entry]
    assert len(stored) == 8
    assert {s.chain.zero_occupancy_fraction for s in stored} == {None}
    assert export([str(old), "--output", str(tmp_path / "pdb")]) == 0
    assert len(list((tmp_path / "pdb").rglob("*.*"))) >= 8


def test_a_subset_of_it_has_what_coordinates_tell_and_joins_a_new_one(
    old: Path, new: Path, tmp_path: Path
) -> None:
    out = tmp_path / "subset"
    assert subset([str(old), "--out-dir", str(out), "--where", "length >= 10"]) == 0
    index = pq.read_table(out / "index.parquet")
    assert index["clashes_per_1000_atoms"].null_count == 0
    assert index["zero_occupancy_fraction"].null_count == index.num_rows == 8
    again = tmp_path / "again"
    assert subset([str(new), "--out-dir", str(again), "--where", "n_chirality_errors >= 0"]) == 0
    assert pq.read_table(again / "index.parquet").num_rows == 8
    both = tmp_path / "both"
    assert subset([str(old), str(new), "--out-dir", str(both)]) == 0
    joined = pq.read_table(both / "index.parquet")
    assert joined.column_names == pq.read_table(new / "index.parquet").column_names
    assert joined.num_rows == 8
    assert joined["clashes_per_1000_atoms"].null_count == 0


def test_a_condition_on_a_column_that_it_lacks_says_so(old: Path) -> None:
    with pytest.raises(WhereError, match="r_free"):
        select(old, where="r_free < 0.3")


def test_a_report_of_it_leaves_out_what_is_not_known(old: Path, new: Path) -> None:
    def said(folder: Path) -> str:
        return Path(write_report(folder)).read_text(encoding="utf-8")

    assert "Clashes" in said(new)
    assert "Clashes" not in said(old)


def test_a_build_into_it_takes_its_parts_as_they_are(old: Path, new: Path) -> None:
    shards = {p.name: p.read_bytes() for p in (old / "shards").iterdir()}
    digest = json.loads((old / "build.json").read_text())["digest"]
    runs.build_here(new.parent / "in", old, min_part=60_000)
    assert {p.name: p.read_bytes() for p in (old / "shards").iterdir()} == shards
    assert json.loads((old / "build.json").read_text())["digest"] == digest
    index = pq.read_table(old / "index.parquet")
    assert set(index.column_names) >= LATER_COLUMNS - {"three_di"}
    assert index["trimmed_mean_b_factor"].null_count == index.num_rows
    assert check_dataset(Layout(old), Thoroughness(n_jobs=1)).is_whole


def test_an_upgrade_tells_its_index_and_its_shards_what_coordinates_tell(
    old: Path, new: Path
) -> None:
    assert upgrade([str(old), "--quiet"]) == 0
    index, wanted = (pq.read_table(d / "index.parquet") for d in (old, new))
    assert index.column_names == wanted.column_names
    for name in ("clashes_per_1000_atoms", "ramachandran_outlier_fraction", "n_chirality_errors"):
        assert index[name].equals(wanted[name])
    assert columns(old / "shards" / "part-00000.parquet") >= LATER_COLUMNS
    assert check_dataset(Layout(old), Thoroughness(n_jobs=1)).is_whole
    before = (old / "index.parquet").read_bytes()
    assert upgrade([str(old), "--quiet"]) == 0
    assert (old / "index.parquet").read_bytes() == before


def test_an_upgrade_says_which_columns_stay_unknown(
    old: Path, capfd: pytest.CaptureFixture
) -> None:
    assert upgrade([str(old), "--quiet"]) == 0
    added = [line for line in capfd.readouterr().out.splitlines() if "shards" in line]
    said = {line.split()[1] for line in added if "only the input files tell it" in line}
    rows = pq.read_table(old / "index.parquet")
    unknown = {name for name in rows.column_names if name in LATER_COLUMNS}
    assert said == {n for n in unknown if rows[n].null_count == len(rows)}


def test_an_upgrade_mends_an_index_that_an_interrupted_one_left(old: Path, new: Path) -> None:
    left = (old / "index.parquet").read_bytes()
    assert upgrade([str(old), "--quiet"]) == 0
    (old / "index.parquet").write_bytes(left)
    assert upgrade([str(old), "--quiet"]) == 0
    assert pq.read_table(old / "index.parquet")["n_chirality_errors"].null_count == 0
