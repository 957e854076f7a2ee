"""Tables of designs: what the peer is told, what is kept of its answers, and what is measured."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from model.checkpoint import CheckpointInfo, save_flow
from model.flow.likelihood import ORDERS, decoding_order
from model.metrics import Structure
from model.tasks import Problem
from model.tasks.problem import new_labels
from pipeline.residues import ONE_LETTER, UNKNOWN, sequence_string
from tests.support.metric_structures import example, first_residues
from tests.support.places import ROOT
from tests.support.sample_network import CONFIG, small_network
from tests.support.short_test_chains import with_short_chains_for_testing

sys.path.insert(0, str(ROOT / "benchmarks"))
import design_peers
import peer_sequences
from design_measures import (
    BY_PLACE,
    MEASURES,
    agreement,
    counts_of,
    measured,
    surprises,
    total_variation,
)
from peer_sequences import (
    TEMPERATURES,
    Answers,
    AnswerStore,
    Design,
    Question,
    ask_peer,
    orders_of,
    peer_questions,
    scored_rows,
)
from resampling import Resampled

PEER_PYTHON = os.environ.get("ELLIPSOID_FLOW_PEER_PYTHON")
needs_peer = pytest.mark.skipif(
    PEER_PYTHON is None,
    reason="the peer has an environment of its own: make it as `design_peers.py --help` says, and "
    "set ELLIPSOID_FLOW_PEER_PYTHON to its Python",
)

CONSTANT = """\
import json, sys
from pathlib import Path
import numpy as np
for path in sorted(Path(sys.argv[1]).glob("*.npz")):
    told = np.load(path)
    n, letters = len(told["residue_index"]), "ACDEFGHIKLMNPQRSTVWY"
    shape = (len(told["sequences"]), *told["orders"].shape)
    found = {
        "designs": np.array([letters[5] * n for _ in told["temperatures"]], dtype=str),
        "drawn": np.full((len(told["temperatures"]), n), -0.5),
        "log_p": np.full(shape, -2.0),
        "letters": np.array(letters),
    }
    if told["mutations"]:
        found["conditional"] = np.tile(-np.arange(20.0), (n, 1))
    np.savez(Path(sys.argv[2], path.name), **found)
    print(json.dumps({"file": path.name, "seconds": 0.5}), flush=True)
"""


def problem_of(structure: Structure, name: str = "1abc_1_A") -> Problem:
    n = len(structure)
    return Problem(
        name=name,
        task="design",
        given=structure,
        held_frames=np.ones(n, bool),
        held_atoms=np.zeros(n, bool),
        held_sequence=np.zeros(n, bool),
        labels=new_labels([n]),
        reference=structure,
    )


@pytest.fixture
def chain() -> Structure:
    """With a residue that is not there, one without O, and one of an unknown type."""
    first = first_residues(example(), 40)
    mask, aatype = first.mask.copy(), first.aatype.copy()
    mask[7] = False
    mask[20, 3] = False
    mask[30, 5:], aatype[30] = False, UNKNOWN
    x = np.where(mask[..., None], first.positions, 0.0)
    return replace(first, positions=x, mask=mask, aatype=aatype)


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A peer that needs no environment: glycine everywhere."""
    script = tmp_path / "constant.py"
    script.write_text(CONSTANT)
    monkeypatch.setattr(peer_sequences, "SCRIPT", script)
    return Path(sys.executable)


def native(problem: Problem, **more: object) -> Question:
    return Question(problem, (problem.given.aatype,), TEMPERATURES, **more)  # type: ignore[arg-type]


def with_other_types_and_side_chains(structure: Structure) -> Structure:
    """Garbage beyond O, other atoms missing, known types shuffled."""
    rng = np.random.default_rng(1)
    x, mask, aatype = (v.copy() for v in (structure.positions, structure.mask, structure.aatype))
    x[:, 4:] = rng.normal(scale=1e4, size=x[:, 4:].shape)
    mask[:, 4:] = rng.random(mask[:, 4:].shape) < 0.5
    known = aatype < UNKNOWN
    aatype[known] = rng.permutation(aatype[known])
    return replace(structure, positions=x, mask=mask, aatype=aatype)


