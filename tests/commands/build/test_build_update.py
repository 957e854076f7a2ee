"""Updating a dataset: what has changed is built, and nothing else; the digest is that of a fresh
build."""

from __future__ import annotations

import json
import os
import re
import shutil
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.build.command import main
from pipeline.build.obsolete import Obsolete
from pipeline.build.update import update_plan
from pipeline.built.layout import Layout
from pipeline.built.plan import Part, make_plan
from pipeline.errors import UsageError
from pipeline.sources import Entry, SourceFile, discover, group_entries
from pipeline.verify.check_dataset import Thoroughness, check_dataset
from tests.support import build_runs as runs

SMALL = 6_000  # bytes of a part: two peptides


def build(source: Path | None, out: Path, **options: object) -> dict:
    return runs.build_here(source, out, min_part=SMALL, report=False, quiet=True, **options)


def update(source: Path | None, out: Path, **options: object) -> dict:
    return build(source, out, update=True, **options)


def fresh_digest(source: Path, tmp_path: Path, **options: object) -> str:
    out = tmp_path / "fresh"
    shutil.rmtree(out, ignore_errors=True)
    return build(source, out, **options)["digest"]


def is_whole(out: Path) -> bool:
    found = check_dataset(Layout(out), Thoroughness(n_jobs=1))
    return not found.problems or found.is_whole


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return runs.write_peptides(tmp_path / "in", 8, n_residues=20)


@pytest.fixture
def out(source: Path, tmp_path: Path) -> Path:
    assert len(build(source, tmp_path / "out")["shards"]) >= 4
    return tmp_path / "out"


@pytest.mark.parametrize("command", [build, update])
def test_a_build_by_older_rules_is_neither_resumed_nor_updated(command, source, out) -> None:
    config = out / Layout.config
    known = json.loads(config.read_text(encoding="utf-8"))
    del known["parsing_version"]
    config.write_text(json.dumps(known), encoding="utf-8")
    before = runs.snapshot(out / "shards")
    with pytest.raises(UsageError, match=r"parsing_version: none then.*rows by other rules"):
        command(source, out)
    assert runs.snapshot(out / "shards") == before


def test_an_update_of_nothing_touches_no_shard(source: Path, out: Path) -> None:
    before, times = runs.snapshot(out / "shards"), runs.build_json(out)
    assert update(source, out) == times
    assert runs.snapshot(out / "shards") == before


