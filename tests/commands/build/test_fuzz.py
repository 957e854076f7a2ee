"""Damaged and hostile files cost themselves and nothing else: no crash, no hang, all recorded."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import tarfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.built.layout import Layout
from pipeline.built.plan import make_plan
from pipeline.built.reading import Reading
from pipeline.built.records import InputRecord, records_beside
from pipeline.commands.words import MEBIBYTE
from pipeline.crew.build_part import build_part
from pipeline.sources import SourceError, decompress, discover, group_entries, printable
from tests.support.mutations import (
    CIF,
    CONTAINERS,
    MSGPACK,
    STORED,
    TEXT,
    Mutant,
    Seed,
    flip,
    mutate,
    unpack,
)
from tests.support.mutations import zstd as zstd_bytes
from tests.support.places import EXAMPLES, STRUCTURES
from tests.support.watched_build import inputs, run_build

N_FAST, N_SLOW = 150, 2000
EXCEPTION = re.compile(r"[A-Za-z]+(Error|Exception|Warning)\b|Traceback|0x[0-9a-f]{6,}")


def examples(max_bytes: int = 200_000) -> list[Seed]:
    paths = sorted(p for p in EXAMPLES.iterdir() if p.stat().st_size < max_bytes)
    return [Seed(p.name, p.read_bytes()) for p in paths]


def structures(max_bytes: int = 150_000) -> list[Seed]:
    """Of the shared structures what is small; the examples if they are not there."""
    paths = [p for f in ("main", "pairs", "edge") for p in sorted((STRUCTURES / f).glob("*"))]
    small = [p for p in paths if p.is_file() and 0 < p.stat().st_size < max_bytes]
    return [Seed(p.name, p.read_bytes()) for p in small] or examples()


def write(mutants: list[Mutant], folder: Path) -> None:
    folder.mkdir()
    for mutant in mutants:
        with open(os.path.join(os.fsencode(folder), mutant.name), "wb") as file:
            file.write(mutant.data)


def build_here(
    folder: Path, out_dir: Path, reading: Reading
) -> tuple[list[InputRecord], list[dict]]:
    """The records and the rows of all parts, by the worker's own function in this process."""
    layout = Layout(out_dir)
    layout.make_folders()
    found = discover(folder)
    records, rows = [], []
    for part in make_plan(group_entries(found.files)):
        record = build_part(part, found.root, reading, out_dir)
        records += record.inputs
        shard = pq.ParquetFile(out_dir / layout.shard(part.number), page_checksum_verification=True)
        rows += shard.read().to_pylist()
    records += records_beside(found)
    return records, rows


def check_records(rows: list[dict], mutants: list[Mutant]) -> None:
    """Every file is there once (an archive by its members), with a reason unless it is ok."""
    by_file = Counter(row["input"].split("::")[0] for row in rows if "a::b" not in row["input"])
    for mutant in mutants:
        name = printable(os.fsdecode(mutant.name))
        if mutant.is_archive:
            assert by_file[name] >= 1, f"{mutant.kind}: {name} is lost"
        elif "a::b" not in name:
            assert by_file[name] == 1, f"{mutant.kind}: {name} has {by_file[name]} records"
        else:
            assert sum(row["input"] == name for row in rows) == 1
    for row in rows:
        check_record(row)


def check_record(row: dict) -> None:
    """One record is for a person: a stable code, a sentence, nothing of Python."""
    assert row["status"] in ("ok", "skipped", "failed"), row
    if row["status"] == "ok":
        assert row["reason"] is None, row
        assert row["n_chains"] > 0, row
        return
    assert row["n_chains"] == 0, row
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", row["reason"]), row
    assert row["reason"] not in ("internal-error", "worker-died"), row
    assert len(row["message"].split()) >= 3, row
    assert row["message"].isprintable(), row
    assert not EXCEPTION.search(row["message"].replace(row["input"], "")), row


def check_chain(row: dict) -> None:
    """A chain that was kept is whole: lengths agree, everything is finite, ellipsoids are real."""
    n = row["length"]
    assert 1 <= row["n_resolved"] <= n, row["chain_uid"]
    for name in ("aatype", "residue_index", "auth_seq_id", "ins_code", "atom14_mask", "b_factor"):
        assert len(row[name]) == n, (row["chain_uid"], name)
    assert len(row["sequence"]) == len(row["sse"]) == len(row["centroid"]) == n
    assert len(row["covariance"]) == n
    n_atoms = sum(mask.bit_count() for mask in row["atom14_mask"])
    assert len(row["x"]) == len(row["y"]) == len(row["z"]) == n_atoms
    assert np.all(np.diff(row["residue_index"]) > 0), row["chain_uid"]
    numbers = np.concatenate([np.ravel(row[c]) for c in ("centroid", "covariance", "b_factor")])
    assert np.isfinite(numbers).all(), row["chain_uid"]
    assert np.isfinite(row["radius_of_gyration"]), row["chain_uid"]
    covariance = np.array(row["covariance"])
    resolved = covariance.any(axis=1)
    assert resolved.sum() == row["n_resolved"], row["chain_uid"]
    assert (covariance[resolved][:, [0, 3, 5]] > 0).all(), row["chain_uid"]


