"""``python -m model.evaluate``: tables, intervals, baseline, comparison."""

from __future__ import annotations

import csv
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from model.checkpoint import load_flow
from model.evaluate import compare as comparison
from model.evaluate.command import main
from model.evaluate.compare import CannotCompare, compare, read_per_chain
from model.evaluate.held_out import COLUMNS, fit_baseline, spread
from model.evaluate.tally import Tally, residue_rmsd, spearman
from model.flow.likelihood import estimated
from model.metrics import Structure, packing_metrics
from model.sample.run import backbone_of
from model.tasks import TASK_RECORDS, Output
from pipeline.dataset import ShardDataset
from tests.support.sample_network import save_small_network

N_CHAINS = 4


@pytest.fixture(scope="module")
def dataset(examples_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples, with short chains for a test split."""
    folder = tmp_path_factory.mktemp("evaluate") / "dataset"
    shutil.copytree(examples_dataset, folder, ignore=shutil.ignore_patterns("splits.parquet"))
    index = pq.read_table(folder / "index.parquet")
    short = [length < 80 for length in index["length"].to_pylist()]
    splits = pa.table(
        {
            "chain_uid": index["chain_uid"],
            "split": ["test" if is_short else "train" for is_short in short],
            "cluster": list(range(len(index))),
        }
    )
    digest = json.loads((folder / "build.json").read_text())["digest"]
    splits = splits.replace_schema_metadata({"digest": digest})
    pq.write_table(splits, folder / "splits.parquet")
    return folder


@pytest.fixture(scope="module")
def ckpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return save_small_network(tmp_path_factory.mktemp("ckpt") / "small.ckpt")


@pytest.fixture(scope="module")
def evaluated(dataset: Path, ckpt: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("evaluated") / "out"
    assert run(dataset, ckpt, out, "--novelty-chains", "3") == 0
    return out


def run(dataset: Path, ckpt: Path, out: Path, *more: str) -> int:
    given = ["--dataset", str(dataset), "--ckpt", str(ckpt), "--out-dir", str(out)]
    small = ["--limit", str(N_CHAINS), "--steps", "2", "--device", "cpu", "--quiet"]
    return main([*given, *small, *more])


def test_an_evaluation_leaves_tables_plots_and_a_page(evaluated: Path) -> None:
    assert {path.name for path in evaluated.iterdir()} == {
        *("summary.md", "summary.json", "per_chain.csv", "options.yaml"),
        *("chi_by_type.csv", "atom_errors.csv", "confusion.csv"),
        *("design_by_place.csv", "composition.csv"),
        *("chi_by_type.png", "atom_errors.png", "side_chain_rmsd.png", "confidence.png"),
        *("recovery_by_type.png", "inpainting.png", "radius_of_gyration.png"),
    }
    page = (evaluated / "summary.md").read_text()
    for words in ("## Packing", "## Design", "## Inpainting", "## Unconditional", "Spearman"):
        assert words in page
    assert "modal rotamer" in page


def test_the_summary_is_the_mean_of_the_rows_within_its_interval(evaluated: Path) -> None:
    rows = read_per_chain(evaluated)
    assert len(rows) == N_CHAINS
    summary = json.loads((evaluated / "summary.json").read_text())
    assert summary["chains"] == N_CHAINS
    for task, metric in (
        ("packing", "chi1_recovery"),
        ("baseline", "side_chain_rmsd"),
        ("design", "recovery"),
        ("inpainting", "tm_score"),
        ("unconditional", "step_mean"),
    ):
        found = summary["tasks"][task][metric]
        values = [row[f"{task}.{metric}"] for row in rows.values()]
        assert found["mean"] == pytest.approx(np.nanmean(values))
        assert found["low"] <= found["mean"] <= found["high"]
        assert found["n"] == np.count_nonzero(~np.isnan(values))
    assert set(summary["confidence_spearman"]) == {
        "packing, over residues",
        "packing, over chains (side_chain_rmsd)",
        "inpainting, over chains (ca_rmsd)",
        "unconditional, over chains (step_deviation)",
    }
    calibration = summary["calibration"]
    assert calibration["predicted"] == sorted(calibration["predicted"])
    assert len(calibration["found"]) == 10
    least = f"| {calibration['predicted'][0]:.2f} | {calibration['found'][0]:.2f} |"
    assert least in (evaluated / "summary.md").read_text()
    assert 0 < summary["new_proteins"]["TM-score to the nearest known chain"] < 1


def test_the_baseline_is_that_of_the_training_split_and_beats_an_untrained_network(
    evaluated: Path, dataset: Path
) -> None:
    rows = read_per_chain(evaluated)
    rotamers = fit_baseline(ShardDataset(dataset, columns=COLUMNS, split="train"))
    test = ShardDataset(dataset, columns=COLUMNS, split="test")
    tally = Tally(rotamers)
    item = test[0]
    problem = TASK_RECORDS["packing"].held_out(item, 0)
    known = problem.given
    nothing = np.zeros(len(known))
    tally.add(problem, Output(known, nothing, nothing, None, nothing.astype(bool), []))
    row = tally.rows[item["chain_uid"]]
    for name, value in rows[item["chain_uid"]].items():
        if name.startswith("baseline."):
            assert value == pytest.approx(row[name], nan_ok=True)
    baseline = [r["baseline.side_chain_rmsd"] for r in rows.values()]
    network = [r["packing.side_chain_rmsd"] for r in rows.values()]
    assert np.nanmean(baseline) < np.nanmean(network)


def test_the_answer_itself_scores_perfectly(dataset: Path) -> None:
    test = ShardDataset(dataset, columns=COLUMNS, split="test")
    tally = Tally(None)
    item = test[spread(len(test), 1)[0]]
    known = Structure.from_item(item)
    log_p = np.log(np.full((len(known), 20), 1e-9))
    typed = known.aatype < 20
    log_p[typed, known.aatype[typed]] = 0.0
    for task in ("packing", "design", "inpainting"):
        problem = TASK_RECORDS[task].held_out(item, 0)
        ones = np.ones(len(known))
        likelihood = np.where(typed, 0.0, np.nan) if task == "design" else None
        tally.add(problem, Output(known, ones, ones, log_p, typed, []), likelihood)
    (row,) = tally.rows.values()
    assert row["packing.side_chain_rmsd"] == pytest.approx(0, abs=1e-6)
    assert row["packing.chi1_recovery"] == 1
    assert row["design.recovery"] == 1
    assert row["design.score"] == pytest.approx(0, abs=1e-6)
    assert row["design.perplexity"] == row["design.recovery_surface"] == 1
    assert all(row["perplexity"] == 1 for row in tally.designed.by_place() if row["residues"])
    assert row["inpainting.ca_rmsd"] == pytest.approx(0, abs=1e-4)
    assert row["inpainting.motif_rmsd"] == pytest.approx(0, abs=1e-4)
    confusion = tally.designed.confusion
    assert confusion.sum() == np.trace(confusion) == typed.sum()


def test_perplexity_is_that_of_the_types_of_nature_whatever_is_designed(
    evaluated: Path, dataset: Path, ckpt: Path, tmp_path: Path
) -> None:
    hot = tmp_path / "hot"
    more = ["--tasks", "design", "--temperature", "5", "--limit", "2"]
    assert run(dataset, ckpt, hot, *more) == 0
    cool = {row["chain_uid"]: row for row in csv_rows(evaluated / "per_chain.csv")}
    network, _ = load_flow(ckpt)
    test = {item["chain_uid"]: item for item in ShardDataset(dataset, columns=COLUMNS)}
    for row in csv_rows(hot / "per_chain.csv"):
        uid = row["chain_uid"]
        problem = TASK_RECORDS["design"].held_out(test[uid], 0)
        assert problem.reference is not None
        types = torch.from_numpy(problem.reference.aatype)
        log_p = estimated(network, backbone_of(problem), types, uid, steps=20)[0].numpy()
        scored = ~np.isnan(log_p).any(0)
        expected = np.exp(-log_p[:, scored].mean())
        assert float(row["design.perplexity"]) == pytest.approx(expected, rel=1e-4)
        if uid in cool:
            assert row["design.perplexity"] == cool[uid]["design.perplexity"]
            assert row["design.score"] != cool[uid]["design.score"]


def test_a_table_has_the_places_of_designed_residues_and_another_their_types(
    evaluated: Path,
) -> None:
    places = {row["place"]: row for row in csv_rows(evaluated / "design_by_place.csv")}
    number = {name: int(row["residues"]) for name, row in places.items()}
    assert list(places) == ["all", "core", "surface", "helix", "strand", "coil"]
    assert number["core"] + number["surface"] == number["all"]
    assert number["helix"] + number["strand"] + number["coil"] == number["all"]
    mean = sum(float(places[k]["recovery"]) * number[k] for k in ("helix", "strand", "coil"))
    assert float(places["all"]["recovery"]) == pytest.approx(mean / number["all"])
    # Perplexities are exponents of means.
    log = {k: math.log(float(places[k]["perplexity"])) for k in ("all", "helix", "strand", "coil")}
    mean = sum(log[k] * number[k] for k in ("helix", "strand", "coil")) / number["all"]
    assert log["all"] == pytest.approx(mean, rel=1e-6)
    page = (evaluated / "summary.md").read_text()
    assert f"| surface | {number['surface']} | {float(places['surface']['recovery']):.3f} |" in page
    types = csv_rows(evaluated / "composition.csv")
    confusion = csv_rows(evaluated / "confusion.csv")
    assert [row["type"] for row in types] == [row["true"] for row in confusion]
    for column in ("nature", "designed"):
        assert sum(float(row[column]) for row in types) == pytest.approx(1)
    of_nature = [sum(int(v) for k, v in row.items() if k != "true") for row in confusion]
    shares = [float(row["nature"]) for row in types]
    assert shares == pytest.approx([n / sum(of_nature) for n in of_nature])
    assert sum(abs(float(row["difference"])) for row in types) > 0


def csv_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_problems_hold_what_their_task_says(dataset: Path) -> None:
    item = ShardDataset(dataset, columns=COLUMNS, split="test")[1]
    packing, design, inpainting, new = (
        record.held_out(item, 0) for record in TASK_RECORDS.values()
    )
    assert packing.held_frames.all()
    assert packing.held_sequence.all()
    assert not packing.held_atoms.any()
    assert design.held_frames.all()
    assert not design.held_sequence.any()
    assert 0 < inpainting.held_frames.sum() <= 0.55 * len(inpainting) + 1
    np.testing.assert_array_equal(inpainting.held_frames, inpainting.held_sequence)
    again = TASK_RECORDS["inpainting"].held_out(item, 0)
    np.testing.assert_array_equal(inpainting.held_frames, again.held_frames)
    assert not new.held_frames.any()
    assert not new.given.mask.any()
    assert new.reference is None


def test_residue_rmsd_averages_to_the_side_chain_rmsd(dataset: Path) -> None:
    known = Structure.from_item(ShardDataset(dataset, columns=COLUMNS, split="test")[1])
    noise = np.random.default_rng(0).normal(size=known.positions.shape)
    noise[:, :4] = 0
    moved = known.with_atoms(known.positions + noise)
    per_residue = residue_rmsd(moved, known)
    with_chi = ~np.isin(known.aatype, [0, 7]) & (known.aatype < 20)
    expected = packing_metrics("x", moved, known).side_chain_rmsd
    assert np.nanmean(per_residue[with_chi]) == pytest.approx(expected)


# ---- comparison ---------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_tables_at_any_batch_size(
    evaluated: Path, dataset: Path, ckpt: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = ("--tasks", "packing", "--batch-size", "1", "--against", str(evaluated))
    assert run(dataset, ckpt, out, *arguments) == 0
    first, again = read_per_chain(evaluated), read_per_chain(out)
    assert list(first) == list(again)
    for uid, row in again.items():
        for name, value in row.items():
            assert value == pytest.approx(first[uid][name], rel=0.05, abs=0.02, nan_ok=True), name
    with open(out / "comparison.csv", newline="") as file:
        rows = {row["metric"]: row for row in csv.DictReader(file)}
    assert abs(float(rows["packing.side_chain_rmsd"]["difference"])) < 0.01
    assert float(rows["baseline.chi1_recovery"]["difference"]) == 0
    assert "design.recovery" not in rows
    assert "## Against" in (out / "summary.md").read_text()


def test_paired_differences_are_over_the_chains_that_both_have() -> None:
    this = {"a": {"x.m": 1.0}, "b": {"x.m": 2.0}, "c": {"x.m": 9.0}}
    other = {"b": {"x.m": 1.0, "x.k": 0.0}, "a": {"x.m": 0.5}}
    (found,) = compare(this, other)
    assert found.difference.mean == pytest.approx(0.75)
    assert found.difference.n == 2
    assert found.this.mean == 1.5
    with pytest.raises(CannotCompare, match="no chain is in both"):
        compare(this, {"z": {"x.m": 1.0}})


def test_the_subcommand_prints_the_differences(
    evaluated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = list(csv.reader((evaluated / "per_chain.csv").read_text().splitlines()))
    column = rows[0].index("design.recovery")
    for row in rows[1:]:
        row[column] = str(float(row[column]) + 0.25)
    other = tmp_path / "per_chain.csv"
    with open(other, "w", newline="") as file:
        csv.writer(file).writerows(rows)
    assert comparison.main([str(other), str(evaluated)]) == 0
    lines = capsys.readouterr().out.splitlines()
    (changed,) = [line for line in lines if "design.recovery " in line]
    assert "0.250 [0.250, 0.250]" in changed
    assert "differs" in changed
    assert sum("differs" in line for line in lines) == 1
    assert comparison.main([str(other)]) == 2
    assert comparison.main([str(other), str(tmp_path / "none.csv")]) == 1
    assert "none.csv cannot be read" in capsys.readouterr().err


def test_rank_correlation_ignores_what_is_not_known() -> None:
    nan = math.nan
    assert spearman(np.array([1.0, 2.0, nan, 3.0]), np.array([2.0, 4.0, 0.0, 9.0])) == 1
    assert math.isnan(spearman(np.array([1.0, 1.0, 1.0]), np.array([1.0, 2.0, 3.0])))


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["--limit", "0"], 2, "--limit is at least 1"),
        (["--split", "dev"], 2, "dev"),
        (["--tasks", "folding"], 2, "some of packing, design, inpainting, unconditional"),
        (["--ckpt", "none.ckpt"], 1, "none.ckpt"),
        (["--against", "none"], 1, "none cannot be read"),
        (["--dataset", "nowhere"], 1, "nowhere"),
    ],
)
def test_wrong_options_end_with_a_sentence(
    dataset: Path,
    ckpt: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    sentence: str,
) -> None:
    try:
        found = run(dataset, ckpt, tmp_path / "out", *arguments)
    except SystemExit as end:
        found = int(end.code or 0)
    captured = capsys.readouterr()
    assert sentence in captured.err
    assert found == status
    assert not (tmp_path / "out").exists()


def test_chains_are_told_apart_by_their_nearest_training_chain(
    evaluated: Path, dataset: Path, ckpt: Path, tmp_path: Path
) -> None:
    assert "by_novelty" in json.loads((evaluated / "summary.json").read_text())
    assert "nearest training chain" not in (evaluated / "summary.md").read_text()
    known = Path(shutil.copytree(dataset, tmp_path / "dataset"))
    test = ShardDataset(dataset, columns=COLUMNS, split="test")
    chosen = [test.chain_uids[k] for k in spread(len(test), N_CHAINS)]
    # One chain was not compared.
    of_chain = dict(zip(chosen, (0.7, 0.0, 0.3), strict=False))
    splits = pq.read_table(known / "splits.parquet")
    scores = [of_chain.get(uid) for uid in splits["chain_uid"].to_pylist()]
    splits = splits.append_column("nearest_tm", pa.array(scores, pa.float32()))
    pq.write_table(splits, known / "splits.parquet")
    out = tmp_path / "out"
    assert run(known, ckpt, out, "--tasks", "packing") == 0
    page = (out / "summary.md").read_text()
    assert "| nearest training chain | side-chain RMSD, Å | of the core, Å |" in page
    (same,) = [line for line in page.splitlines() if line.startswith("| same fold |")]
    (novel,) = [line for line in page.splitlines() if line.startswith("| novel |")]
    assert (same[-4:], novel[-4:]) == (" 1 |", " 2 |")
    assert "| redundant |" not in page
    rows = read_per_chain(out)
    assert {uid: row["nearest_tm"] for uid, row in rows.items()} == pytest.approx(
        {uid: of_chain.get(uid, math.nan) for uid in chosen}, nan_ok=True
    )
    found = json.loads((out / "summary.json").read_text())["by_novelty"]
    values = [rows[uid]["packing.side_chain_rmsd"] for uid in chosen[1:3]]
    assert found["novel"]["packing"]["side_chain_rmsd"]["mean"] == pytest.approx(np.mean(values))