def test_only_the_part_of_a_changed_file_is_built_again(
    source: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = runs.shards(out)
    (source / "p004.pdb").write_text(runs.peptide(25, seed=99))
    digest = update(source, out)["digest"]
    after = runs.shards(out)
    assert before.keys() == after.keys()
    assert sum(before[name] != after[name] for name in before) == 1
    assert digest == fresh_digest(source, tmp_path)
    assert "7 entries unchanged, 1 changed, 0 new, 0 gone" in capsys.readouterr().out
    assert is_whole(out)


def test_files_of_another_time_and_the_same_content_keep_their_shards(
    source: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = runs.snapshot(out / "shards")
    for path in source.rglob("*.pdb"):
        os.utime(path, ns=(1, 1_000_000_000))
    digest = update(source, out)["digest"]
    assert runs.snapshot(out / "shards") == before
    assert "8 entries unchanged, 0 changed" in capsys.readouterr().out
    assert digest == fresh_digest(source, tmp_path)
    # From now on they are known as they are.
    assert update(source, out)["digest"] == digest
    assert runs.snapshot(out / "shards") == before


def test_new_files_make_new_parts_and_old_ones_stay(
    source: Path, out: Path, tmp_path: Path
) -> None:
    before = runs.shards(out)
    (source / "a000.pdb").write_text(runs.peptide(30, seed=50))  # before all others
    digest = update(source, out)["digest"]
    after = runs.shards(out)
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 1
    assert digest == fresh_digest(source, tmp_path)
    assert runs.accounts_for_all(out)
    assert is_whole(out)


def test_removed_files_are_gone_and_a_part_without_any_as_well(
    source: Path, out: Path, tmp_path: Path
) -> None:
    first = sorted(runs.inputs(out).values(), key=lambda row: row["part"])[0]["part"]
    for name, row in runs.inputs(out).items():
        if row["part"] == first:
            (source / name).unlink()
    digest = update(source, out)["digest"]
    assert f"part-{first:05d}.parquet" not in runs.shards(out)
    assert not (out / ".build" / f"part-{first:05d}.json").exists()
    assert digest == fresh_digest(source, tmp_path)
    assert is_whole(out)


def test_a_second_file_of_a_name_gives_both_entries_other_ids(
    source: Path, out: Path, tmp_path: Path
) -> None:
    (source / "more").mkdir()
    (source / "more" / "p001.pdb").write_text(runs.peptide(22, seed=7))
    digest = update(source, out)["digest"]
    assert {"more/p001", "p001"} <= {e.replace("in/", "") for e in runs.entry_ids(out)}
    assert digest == fresh_digest(source, tmp_path)


def test_an_interrupted_update_goes_on_as_an_update(
    source: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = runs.shards(out)
    (source / "p004.pdb").write_text(runs.peptide(25, seed=99))
    (source / "p100.pdb").write_text(runs.peptide(25, seed=100))

    def interrupted(self: object, parts: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runs.CrewOfNone, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            update(source, out)
    assert not (out / "build.json").exists()
    (source / "p101.pdb").write_text(runs.peptide(25, seed=101))
    digest = update(source, out)["digest"]
    after = runs.shards(out)
    assert sum(before[name] != after[name] for name in before) == 1
    assert digest == fresh_digest(source, tmp_path)


def test_the_tasks_of_an_array_job_update_too(source: Path, out: Path, tmp_path: Path) -> None:
    before = runs.shards(out)
    (source / "p100.pdb").write_text(runs.peptide(25, seed=100))
    words = ["--out-dir", str(out), "--quiet"]
    assert main(["--pdb-dir", str(source), *words, "--update", "--plan"]) == 0
    assert main([*words, "--part", "0/1", "--n-jobs", "1"]) == 0
    assert main([*words, "--finalise", "--report", "false"]) == 0
    after = runs.shards(out)
    assert {name: after[name] for name in before} == before
    assert runs.build_json(out)["digest"] == fresh_digest(source, tmp_path)


@pytest.mark.parametrize("packing", ["w", "w:gz"])
def test_a_tar_that_grew_is_read_again_where_it_has_to_be(tmp_path: Path, packing: str) -> None:
    peptides = runs.write_peptides(tmp_path / "in", 6, n_residues=20)
    archive = tmp_path / ("all.tar" + (".gz" if packing == "w:gz" else ""))

    def pack() -> None:
        with tarfile.open(archive, packing) as tar:
            tar.add(peptides, "")

    pack()
    out = tmp_path / "out"
    build(archive, out)
    before = runs.shards(out)
    (peptides / "p100.pdb").write_text(runs.peptide(25, seed=100))
    pack()
    assert update(archive, out)["digest"] == fresh_digest(archive, tmp_path)
    after = runs.shards(out)
    if packing == "w":
        assert {name: after[name] for name in before} == before
    else:
        assert after.keys() == before.keys()  # one sequential part


def test_a_folder_where_nothing_was_built_gets_a_plain_build(source: Path, tmp_path: Path) -> None:
    digest = update(source, tmp_path / "new")["digest"]
    assert digest == fresh_digest(source, tmp_path)
    assert runs.shards(tmp_path / "new") == runs.shards(tmp_path / "fresh")


STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "change", "remove", "touch", "rename"]), st.integers(0, 9)),
    min_size=1,
    max_size=5,
)


