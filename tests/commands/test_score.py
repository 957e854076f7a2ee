"""``python -m model.score``: likelihoods as tables and pictures, and which network they are of."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.checkpoint import CheckpointInfo, save_flow
from model.errors import CannotLoad
from model.flow.generate import PASSES
from model.flow.likelihood import chain_rule, conditionals
from model.sample.command import main as make_samples
from model.sample.run import backbone_of
from model.score import Scorer
from model.score.command import main
from model.score.given_sequences import read_fasta
from model.tasks import Request
from model.tasks.design import design_problem
from model.tasks.inputs import InputStructure, read_inputs
from pipeline.errors import UsageError
from pipeline.residues import sequence_string
from tests.support.places import EXAMPLES
from tests.support.sample_network import (
    CONFIG,
    small_network,
    ubiquitin_lines,
    with_other_side_chains,
    write_pdb,
)

N = 12
FEW = ["--orders", "2", "--device", "cpu"]


def save(path: Path, design: float = 1.0) -> Path:
    tasks = {"packing": 1.0, "design": design, "inpainting": 0.0, "unconditional": 0.0}
    info = CheckpointInfo(CONFIG, step=1234, settings={"tasks": tasks})
    save_flow(path, small_network().state_dict(), info)
    return path


@pytest.fixture(scope="module")
def ckpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return save(tmp_path_factory.mktemp("ckpt") / "designer.ckpt")


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first residues of ubiquitin."""
    lines = [line for line in ubiquitin_lines() if int(line[22:26]) <= N]
    return write_pdb(tmp_path_factory.mktemp("short") / "short.pdb", lines)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def run(ckpt: Path, given: Path, out: Path, *more: str) -> int:
    words = ["--input", str(given), "--ckpt", str(ckpt), "--out-dir", str(out)]
    return main([*words, *FEW, *more])


def test_tables_hold_the_likelihood_of_each_residue_and_their_sum(
    ckpt: Path, short: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(ckpt, short, tmp_path / "out") == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        *("scores.csv", "short_residues.csv", "short_mutations.csv", "short_mutations.png"),
        "options.yaml",
    }
    (of_sequence,) = rows(tmp_path / "out" / "scores.csv")
    residues = rows(tmp_path / "out" / "short_residues.csv")
    ((_, structure),) = read_inputs(short)
    assert isinstance(structure, InputStructure)
    problem = design_problem(Request("design"), "short", structure)
    types = torch.from_numpy(structure.structure.aatype)
    log_p = chain_rule(small_network(), backbone_of(problem), types, "short", orders=2)
    total = float(log_p.sum(1).mean())
    assert float(of_sequence["log_likelihood"]) == pytest.approx(total, abs=1e-3)
    assert sum(float(row["log_likelihood"]) for row in residues) == pytest.approx(total, abs=1e-3)
    assert float(of_sequence["perplexity"]) == pytest.approx(math.exp(-total / N), rel=1e-4)
    assert float(of_sequence["score"]) == pytest.approx(-total / N, rel=1e-4)
    assert float(of_sequence["identity"]) == 1
    assert "".join(row["type"] for row in residues) == sequence_string(types.numpy())
    assert [row["residue"] for row in residues] == [str(k) for k in range(1, N + 1)]
    # Which network it was is said, and stays with the numbers.
    about = f"{ckpt}, trained for packing and design in 1,234 steps"
    assert of_sequence["network"] == about
    assert f"network: {about}" in capsys.readouterr().out


def test_the_table_of_mutations_is_relative_to_the_type_of_the_residue(
    ckpt: Path, short: Path, tmp_path: Path
) -> None:
    assert run(ckpt, short, tmp_path / "out") == 0
    table = rows(tmp_path / "out" / "short_mutations.csv")
    assert len(table) == 19 * N
    ((_, structure),) = read_inputs(short)
    assert isinstance(structure, InputStructure)
    problem = design_problem(Request("design"), "short", structure)
    types = torch.from_numpy(structure.structure.aatype)
    log_p = conditionals(small_network(), backbone_of(problem), types).numpy()
    for row in table:
        k, own = int(row["residue"]) - 1, row["wild_type"]
        kinds = ["ARNDCQEGHILKMFPSTWYV".index(letter) for letter in (row["mutant"], own)]
        found = [log_p[k, kind] for kind in kinds]
        assert row["mutant"] != own
        assert float(row["log_probability"]) == pytest.approx(found[0], abs=1e-4)
        assert float(row["difference"]) == pytest.approx(found[0] - found[1], abs=1e-4)


