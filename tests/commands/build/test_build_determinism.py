"""The same files and configuration give the same digest, and the same plan the same bytes."""

from __future__ import annotations

import gzip
import os
import random
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow.parquet as pq
import pytest
import zstandard

from pipeline.built.plan import make_plan, plan_table, read_plan
from pipeline.sources import SourceFile, discover, group_entries
from tests.support import build_runs as runs
from tests.support.build_runs import SMALL_PARTS, run
from tests.support.places import EXAMPLES

SMALL = (
    "1a8o.cif.gz",
    "1a8o.pdb",
    "1ejg.pdb.gz",
    "1gbt.bcif.gz",
    "1gbt.cif.gz",
    "1lzh.pdb.gz",
    "1orc.pdb.gz",
    "1ubi.pdb.zst",
    "5pti.cif.gz",
    "AF-P29373-F1-model_v4.cif.gz",
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small examples, some in folders, and a file that fails and one that is none."""
    folder = tmp_path_factory.mktemp("tree") / "in"
    for k, name in enumerate(SMALL):
        place = folder / ("a" if k < 6 else "b/c")
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy2(EXAMPLES / name, place)
    (folder / "README").write_text("no structure\n")
    (folder / "b" / "two.pdb").write_text(runs.dimer(20))
    whole = (EXAMPLES / "1a8o.cif.gz").read_bytes()
    (folder / "cut.cif.gz").write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.fixture(scope="module")
def reference(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("reference") / "out"
    summary = runs.build_here(source, out, status=1)
    assert summary["counts"] == {
        **summary["counts"],
        "found": 13,
        "ok": 8,
        "skipped": 4,
        "failed": 1,
    }
    assert len(summary["shards"]) >= 3
    assert pq.read_table(out / "interfaces.parquet").num_rows > 0
    return out


def digest(out: Path) -> tuple[str, str]:
    """Of the dataset and of its interfaces."""
    found = runs.build_json(out)
    return found["digest"], found["interfaces_digest"]


@pytest.mark.parametrize("n_jobs", [1, 2, 4])
def test_bytes_do_not_depend_on_the_number_of_workers(
    source: Path, reference: Path, tmp_path: Path, n_jobs: int
) -> None:
    out = tmp_path / f"elsewhere-{n_jobs}"
    arguments = ["--pdb-dir", source, "--out-dir", out, "--n-jobs", n_jobs]
    assert run(*arguments, append=SMALL_PARTS, folder=tmp_path).status == 1
    assert runs.shards(out) == runs.shards(reference)
    assert digest(out) == digest(reference)
    for name in ("index.parquet", "plan.parquet", "drops.parquet", "build.json"):
        assert (out / name).read_bytes() == (reference / name).read_bytes()


@pytest.mark.parametrize("seed", range(3))
def test_bytes_do_not_depend_on_the_order_of_the_folder(
    source: Path, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    scandir = os.scandir

    class Shuffled:
        def __init__(self, path: str) -> None:
            with scandir(path) as found:
                self._entries = list(found)
            random.Random(seed).shuffle(self._entries)

        def __enter__(self) -> Shuffled:
            return self

        def __exit__(
            self,
            kind: type[BaseException] | None,
            error: BaseException | None,
            trace: TracebackType | None,
        ) -> None: ...

        def __iter__(self) -> Any:
            return iter(self._entries)

        def close(self) -> None: ...

    monkeypatch.setattr(os, "scandir", Shuffled)
    runs.build_here(source, tmp_path / "out", status=1)
    assert runs.shards(tmp_path / "out") == runs.shards(reference)


def test_a_copy_of_the_tree_with_other_times_gives_the_same_bytes(
    source: Path, reference: Path, tmp_path: Path
) -> None:
    files = [p for p in source.rglob("*") if p.is_file()]
    for path in sorted(files, reverse=True):
        copy = tmp_path / "copy" / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
        os.utime(copy, (1_000_000_000, 1_000_000_000))
    runs.build_here(tmp_path / "copy", tmp_path / "out", status=1)
    assert runs.shards(tmp_path / "out") == runs.shards(reference)


def pack(mode: str) -> Callable[[Path, Path], dict[str, Any]]:
    def packed(source: Path, folder: Path) -> dict[str, Any]:
        name = folder / {"w": "all.tar", "w:gz": "all.tar.gz"}.get(mode, "all.tar.zst")
        with tarfile.open(folder / "plain.tar", "w") as archive:
            for path in sorted(source.rglob("*"), key=lambda p: p.name):
                if path.is_file():
                    archive.add(path, str(path.relative_to(source)))
        data = (folder / "plain.tar").read_bytes()
        (folder / "plain.tar").unlink()
        if mode == "w:gz":
            data = gzip.compress(data, 1)
        elif mode == "w:zst":
            data = zstandard.compress(data)
        name.write_bytes(data)
        return {"source": name}

    return packed


def listed(source: Path, folder: Path) -> dict[str, Any]:
    names = [str(p) for p in source.rglob("*") if p.is_file()]
    random.Random(1).shuffle(names)
    (folder / "list.txt").write_text("\n".join(names))
    return {"source": None, "pdb_list": folder / "list.txt"}


@pytest.mark.parametrize(
    "given", [listed, pack("w"), pack("w:gz"), pack("w:zst")], ids=["list", "tar", "gz", "zst"]
)
def test_the_digest_does_not_depend_on_how_the_files_are_given(
    source: Path, reference: Path, tmp_path: Path, given: Callable[[Path, Path], dict[str, Any]]
) -> None:
    how = given(source, tmp_path)
    summary = runs.build_here(how.pop("source"), tmp_path / "out", status=1, **how)
    assert summary["digest"] == digest(reference)[0]
    assert runs.entry_ids(tmp_path / "out") == runs.entry_ids(reference)
    assert summary["counts"]["found"] == runs.build_json(reference)["counts"]["found"]
    assert summary["reasons"] == runs.build_json(reference)["reasons"]


@pytest.mark.parametrize("compression", ["gz", "zst", "gz of gz", "two members"])
def test_the_digest_does_not_depend_on_compression(tmp_path: Path, compression: str) -> None:
    text = gzip.decompress((EXAMPLES / "5pti.cif.gz").read_bytes())
    half = len(text) // 2
    packed = {
        "plain": ("5pti.cif", text),
        "gz": ("5pti.cif.gz", gzip.compress(text)),
        "zst": ("5pti.cif.zst", zstandard.compress(text)),
        "gz of gz": ("5pti.cif.gz.gz", gzip.compress(gzip.compress(text))),
        "two members": ("5pti.cif.gz", gzip.compress(text[:half]) + gzip.compress(text[half:])),
    }
    digests = set()
    for name, data in (packed["plain"], packed[compression]):
        source = tmp_path / name
        source.mkdir()
        (source / name).write_bytes(data)
        digests.add(runs.build_here(source, tmp_path / f"{name}-out")["digest"])
        shutil.rmtree(source)
    assert len(digests) == 1


def test_the_cutting_into_parts_does_not_change_the_digest(
    source: Path, reference: Path, tmp_path: Path
) -> None:
    summary = runs.build_here(source, tmp_path / "out", part_size=64, status=1)
    assert len(summary["shards"]) == 1
    assert summary["digest"] == digest(reference)[0]


EDITS = {
    "a coordinate": (b"   1.458", b"   1.459"),
    "a residue's name": (b" LEU ", b" ILE "),
    "a residue's number": (b" A   7 ", b" A   6A"),
    "a chain's name": (b" A", b" B"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_the_digest_changes_with_the_data(tmp_path: Path, edit: str) -> None:
    source = tmp_path / "in"
    source.mkdir()
    text = runs.peptide(40).encode().replace(b"   4.758", b"   1.458")
    before, after = EDITS[edit]
    flat = text if edit != "a coordinate" else _with_known_number(text)
    assert before in flat
    (source / "x.pdb").write_bytes(flat)
    first = runs.build_here(source, tmp_path / "first")
    count = -1 if edit != "a coordinate" else 1
    (source / "x.pdb").write_bytes(flat.replace(before, after, count))
    second = runs.build_here(source, tmp_path / "second")
    assert first["counts"]["residues"] == second["counts"]["residues"] == 40
    assert first["digest"] != second["digest"]


def _with_known_number(text: bytes) -> bytes:
    """The x coordinate of the second atom becomes 1.458."""
    lines = text.split(b"\n")
    lines[1] = lines[1][:30] + b"   1.458" + lines[1][38:]
    return b"\n".join(lines)


@pytest.mark.parametrize(
    "option",
    [{"max_length": 60}, {"models": "all"}, {"methods": ["x-ray"]}, {"max_resolution": 1.0}],
    ids=str,
)
def test_the_digest_changes_with_a_filter_that_drops_something(
    source: Path, reference: Path, tmp_path: Path, option: dict
) -> None:
    if "models" in option:
        source = tmp_path / "in"
        source.mkdir()
        shutil.copy(EXAMPLES / "1as5.cif.gz", source)
        first = runs.build_here(source, tmp_path / "one")["digest"]
        assert runs.build_here(source, tmp_path / "out", **option)["digest"] != first
        return
    if "methods" in option:
        option = {**option, "drop_unknown": ["method"]}
    summary = runs.build_here(source, tmp_path / "out", status=1, **option)
    assert summary["digest"] != digest(reference)[0]
    assert summary["config_hash"] != runs.build_json(reference)["config_hash"]


def test_what_does_not_decide_the_data_does_not_change_the_configuration(
    source: Path, reference: Path, tmp_path: Path
) -> None:
    summary = runs.build_here(
        source, tmp_path / "out", status=0, timeout=77.0, n_jobs=3, quiet=True, allow_failures=5
    )
    assert summary["config_hash"] == runs.build_json(reference)["config_hash"]


def test_a_plan_comes_back_from_its_table_as_it_was(source: Path, tmp_path: Path) -> None:
    """Workers get their part through such a file, and the fingerprint must not notice."""
    import pyarrow.parquet as pq

    files = [
        *discover(source).files,
        SourceFile("odd\udcff\n\\x.pdb", None, -1, 0, None, "pdb", "odd\\udcff\\u000a\\\\x"),
        SourceFile("t.tar.gz", "in\\side/é.cif", 5, 2**60, None, "cif", "é", 7),
        SourceFile("t.tar", "inside.cif", 5, 1, 512, "cif", "inside", None),
    ]
    parts = make_plan(group_entries(files), 50_000)
    assert len(parts) > 2
    pq.write_table(plan_table(parts), tmp_path / "plan.parquet")
    back = read_plan(tmp_path / "plan.parquet")
    assert back == parts
    assert [p.fingerprint("") for p in back] == [p.fingerprint("") for p in parts]