# ---- what the peer is told ----------------------------------------------------------------------


def test_who_designs_is_told_nothing_of_native_types_and_side_chains(chain: Structure) -> None:
    told = peer_questions(Question(problem_of(chain), (), TEMPERATURES))
    other = with_other_types_and_side_chains(chain)
    garbage = peer_questions(Question(problem_of(other), (), TEMPERATURES))
    assert told.keys() == garbage.keys()
    for name, value in told.items():
        assert_array_equal(value, garbage[name])
    assert "sequence" not in told


def test_both_decode_in_the_same_orders_and_what_has_no_likelihood_comes_last(
    chain: Structure,
) -> None:
    problem = problem_of(chain)
    told = peer_questions(native(problem))
    known = np.delete(np.arange(40), [7, 30])
    assert_array_equal(told["rows"], np.delete(np.arange(40), 7))
    for number, (whole, order) in enumerate(zip(orders_of(problem), told["orders"], strict=True)):
        expected = known[decoding_order("1abc_1_A", 38, 0, number).numpy()]
        assert_array_equal(whole[:38], expected)
        assert_array_equal(told["rows"][order[:38]], expected)
        assert told["rows"][order[38]] == 30
    assert len(told["orders"]) == ORDERS


def test_no_type_is_told_where_the_backbone_has_a_gap(chain: Structure) -> None:
    (letters,) = peer_questions(native(problem_of(chain)))["sequences"]
    own = sequence_string(np.delete(chain.aatype, 7))
    assert letters[19] == "X" != own[19]
    assert letters[:19] + letters[20:] == own[:19] + own[20:]


@needs_peer
def test_garbage_for_types_and_side_chains_changes_no_design_of_proteinmpnn(
    chain: Structure, tmp_path: Path
) -> None:
    found = []
    for k, structure in enumerate((chain, with_other_types_and_side_chains(chain))):
        store = AnswerStore.opened(tmp_path / str(k), "peer", "a" * 64)
        ask_peer(store, Path(str(PEER_PYTHON)), [native(problem_of(structure), mutations=True)])
        found.append(store.of("1abc_1_A"))
    one, other = found
    for temperature in TEMPERATURES:
        assert_array_equal(one.designs[temperature].aatype, other.designs[temperature].aatype)
        assert_array_equal(one.designs[temperature].log_p, other.designs[temperature].log_p)
    # It likes what was there better, by both of its likelihoods.
    rows, kinds = scored_rows(problem_of(chain)), chain.aatype
    assert one.likelihood(kinds)[:, rows].mean() > -2.6
    shuffled = other.likelihood(with_other_types_and_side_chains(chain).aatype)
    assert shuffled[:, rows].mean() < one.likelihood(kinds)[:, rows].mean() - 0.5
    assert one.conditional is not None
    given = one.conditional[rows]
    assert_allclose(np.exp(given).sum(1), 1, atol=1e-4)
    assert given[np.arange(len(given)), kinds[rows]].mean() > -2.6


# ---- what is kept -------------------------------------------------------------------------------