def test_other_sequences_are_scored_on_the_same_backbone(
    ckpt: Path, short: Path, tmp_path: Path
) -> None:
    own = "MQIFVKTLTGKT"
    (tmp_path / "others.fasta").write_text(
        f">alike, T=0.1\n{own[:6]}\n{own[6:]}\n>other\n{'A' * N}\n"
    )
    more = ["--fasta", str(tmp_path / "others.fasta"), "--sequence", f"X{own[1:]}"]
    assert run(ckpt, short, tmp_path / "out", *more, "--no-mutations") == 0
    table = {row["sequence"]: row for row in rows(tmp_path / "out" / "scores.csv")}
    assert list(table) == ["input", "sequence", "alike", "other"]
    # In the same orders.
    assert table["alike"]["log_likelihood"] == table["input"]["log_likelihood"]
    assert table["other"]["log_likelihood"] != table["input"]["log_likelihood"]
    assert float(table["other"]["identity"]) == 0
    assert table["sequence"]["n_scored"] == str(N - 1)
    assert not list((tmp_path / "out").glob("*mutations*"))
    assert {row["sequence"] for row in rows(tmp_path / "out" / "short_residues.csv")} == set(table)


def test_side_chains_and_other_chains_say_nothing(ckpt: Path, short: Path, tmp_path: Path) -> None:
    lines = with_other_side_chains([x for x in ubiquitin_lines() if int(x[22:26]) <= N])
    moved = write_pdb(tmp_path / "moved" / "short.pdb", lines)
    far = [f"{line[:21]}B{line[22:]}" for line in lines]
    both = write_pdb(tmp_path / "both" / "short.pdb", [*lines, "TER", *far])
    scorer = Scorer.load(ckpt, device="cpu")
    (one,) = scorer.score(short, orders=2)
    (two,) = scorer.score(moved, orders=2)
    (of_a,) = scorer.score(both, chains=["A"], orders=2)
    (of_both,) = scorer.score(both, orders=1, mutations=False)
    assert np.array_equal(one.of_orders, two.of_orders)
    assert np.array_equal(one.of_orders, of_a.of_orders)
    assert of_both.scored.sum() == 2 * N
    assert of_both.conditional is None


def test_atoms_without_occupancy_are_read_as_design_reads_them(ckpt: Path, tmp_path: Path) -> None:
    lines = [line for line in ubiquitin_lines() if int(line[22:26]) <= N]
    whole = write_pdb(tmp_path / "a" / "one.pdb", lines)
    empty = [f"{x[:54]}  0.00{x[60:]}" if int(x[22:26]) in (4, 5) else x for x in lines]
    some = write_pdb(tmp_path / "b" / "one.pdb", empty)
    scorer = Scorer.load(ckpt, device="cpu")
    options: dict[str, Any] = {"orders": 1, "steps": 3, "mutations": False}
    ((first,), (second,)) = (scorer.score(path, **options) for path in (whole, some))
    assert second.scored.sum() == N
    assert second.total == first.total
    assert run(ckpt, some, tmp_path / "out", "--steps", "3", "--no-mutations") == 0
    (row,) = rows(tmp_path / "out" / "scores.csv")
    assert row["n_scored"] == str(N)


def test_a_sequence_is_not_called_as_that_of_the_file(ckpt: Path, short: Path) -> None:
    with pytest.raises(UsageError, match="'input' is what the sequence of the file is called"):
        Scorer.load(ckpt, device="cpu").score(short, sequences={"input": "A" * N})


