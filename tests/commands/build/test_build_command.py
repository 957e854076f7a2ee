"""``python -m pipeline.build`` as somebody meets it: options, words, numbers, exit statuses."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import pty
import re
import shutil
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from rich.console import Console

import pipeline.commands.progress_line
from pipeline.build.command import main
from pipeline.build.display import Display
from pipeline.build.options import BuildOptions
from pipeline.built.plan import Part
from pipeline.built.reading import Reading
from pipeline.built.records import PartRecord
from pipeline.commands.command_line import parse_options, to_yaml
from pipeline.crew.crew import available_jobs
from pipeline.crew.progress import ProgressNote
from pipeline.filters import Filters
from pipeline.sources import Entry, SourceFile
from pipeline.verify.command import main as verify
from tests.support import build_runs as runs
from tests.support.build_runs import Command, on_reading, run
from tests.support.places import EXAMPLES


def parse(*arguments: object) -> BuildOptions:
    given = [str(a) for a in arguments]
    return parse_options(BuildOptions, "python -m pipeline.build", "Build.", given)


# --- wrong usage -------------------------------------------------------------------------------

WRONG = {
    "--max-lenght 3": "there is no option --max-lenght; did you mean --max-length?",
    "--max_lenght=3": "there is no option --max_lenght; did you mean --max-length?",
    "--frobnicate": "there is no option --frobnicate",
    "--overwrit": "there is no option --overwrit",
    "--versoin": "there is no option --versoin; did you mean --version?",
    "--no-report": "there is no option --no-report; --report false says that",
    "--no_quiet=1": "there is no option --no_quiet; --quiet false says that",
    "--no-pdb-dir": "there is no option --no-pdb-dir; did you mean --pdb-dir?",
    "--max-length foo": "--max-length foo: expected a whole number",
    "--max-length 1.5": "--max-length 1.5: expected a whole number",
    "--max-length": "--max-length needs a whole number",
    "--max-resolution high": "--max-resolution high: expected a number",
    "--models some": "--models some: expected first or all",
    "--drop-unknown method age": "--drop-unknown method age: expected some of resolution, method,",
    "--dry-run perhaps": "--dry-run perhaps: expected true, false or nothing",
    "--max-length 3 4": "unexpected '4': every value follows its option",
    "stray": "unexpected 'stray': every value follows its option",
    "--config nowhere.yaml": "--config nowhere.yaml: No such file or directory",
}


@pytest.mark.parametrize("words", WRONG)
def test_a_wrong_option_is_one_line_and_a_tip(words: str, capfd: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as end:
        parse(*words.split(), "--out-dir", "out")
    assert end.value.code == 2
    said = capfd.readouterr()
    assert said.out == ""
    error, tip = said.err.splitlines()
    assert error.startswith(f"error: {WRONG[words]}")
    assert tip == "tip: python -m pipeline.build --help lists all options"


def test_a_missing_output_folder_is_one_line_too(capfd: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        parse("--pdb-dir", "in")
    assert capfd.readouterr().err.startswith("error: --out-dir is required\n")


REFUSED = {
    "": "give --pdb-dir, --pdb-list or both",
    "--pdb-dir nowhere": "--pdb-dir nowhere: there is no such file or folder",
    "--pdb-list nowhere": "--pdb-list nowhere: there is no such file or folder",
    "--pdb-dir {in} --manifest nowhere": "--manifest nowhere: there is no such file or folder",
    "--pdb-dir {in} --manifest {in}/p001.pdb": "a manifest is a CSV whose first line names",
    "--pdb-dir {in} --manifest {binary}": "a manifest is CSV text",
    "--pdb-dir {in} --out-dir {in}": "--out-dir is the input folder",
    "--pdb-dir {in} --out-dir {in}/..": "lies in the output folder",
    "--pdb-dir {in} --out-dir {binary}": "is a file; give a folder",
    "--pdb-dir {empty}": "holds no files",
    "--pdb-dir {in} --timeout 0": "--timeout must be a positive number of seconds",
    "--pdb-dir {in} --timeout .nan": "--timeout must be a positive number of seconds",
    "--pdb-dir {in} --n-jobs -1": "--n-jobs is at least 0, found -1",
    "--pdb-dir {in} --max-file-size 0": "--max-file-size is at least 1 MiB",
    "--pdb-dir {in} --base-thickness -1": "--base-thickness must be 0 or",
    "--pdb-dir {in} --released-before 2020": "--released-before 2020: give a day as YYYY-MM-DD",
    "--pdb-dir {in} --min-fraction-resolved 50": "--min-fraction-resolved is a share, from 0 to 1",
    "--pdb-dir {in} --min-length 9 --max-length 8": "--max-length 8 leave nothing",
    "--pdb-dir {in} --released-after 2020-01-01 --released-before 2020-01-01": "leave nothing",
    "--pdb-dir {in} --max-resolution .inf": "--max-resolution must be a number",
    "--pdb-dir {in} --log-file {in}/no/log": "No such file or directory",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_makes_no_sense_is_refused_with_status_2(
    words: str, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    places = {"in": tmp_path / "in", "empty": tmp_path / "empty", "binary": tmp_path / "binary"}
    runs.write_peptides(places["in"], 2)
    places["empty"].mkdir()
    places["binary"].write_bytes(b"\xff\xfe\x00\n")
    given = words.format(**places).split()
    if "--out-dir" not in given:
        given += ["--out-dir", str(tmp_path / "out")]
    before = runs.snapshot(places["in"])
    assert main(given) == 2
    said = capfd.readouterr().err
    assert said.startswith("error: ")
    assert REFUSED[words] in said
    assert runs.snapshot(places["in"]) == before
    assert not (tmp_path / "out" / "shards").exists() or "--log-file" in words


# --- options -----------------------------------------------------------------------------------


def test_options_may_be_spelled_with_dashes_or_underscores() -> None:
    assert parse("--out_dir", "o", "--max_length", 5) == parse("--out-dir=o", "--max-length=5")


def test_lists_flags_and_texts_that_look_like_numbers() -> None:
    options = parse(
        *("--out-dir", "o", "--methods", "x-ray", "nmr", "--dry-run", "--assembly", 1),
        *("--deposited-after", "2020-01-01", "--max-resolution", 3, "--quiet=false"),
    )
    assert options.reading.filters.methods == ["x-ray", "nmr"]
    assert (options.dry_run, options.quiet) == (True, False)
    assert options.reading.assembly == "1"
    assert options.reading.filters.deposited_after == "2020-01-01"
    assert isinstance(options.reading.filters.max_resolution, float)
    assert parse("--out-dir", "o", "--methods=nmr").reading.filters.methods == ["nmr"]


FULL = (
    *("--pdb-dir", "in put", "--max-length", "300", "--methods", "x-ray", "electron"),
    *("--models", "all", "--assembly", "1", "--max-resolution", "3", "--n-jobs", "3"),
    *("--released-before", "2021-05-01", "--drop-unknown", "resolution", "--base-thickness", "1"),
)


@pytest.mark.parametrize("spelling", ["--print_config", "--print-config"])
def test_a_printed_configuration_gives_the_same_options(
    spelling: str, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as end:
        parse(*FULL, "--out-dir", "o", spelling)
    assert end.value.code == 0
    printed = capfd.readouterr().out
    dashed = re.sub(r"^\w+", lambda m: m[0].replace("_", "-"), printed, flags=re.MULTILINE)
    assert dashed != printed
    wanted = parse(*FULL, "--out-dir", "o")
    for text in (printed, dashed):
        (tmp_path / "config.yaml").write_text(text)
        options = parse("--config", tmp_path / "config.yaml")
        assert options == wanted
        assert options.whole_reading().config_hash == wanted.whole_reading().config_hash


def test_a_hand_written_configuration_need_not_quote(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "out-dir: o\nassembly: 1\nreleased-before: 2021-05-01\n"
        "max-resolution: 3\nbase_thickness: 1\n"
    )
    wanted = parse(
        *("--out-dir", "o", "--assembly", 1, "--released-before", "2021-05-01"),
        *("--max-resolution", 3, "--base-thickness", 1),
    )
    assert parse("--config", tmp_path / "c.yaml") == wanted
    hashes = {parse("--config", tmp_path / "c.yaml").whole_reading().config_hash}
    assert hashes == {wanted.whole_reading().config_hash}


def test_the_command_line_wins_over_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("out_dir: o\nmax_length: 10\nmethods: [nmr]\n")
    config = f"--config={tmp_path / 'c.yaml'}"
    for arguments in ((config, "--max-length", 20), ("--max-length", 20, config)):
        options = parse(*arguments)
        assert options.reading.filters.max_length == 20
        assert options.reading.filters.methods == ["nmr"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("max_lenght: 3", "there is no option --max-lenght; did you mean --max-length?"),
        ("max_length: foo", "--max-length foo: expected a whole number"),
        ("- 1", "expected lines such as 'max_length: 512'"),
        ("a: [", "is no YAML"),
    ],
)
def test_a_wrong_configuration_is_one_line(
    text: str, sentence: str, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(SystemExit) as end:
        parse("--out-dir", "o", "--config", tmp_path / "c.yaml")
    assert end.value.code == 2
    said = capfd.readouterr().err
    assert sentence in said
    assert len(said.splitlines()) == 2


def test_help_shows_every_option_with_its_description_and_default(
    capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as end:
        parse("--help")
    assert end.value.code == 0
    text = capfd.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert "class" not in text
    assert "Union" not in text
    fields = [
        f
        for kind in (BuildOptions, Reading, Filters)
        for f in dataclasses.fields(kind)
        if not f.metadata.get("flatten") and f.metadata.get("option", True)
    ]
    flat = " ".join(text.split())
    for field in fields:
        option = "--" + field.name.replace("_", "-")
        start = text.index(f"\n  {option} ")
        entry = " ".join(re.split(r"\n  -|\n\n", text[start + 3 :])[0].split())
        assert len(entry) > len(option) + 20, f"{option} has no description"
        assert entry.endswith((")",)), entry
        assert "(default: " in entry or "(required)" in entry
    assert "(default: 300.0)" in flat
    assert "--overwrite Delete what another" in flat


def test_an_option_file_of_a_dataset_makes_it_again(tmp_path: Path) -> None:
    source = runs.write_peptides(tmp_path / "in", 3)
    out = tmp_path / "out"
    first = runs.build_here(source, out, max_length=39, models="all", allow_empty=True)
    options = parse("--config", out / "options.yaml", "--out-dir", tmp_path / "again")
    assert options.whole_reading().config_hash == first["config_hash"]
    assert str(options.pdb_dir) == str(source)
    assert yaml.safe_load(to_yaml(options))["models"] == "all"


def test_workers_are_as_many_as_slurm_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = available_jobs()
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    assert available_jobs() == 1
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", str(everything + 5))
    assert available_jobs() == everything


# --- what is shown -----------------------------------------------------------------------------


def test_the_summary_s_numbers_are_those_of_build_json(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    (tmp_path / "in").mkdir()
    for name in ("1a8o.cif.gz", "1a8o.pdb", "1lzh.pdb.gz", "5pti.cif.gz"):
        shutil.copy(EXAMPLES / name, tmp_path / "in")
    (tmp_path / "in" / "empty.cif").write_text("")
    (tmp_path / "in" / "cut.cif.gz").write_bytes((EXAMPLES / "1a8o.cif.gz").read_bytes()[:900])
    summary = runs.build_here(tmp_path / "in", out, status=1)
    counts, said = summary["counts"], capfd.readouterr().out
    assert (
        f"{counts['found']} found = {counts['ok']} ok + {counts['skipped']} skipped + "
        f"{counts['failed']} failed" in said
    )
    assert f"{counts['chains']:,} chains, {counts['residues']:,} residues" in said
    assert f"{counts['shard_bytes'] / counts['residues']:.1f} bytes per residue" in said
    assert summary["digest"] in said
    assert str(out / "inputs.parquet") in said
    for status in ("skipped", "failed"):
        assert sum(summary["reasons"][status].values()) == counts[status]
        for reason, n in summary["reasons"][status].items():
            example = summary["examples"][status][reason]
            assert f"{n} {reason}, such as {example['input']}" in said
            assert runs.inputs(out)[example["input"]]["message"] == example["message"]
    last = said.strip().splitlines()[-1]
    assert last.startswith(f"{counts['failed']} of {counts['found']} files failed")
    shard_bytes = sum(len(b) for b in runs.shards(out).values())
    assert counts["shard_bytes"] == shard_bytes
    index = pq.read_table(out / "index.parquet")
    assert counts["residues"] == sum(index["length"].to_pylist())


def test_no_residues_give_no_bytes_per_residue(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    source = runs.write_peptides(tmp_path / "in", 2)
    summary = runs.build_here(source, tmp_path / "out", min_length=1000, status=1)
    said = capfd.readouterr().out
    assert summary["counts"]["residues"] == 0
    assert "per residue" not in said
    assert "2 min-length" in said
    assert said.strip().endswith("0 of 2 files failed")


def test_a_build_without_a_chain_is_whole_warns_and_ends_with_1_unless_that_is_allowed(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    source, out = runs.write_peptides(tmp_path / "in", 2), tmp_path / "out"
    summary = runs.build_here(source, out, min_length=1000, status=1)
    warning = "warning: the dataset is empty: every chain was dropped, 2 of 2 by min-length"
    assert f"{warning}; --allow-empty accepts that with status 0" in capfd.readouterr().out
    assert summary["counts"]["skipped"] == 2
    assert pq.read_table(out / "index.parquet").num_rows == 0
    assert verify([str(out)]) == 0
    before = (out / "build.json").read_bytes()
    for update in (False, True):
        runs.build_here(source, out, min_length=1000, update=update, status=1)
        runs.build_here(source, out, min_length=1000, update=update, allow_empty=True)
        assert (out / "build.json").read_bytes() == before, "the option names no other dataset"
    said = capfd.readouterr().out
    assert said.count(warning) == 4
    assert said.count("--allow-empty accepts") == 2
    # What keeps a chain says nothing of it.
    runs.build_here(source, tmp_path / "full")
    assert "empty" not in capfd.readouterr().out


def test_a_dry_run_prints_the_plan_and_writes_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    source, out = runs.write_peptides(tmp_path / "in", 5), tmp_path / "out"
    (source / "gone.pdb").symlink_to("nowhere")
    arguments = ["--pdb-dir", str(source), "--out-dir", str(out), "--dry-run"]
    assert main(arguments) == 0
    said = capfd.readouterr().out
    assert "5 entries" in said
    assert "5: 5 pdb" in said
    assert "1 (one shard each), 0 of them done" in said
    assert "1 that could not be searched" in said
    assert not out.exists()
    runs.build_here(source, out, status=1, min_part=4 << 20)
    before = runs.snapshot(out)
    capfd.readouterr()
    assert main(arguments) == 0
    assert "1 of them done" in capfd.readouterr().out
    assert runs.snapshot(out) == before


def test_a_dry_run_refuses_the_folder_that_the_build_would_refuse(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    source, out = runs.write_peptides(tmp_path / "in", 1), tmp_path / "out"
    runs.build_here(source, out)
    arguments = ["--pdb-dir", str(source), "--out-dir", str(out), "--min-length", "3"]
    refusals = []
    for more in ([], ["--dry-run"]):
        capfd.readouterr()
        assert main([*arguments, *more]) == 2
        refusals.append(capfd.readouterr().err)
    assert "--min-length: 1 then, 3 now" in refusals[0]
    assert refusals[1] == refusals[0]
    assert main([*arguments, "--dry-run", "--overwrite"]) == 0


def test_the_log_file_has_a_json_line_for_every_event(tmp_path: Path) -> None:
    source, out = runs.write_peptides(tmp_path / "in", 6), tmp_path / "out"
    (source / "cut.cif.gz").write_bytes((EXAMPLES / "1a8o.cif.gz").read_bytes()[:900])
    log = out / "log.jsonl"  # in a folder that is not there yet
    summary = runs.build_here(source, out, log_file=log, status=1)
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert events[0]["event"] == "start"
    assert events[-1]["event"] == "summary"
    assert events[-1]["digest"] == summary["digest"]
    parts = [e for e in events if e["event"] == "part"]
    assert len(parts) == len(summary["shards"]) == events[0]["todo"]
    assert sum(e["residues"] for e in parts) == summary["counts"]["residues"]
    (failed,) = [e for e in events if e["event"] == "failed"]
    assert (failed["input"], failed["reason"]) == ("cut.cif.gz", "truncated-stream")
    assert all(e["time"] <= after["time"] for e, after in pairwise(events))


SLOW = {
    **on_reading("*", "time.sleep(0.1)"),
    "pipeline.commands.progress_line": "PLAIN_SECONDS = 0.3",
}


def test_lines_where_there_is_no_terminal(tmp_path: Path) -> None:
    source = runs.write_peptides(tmp_path / "in", 24)
    arguments = ["--pdb-dir", source, "--out-dir", tmp_path / "out", "--n-jobs", 1]
    said = run(*arguments, append=SLOW, folder=tmp_path).out
    lines = [line for line in said.splitlines() if "files/s" in line and "left" in line]
    assert lines
    pattern = r"\d+/24 files, \d+ files/s, [\d,]+ residues, 0 failed, (\d+:\d\d|\?) left"
    assert all(re.fullmatch(pattern, line) for line in lines)
    assert "\x1b" not in said


def test_a_live_bar_on_a_terminal(tmp_path: Path) -> None:
    source = runs.write_peptides(tmp_path / "in", 16)
    ours, theirs = pty.openpty()
    arguments = ["--pdb-dir", source, "--out-dir", tmp_path / "out", "--n-jobs", 1]
    command = Command(*arguments, append=SLOW, folder=tmp_path, stdout=theirs)
    os.close(theirs)
    screen = b""
    with contextlib.suppress(OSError):  # its other end is closed
        while piece := os.read(ours, 1 << 16):
            screen += piece
    os.close(ours)
    assert command.wait().status == 0
    assert "building" in screen.decode()
    assert re.search(r"\d+/16 files", screen.decode())
    assert "0 of 16 files failed" in screen.decode()


@pytest.mark.parametrize("quiet", [False, True])
def test_quiet_shows_no_progress(quiet: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline.commands.progress_line, "PLAIN_SECONDS", 0.0)
    text = io.StringIO()
    with Display(Console(file=text), [], quiet) as display:
        display.update([])
    assert bool(text.getvalue()) != quiet


def test_a_part_that_is_built_twice_is_counted_once() -> None:
    files = tuple(SourceFile(f"{k}.pdb", None, 10, 0, None, "pdb", str(k)) for k in range(3))
    part = Part(4, tuple(Entry(f.stem, (f,)) for f in files))
    display = Display(None, [part], quiet=True)  # type: ignore[arg-type]
    record = PartRecord(4, "", "", "", 0, 1, 100, [], [])
    note = ProgressNote(4, 1, 2, 0.0, n_done=2, n_failed=1, n_residues=70, n_bytes=20)
    assert display.counted([note])[:3] == (2, 1, 70)
    display.part_done(record)
    display.part_done(record)
    assert display.counted([note]) == (3, 0, 100, 30)


# --- manifests and unknown values --------------------------------------------------------------


@pytest.fixture
def few(tmp_path: Path) -> Path:
    source = tmp_path / "in"
    source.mkdir()
    for name in ("1a8o.cif.gz", "1bd2.cif.gz", "5pti.cif.gz", "1as5.cif.gz"):
        shutil.copy(EXAMPLES / name, source)
    return source


def test_a_manifest_restricts_entries_and_chains_and_what_it_lists_in_vain_is_said(
    few: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text("entry_id,chain\n1A8O,\n1bd2,A\n1bd2,E\n9zzz,\n8yyy,A\n8yyy,B\n")
    summary = runs.build_here(few, tmp_path / "out", manifest=manifest)
    index = pq.read_table(tmp_path / "out" / "index.parquet").to_pylist()
    assert {r["entry_id"] for r in index} == {"1a8o", "1bd2"}
    assert {r["label_asym_id"] for r in index if r["entry_id"] == "1bd2"} == {"A", "E"}
    assert summary["reasons"]["skipped"] == {"not-in-manifest": 2}
    assert summary["drop_reasons"] == {"not-in-manifest": 3}
    assert summary["manifest"] == {
        "entries": 4,
        "not_found": 2,
        "first_not_found": ["8yyy", "9zzz"],
        "chains_not_found": 0,
        "first_chains_not_found": [],
    }
    assert "2 of its 4 entries were not found: 8yyy, 9zzz\n" in capfd.readouterr().out


def test_a_chain_of_the_manifest_that_its_entry_lacks_is_counted_and_named(
    few: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text("entry_id,chain\n1bd2,A\n1bd2,Q\n1a8o,\n")
    summary = runs.build_here(few, tmp_path / "out", manifest=manifest)
    assert summary["manifest"] == {
        "entries": 2,
        "not_found": 0,
        "first_not_found": [],
        "chains_not_found": 1,
        "first_chains_not_found": [{"entry_id": "1bd2", "chain": "Q"}],
    }
    told = "1 chain that it lists is not in the entry: Q of 1bd2\n"
    assert told in capfd.readouterr().out
    page = (tmp_path / "out" / "report.html").read_text()
    assert "1 chain that the manifest lists is not in the entry: Q of 1bd2." in page
    inputs = pq.read_table(tmp_path / "out" / "inputs.parquet").to_pylist()
    flags = {r["entry_id"]: r["flags"] for r in inputs if r["status"] == "ok"}
    assert flags == {"1bd2": ["manifest_chain_missing:Q"], "1a8o": []}


@pytest.mark.parametrize("cell", ["D,E", "D E", "D; E"])
def test_a_cell_of_several_chains_is_told_to_be_several_lines(
    cell: str, few: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text(f'entry_id,chain\n1bd2,"{cell}"\n5pti,\n')
    runs.build_here(few, tmp_path / "out", manifest=manifest, report=False)
    said = " ".join(capfd.readouterr().out.split())
    assert f"not in the entry: {cell} of 1bd2; '{cell}' looks like several: one chain" in said


def test_another_manifest_is_another_configuration(
    few: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    manifest, out = tmp_path / "m.csv", tmp_path / "out"
    manifest.write_text("entry_id\n1a8o\n")
    runs.build_here(few, out, manifest=manifest)
    manifest.write_text("entry_id\n5pti\n")
    arguments = ["--pdb-dir", few, "--out-dir", out, "--manifest", manifest]
    assert main([str(a) for a in arguments]) == 2
    assert "--manifest: " in capfd.readouterr().err


@pytest.mark.parametrize("limit", [2.8, None])
def test_unknown_values_pass_unless_they_are_to_be_dropped(
    few: Path, tmp_path: Path, limit: float | None
) -> None:
    """1as5 is an NMR entry: it has no resolution."""
    runs.build_here(few, tmp_path / "kept", max_resolution=limit)
    assert "1as5" in runs.entry_ids(tmp_path / "kept")
    out = tmp_path / "dropped"
    runs.build_here(few, out, max_resolution=limit, drop_unknown=["resolution"])
    assert runs.entry_ids(out) == runs.entry_ids(tmp_path / "kept") - {"1as5"}
    row = runs.inputs(out)["1as5.cif.gz"]
    assert (row["status"], row["reason"]) == ("skipped", "unknown-resolution")


def test_a_copy_without_the_state_of_its_build_is_not_overwritten_by_accident(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    runs.write_peptides(tmp_path / "in", 3)
    given = ["--pdb-dir", str(tmp_path / "in"), "--out-dir", str(tmp_path / "out"), "--quiet"]
    assert main(given) == 0
    shutil.rmtree(tmp_path / "out" / ".build")
    before = {
        path.relative_to(tmp_path): path.read_bytes()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    capfd.readouterr()
    assert main([*given, "--min-length", "3"]) == 2
    assert "holds a finished dataset" in capfd.readouterr().err
    for path, content in before.items():
        assert (tmp_path / path).read_bytes() == content
    assert main([*given, "--min-length", "3", "--overwrite"]) == 0