def test_answers_are_about_the_residues_that_both_score(
    chain: Structure, stub: Path, tmp_path: Path
) -> None:
    store = AnswerStore.opened(tmp_path / "kept", "peer", "a" * 64)
    question = native(problem_of(chain), mutations=True)
    ask_peer(store, stub, [question])
    answers, rows = store.of("1abc_1_A"), np.delete(np.arange(40), [7, 20, 30])
    assert_array_equal(np.flatnonzero(scored_rows(question.problem)), rows)
    assert_array_equal(np.flatnonzero(~np.isnan(answers.likelihood(chain.aatype)).any(0)), rows)
    design = answers.designs[0.1]
    assert_array_equal(np.flatnonzero(~np.isnan(design.log_p)), rows)
    assert sequence_string(design.aatype[rows]) == "G" * 37
    assert_array_equal(design.aatype[[7, 20]], UNKNOWN)
    # The peer's types are in the order of their letters, ours in that of `ONE_LETTER`.
    assert answers.conditional is not None
    assert_array_equal(np.flatnonzero(~np.isnan(answers.conditional).any(1)), rows)
    order = np.argsort(-answers.conditional[rows[0]])
    assert "".join(ONE_LETTER[k] for k in order) == "ACDEFGHIKLMNPQRSTVWY"
    assert answers.seconds == 0.5


def test_a_question_is_asked_once(chain: Structure, stub: Path, tmp_path: Path) -> None:
    store = AnswerStore.opened(tmp_path / "kept", "peer", "a" * 64)
    question = native(problem_of(chain))
    with pytest.raises(SystemExit, match=r"no answer for 1 of 1 chains.*--peer-python"):
        ask_peer(store, None, [question])
    ask_peer(store, stub, [question])
    ask_peer(store, None, [question])
    other = Question(question.problem, (np.where(chain.aatype < UNKNOWN, 3, UNKNOWN),))
    with pytest.raises(SystemExit, match="no answer for 1 of 1"):
        ask_peer(store, None, [other])
    ask_peer(store, stub, [other])
    answers = AnswerStore.opened(tmp_path / "kept", "peer", "a" * 64).of("1abc_1_A")
    assert len(answers.log_p) == len(answers.designs) == 2


