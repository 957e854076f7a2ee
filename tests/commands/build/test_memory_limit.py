"""`--max-memory`: a file that needs more fails by name, and its worker goes on."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.build.command import main
from pipeline.built.reading import Reading
from pipeline.commands.words import MEBIBYTE
from tests.support import build_runs as runs
from tests.support import structure_text as text
from tests.support.mutations import zstd
from tests.support.places import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps such a limit")

LIMIT = 64
"""MiB; the files below need more."""

GOOD = text.cif_text(text.chain(["ALA"] * 9)).encode()
COMMENT = (b"#" + b"x" * 127 + b"\n") * (MEBIBYTE // 128)
SWELLING = ("atoms.cif", "gzip.cif.gz", "zstd.cif.zst")

NOTES_PEAK = (
    "import os, pathlib\n"
    "def _held(key):\n"
    "    told = pathlib.Path('/proc/self/status').read_text()\n"
    "    return int(told.partition(key + ':')[2].split()[0]) >> 10\n"
    "_before, _build_part = [], build_part\n"
    "def build_part(*arguments, **options):\n"
    "    _before.append(_held('VmRSS'))\n"
    "    record = _build_part(*arguments, **options)\n"
    "    note = pathlib.Path(os.environ['NOTES']) / str(os.getpid())\n"
    "    note.write_text(str(_held('VmHWM') - _before[0]))\n"
    "    return record\n"
)
"""What each worker's memory grew by at its highest, in MiB."""


def many_atoms(n_residues: int) -> bytes:
    """mmCIF whose columns are not aligned, so that every value of it is read as a word."""
    tags = "group_PDB id type_symbol label_atom_id label_alt_id label_comp_id label_asym_id "
    tags += "label_entity_id label_seq_id Cartn_x Cartn_y Cartn_z occupancy auth_seq_id"
    lines = ["data_x", "loop_", *(f"_atom_site.{tag}" for tag in tags.split())]
    for number in range(1, n_residues + 1):
        for atom, (x, y, z) in runs.BACKBONE.items():
            place = f"{x + 3.3 * (number % 2000):.3f} {y + number // 2000 * 9:.3f} {z:.3f}"
            lines.append(f"ATOM 1 {atom[0]} {atom} . ALA A 1 {number} {place} 1.0 {number}")
    return "\n".join([*lines, "#", ""]).encode()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("memory")
    (folder / "atoms.cif").write_bytes(many_atoms(20_000))
    packed = gzip.compress(GOOD) + gzip.compress(COMMENT) * (3 * LIMIT)
    (folder / "gzip.cif.gz").write_bytes(packed)
    (folder / "zstd.cif.zst").write_bytes(zstd(GOOD + COMMENT * (3 * LIMIT)))
    return folder