def test_an_estimate_takes_fewer_evaluations(
    ckpt: Path, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = Scorer.load(ckpt, device="cpu")
    evaluated: list[int] = []
    whole = scorer.network

    def counted(noisy):
        evaluated.append(len(noisy.mask))
        return whole(noisy)

    monkeypatch.setattr(scorer, "network", counted)
    (few,) = scorer.score(short, orders=3, steps=4, mutations=False)
    assert sum(evaluated) == 12 * PASSES
    monkeypatch.setattr(scorer, "network", whole)
    (all_,) = scorer.score(short, orders=3, mutations=False)
    assert few.total == pytest.approx(all_.total, rel=0.2)
    assert few.total != all_.total


def test_a_residue_that_an_estimate_never_asked_has_no_likelihood(
    ckpt: Path, short: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--steps", "1", "--orders", "1", "--seed", "3", "--no-mutations"]
    assert run(ckpt, short, tmp_path / "out", *few) == 0
    found = [r["log_likelihood"] for r in rows(tmp_path / "out" / "short_residues.csv")]
    never = found.count("")
    assert 0 < never < N
    assert all(float(value) < -1 for value in found if value)
    (of_sequence,) = rows(tmp_path / "out" / "scores.csv")
    # The estimate of the whole is that of the mean of those that were asked.
    mean = np.mean([float(value) for value in found if value])
    assert float(of_sequence["score"]) == pytest.approx(-mean, rel=1e-4)
    assert of_sequence["n_scored"] == str(N)
    said = capsys.readouterr().err
    assert f"note: short: {never} of {N} residues never were hidden, and have no" in said
    assert "note: short: how far the estimate may be off is not known from one order" in said


def test_a_network_that_never_designed_is_refused(
    short: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packer = save(tmp_path / "packer.ckpt", design=0.0)
    assert run(packer, short, tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert f"{packer} was never trained for design" in said
    assert "--config design" in said
    assert not (tmp_path / "out").exists()
    with pytest.raises(CannotLoad, match="packing was never trained for design"):
        Scorer.load("packing")


def test_of_a_folder_only_bad_files_are_not_scored(
    ckpt: Path, short: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "bad.pdb").write_text("no structure\n")
    (folder / "good.pdb").write_bytes(short.read_bytes())
    assert run(ckpt, folder, tmp_path / "out", "--no-mutations") == 1
    assert "failed: bad.pdb" in capsys.readouterr().err
    assert [row["name"] for row in rows(tmp_path / "out" / "scores.csv")] == ["good"]
    assert run(ckpt, folder / "bad.pdb", tmp_path / "none", "--no-mutations") == 1
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--orders", "0"], "--orders is at least 1"),
        (["--fasta", "nowhere.fasta"], "--fasta nowhere.fasta cannot be read"),
        (["--sequence", "AAA"], "failed: --sequence has 3 letters for chain A of short"),
        (["--sequence", "A" * N + ":A"], "--sequence has 2 chains (separated by ':') and short"),
        (["--chains", "Q"], "short.pdb has no chain Q; it has A"),
    ],
)
def test_wrong_options_end_with_a_sentence(
    ckpt: Path,
    short: Path,
    tmp_path: Path,
    more: list[str],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(ckpt, short, tmp_path / "out", *more) in (1, 2)
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has no sequence"),
        (">a\n>b\nAC\n", "has no sequence of a"),
        ("AC\n>a\nAC\n", "stands before the first line with >"),
    ],
)
def test_a_fasta_that_is_none_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "x.fasta").write_text(text)
    with pytest.raises(UsageError, match=sentence):
        read_fasta(tmp_path / "x.fasta")


@pytest.mark.parametrize("order", ["A1 B1 A2 B2", "A1 A2 B1 B2", "B1 A1 A2 B2"])
def test_records_of_two_samples_of_one_name_are_put_together_in_turn(
    tmp_path: Path, order: str
) -> None:
    letters = {"A1": "AC", "A2": "AD", "B1": "EE", "B2": "FF"}
    records = [f">s_{w} sample=s chain={w[0]}\n{letters[w]}\n" for w in order.split()]
    (tmp_path / "two.fasta").write_text("".join(records))
    found = read_fasta(tmp_path / "two.fasta")
    together = [dict(zip(one.chains, one.parts, strict=True)) for one in found]
    assert together == [{"A": "AC", "B": "EE"}, {"A": "AD", "B": "FF"}]