def test_a_folder_of_answers_is_of_one_dataset_and_one_peer(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    AnswerStore.opened(folder, "peer", "a" * 64)
    for peer, dataset in (("peer", "b" * 64), ("another", "a" * 64)):
        with pytest.raises(SystemExit, match=r"are of .*another folder"):
            AnswerStore.opened(folder, peer, dataset)
    (folder / "x.npz").write_text("no array")
    with pytest.raises(SystemExit, match=r"x\.npz cannot be read.*--peer-python"):
        AnswerStore(folder).of("x")
    (folder / "designed.json").unlink()
    with pytest.raises(SystemExit, match="is not empty"):
        AnswerStore.opened(folder, "peer", "a" * 64)


def test_a_peer_that_fails_is_named(chain: Structure, stub: Path, tmp_path: Path) -> None:
    peer_sequences.SCRIPT.write_text("raise SystemExit(3)")
    store = AnswerStore.opened(tmp_path / "kept", "peer", "a" * 64)
    with pytest.raises(SystemExit, match=r"constant\.py by .* status 3.*--help"):
        ask_peer(store, stub, [native(problem_of(chain))])


# ---- what is measured ---------------------------------------------------------------------------


def answers_about(problem: Problem, right: np.ndarray, log_p: np.ndarray) -> Answers:
    kinds = problem.given.aatype
    aatype = np.where(right, kinds, (kinds + 1) % 20)
    designs = {t: Design(aatype, log_p.astype(np.float32)) for t in TEMPERATURES}
    return Answers(designs, {sequence_string(kinds): np.tile(log_p, (2, 1)).astype(np.float32)})


def test_recovery_and_perplexity_are_those_of_the_residues_that_are_scored() -> None:
    problem = problem_of(example())
    n = len(problem)
    right = np.arange(n) % 4 == 0
    answers = answers_about(problem, right, np.log(np.where(right, 0.5, 0.125)))
    row = measured(native(problem), answers)
    resampled = Resampled.of(1)
    mean = {m.label: resampled.interval(m, [row], []).mean for m in (*MEASURES, *BY_PLACE)}
    assert mean["recovery, T = 0.1"] == pytest.approx(right.mean())
    entropy = right.mean() * np.log(2) + (1 - right.mean()) * np.log(8)
    assert mean["perplexity of nature"] == pytest.approx(np.exp(entropy), rel=1e-5)
    assert row["core"] + row["surface"] == row["helix"] + row["strand"] + row["coil"] == n
    assert surprises(native(problem), answers.designs[0.1].log_p)["surprise"] == pytest.approx(
        n * entropy, rel=1e-5
    )


def test_a_composition_is_as_far_from_nature_s_as_shares_must_move() -> None:
    question, resampled = native(problem_of(example())), Resampled.of(2)
    kinds = question.problem.given.aatype
    nature = counts_of([question] * 2, [kinds] * 2)
    assert total_variation(resampled, nature, nature).mean == 0
    glycine = counts_of([question] * 2, [np.full_like(kinds, ONE_LETTER.index("G"))] * 2)
    share = (kinds == ONE_LETTER.index("G")).mean()
    assert total_variation(resampled, nature, glycine).mean == pytest.approx(1 - share)


def test_mutations_are_ranked_by_what_they_change(chain: Structure) -> None:
    question = native(problem_of(chain))
    given = np.random.default_rng(0).normal(size=(40, 20)).astype(np.float32)
    one, opposite = (Answers({}, {}, sign * given) for sign in (1, -1))
    assert agreement(question, one, one) == pytest.approx(1)
    assert agreement(question, one, opposite) == pytest.approx(-1)
    # What all types of a residue have in common is no difference.
    shifted = Answers({}, {}, given + np.arange(40, dtype=np.float32)[:, None])
    assert agreement(question, one, shifted) == pytest.approx(1)


# ---- the command --------------------------------------------------------------------------------


def test_a_peer_is_asked_about_a_split_once_and_then_about_designs(
    examples_dataset: Path, stub: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = with_short_chains_for_testing(examples_dataset, tmp_path / "dataset")
    networks = {}
    for task in ("design", "packing"):
        networks[task] = tmp_path / f"{task}.ckpt"
        settings = {"tasks": {"design": 0.0, "packing": 0.0} | {task: 1.0}}
        save_flow(
            networks[task], small_network().state_dict(), CheckpointInfo(CONFIG, settings=settings)
        )
    words = [str(dataset), "--limit", "2", "--steps", "2", "--likelihood-steps", "1"]
    words += ["--mutations", "1", "--markdown", "--peer-answers", str(tmp_path / "peer")]
    design = [*words, "--answers", str(tmp_path / "own"), "--ckpt", str(networks["design"])]
    with pytest.raises(SystemExit, match=r"no answer for 2 of 2 chains.*--peer-python"):
        design_peers.main(design)
    with pytest.raises(SystemExit, match="never for design"):
        design_peers.main([*words, "--answers", "x", "--ckpt", str(networks["packing"])])
    assert design_peers.main([*design, "--peer-python", str(stub)]) == 0
    first = capsys.readouterr().out
    assert design_peers.main(design) == 0
    again = capsys.readouterr().out
    tables = [
        [line for line in page.splitlines() if line.startswith("| ")] for page in (first, again)
    ]
    assert tables[0] == tables[1]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in tables[0]]
    of_nature = next(row for row in rows if row[0] == "perplexity of nature")
    glycine = next(row for row in rows if row[0] == "GLY")
    # The stub gives each type e⁻² in every order, and glycine everywhere.
    assert (of_nature[3], glycine[3]) == ("7.39", "100.0")
    assert "may have been trained on these chains" in first
    assert "proteinmpnn_v_48_020" in first
    assert "Agreement on single mutations" in first


def test_wrong_options_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = ["--answers", str(tmp_path / "a"), "--peer-answers", str(tmp_path / "b")]
    for words, sentence in (
        (["--peer-python", "nobody"], "cannot be run"),
        (["--likelihood-steps", "0"], "--likelihood-steps is at least 1"),
    ):
        with pytest.raises(SystemExit) as ended:
            design_peers.parse(["dataset", *folders, *words])
        assert ended.value.code == 2
        assert sentence in capsys.readouterr().err
