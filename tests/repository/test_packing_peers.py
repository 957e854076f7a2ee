"""The table of packers: what a peer is told, what is kept of it, and what is measured of all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.testing import assert_array_equal

from model.metrics import Structure, mean_interval, packing_metrics
from model.tasks import Problem
from model.tasks.problem import new_labels
from pipeline.residues import ATOM14_EXISTS
from tests.support.metric_structures import example, first_residues, noisy
from tests.support.places import ROOT
from tests.support.sample_network import save_small_network
from tests.support.short_test_chains import with_short_chains_for_testing

sys.path.insert(0, str(ROOT / "benchmarks"))
import packing_peers
import peer_structures
from packing_measures import MEASURES, comparable, measured, only
from peer_structures import Store, peer_input, read_structure, run_peer, write_structure
from resampling import Measure, Resampled, said

PEER_PYTHON = os.environ.get("ELLIPSOID_FLOW_PEER_PYTHON")
needs_peer = pytest.mark.skipif(
    PEER_PYTHON is None,
    reason="the peer has an environment of its own: make it as `packing_peers.py --help` says, and "
    "set ELLIPSOID_FLOW_PEER_PYTHON to its Python",
)

IDEAL = """\
import json, sys
from pathlib import Path
import numpy as np
from pipeline.residues import ATOM14_EXISTS, ATOM14_NAMES, RESTYPES, ONE_LETTER
from pipeline.residues.side_chains import place_side_chains
for path in sorted(Path(sys.argv[1]).glob("*.npz")):
    told = np.load(path)
    kinds = np.array([ONE_LETTER.index(letter) for letter in told["sequence"].item()])
    n = len(kinds)
    x = np.concatenate([told["backbone"], np.zeros((n, 10, 3))], 1)
    mask = np.repeat(told["mask"][:, None], 14, 1)
    placed, there = place_side_chains(np.ones((n, 4)), x, mask, kinds)
    names = np.where(there, np.array(ATOM14_NAMES)[kinds], "")
    # Names tell, not the order.
    np.savez(Path(sys.argv[2], path.name), positions=placed[:, ::-1], names=names[:, ::-1])
    print(json.dumps({"file": path.name, "seconds": 0.5}), flush=True)
"""


def problem_of(structure: Structure, name: str = "1abc_1_A") -> Problem:
    n = len(structure)
    return Problem(
        name=name,
        task="packing",
        given=structure,
        held_frames=np.ones(n, bool),
        held_atoms=np.zeros(n, bool),
        held_sequence=np.ones(n, bool),
        labels=new_labels([n]),
        reference=structure,
    )


def with_other_side_chains(structure: Structure) -> Structure:
    """Garbage beyond O, and other atoms missing."""
    rng = np.random.default_rng(1)
    x, mask = structure.positions.copy(), structure.mask.copy()
    x[:, 4:] = rng.normal(scale=1e4, size=x[:, 4:].shape)
    mask[:, 4:] = rng.random(mask[:, 4:].shape) < 0.5
    return structure.with_atoms(x, mask)


@pytest.fixture
def chain() -> Structure:
    """With a residue that is not there, one without O, and a gap in the numbering."""
    first = first_residues(example(), 40)
    mask = first.mask.copy()
    mask[7] = False
    mask[20, 3] = False
    numbers = first.residue_index + np.where(np.arange(40) > 25, 12, 0)
    x = np.where(mask[..., None], first.positions, 0.0)
    return replace(first, positions=x, mask=mask, residue_index=numbers)


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A peer that needs no environment: all χ are 1 radian."""
    script = tmp_path / "ideal.py"
    script.write_text(IDEAL)
    monkeypatch.setattr(peer_structures, "SCRIPT", script)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return Path(sys.executable)


def packed_by(python: Path, structure: Structure) -> Structure:
    made = []
    run_peer(python, [problem_of(structure)], lambda problem, found, seconds: made.append(found))
    return made[0]


# ---- what a peer is told ------------------------------------------------------------------------