@settings(
    max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(rounds=st.lists(STEPS, min_size=1, max_size=3))
def test_any_sequence_of_updates_gives_the_digest_of_a_fresh_build(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[list[tuple[str, int]]]
) -> None:
    tmp_path = tmp_path_factory.mktemp("updates")
    source = runs.write_peptides(tmp_path / "in", 5, n_residues=15)
    out = tmp_path / "out"
    build(source, out)
    seed = 1000
    for steps in rounds:
        for action, k in steps:
            seed += 1
            files = sorted(source.rglob("*.pdb"))
            path = files[k % len(files)]
            if action == "add":
                (source / f"n{seed}.pdb").write_text(runs.peptide(12 + k, seed=seed))
            elif action == "change":
                path.write_text(runs.peptide(12 + k, seed=seed))
            elif action == "touch":
                os.utime(path, ns=(seed, seed * 1_000_000_000))
            elif action == "rename":
                path.rename(source / f"r{seed}.pdb")
            elif len(files) > 1:
                path.unlink()
        found = update(source, out)
        assert found["digest"] == fresh_digest(source, tmp_path)
        assert found["counts"]["found"] == len(list(source.rglob("*.pdb")))
    assert is_whole(out)


def entry(name: str, size: int = 100, mtime_ns: int = 1) -> Entry:
    return Entry(name, (SourceFile(f"{name}.pdb", None, size, mtime_ns, None, "pdb", name),))


def test_a_plan_is_updated_without_reading_what_has_the_same_size_and_time() -> None:
    before = [Part(0, (entry("a"), entry("b"))), Part(3, (entry("c"), entry("d")))]
    asked: list[str] = []

    def same(file: SourceFile) -> bool:
        asked.append(file.path)
        return file.path == "c.pdb"

    today = [entry("a"), entry("b"), entry("c", mtime_ns=2), entry("d"), entry("e")]
    done = update_plan(before, today, same)
    assert asked == ["c.pdb"]
    assert [p.number for p in done.parts] == [0, 3, 4]
    assert done.parts[0] == before[0]
    assert done.touched == [Part(3, (today[2], today[3]))]
    assert (done.unchanged, done.changed, done.new, done.removed) == (4, 0, 1, 0)
    assert (done.parts_kept, done.parts_changed, done.parts_new, done.parts_gone) == (2, 0, 1, 0)


# ---- obsolete entries ---------------------------------------------------------------------------


def test_the_list_of_obsolete_entries_is_read_in_the_pdbs_form_and_as_csv(tmp_path: Path) -> None:
    path = tmp_path / "obsolete.dat"
    path.write_text(
        " LIST OF OBSOLETE COORDINATE ENTRIES AND SUCCESSORS\n"
        "OBSLTE    31-JUL-94 116L     216L\n"
        "OBSLTE    29-JAN-96 125D     \n"
        "OBSLTE    12-DEC-07 1A0I     2Q2T 2Q2U\n"
    )
    assert Obsolete.read(path).successors == {
        "116l": ("216l",),
        "125d": (),
        "1a0i": ("2q2t", "2q2u"),
    }
    path.write_text("entry_id,superseded_by\n1abc,2abc 3abc\nP12345\n")
    assert Obsolete.read(path).successors == {"1abc": ("2abc", "3abc"), "P12345": ()}


def test_a_line_that_is_no_entry_is_named(tmp_path: Path) -> None:
    path = tmp_path / "obsolete.dat"
    path.write_text("1abc\n<html>\n")
    with pytest.raises(UsageError, match=r"line 2: is no entry\. Give the PDB's obsolete\.dat"):
        Obsolete.read(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "lists no entry"),
        (b" LIST OF OBSOLETE COORDINATE ENTRIES AND SUCCESSORS\n\n", "lists no entry"),
        (b"entry_id,superseded_by\n", "lists no entry"),
        # A manifest says what to keep; read as this list, it would do the reverse.
        (b"entry_id,chain\n1abc,A\n", "line 1: is no entry"),
        (b"\x1f\x8b\x08\x00packed", "is no text in UTF-8; give the list unpacked"),
        (b'1abc,"' + b"x" * 200_000 + b'"\n', "line 1: is no entry"),
        (b"data_1ABC\n#\n_entry.id   1ABC\n", "line 3: is no entry"),
    ],
)
def test_a_file_that_is_no_list_of_obsolete_entries_says_what_is_wanted(
    tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "obsolete.dat"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=re.escape(said)) as error:
        Obsolete.read(path)
    assert str(error.value).startswith(f"--obsolete {path}")
    assert "obsolete.dat, or a list with an entry a line" in str(error.value)


def test_obsolete_entries_are_left_out_and_counted_by_name(
    source: Path, out: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    listed = tmp_path / "obsolete.csv"
    listed.write_text("p004,p001\n9xyz\n")
    found = update(source, out, obsolete=listed)
    assert "obsolete: 1 of 2 listed entries found" in capfd.readouterr().out
    row = runs.inputs(out)["p004.pdb"]
    assert (row["status"], row["reason"]) == ("skipped", "obsolete")
    assert "superseded by p001" in row["message"]
    assert "p004" not in runs.entry_ids(out)
    assert found["counts"]["found"] == 8
    assert is_whole(out)
    (source / "p004.pdb").unlink()
    assert found["digest"] == fresh_digest(source, tmp_path)


def test_updating_and_starting_anew_are_two_things(
    source: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--pdb-dir", str(source), "--out-dir", str(out)]
    assert main([*words, "--update", "--overwrite"]) == 2
    assert "give one of them" in capsys.readouterr().err
    assert main(["--out-dir", str(out), "--finalise", "--update"]) == 2
    assert main([*words, "--obsolete", str(source / "none")]) == 2


def test_a_damaged_plan_of_an_updated_dataset_is_repaired(source: Path, out: Path) -> None:
    from pipeline.verify.command import main as verify

    (source / "a000.pdb").write_text(runs.peptide(30, seed=50))
    update(source, out)
    before = (out / "plan.parquet").read_bytes()
    (out / "plan.parquet").write_bytes(before[: len(before) // 2])
    assert verify([str(out), "--repair", "--quiet", "--pdb-dir", str(source)]) == 0
    assert (out / "plan.parquet").read_bytes() == before


def test_the_first_plan_is_that_of_a_plain_build(source: Path) -> None:
    found = discover(source)
    entries = group_entries(found.files)
    assert update_plan([], entries, lambda _: False, 5_000).parts == make_plan(entries, 5_000)