@pytest.mark.slow
def test_the_mutator_is_deterministic_and_reaches_every_kind():
    seeds = [s for s in examples() if s.name in ("1orc.pdb.gz", "1pfe.cif.gz", "1gbt.bcif.gz")]
    of_content = {**TEXT, **CIF, **MSGPACK, "splice": None}
    expected = {*(f"stored-{k}" for k in STORED), *(f"content-{k}" for k in of_content)}
    missing = {*expected, *CONTAINERS}
    for number in range(1500):
        mutant = mutate(number, seeds)
        missing -= {mutant.kind}
        if number % 100 == 0:
            assert mutate(number, seeds) == mutant
        if not missing and number > 200:
            break
    assert not missing


# Code that warns about a number has not thought about it.
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_mutated_examples_are_all_recorded(tmp_path):
    seeds = examples()
    mutants = [mutate(number, seeds) for number in range(N_FAST)]
    write(mutants, tmp_path / "in")
    reading = Reading(max_file_size=16 * MEBIBYTE, timeout=20.0)
    started = time.monotonic()
    records, rows = build_here(tmp_path / "in", tmp_path / "out", reading)
    seconds = time.monotonic() - started
    check_records([{f: getattr(r, f) for f in r.__slots__} for r in records], mutants)
    assert {r.status for r in records} == {"ok", "skipped", "failed"}
    assert all(r.reason != "timeout" for r in records)
    assert rows
    for row in rows:
        check_chain(row)
    assert seconds < 60, f"{N_FAST} files took {seconds:.0f} s"


@pytest.mark.slow
def test_two_thousand_mutations_of_real_files_through_the_command(tmp_path, capsys):
    seeds = structures()
    mutants = [mutate(number, seeds) for number in range(10_000, 10_000 + N_SLOW)]
    write(mutants, tmp_path / "in")
    out = tmp_path / "out"
    result = run_build(tmp_path / "in", out, "--timeout", "20", "--max-file-size", "64")
    assert result.status in (0, 1), result.output
    assert "Traceback" not in result.output
    rows = inputs(out)
    counts = json.loads((out / "build.json").read_text())["counts"]
    status = Counter(row["status"] for row in rows)
    reasons = Counter(row["reason"] for row in rows if row["reason"])
    with capsys.disabled():
        print(
            f"\n{len(mutants)} mutants ({len(seeds)} seeds): {dict(status)} in "
            f"{result.seconds:.0f} s, largest process {result.peak_bytes / MEBIBYTE:.0f} MiB\n"
            f"{dict(reasons.most_common())}"
        )
    check_records(rows, mutants)
    assert counts["found"] == len(rows) == sum(status.values())
    assert counts["ok"] + counts["skipped"] + counts["failed"] == counts["found"]
    assert result.seconds < 900
    assert result.peak_bytes < 1500 * MEBIBYTE
    for shard in sorted((out / "shards").glob("*.parquet")):
        for row in pq.ParquetFile(shard, page_checksum_verification=True).read().to_pylist():
            check_chain(row)