def test_a_peer_is_told_nothing_of_native_side_chains(chain: Structure) -> None:
    told = peer_input(chain, "1abc_1_A")
    garbage = peer_input(with_other_side_chains(chain), "1abc_1_A")
    assert told.keys() == garbage.keys()
    for name, value in told.items():
        assert_array_equal(value, garbage[name])
    assert told["backbone"].shape == (39, 4, 3)


def test_a_peer_is_told_the_residues_that_a_reader_finds(chain: Structure) -> None:
    told = peer_input(chain, "1abc_1_A")
    assert 7 not in told["rows"]
    assert_array_equal(told["residue_index"], chain.residue_index[told["rows"]])
    assert_array_equal(np.flatnonzero(~told["mask"]), [19])
    assert len(told["sequence"].item()) == 39


def test_draws_of_a_peer_depend_on_the_chain_alone(chain: Structure) -> None:
    seeds = {int(peer_input(chain, name)["seed"]) for name in ("a", "b", "c")}
    assert len(seeds) == 3
    assert int(peer_input(chain, "a")["seed"]) == int(peer_input(noisy(chain, 1.0), "a")["seed"])


def test_garbage_for_side_chains_changes_no_bit_of_what_comes_back(
    chain: Structure, stub: Path
) -> None:
    made, garbage = (packed_by(stub, c) for c in (chain, with_other_side_chains(chain)))
    assert_array_equal(made.positions, garbage.positions)
    assert_array_equal(made.mask, garbage.mask)
    assert_array_equal(made.mask[:, :4], chain.mask[:, :4])
    rows = np.delete(np.arange(40), [7, 20])
    assert_array_equal(made.mask[rows], ATOM14_EXISTS[chain.aatype[rows]])


@needs_peer
def test_garbage_for_side_chains_changes_no_bit_of_what_ligandmpnn_makes(chain: Structure) -> None:
    python = Path(str(PEER_PYTHON))
    made, garbage = (packed_by(python, c) for c in (chain, with_other_side_chains(chain)))
    assert_array_equal(made.positions, garbage.positions)
    assert_array_equal(made.mask, garbage.mask)
    rows = np.delete(np.arange(40), [7, 20])
    assert_array_equal(made.mask[rows], ATOM14_EXISTS[chain.aatype[rows]])
    # It is no random packing: those are 2.5 Å off.
    assert packing_metrics("", made, chain).side_chain_rmsd < 1.5


def test_a_peer_that_fails_is_named(chain: Structure, stub: Path) -> None:
    peer_structures.SCRIPT.write_text("raise SystemExit(3)")
    with pytest.raises(SystemExit, match=r"status 3.*--help"):
        packed_by(stub, chain)


ASKS = """\
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from peer_command import peer_status_of
from peer_process import run_script
question = {"a": {}}
script = Path(sys.argv[2])
sys.exit(peer_status_of(lambda: run_script(Path(sys.executable), script, question, print)))
"""
NEVER_ANSWERS = """\
import os, time
from pathlib import Path
Path(__file__).with_name("pid").write_text(str(os.getpid()))
time.sleep(600)
"""


