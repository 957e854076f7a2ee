"""A build by the tasks of an array job: the single machine's dataset, or a sentence why not."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import pipeline.build.array_job
import pipeline.build.build_parts
import pipeline.built.plan
from pipeline.build.command import main
from pipeline.built.output_folder import layout_of
from tests.support import build_runs as runs
from tests.support.build_runs import Command, CrewOfNone, on_reading, wait_until
from tests.support.places import EXAMPLES, ROOT
from tests.support.s3_server import S3Server, s3_server

DOCS = ROOT / "docs"
NAMES = ("1a8o.cif.gz", "1a8o.pdb", "1ejg.pdb.gz", "1gbt.bcif.gz", "1gbt.cif.gz", "1orc.pdb.gz")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Entries in several formats, one that fails, a link and a file that is none."""
    folder = tmp_path_factory.mktemp("array") / "in"
    folder.mkdir()
    for name in NAMES:
        shutil.copy2(EXAMPLES / name, folder)
    runs.write_peptides(folder / "peptides", 12)
    whole = (EXAMPLES / "1a8o.cif.gz").read_bytes()
    (folder / "cut.cif.gz").write_bytes(whole[: len(whole) // 2])
    (folder / "peptides" / "1a8o.pdb").symlink_to(folder / "1a8o.pdb")
    (folder / "README").write_text("no structure\n")
    return folder


@pytest.fixture(scope="module")
def single(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one machine builds."""
    out = tmp_path_factory.mktemp("single") / "out"
    summary = runs.build_here(source, out, status=1)
    assert len(summary["shards"]) >= 5
    return out


def here(*arguments: object) -> int:
    """The command in this process, without workers and of many parts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.build.build_parts, "Crew", CrewOfNone)
        patch.setattr(pipeline.built.plan, "MIN_PART", 100_000)
        return main([*map(str, arguments), "--quiet"])


def check_single(out: Path, single: Path) -> None:
    assert runs.shards(out) == runs.shards(single)
    for name in ("build.json", "index.parquet", "plan.parquet", "drops.parquet"):
        assert (out / name).read_bytes() == (single / name).read_bytes(), name
    assert set(runs.inputs(out)) == set(runs.inputs(single))
    assert runs.accounts_for_all(out)
    assert runs.leftovers(out) == []
    assert not list((out / ".build").glob("task-*"))


def test_only_the_end_of_an_array_job_minds_that_there_is_no_chain(tmp_path: Path) -> None:
    source, out = runs.write_peptides(tmp_path / "in", 2), tmp_path / "out"
    told = ["--out-dir", out]
    asked = ["--pdb-dir", source, "--min-length", 1000]
    assert here(*told, *asked, "--dry-run") == 0
    assert here(*told, *asked, "--plan") == 0
    assert here(*told, "--part", "0/1") == 0
    assert here(*told, "--finalise") == 1
    assert runs.build_json(out)["counts"]["chains"] == 0
    assert here(*told, "--finalise", "--allow-empty") == 0


@pytest.mark.parametrize("of", [1, 4, 30])
def test_tasks_in_any_order_make_the_single_machine_s_dataset(
    source: Path, single: Path, tmp_path: Path, of: int
) -> None:
    out = tmp_path / "out"
    assert here("--out-dir", out, "--pdb-dir", source, "--plan") == 0
    statuses = [here("--out-dir", out, "--part", f"{k}/{of}") for k in reversed(range(of))]
    # The file that fails is of one task.
    assert sorted(statuses) == [0] * (of - 1) + [1]
    assert here("--out-dir", out, "--finalise") == 1
    check_single(out, single)


def test_tasks_at_once_make_the_single_machine_s_dataset(
    source: Path, single: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert here("--out-dir", out, "--pdb-dir", source, "--plan") == 0
    fault = on_reading("*", "time.sleep(0.05)")
    arguments = ["--out-dir", out, "--n-jobs", 1, "--allow-failures", 1, "--part"]
    tasks = [Command(*arguments, f"{k}/4", append=fault, folder=tmp_path) for k in range(4)]
    for task in tasks:
        result = task.wait(300)
        assert (result.status, result.err) == (0, "")
    assert here("--out-dir", out, "--finalise", "--allow-failures", 1) == 0
    check_single(out, single)


def test_the_lines_that_a_plan_prints_build_the_dataset(
    source: Path, single: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    out = tmp_path / "an out"
    assert here("--out-dir", out, "--pdb-dir", source, "--plan") == 0
    lines = re.findall(r"python -m pipeline\.build (.*)$", capfd.readouterr().out, re.MULTILINE)
    commands = [shlex.split(line) for line in lines if "I/N" not in line]
    assert len(commands) == 5
    for command in commands:
        assert here(*command) in (0, 1)
    check_single(out, single)


def test_a_plan_needs_no_second_look_at_the_input(source: Path, tmp_path: Path) -> None:
    out, copy = tmp_path / "out", tmp_path / "in"
    shutil.copytree(source, copy, symlinks=True)
    assert here("--out-dir", out, "--pdb-dir", copy, "--plan") == 0
    (copy / "later.pdb").write_text(runs.peptide(30, seed=77))
    assert here("--out-dir", out, "--part", "0/1") == 1
    shutil.rmtree(copy)
    assert here("--out-dir", out, "--finalise") == 1
    assert "later" not in runs.entry_ids(out)
    assert "p003" in runs.entry_ids(out)


def test_a_file_that_changed_since_the_plan_fails_by_name(source: Path, tmp_path: Path) -> None:
    out, copy = tmp_path / "out", tmp_path / "in"
    shutil.copytree(source, copy, symlinks=True)
    assert here("--out-dir", out, "--pdb-dir", copy, "--plan") == 0
    (copy / "peptides" / "p001.pdb").write_text(runs.peptide(30, seed=77))
    (copy / "peptides" / "p002.pdb").unlink()
    assert here("--out-dir", out, "--part", "0/1") == 1
    assert here("--out-dir", out, "--finalise", "--allow-failures", 3) == 0
    rows = runs.inputs(out)
    assert rows["peptides/p001.pdb"]["reason"] == "changed"
    assert rows["peptides/p002.pdb"]["reason"] == "missing"
    assert runs.accounts_for_all(out)


def test_finalising_names_the_parts_that_are_missing_and_the_lines_to_run(
    source: Path, single: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    assert here("--out-dir", out, "--pdb-dir", source, "--plan") == 0
    n_parts = len(runs.shards(single))
    for index in range(n_parts):
        if index not in (1, 3):
            here("--out-dir", out, "--part", f"{index}/{n_parts}")
    assert here("--out-dir", out, "--finalise") == 1
    said = capfd.readouterr().err
    assert f"2 of the {n_parts} parts" in said
    assert "part-00001, part-00003" in said
    assert not (out / "build.json").exists()
    for line in re.findall(r"--part \S+", said):
        here("--out-dir", out, *line.rstrip(".").split())
    assert here("--out-dir", out, "--finalise") == 1
    check_single(out, single)


def test_parts_of_another_plan_are_refused(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    out, copy = tmp_path / "out", tmp_path / "in"
    shutil.copytree(source, copy, symlinks=True)
    assert here("--out-dir", out, "--pdb-dir", copy, "--plan") == 0
    here("--out-dir", out, "--part", "0/1")
    (copy / "peptides" / "p004.pdb").write_text(runs.peptide(30, seed=77))
    assert here("--out-dir", out, "--pdb-dir", copy, "--plan") == 0
    assert here("--out-dir", out, "--finalise") == 1
    said = capfd.readouterr().err
    assert re.search(r"error: \d of the \d+ parts of the plan .* not built: part-", said)
    assert "(built for another plan)" in said


def test_a_task_that_is_run_again_builds_nothing_twice(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert here("--out-dir", out, "--pdb-dir", source, "--plan") == 0
    here("--out-dir", out, "--part", "0/2")
    before = {p: p.stat().st_mtime_ns for p in (out / "shards").iterdir()}
    assert before
    here("--out-dir", out, "--part", "0/2")
    assert {p: p.stat().st_mtime_ns for p in (out / "shards").iterdir()} == before


def test_a_killed_task_goes_on_where_it_was(source: Path, single: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert here("--out-dir", out, "--pdb-dir", source, "--plan") == 0
    fault = on_reading("*", "time.sleep(0.2)")
    task = Command("--out-dir", out, "--part", "0/1", "--n-jobs", 1, append=fault, folder=tmp_path)
    wait_until(lambda: list((out / ".build").glob("part-*.json")), 120)
    os.killpg(task.process.pid, 9)
    task.wait()
    assert here("--out-dir", out, "--part", "0/1") == 1
    assert here("--out-dir", out, "--finalise") == 1
    check_single(out, single)


@pytest.mark.parametrize(
    "other",
    [["--finalise"], ["--plan", "--pdb-dir", "IN"], ["--pdb-dir", "IN"], ["--part", "0/2"]],
    ids=lambda o: o[0],
)
def test_what_would_disturb_a_running_task_is_refused(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture, other: list[str]
) -> None:
    out = tmp_path / "out"
    assert here("--out-dir", out, "--pdb-dir", source, "--plan") == 0
    fault = on_reading("*", "time.sleep(0.3)")
    task = Command("--out-dir", out, "--part", "0/2", "--n-jobs", 1, append=fault, folder=tmp_path)
    wait_until(task.workers, 120)
    status = here("--out-dir", out, *[str(source) if o == "IN" else o for o in other])
    said = capfd.readouterr().err
    assert status == 2
    what = "task 0/2" if other[0] == "--part" else "tasks of an array job"
    assert what in said
    assert here("--out-dir", out, "--part", "1/2") in (0, 1)
    task.process.terminate()
    assert task.wait().status == 130


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--part", "4/4"], "give I/N"),
        (["--part", "x"], "give I/N"),
        (["--part", "0/2", "--finalise"], "--part and --finalise: give one of them"),
        (["--part", "0/2", "--max-length", "30"], "--max-length: 500 then, 30 now"),
        (["--finalise", "--shape", "full"], "--shape: axis_aligned then, full now"),
        (["--part", "0/2", "--b-factor-is", "plddt"], "--b-factor-is: "),
        (["--part", "0/2", "--pdb-dir", "/elsewhere"], "--pdb-dir: "),
        (["--part", "0/2", "--overwrite"], "--overwrite goes with --plan"),
        (["--finalise", "--backend", "dask", "--address", "x:1"], "leave out --backend"),
    ],
)
def test_what_contradicts_the_plan_is_wrong_usage(
    source: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture,
    arguments: list[str],
    sentence: str,
) -> None:
    out = tmp_path / "out"
    plan = ["--pdb-dir", source, "--max-length", 500, "--plan"]
    assert here("--out-dir", out, *plan) == 0
    assert here("--out-dir", out, *arguments) == 2
    assert sentence in capfd.readouterr().err
    assert not list((out / "shards").iterdir())


@pytest.mark.parametrize("said", [[], ["--b-factor-is", "plddt"]])
def test_a_task_does_what_was_planned_with_an_option_that_is_seldom_set(
    source: Path, tmp_path: Path, said: list[str]
) -> None:
    out = tmp_path / "out"
    plan = ["--pdb-dir", source, "--max-length", 100, "--b-factor-is", "plddt", "--plan"]
    assert here("--out-dir", out, *plan) == 0
    assert here("--out-dir", out, "--part", "0/1", *said) == 1
    assert here("--out-dir", out, "--finalise", "--allow-failures", 1) == 0
    assert runs.build_json(out)["config"]["b_factor_is"] == "plddt"
    index = pq.read_table(out / "index.parquet")
    assert "plddt" in index["confidence_kind"].to_pylist()


@pytest.mark.parametrize("mode", [["--part", "0/2"], ["--finalise"]])
def test_a_folder_without_a_plan_is_left_as_it_is(
    tmp_path: Path, capfd: pytest.CaptureFixture, mode: list[str]
) -> None:
    assert here("--out-dir", tmp_path / "typo", *mode) == 2
    assert "has no plan for an array job; run" in capfd.readouterr().err
    assert not (tmp_path / "typo").exists()


def test_an_ordinary_build_takes_the_folder_over(
    source: Path, single: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    assert here("--out-dir", out, "--pdb-dir", source, "--plan") == 0
    here("--out-dir", out, "--part", "0/2")
    assert here("--out-dir", out, "--pdb-dir", source) == 1
    check_single(out, single)
    assert here("--out-dir", out, "--part", "0/2") == 2
    assert "has no plan" in capfd.readouterr().err


def test_a_plan_that_somebody_changed_is_refused(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    import pyarrow.parquet as pq

    out = tmp_path / "out"
    assert here("--out-dir", out, "--pdb-dir", source, "--plan") == 0
    table = pq.read_table(out / "plan.parquet")
    pq.write_table(table.slice(1), out / "plan.parquet")
    assert here("--out-dir", out, "--part", "0/2") == 2
    assert "is not the plan of --plan" in capfd.readouterr().err


def test_a_manifest_that_changed_since_the_plan_is_refused(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    out, manifest = tmp_path / "out", tmp_path / "manifest.csv"
    manifest.write_text("entry_id\np001\np002\n")
    arguments = ["--out-dir", out, "--pdb-dir", source, "--manifest", manifest]
    assert here(*arguments, "--plan") == 0
    manifest.write_text("entry_id\np001\np003\n")
    assert here("--out-dir", out, "--part", "0/2") == 2
    assert "has changed since; make the plan again" in capfd.readouterr().err
    manifest.write_text("entry_id\np001\np002\n")
    assert here("--out-dir", out, "--part", "0/1") == 0
    assert here("--out-dir", out, "--finalise") == 0
    assert runs.entry_ids(out) == {"p001", "p002"}


def test_a_machine_with_other_software_is_refused(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    assert here("--out-dir", out, "--pdb-dir", source, "--plan") == 0
    monkeypatch.setattr(pipeline.build.array_job, "versions", lambda: {"numpy": "0.1"})
    assert here("--out-dir", out, "--part", "0/2") == 2
    assert "other software" in capfd.readouterr().err


def test_a_machine_that_does_not_see_the_input_is_refused(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    out, copy = tmp_path / "out", tmp_path / "in"
    shutil.copytree(source, copy, symlinks=True)
    assert here("--out-dir", out, "--pdb-dir", copy, "--plan") == 0
    copy.rename(tmp_path / "unmounted")
    copy.mkdir()
    assert here("--out-dir", out, "--part", "0/2") == 2
    assert f"none of the 1 files of part-00000 in {copy}" in capfd.readouterr().err.replace(
        "none of the 2 files", "none of the 1 files"
    )


# ---- in a store -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("tmp")))
        patch.setattr(tempfile, "tempdir", None)
        server.make_bucket("bucket")
        yield server


def test_tasks_build_into_a_store(s3: S3Server, source: Path, single: Path) -> None:
    uri = s3.uri("bucket/set")
    assert here("--out-dir", uri, "--pdb-dir", source, "--plan") == 0
    for index in range(3):
        here("--out-dir", uri, "--part", f"{index}/3")
    assert here("--out-dir", uri, "--finalise") == 1
    found = s3.objects("bucket", "set")
    for path in sorted((single / "shards").iterdir()):
        assert found[f"shards/{path.name}"] == path.read_bytes()
    assert found["build.json"] == (single / "build.json").read_bytes()
    assert not [name for name in found if name.endswith("lock")]
    assert list(layout_of(Path(uri)).scratch.iterdir()) == []


# ---- as the documentation says ----------------------------------------------------------------


@pytest.mark.slow
def test_the_pages_lines_for_one_machine_run(tmp_path: Path) -> None:
    text = (DOCS / "clusters.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- runs -->\n```sh\n(.*?)```", text, re.DOTALL)
    assert block is not None
    (tmp_path / "data_manifest").symlink_to(EXAMPLES.parent)
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    command = ["bash", "-euo", "pipefail", "-c", block[1]]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=600)
    summary = runs.build_here(EXAMPLES, tmp_path / "single")
    assert runs.build_json(tmp_path / "out/examples")["digest"] == summary["digest"]


@pytest.mark.slow
def test_the_slurm_script_is_a_script_of_lines_that_run(tmp_path: Path) -> None:
    """Slurm's own commands are played by a shell: a job array is a loop."""
    (tmp_path / "bin").mkdir()
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.write_text(
        "#!/bin/bash\n"
        "for last; do :; done\n"
        'if [[ "$*" =~ --array=0-([0-9]+) ]]; then\n'
        "  for k in $(seq 0 ${BASH_REMATCH[1]}); do\n"
        "    SLURM_ARRAY_TASK_ID=$k SLURM_ARRAY_TASK_COUNT=$((BASH_REMATCH[1] + 1)) "
        'bash -c "${last#--wrap=}" >&2\n'
        "  done\n"
        'else bash -c "${last#--wrap=}" >&2; fi\n'
        "echo 17\n"
    )
    sbatch.chmod(0o755)
    path = os.pathsep.join(
        (str(tmp_path / "bin"), str(Path(sys.executable).parent), os.environ["PATH"])
    )
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    script = DOCS / "slurm-build.sh"
    command = ["bash", str(script), str(EXAMPLES), str(tmp_path / "out"), "2"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=600)
    summary = runs.build_here(EXAMPLES, tmp_path / "single")
    assert runs.build_json(tmp_path / "out")["digest"] == summary["digest"]