def test_two_compressed_archives_in_one_part_are_both_read(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for archive, name in (("a.tar.gz", "1orc.pdb.gz"), ("b.tar.zst", "1ubi.pdb.zst")):
        with tarfile.open(tmp_path / "plain.tar", "w") as tar:
            tar.add(EXAMPLES / name, name)
        content = (tmp_path / "plain.tar").read_bytes()
        pack = gzip.compress if archive.endswith("gz") else zstd_bytes
        (folder / archive).write_bytes(pack(content))
    records, rows = build_here(folder, tmp_path / "out", Reading())
    assert [(r.input, r.status) for r in records] == [
        ("a.tar.gz::1orc.pdb.gz", "ok"),
        ("b.tar.zst::1ubi.pdb.zst", "ok"),
    ]
    assert len(rows) == 2


# ---- nothing is read that is not there ----------------------------------------------------------


@pytest.mark.parametrize("pack", [lambda c: gzip.compress(c, 6, mtime=0), zstd_bytes])
def test_a_flipped_bit_in_a_compressed_stream_is_an_error_or_changes_nothing(pack):
    content = unpack((EXAMPLES / "1orc.pdb.gz").read_bytes())[0]
    stored = pack(content)
    rng = random.Random(0)
    places = {*range(8 * 20), *range(8 * (len(stored) - 12), 8 * len(stored))}
    places |= {rng.randrange(8 * len(stored)) for _ in range(1500)}
    n_errors = 0
    for bit in sorted(places):
        damaged = flip(stored, bit)
        try:
            found = decompress(damaged, 1 << 26)
        except SourceError:
            n_errors += 1
            continue
        # Without its magic number it is no compressed stream any more, and no structure either.
        assert found == content or (found == damaged and bit < 32), bit
    assert n_errors > 1500


def test_a_flipped_bit_in_a_compressed_file_never_changes_a_chain(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    originals = ["1orc.pdb.gz", "1pfe.cif.gz", "1ubi.pdb.zst", "1gbt.bcif.gz"]
    rng = random.Random(1)
    for name in originals:
        data = (EXAMPLES / name).read_bytes()
        (folder / f"intact-{name}").write_bytes(data)
        for k in range(25):
            (folder / f"flip{k}-{name}").write_bytes(flip(data, rng.randrange(8 * len(data))))
    records, rows = build_here(folder, tmp_path / "out", Reading())
    assert all(r.status != "ok" or not r.flags for r in records)
    assert sum(r.status == "failed" for r in records) > 90

    def content(row: dict) -> dict:
        named = ("chain_uid", "entry_id", "row_sha256")
        return {k: v for k, v in row.items() if k not in named}

    intact = {
        (r["entry_id"].split("-", 1)[1], r["label_asym_id"]): content(r)
        for r in rows
        if r["entry_id"].startswith("intact-")
    }
    assert len({entry for entry, _ in intact}) == len(originals)
    for row in rows:
        assert content(row) == intact[row["entry_id"].split("-", 1)[1], row["label_asym_id"]]


@pytest.mark.slow
def test_every_coordinate_of_a_damaged_pdb_file_stands_in_one_of_its_atom_records(tmp_path):
    seeds = [s for s in examples() if ".pdb" in s.name]
    mutants = [m for m in (mutate(n, seeds) for n in range(2000, 2150)) if is_text(m)]
    write(mutants, tmp_path / "in")
    rows = build_here(tmp_path / "in", tmp_path / "out", Reading(timeout=20.0))[1]
    in_file = {f"m{n}": m for m in mutants for n in [m.name[1:6].decode()]}
    n_checked = 0
    for row in rows:
        mutant = in_file.get(row["entry_id"][:6])
        if mutant is None:
            continue
        content = unpack(mutant.data)[0]
        places = set()
        for line in re.split(rb"\r\n|\n|\r", content):
            if line[:4] == b"ATOM" or line[:6] == b"HETATM":  # serials overflow to the left
                places |= {tuple(milli(line[b : b + 8]) for b in (30, 38, 46))}
        for place in zip(row["x"], row["y"], row["z"], strict=True):
            assert place in places, (mutant.kind, mutant.name, place)
            n_checked += 1
    assert n_checked > 10_000


@pytest.mark.slow
def test_every_coordinate_of_a_damaged_mmcif_file_stands_in_it(tmp_path):
    seeds = [s for s in examples() if ".cif" in s.name]
    mutants = [m for m in (mutate(n, seeds) for n in range(3000, 3150)) if is_text(m)]
    write(mutants, tmp_path / "in")
    rows = build_here(tmp_path / "in", tmp_path / "out", Reading(timeout=20.0))[1]
    in_file = {f"m{n}": m for m in mutants for n in [m.name[1:6].decode()]}
    n_checked = 0
    for row in rows:
        mutant = in_file.get(row["entry_id"][:6])
        if mutant is None:
            continue
        tokens = unpack(mutant.data)[0].replace(b"'", b" ").replace(b'"', b" ").split()
        values = {value for t in tokens if (value := milli(t)) is not None}
        for axis in "xyz":
            missing = set(row[axis]) - values
            assert not missing, (mutant.kind, mutant.name, sorted(missing)[:5])
        n_checked += 3 * len(row["x"])
    assert n_checked > 10_000


def is_text(mutant: Mutant) -> bool:
    """Whether the content was damaged, and can be unpacked."""
    return mutant.kind.startswith("content-") and mutant.name.startswith(b"m")


def milli(text: bytes) -> int | None:
    """A number as the nearest multiple of 0.001; ``None`` if it is none."""
    try:
        value = float(text) * 1000
    except ValueError:
        return None
    return round(value) if abs(value) < 2**31 else None
