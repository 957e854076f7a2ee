"""The table of generated backbones: what it measures of structures that are known."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from model.metrics import Structure
from pipeline.errors import UsageError
from pipeline.geometry.three_di import ALPHABET
from pipeline.residues import AATYPE_OF_LETTER
from tests.support.metric_structures import example
from tests.support.places import EXAMPLES, ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import generated_backbones
from generated_backbones import (
    Group,
    columns_of,
    letters_of,
    measures,
    nearest_tm,
    of_names,
    pair_interval,
    read_groups,
    relative_radii,
    table,
)


def ubiquitin() -> Structure:
    return example("1ubi.pdb.zst")


def test_a_native_chain_looks_like_one() -> None:
    found = measures(ubiquitin())
    # One of its steps is longer than 3.9 Å.
    assert found["trans"] == pytest.approx(74 / 75)
    assert found["breaks"] == found["cis"] == found["clashes"] == found["bumps"] == 0
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


def test_a_backbone_of_the_training_set_is_not_new(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = ubiquitin().ca
    random = np.random.default_rng(0)
    others = [np.cumsum(random.normal(size=(80, 3)) * 2.2, 0) for _ in range(4)]
    monkeypatch.setattr(generated_backbones, "AT_LARGE", 2)
    known = [others[0], others[1], trace[::-1] @ np.diag([1, 1, -1]), trace, others[2]]
    assert nearest_tm([trace], known, [[3]]) == pytest.approx([1.0])
    # The two that are compared anyway are the ends of the list.
    assert nearest_tm([trace], known, [[]])[0] < 0.6


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
    (tmp_path / "told.csv").write_text("name,log-likelihood\na,-1.5\nb,-2.5\n")
    groups = read_groups([f"made={tmp_path}"], None)
    group = groups["made"]
    assert group.names == ["a", "b"]
    assert np.isnan(group.given["motif_rmsd"][0])
    assert group.given["motif_rmsd"][1] == 0.5
    columns = columns_of(group) | of_names(tmp_path / "told.csv", group.names)
    header, rows = table(groups, {"made": columns}, compared=2)
    cells = {row[0]: row[1] for row in rows}
    assert header == ["", "made"]
    assert cells["structures"] == "2"
    assert cells["CA–CA 3.8 ± 0.1 Å"] == "0.987 (0.987–0.987)"
    assert cells["motif RMSD, Å"] == "0.50 (0.50–0.50)"
    assert cells["log-likelihood"].startswith("-2.00")
    assert cells["clusters at TM-score 0.5"] == "1 of 2"
    assert cells["TM-score of pairs"] == "1.00 (1.00–1.00)"


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


def test_a_table_without_names_or_numbers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "told.csv"
    with pytest.raises(UsageError, match=r"told\.csv cannot be read: No such file"):
        of_names(path, ["a"])
    path.write_text("chain,score\na,1\n")
    with pytest.raises(UsageError, match="no column 'name'"):
        of_names(path, ["a"])
    path.write_text("name,score\na,good\n")
    with pytest.raises(UsageError, match="'score' has values that are no numbers"):
        of_names(path, ["a"])