def build(
    source: Path, folder: Path, patch: pytest.MonkeyPatch, *arguments: object
) -> tuple[runs.Result, list[int]]:
    """How a build ended, and what each of its workers' memory grew by."""
    notes = folder / "notes"
    notes.mkdir()
    patch.setenv("NOTES", str(notes))
    append = {**runs.SMALL_PARTS, "pipeline.crew.build_part": NOTES_PEAK}
    words = ["--pdb-dir", source, "--out-dir", folder / "out", "--report", "false", *arguments]
    result = runs.Command(*words, append=append, folder=folder).wait(300)
    return result, [int(note.read_text()) for note in notes.iterdir()]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_files_that_need_more_than_the_limit_fail_by_name_and_the_others_are_built(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    n_jobs: int,
) -> None:
    some = runs.write_peptides(tmp_path / "in", 6)
    for name in SWELLING:
        (some / name).symlink_to(source / name)
    arguments = ["--n-jobs", n_jobs, "--max-memory", LIMIT]
    result, grown = build(some, tmp_path, monkeypatch, *arguments)
    assert result.status == 1, result.err
    rows = runs.inputs(tmp_path / "out")
    failed = {name for name, row in rows.items() if row["status"] == "failed"}
    assert failed == set(SWELLING)
    for name in SWELLING:
        assert rows[name]["reason"] == "out-of-memory"
        assert f"{LIMIT} MiB (--max-memory)" in rows[name]["message"]
    assert runs.entry_ids(tmp_path / "out") == {f"p{k:03d}" for k in range(6)}
    assert runs.accounts_for_all(tmp_path / "out")
    assert runs.leftovers(tmp_path / "out") == []
    assert grown
    assert max(grown) < LIMIT + 32  # code that is loaded counts here, and not there


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_worker_that_goes_on_holding_what_a_file_took_costs_that_file_alone(
    tmp_path: Path, n_jobs: int
) -> None:
    source = runs.write_peptides(tmp_path / "in", 8)
    hold = (
        "globals().setdefault('_HELD', [])\n"
        "        try:\n"
        "            while True: _HELD.append(bytearray(1 << 16))\n"
        "        except MemoryError:\n"
        "            del _HELD[-16:]\n"
        "            raise"
    )
    words = ["--pdb-dir", source, "--out-dir", tmp_path / "out", "--report", "false"]
    words += ["--n-jobs", n_jobs, "--max-memory", LIMIT]
    result = runs.Command(*words, append=runs.on_reading("p001", hold), folder=tmp_path).wait(300)
    assert result.status == 1, result.err
    failed = {n: r for n, r in runs.inputs(tmp_path / "out").items() if r["status"] == "failed"}
    assert set(failed) == {"p001.pdb"}
    assert failed["p001.pdb"]["reason"] == "out-of-memory"
    assert runs.accounts_for_all(tmp_path / "out")


def test_the_default_limit_leaves_such_a_file_alone(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = tmp_path / "in"
    some.mkdir()
    (some / "atoms.cif").symlink_to(source / "atoms.cif")
    result, grown = build(some, tmp_path, monkeypatch, "--n-jobs", 1)
    assert result.status == 0, result.err
    assert max(grown) > LIMIT + 32  # else the test above would show nothing


def test_the_limit_is_no_part_of_the_configuration(tmp_path: Path) -> None:
    source, out = runs.write_peptides(tmp_path / "in", 2), tmp_path / "out"
    first = runs.build_here(source, out)
    again = runs.build_here(source, out, max_memory=100)  # else it would refuse the folder
    assert again["digest"] == first["digest"]
    assert Reading(max_memory=1).config_hash == Reading().config_hash


def test_a_limit_below_what_any_build_takes_is_a_usage_error(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    source = runs.write_peptides(tmp_path / "in", 1)
    for value in (-1, 5):
        arguments = ["--pdb-dir", source, "--out-dir", tmp_path / "out", "--max-memory", value]
        assert main([str(a) for a in arguments]) == 2
        assert "--max-memory must be at least" in capfd.readouterr().err


def test_the_limit_counts_from_what_a_process_holds_and_can_be_lifted(tmp_path: Path) -> None:
    script = (
        "import resource\n"
        "from pipeline.crew.memory_limit import limit_memory\n"
        "before = resource.getrlimit(resource.RLIMIT_DATA)\n"
        "held = bytearray(100 << 20)\n"
        "for more in (64 << 20, 0, 64 << 20, 300 << 20):\n"
        "    limit_memory(more)\n"
        "    try:\n"
        "        bytearray(200 << 20)\n"
        "        print('fits')\n"
        "    except MemoryError:\n"
        "        print('fails')\n"
        "limit_memory(0)\n"
        "assert resource.getrlimit(resource.RLIMIT_DATA) == before\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["fails", "fits", "fails", "fits"]


def test_a_build_in_the_callers_own_process_leaves_its_limits_alone(tmp_path: Path) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    runs.build_here(runs.write_peptides(tmp_path / "in", 2), tmp_path / "out", max_memory=64)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_the_help_says_where_there_is_no_limit() -> None:
    assert "Linux only" in (Reading.__doc__ or "")