@pytest.mark.parametrize(("how", "status"), [("TERM", 130), ("INT", 130), ("KILL", -9)])
def test_a_peer_ends_with_the_command_that_asks_it(tmp_path: Path, how: str, status: int) -> None:
    script, pid = tmp_path / "peer.py", tmp_path / "pid"
    script.write_text(NEVER_ANSWERS)
    words = [sys.executable, "-c", ASKS, str(ROOT / "benchmarks"), str(script)]
    command = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        child = psutil.Process(int(_soon(lambda: pid.exists() and pid.read_text())))
        command.send_signal(getattr(signal, f"SIG{how}"))
        said = command.communicate(timeout=60)[1]
    finally:
        command.kill()
    assert command.returncode == status
    if how != "KILL":
        assert said == "interrupted: what was answered is kept, and the same command goes on\n"
    _soon(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def _soon(happens: Callable[[], Any]) -> Any:
    """What comes of a call, once it is something."""
    deadline = time.monotonic() + 60
    while not (found := happens()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


# ---- what is kept -------------------------------------------------------------------------------


def test_a_kept_structure_is_read_as_it_was_made(
    chain: Structure, stub: Path, tmp_path: Path
) -> None:
    made, problem = packed_by(stub, chain), problem_of(chain)
    write_structure(tmp_path / "a.cif", problem, made, "peer")
    read = read_structure(tmp_path / "a.cif", chain)
    assert_array_equal(read.mask, made.mask)
    np.testing.assert_allclose(read.positions, made.positions, atol=1e-9)


def test_a_structure_of_another_backbone_is_refused(
    chain: Structure, stub: Path, tmp_path: Path
) -> None:
    write_structure(tmp_path / "a.cif", problem_of(chain), packed_by(stub, chain), "peer")
    for other in (
        chain.with_atoms(chain.positions + 0.1),
        replace(chain, aatype=np.roll(chain.aatype, 1)),
        replace(chain, residue_index=chain.residue_index + 1),
    ):
        with pytest.raises(SystemExit, match=r"a\.cif holds other residues"):
            read_structure(tmp_path / "a.cif", other)
    with pytest.raises(SystemExit, match="cannot be read"):
        read_structure(tmp_path / "b.cif", chain)


def test_a_folder_of_structures_is_of_one_dataset(chain: Structure, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    store = Store.opened(folder, "peer", "a" * 64)
    store.keep(problem_of(chain), chain, 1.25)
    again = Store.opened(folder, "peer", "a" * 64)
    assert again.seconds == {"1abc_1_A": 1.25}
    assert again.read({"1abc_1_A": chain}).seconds == 1.25
    with pytest.raises(SystemExit, match="are of dataset aaaaaaaaaaaa"):
        Store.opened(folder, "peer", "b" * 64)
    (folder / "packed.json").unlink()
    with pytest.raises(SystemExit, match="is not empty"):
        Store.opened(folder, "peer", "a" * 64)


# ---- what is measured ---------------------------------------------------------------------------


def test_the_table_measures_as_an_evaluation_does() -> None:
    real = example()
    rows = comparable(problem_of(real))
    real = only(real, rows)
    made = noisy(real, 0.3)
    found, known = measured(made, real), packing_metrics("", made, real)
    mean = {m.label: found[m.of[0]] / found[m.of[1]] for m in MEASURES}
    assert mean["side-chain RMSD, Å"] == pytest.approx(known.side_chain_rmsd)
    assert mean["… of the core, Å"] == pytest.approx(known.side_chain_rmsd_core)
    assert mean["χ1 within 20°"] == pytest.approx(known.chi1_recovery)
    assert mean["χ4 error, °"] == pytest.approx(known.chi4_mae)
    assert mean["all χ within 20°"] == pytest.approx(known.rotamer_recovery)


def test_a_native_structure_has_no_errors_but_its_own_geometry() -> None:
    real = example()
    real = only(real, comparable(problem_of(real)))
    found = measured(real, real)
    for name in ("rmsd", "core_rmsd", "error1", "error4"):
        assert found[name] == pytest.approx(0.0, abs=1e-6)
    assert found["within2"] == found["chi2"] > 0
    assert 0.005 < np.sqrt(found["bonds_squared"] / found["bonds"]) < 0.05
    stretched = real.positions.copy()
    stretched[:, 5] += [0.0, 0.0, 5.0]
    far = measured(real.with_atoms(stretched), real)
    assert far["bonds_far_off"] > 0.1 * far["bonds"] > found["bonds_far_off"]


def test_residues_that_lack_an_atom_are_not_compared() -> None:
    real = example()
    whole = comparable(problem_of(real))
    mask = real.mask.copy()
    mask[5, 3] = mask[6, 4] = False
    gaps = comparable(problem_of(real.with_atoms(real.positions, mask)))
    assert_array_equal(np.flatnonzero(whole & ~gaps), [5, 6])
    unknown = real.aatype.copy()
    unknown[8] = 20
    assert not comparable(problem_of(replace(real, aatype=unknown)))[8]


def test_large_chains_weigh_more_only_over_residues() -> None:
    rows = [{"a": 10.0, "n": 10.0}, {"a": 0.0, "n": 90.0}, {"a": 0.0, "n": 0.0}]
    resampled = Resampled.of(3)
    over = {
        kind: resampled.interval(Measure("", kind, ("a", "n")), rows, [])
        for kind in ("residues", "chains")
    }
    assert over["residues"].mean == pytest.approx(0.1)
    assert over["chains"].mean == pytest.approx(0.5)
    assert over["chains"].n == 2


def test_intervals_are_those_of_resampled_chains_and_pairs_are_narrower() -> None:
    rng = np.random.default_rng(0)
    values = rng.uniform(0.3, 0.9, 80)
    rows = [{"a": value, "n": 1.0} for value in values]
    better = [{"a": value + 0.02, "n": 1.0} for value in values]
    measure, resampled = Measure("", "chains", ("a", "n")), Resampled.of(80)
    found, known = resampled.interval(measure, rows, []), mean_interval(values)
    assert found.low == pytest.approx(known.low, abs=0.003)
    assert found.high == pytest.approx(known.high, abs=0.003)
    assert said(resampled.interval(measure, better, rows), 3) == "0.020"


# ---- the command --------------------------------------------------------------------------------


@pytest.fixture
def dataset(examples_dataset: Path, tmp_path: Path) -> Path:
    return with_short_chains_for_testing(examples_dataset, tmp_path / "dataset")


def test_a_peer_packs_a_split_once(
    dataset: Path, stub: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network, kept = save_small_network(tmp_path / "small.ckpt"), tmp_path / "kept"
    words = [str(dataset), "--ckpt", str(network), "--limit", "2", "--markdown"]
    words += ["--passes", "1", "--peer-structures", str(kept), "--uncut", "length < 1000"]

    with pytest.raises(SystemExit, match=r"lacks 2 of 2 chains.*--peer-python"):
        packing_peers.main(words)
    assert packing_peers.main([*words, "--peer-python", str(stub)]) == 0
    first = capsys.readouterr().out
    assert len(list(kept.glob("*.cif"))) == 2
    assert packing_peers.main(words) == 0
    tables = [
        [line for line in page.splitlines() if line.startswith("| ") and "s per 100" not in line]
        for page in (first, capsys.readouterr().out)
    ]
    assert tables[0] == tables[1]
    header, row = tables[0][0], next(line for line in tables[0] if "RMSD" in line)
    assert [cell.strip() for cell in header.split("|")][2:7] == [
        *("mean over", "native", "modal rotamers", "this network", "LigandMPNN's packer")
    ]
    assert row.split("|")[3].strip() == "0.000"
    assert "Of these the 2 with length < 1000" in first
    assert "may have been trained on these chains" in first


def test_a_packer_that_leaves_atoms_out_is_not_compared(chain: Structure) -> None:
    problem = problem_of(chain)
    bare = chain.with_atoms(chain.positions, chain.mask & (np.arange(14) < 6))
    packed = peer_structures.Packed("peer", [bare], 1.0)
    with pytest.raises(SystemExit, match="peer left side-chain atoms of 1abc_1_A out"):
        packing_peers.measures_of(packed, [problem])


def test_a_peer_needs_a_folder_for_its_structures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, sentence in (
        (["--peer-python", sys.executable], "needs --peer-structures"),
        (["--peer-python", "nobody", "--peer-structures", "x"], "cannot be run"),
        (["--limit", "0"], "--limit is at least 1"),
    ):
        with pytest.raises(SystemExit) as ended:
            packing_peers.parse(["dataset", *words])
        assert ended.value.code == 2
        assert sentence in capsys.readouterr().err
    assert packing_peers.main([str(tmp_path / "nothing"), "--limit", "1"]) == 1