def test_a_bad_record_is_named_and_the_others_are_scored(
    ckpt: Path, short: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fasta = tmp_path / "some.fa"
    fasta.write_text(f">ends\n{'A' * N}*\n>short\nAC\n>aligned\n{'A' * (N - 1)}-\n")
    few = ["--steps", "1", "--no-mutations"]
    assert run(ckpt, short, tmp_path / "out", "--fasta", str(fasta), *few) == 1
    said = capsys.readouterr().err.splitlines()
    assert f"failed: record short of {fasta} has 2 letters for chain A of short" in said[-3]
    assert f"failed: record aligned of {fasta}: '-' is no residue type" in said[-2]
    assert said[-1] == "2 sequences could not be scored"
    table = rows(tmp_path / "out" / "scores.csv")
    assert [row["sequence"] for row in table] == ["input", "ends"]
    assert table[1]["n_scored"] == str(N)


def test_records_of_one_name_and_of_the_name_of_another_sequence_are_told_apart(
    ckpt: Path, short: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fasta = tmp_path / "some.fa"
    heads = ["input", "T=0.1, sample=1, score=1.1", "T=0.1, sample=2, score=1.2", "sequence"]
    fasta.write_text("".join(f">{head}\n{'ACDE'[k] * N}\n" for k, head in enumerate(heads)))
    few = ["--steps", "1", "--no-mutations", "--sequence", "W" * N]
    assert run(ckpt, short, tmp_path / "out", "--fasta", str(fasta), *few) == 0
    table = rows(tmp_path / "out" / "short_residues.csv")
    types = {row["sequence"]: row["type"] for row in table if row["residue"] == "1"}
    assert types == {"input": "M", "sequence": "W"} | {
        "input.2": "A", "T=0.1": "C", "T=0.1.2": "D", "sequence.2": "E"
    }  # fmt: skip
    assert (
        f"note: {fasta}: names that are taken already: input is called input.2, T=0.1 is called "
        "T=0.1.2, sequence is called sequence.2"
    ) in capsys.readouterr().err


def test_designs_of_a_complex_are_scored_from_the_file_that_design_leaves(
    ckpt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [x for x in ubiquitin_lines() if int(x[22:26]) <= N]
    far = [f"{x[:21]}B{x[22:30]}{float(x[30:38]) + 40:8.3f}{x[38:]}" for x in lines]
    both = write_pdb(tmp_path / "a b.pdb", [*lines, "TER", *far[:40]])
    words = ["--input", str(both), "--ckpt", str(ckpt), "--steps", "2", "--number", "2"]
    design = ["--task", "design", "--out-dir", str(tmp_path / "d"), "--device", "cpu"]
    assert make_samples([*words, *design]) == 0
    fasta = tmp_path / "d" / "sequences.fasta"
    (tmp_path / "turned.fa").write_text(
        "".join(f">{x}" for x in fasta.read_text().split(">")[:0:-1])
    )
    few = ["--steps", "1", "--no-mutations"]
    for name, given in (("s", fasta), ("t", tmp_path / "turned.fa")):
        assert run(ckpt, both, tmp_path / name, "--fasta", str(given), *few) == 0
    designed = rows(tmp_path / "d" / "residues.csv")
    for name in ("s", "t"):
        scored = rows(tmp_path / name / "a b_residues.csv")
        for k in (1, 2):
            of_k = [
                (r["chain"], r["residue"], r["type"]) for r in scored if r["sequence"] == f"a_b_{k}"
            ]
            made = [
                (r["chain"], r["residue"], r["type"]) for r in designed if r["name"] == f"a b_{k}"
            ]
            assert of_k == made
            assert {chain for chain, _, _ in made} == {"A", "B"}
    capsys.readouterr()
    assert run(ckpt, both, tmp_path / "a", "--fasta", str(fasta), *few, "--chains", "A") == 1
    assert f"sample a_b_1 of {fasta} is of chains A B, and a b has A" in capsys.readouterr().err


def test_complexes_are_scored_as_one(ckpt: Path, tmp_path: Path) -> None:
    """Residues that are not there have no likelihood and are in no table."""
    scorer = Scorer.load(ckpt, device="cpu")
    (score,) = scorer.score(EXAMPLES / "1gbt.cif.gz", orders=1, steps=2, mutations=False)
    structure = score.structure
    assert (score.scored == (structure.resolved & (structure.structure.aatype < 20))).all()
    assert len(score.residues()) == score.scored.sum()
    assert score.total < 0
