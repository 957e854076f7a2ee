"""Predicted errors of side chains: the line that validation chains tell, and where it goes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from model.checkpoint import load_flow
from model.evaluate.calibration import Calibration
from model.evaluate.tally import ResidueTally
from model.flow import Held, clean_from_batch
from model.flow.error_scale import UNSCALED, ErrorScale
from model.flow.generate import generate
from model.sample import Sampler
from model.torsions import free_chi
from model.train.export import export
from pipeline.residues import RESTYPES
from tests.support.flow_batches import UIDS, batch_of, three_proteins
from tests.support.sample_network import UBIQUITIN, save_small_network, small_network

LINE = ErrorScale(0.25, 0.5)


def residues(predicted: np.ndarray, found: np.ndarray, kind: str = "LEU") -> ResidueTally:
    tally = ResidueTally()
    tally.aatype.append(np.full(len(predicted), RESTYPES.index(kind)))
    tally.predicted.append(predicted)
    tally.error.append(found)
    return tally


def summary_of(folder: Path, **fields: object) -> Path:
    folder.mkdir()
    scale = {"offset": 0.25, "slope": 0.5}
    plain = {"split": "val", "calibration": {"error_scale": scale}, **fields}
    (folder / "summary.json").write_text(json.dumps(plain))
    return folder


def test_the_line_is_that_of_what_was_found() -> None:
    rng = np.random.default_rng(0)
    predicted = rng.uniform(0, 2, 4000)
    found = LINE.offset + LINE.slope * predicted + rng.normal(0, 0.2, 4000)
    fitted = ErrorScale.fitted(predicted, found)
    assert fitted is not None
    assert fitted.offset == pytest.approx(LINE.offset, abs=0.02)
    assert fitted.slope == pytest.approx(LINE.slope, abs=0.02)


def test_what_tells_no_rising_line_leaves_errors_alone() -> None:
    x = np.linspace(0, 1, 200)
    assert ErrorScale.fitted(x, 1 - x) is None
    assert ErrorScale.fitted(np.ones(200), x) is None
    assert ErrorScale.fitted(x[:50], x[:50]) is None
    for offset, slope in ((0.0, -1.0), (0.0, 0.0), (float("nan"), 1.0), (0.0, float("inf"))):
        with pytest.raises(ValueError, match="no scale of errors"):
            ErrorScale(offset, slope)


def test_an_evaluation_of_scaled_errors_tells_the_same_line() -> None:
    """Whatever the checkpoint had before, the line starts at what rotamers tell."""
    rng = np.random.default_rng(0)
    raw = rng.uniform(0, 2, 4000)
    found = LINE.offset + LINE.slope * raw + rng.normal(0, 0.2, 4000)
    before = ErrorScale(0.4, 1.5)
    first = Calibration.of(residues(raw, found), UNSCALED)
    again = Calibration.of(residues(before.offset + before.slope * raw, found), before)
    assert first is not None
    assert again is not None
    assert first.scale is not None
    assert again.scale is not None
    assert again.scale.offset == pytest.approx(first.scale.offset)
    assert again.scale.slope == pytest.approx(first.scale.slope)
    assert again.found.tolist() == pytest.approx(first.found.tolist())
    page = "\n".join(first.lines())
    assert f"| {first.predicted[0]:.2f} | {first.found[0]:.2f} |" in page
    assert f"{first.scale.offset:.3f} Å + {first.scale.slope:.3f} ·" in page


def test_residues_without_torsions_tell_nothing_of_the_line() -> None:
    x = np.linspace(0, 1, 200)
    assert Calibration.of(residues(x, x, "ALA"), UNSCALED) is None
    mixed = residues(x, x)
    mixed.aatype.append(np.zeros(100, int))
    mixed.predicted.append(np.zeros(100))
    mixed.error.append(np.full(100, 5.0))
    found = Calibration.of(mixed, UNSCALED)
    assert found is not None
    assert found.found.max() < 1.01


def test_side_chains_that_are_made_and_have_torsions_are_scaled_and_no_others() -> None:
    clean = clean_from_batch(batch_of(*three_proteins()))
    kept = clean.mask & (torch.arange(clean.mask.shape[1]) < 4)
    held = Held(clean.mask, kept, clean.mask)
    plain, scaled = (
        generate(small_network(), clean, held, UIDS, passes=1, error_scale=scale)
        for scale in (UNSCALED, LINE)
    )
    turns = free_chi(clean.sequence).any(-1) & clean.mask & ~(kept & clean.complete)
    expected = torch.where(turns, LINE(plain.expected_error), plain.expected_error)
    assert turns.any()
    assert (turns != clean.mask).any()
    assert torch.allclose(scaled.expected_error, expected, atol=1e-5)
    assert torch.equal(scaled.state.atoms, plain.state.atoms)


def test_an_exported_checkpoint_has_the_line_of_an_evaluation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, scaled = save_small_network(tmp_path / "raw.ckpt"), tmp_path / "scaled.ckpt"
    evaluation = summary_of(tmp_path / "val")
    assert export([str(raw), str(scaled), "--calibration", str(evaluation)]) == 0
    assert load_flow(raw)[1].error_scale == UNSCALED
    assert load_flow(scaled)[1].error_scale == LINE
    # It stays, if the network is written again.
    assert export([str(scaled), str(tmp_path / "again.ckpt"), "--half"]) == 0
    assert load_flow(tmp_path / "again.ckpt")[1].error_scale == LINE
    before, after = (
        Sampler.load(path).sample("packing", input=UBIQUITIN, steps=1)[0].output
        for path in (raw, scaled)
    )
    some = ~np.isnan(before.rotamer_probability)
    np.testing.assert_allclose(
        after.predicted_error[some],
        LINE.offset + LINE.slope * before.predicted_error[some],
        atol=1e-5,
    )
    capsys.readouterr()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"split": "test"}, "--split val"),
        ({"calibration": None}, "--tasks packing, on more chains"),
        ({"calibration": {"error_scale": None}}, "--tasks packing, on more chains"),
        ({"calibration": {"error_scale": {"offset": 0.0, "slope": -1.0}}}, "no summary"),
        ({"calibration": 3}, "no summary"),
    ],
)
def test_an_evaluation_that_tells_no_line_is_refused(
    fields: dict[str, object], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = save_small_network(tmp_path / "raw.ckpt")
    evaluation = summary_of(tmp_path / "val", **fields)
    to = tmp_path / "scaled.ckpt"
    assert export([str(raw), str(to), "--calibration", str(evaluation)]) == 1
    assert sentence in capsys.readouterr().err
    assert not to.exists()
