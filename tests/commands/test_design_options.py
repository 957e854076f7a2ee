"""Design: types that are left out, wanted, tied; scores; and who packs."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model import checkpoint, trained_network
from model.checkpoint import CheckpointInfo, save_flow
from model.flow.type_constraints import TypeConstraints
from model.sample import Sample, Sampler
from model.sample.command import main
from model.sample.sampler import read_problems
from model.score import Scorer
from model.tasks import Request
from model.tasks.inputs import InputError, InputStructure, read_inputs
from model.tasks.type_preferences import bias_of, parse_omit, read_biases, ties_of
from pipeline.errors import UsageError
from pipeline.residues import ONE_LETTER
from tests.support.sample_network import CONFIG, small_network, ubiquitin_lines, write_pdb

N = 10
LETTERS = ONE_LETTER[:20]
FEW: dict[str, Any] = {"steps": 3, "temperature": 1.0}


@pytest.fixture(scope="module")
def flow() -> Sampler:
    torch.set_num_threads(1)
    return Sampler(small_network(), device="cpu")


def lines_of(*chains: str, first: int = 1) -> list[str]:
    """The first residues of ubiquitin, once for each chain, 40 Å apart."""
    found = []
    for k, chain in enumerate(chains):
        for line in ubiquitin_lines():
            if first <= int(line[22:26]) < first + N:
                x = float(line[30:38]) + 40 * k
                found.append(f"{line[:21]}{chain}{line[22:30]}{x:8.3f}{line[38:]}")
        found.append("TER")
    return found


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pdb(tmp_path_factory.mktemp("one") / "one.pdb", lines_of("A"))


@pytest.fixture(scope="module")
def dimer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pdb(tmp_path_factory.mktemp("dimer") / "dimer.pdb", lines_of("A", "B"))


def structure_of(path: Path) -> InputStructure:
    ((_, structure),) = read_inputs(path)
    assert isinstance(structure, InputStructure)
    return structure


@pytest.fixture
def written(tmp_path: Path) -> Callable[[object], Path]:
    def write(content: object) -> Path:
        text = content if isinstance(content, str) else json.dumps(content)
        path = tmp_path / "bias"
        path.write_text(text)
        return path

    return write


# ---- which types


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    omit=st.sets(st.sampled_from(LETTERS), min_size=1, max_size=19), seed=st.integers(0, 99),
    temperature=st.sampled_from([0.0, 0.3, 5.0]),
)  # fmt: skip
def test_types_that_are_left_out_never_appear(
    flow: Sampler, one: Path, omit: set[str], seed: int, temperature: float
) -> None:
    (made,) = flow.sample(
        "design", input=one, omit="".join(omit), seed=seed, steps=2, temperature=temperature
    )
    assert not omit & set(made.sequences["A"])


def test_what_is_fixed_stays_even_if_its_type_is_left_out(flow: Sampler, one: Path) -> None:
    own = structure_of(one)
    (made,) = flow.sample("design", input=one, omit="MQ", fixed="A1-2", **FEW)
    assert made.sequences["A"][:2] == "MQ"
    assert not set("MQ") & set(made.sequences["A"][2:])
    held = own.structure.mask[:2]
    assert np.array_equal(made.structure.positions[:2][held], own.structure.positions[:2][held])


def test_what_omit_and_biases_do_not_change_is_named(
    one: Path, written: Callable[[object], Path]
) -> None:
    def said(**options: Any) -> list[str]:
        notes: list[str] = []
        read_problems(Request("design", input=one, **options), notes.append)
        return [note for note in notes if "--omit" in note or "--bias" in note]

    kept = "one.pdb: types that are given stay, although --omit or --bias leaves them out: "
    assert said(omit="MQ", fixed="A1-3") == [f"{kept}A1 (M), A2 (Q)"]
    assert said(omit="W", partial_sequence="_W" + "_" * (N - 2)) == [f"{kept}A2 (W)"]
    assert said(omit="W", fixed="A1-3") == []
    path = written({"A2-4": {"G": 1.0}, "*": {"M": -1.0}})
    assert said(bias=path) == []
    assert said(bias=path, fixed="A1-2") == [
        "one.pdb: --bias changes nothing where the type is given: A2 (Q)"
    ]


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=st.text(LETTERS, min_size=N, max_size=N), seed=st.integers(0, 99))
def test_an_infinite_bias_chooses(
    flow: Sampler, one: Path, tmp_path: Path, wanted: str, seed: int
) -> None:
    path = tmp_path / "bias.json"
    path.write_text(json.dumps({f"A{k + 1}": {letter: "inf"} for k, letter in enumerate(wanted)}))
    (made,) = flow.sample("design", input=one, bias=path, seed=seed, **FEW)
    assert made.sequences["A"] == wanted


def test_a_bias_shifts_how_often_a_type_is_drawn(
    flow: Sampler, one: Path, written: Callable[[object], Path]
) -> None:
    share = []
    for bias in (-3.0, 0.0, 3.0):
        path = written({"*": {"W": bias}})
        made = flow.sample("design", input=one, bias=path, number=8, **FEW)
        share.append(np.mean([letter == "W" for m in made for letter in m.sequences["A"]]))
    assert share[0] < share[1] < share[2]
    plain = flow.sample("design", input=one, number=8, **FEW)
    none = flow.sample("design", input=one, bias=written({"*": {"W": 0.0}}), number=8, **FEW)
    assert [m.sequences for m in plain] == [m.sequences for m in none]


def test_a_file_of_biases_is_json_or_csv_and_adds_up(
    one: Path, written: Callable[[object], Path]
) -> None:
    table = {"A2": {"G": -0.3, "C": "-inf"}, "A2-4,A6": {"g": 1.0}, "*": {"M": -1}}
    structure = structure_of(one)
    of_json = bias_of("C", written(table), structure)
    rows = ["residues,type,bias", "A2,G,-0.3", "A2,C,-inf", '"A2-4,A6",G,1.0', "*,M,-1"]
    of_csv = bias_of("C", written("\n".join(rows)), structure)
    assert of_json is not None
    assert of_csv is not None
    assert np.array_equal(of_json, of_csv)
    expected = np.zeros((N, 20))
    expected[:, LETTERS.index("C")] = -np.inf
    expected[:, LETTERS.index("M")] = -1
    expected[[1, 2, 3, 5], LETTERS.index("G")] = [0.7, 1, 1, 1]
    assert np.allclose(of_json, expected)
    assert bias_of(None, None, structure) is None
    twice = written('{"A2": {"G": 1, "G": 2, "C": 5}, "A2": {"G": 4}}')
    found = bias_of(None, twice, structure)
    assert found is not None
    assert found[1, [LETTERS.index("G"), LETTERS.index("C")]].tolist() == [7, 5]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "is no JSON"),
        ({}, "holds no bias"),
        ({"A2": "G"}, "A2 has 'G'; write it as JSON"),
        ({"A2": {"J": 1}}, "A2: 'J' is none of the twenty types"),
        ({"A2": {"G": "much"}}, "the bias of G is 'much', which is no number"),
        ({"A2": {"G": float("nan")}}, "which is no number"),
        ("a,b\n1,2\n", r"begins with \['a', 'b'\]"),
        ({"A99": {"G": 1}}, "has no residue 99"),
        ({"here!": {"G": 1}}, "'here!' names no residues"),
        ({"here": {"G": 1}}, "'here': one has no chain here; it has A"),
        ({"A2": dict.fromkeys(LETTERS, "-inf")}, "no type is left for A2 of one"),
    ],
)
def test_a_file_of_biases_that_cannot_be_used_is_refused(
    flow: Sampler, one: Path, written: Callable[[object], Path], content: object, sentence: str
) -> None:
    with pytest.raises((UsageError, InputError), match=sentence):
        flow.sample("design", input=one, bias=written(content), **FEW)


def test_a_type_that_is_left_out_and_wanted_is_refused(
    flow: Sampler, one: Path, written: Callable[[object], Path]
) -> None:
    path = written({"A3": {"C": "inf"}})
    with pytest.raises((UsageError, InputError), match="both left out and wanted"):
        flow.sample("design", input=one, bias=path, omit="C", **FEW)
    assert parse_omit("c, m") == sorted(LETTERS.index(x) for x in "CM")
    for text in ("", "CJ", LETTERS):
        with pytest.raises(UsageError, match="--omit"):
            parse_omit(text)
    with pytest.raises(UsageError, match="CYS is the name of a residue; write C, or C,Y,S for"):
        parse_omit("W, cys")
    assert len(parse_omit("C,Y,S")) == 3
    with pytest.raises(UsageError, match="cannot be read"):
        read_biases(Path("nowhere.json"))


# ---- ties


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 999), temperature=st.sampled_from([0.0, 0.2, 1.0, 5.0]))
def test_tied_residues_get_one_type(
    flow: Sampler, dimer: Path, seed: int, temperature: float
) -> None:
    (made,) = flow.sample(
        "design", input=dimer, tied="chains", seed=seed, steps=4, temperature=temperature
    )
    assert made.sequences["A"] == made.sequences["B"]
    (partly,) = flow.sample(
        "design",
        input=dimer,
        tied="A1-3,B2-4|A6,A8,B9",
        seed=seed,
        steps=4,
        temperature=temperature,
    )
    a, b = partly.sequences["A"], partly.sequences["B"]
    assert a[:3] == b[1:4]
    assert a[5] == a[7] == b[8]


def test_without_ties_chains_differ(flow: Sampler, dimer: Path) -> None:
    (made,) = flow.sample("design", input=dimer, **FEW)
    assert made.sequences["A"] != made.sequences["B"]


def test_the_logits_of_tied_residues_are_averaged() -> None:
    g = torch.Generator().manual_seed(0)
    logits, bias = torch.randn(2, 5, 20, generator=g), torch.randn(2, 5, 20, generator=g)
    bias[0, 1, 7] = -torch.inf
    ties = torch.tensor([[0, 0, 2, 0, 4], [0, 1, 2, 3, 4]])
    hidden = torch.ones(2, 5, dtype=torch.bool)
    hidden[0, 3] = False
    found = TypeConstraints(bias, ties).applied(logits, hidden)
    both = ((logits + bias)[0, 0] + (logits + bias)[0, 1]) / 2
    torch.testing.assert_close(found[0, 0], both)
    assert torch.equal(found[0, 0], found[0, 1])
    assert found[0, 0, 7] == -torch.inf
    torch.testing.assert_close(found[0, [2, 4]], (logits + bias)[0, [2, 4]])
    torch.testing.assert_close(found[1], (logits + bias)[1])


def test_a_tied_residue_takes_the_type_that_is_given_of_another(flow: Sampler, dimer: Path) -> None:
    (made,) = flow.sample("design", input=dimer, tied="chains", fixed="A2-4", **FEW)
    own = structure_of(dimer)
    assert made.sequences["B"] == made.sequences["A"]
    assert made.sequences["B"][1:4] == "QIF"
    # Side chains stay where they are fixed, and are made where a type is only tied.
    held = own.structure.mask[1:4]
    positions, before = made.structure.positions, own.structure.positions
    assert np.array_equal(positions[1:4][held], before[1:4][held])
    assert not np.allclose(positions[N + 1 : N + 4, 4:], before[N + 1 : N + 4, 4:], atol=1e-2)
    partial = f"{'_' * N}:{'W' * N}"
    (made,) = flow.sample("design", input=dimer, tied="chains", partial_sequence=partial, **FEW)
    assert made.sequences["A"] == "W" * N
    with pytest.raises(InputError, match="is W and tied to a residue that is M"):
        flow.sample(
            "design", input=dimer, tied="chains", fixed="A1", partial_sequence=partial, **FEW
        )


@pytest.mark.parametrize("fixed", ["A2", None])
def test_what_stays_under_another_name_than_the_twenty_is_said_to_be_tied_to_nothing(
    tmp_path: Path, fixed: str | None
) -> None:
    lines = [x.replace("GLN A   2", "XAA A   2") for x in lines_of("A", "B")]
    odd = write_pdb(tmp_path / "odd.pdb", lines)
    notes: list[str] = []
    read_problems(Request("design", input=odd, tied="chains", fixed=fixed), notes.append)
    told = "odd.pdb: --tied: none of the twenty types, and so tied to nothing: A2"
    assert [told] * (fixed is not None) == [note for note in notes if "--tied" in note]


def test_ties_join_over_residues_that_they_share(dimer: Path) -> None:
    ties = ties_of("A1,B1|B1,B5|A3,A4", structure_of(dimer))
    assert ties is not None
    assert ties[[0, N, N + 4]].tolist() == [0, 0, 0]
    assert ties[[2, 3]].tolist() == [2, 2]
    rest = [k for k in range(2 * N) if k not in (0, N, N + 4, 2, 3)]
    assert ties[rest].tolist() == rest


@pytest.mark.parametrize(
    ("tied", "sentence"),
    [
        ("A1-3,B1-2", "A1-3 has 3 and B1-2 has 2 residues"),
        ("A1-3", "A1-3 has 3 residues; what is tied is two or more"),
        ("A1,A1", "A1, A1 ties A1 to itself; name different residues"),
        ("A1-5,B1-5,A1-5", "ties A1 to itself"),
        ("A1,B99", "has no residue 99"),
        ("all!", "'all!' names no residues"),
        ("all", "'all': dimer has no chain all; it has A B"),
    ],
)
def test_ties_that_do_not_fit_are_refused(
    flow: Sampler, dimer: Path, tied: str, sentence: str
) -> None:
    with pytest.raises((UsageError, InputError), match=re.escape(sentence)):
        flow.sample("design", input=dimer, tied=tied, **FEW)


def test_ties_and_biases_that_exclude_each_other_are_refused(
    flow: Sampler, dimer: Path, written: Callable[[object], Path]
) -> None:
    path = written({"A1": {"G": "inf"}, "B1": {"A": "inf"}})
    with pytest.raises(UsageError, match="A1 of dimer and what it is tied to"):
        flow.sample("design", input=dimer, tied="chains", bias=path, **FEW)


def other_lines(chain: str, number: int = 1) -> list[str]:
    """Other residues of ubiquitin, under the numbers from `number` on, 70 Å away."""
    return [
        f"{line[:21]}{chain}{int(line[22:26]) - 30 + number:4d}{line[26:30]}"
        f"{float(line[30:38]) + 70:8.3f}{line[38:]}"
        for line in ubiquitin_lines()
        if 30 <= int(line[22:26]) < 30 + N
    ]


def test_chains_of_different_proteins_are_not_tied_by_their_numbers(tmp_path: Path) -> None:
    two = write_pdb(tmp_path / "two.pdb", [*lines_of("A"), *other_lines("B")])
    agree = sum(a == b for a, b in zip("MQIFVKTLTG", "IQDKEGIPPD", strict=True))
    with pytest.raises(UsageError) as caught:
        ties_of("chains", structure_of(two))
    assert str(caught.value).startswith(
        f"--tied chains: A and B of two are not one protein: of the 10 numbers that both have, "
        f"residues are of one type at {agree}; leave --tied out, or name what is tied"
    )
    lines = [*lines_of("A", "C"), *other_lines("B"), "TER", *other_lines("D")]
    four = structure_of(write_pdb(tmp_path / "four.pdb", lines))
    with pytest.raises(UsageError) as caught:
        ties_of("chains", four)
    assert str(caught.value).endswith("name the chains that are: --tied 'A,C|B,D'")
    # What it says to write does what was meant.
    ties = ties_of("A,C|B,D", four)
    assert ties is not None
    assert ties.reshape(4, N).tolist() == [[*range(k, k + N)] for k in (0, 0, 2 * N, 2 * N)]


def test_whole_chains_are_tied_by_number(tmp_path: Path) -> None:
    lines = [*lines_of("A"), *(x for x in lines_of("B", first=3) if x != "TER")]
    ties = ties_of("A,B", structure_of(write_pdb(tmp_path / "shifted.pdb", lines)))
    assert ties is not None
    assert ties[N:].tolist() == [*range(2, N), N + 8, N + 9]
    same = ties_of("chains", structure_of(tmp_path / "shifted.pdb"))
    assert same is not None
    assert same.tolist() == ties.tolist()


@pytest.mark.parametrize("tied", ["A,B", "A,A"])
def test_whole_chains_of_which_nothing_would_be_tied_are_refused(tmp_path: Path, tied: str) -> None:
    lines = [*lines_of("A"), *(x for x in lines_of("B", first=30) if x != "TER")]
    with pytest.raises(UsageError, match="no different chains with residues of one number"):
        ties_of(tied, structure_of(write_pdb(tmp_path / "apart.pdb", lines)))


def test_a_chain_alone_names_all_its_residues(
    flow: Sampler, dimer: Path, written: Callable[[object], Path]
) -> None:
    own = structure_of(dimer)
    (made,) = flow.sample("design", input=dimer, fixed="B", **FEW)
    assert made.sequences["B"] == "MQIFVKTLTG"
    held = own.structure.mask[N:]
    assert np.array_equal(made.structure.positions[N:][held], own.structure.positions[N:][held])
    bias = bias_of(None, written({"B:": {"G": 1}, "A2": {"G": 2}}), own)
    assert bias is not None
    assert bias[:, LETTERS.index("G")].tolist() == [0, 2, *[0] * (N - 2), *[1] * N]


def test_a_chain_without_an_id_is_called_by_a_dash_below(tmp_path: Path) -> None:
    structure = structure_of(write_pdb(tmp_path / "blank.pdb", lines_of(" ")))
    with pytest.raises(UsageError, match=r"no chain A; it has _ \(the file has no chain id there"):
        ties_of("A1,A2", structure)
    ties = ties_of("_1,_2", structure)
    assert ties is not None
    assert ties[1] == 0


def test_one_chain_is_no_homo_oligomer(flow: Sampler, one: Path) -> None:
    with pytest.raises(UsageError, match="no two chains of one have residues of one number"):
        flow.sample("design", input=one, tied="chains", **FEW)


def test_a_constrained_design_does_not_depend_on_its_batch(flow: Sampler, dimer: Path) -> None:
    options: dict[str, Any] = {"tied": "chains", "omit": "A", "number": 3, **FEW}
    together = flow.sample("design", input=dimer, batch_size=3, **options)
    alone = flow.sample("design", input=dimer, batch_size=1, **options)
    assert [m.sequences for m in together] == [m.sequences for m in alone]


@pytest.mark.parametrize("options", [{"omit": "C"}, {"tied": "chains"}])
def test_partial_diffusion_keeps_types_and_so_takes_no_constraints(
    flow: Sampler, dimer: Path, options: dict[str, str]
) -> None:
    with pytest.raises(UsageError, match="--start keeps some types of the input"):
        flow.sample("design", input=dimer, start=0.5, **options, **FEW)
    with pytest.raises(UsageError, match="is for --task design"):
        flow.sample("packing", input=dimer, **options)


# ---- scores, and who packs


def test_sequences_are_written_with_score_and_recovery(
    flow: Sampler, one: Path, tmp_path: Path
) -> None:
    made = flow.sample("design", input=one, fixed="A2", number=2, **FEW)
    made.save(tmp_path / "out")
    heads = re.findall(r"^>.*", (tmp_path / "out" / "sequences.fasta").read_text(), re.MULTILINE)
    native = structure_of(one).structure.aatype
    for sample, head in zip(made, heads, strict=True):
        assert isinstance(sample, Sample)
        output = sample.output
        aatype = output.structure.aatype
        assert output.drawn.tolist() == [k != 1 for k in range(N)]
        assert output.log_probabilities is not None
        log_p = output.log_probabilities[output.drawn, aatype[output.drawn]]
        recovery = (aatype == native)[output.drawn].mean()
        told = f"task=design score={-log_p.mean():.4f} recovery={recovery:.4f} predicted_error="
        assert head.startswith(f">{sample.name}_A {told}")
        assert sample.metrics()["score"] == pytest.approx(-log_p.mean())
        assert "perplexity" not in sample.metrics()


def test_a_design_network_of_the_package_is_what_designs_without_a_checkpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert trained_network.default_for("packing") == trained_network.default_for() == "packing"
    monkeypatch.setattr(trained_network, "own_networks", lambda: ["design", "packing"])
    assert trained_network.default_for("design") == "design"
    assert trained_network.default_for("inpainting") == "packing"
    monkeypatch.setattr(trained_network, "own_networks", lambda: ["packing"])
    assert trained_network.default_for("design") == "packing"


def test_a_design_network_of_the_package_designs_and_its_packing_network_packs(
    one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    shutil.copy(checkpoint.checkpoint_named("packing"), own / "packing.ckpt")
    ckpt_of(own / "design.ckpt", packing=1.0, design=1.0)
    monkeypatch.setattr(checkpoint, "OWN", own)
    words = ["--task", "design", "--input", str(one), "--steps", "2", "--device", "cpu"]
    for name, more in (("usual", []), ("named", ["--ckpt", "design"])):
        assert main([*words, *more, "--out-dir", str(tmp_path / name)]) == 0
        assert capsys.readouterr().err == ""
    usual, named = (tmp_path / name / "one_1.cif" for name in ("usual", "named"))
    assert usual.read_text() == named.read_text()
    packed = Sampler.load("packing", device="cpu").sample("packing", input=usual)[0]
    found = structure_of(usual).structure
    assert np.allclose(packed.structure.positions, found.positions, atol=2e-3)
    # A copy of it is a network of the user's own, which packs itself.
    shutil.copy(own / "design.ckpt", tmp_path / "mine.ckpt")
    assert Sampler.load("design", device="cpu").packer is not None
    assert Sampler.load(tmp_path / "mine.ckpt", device="cpu").packer is None
    assert Scorer.load(device="cpu").about.startswith("design, trained for packing and design")
    with pytest.raises(trained_network.CannotLoad, match="the package has design and packing"):
        trained_network.load_network("designs")


def ckpt_of(path: Path, **weights: float) -> Path:
    tasks = dict.fromkeys(("packing", "design", "inpainting", "unconditional"), 0.0) | weights
    info = CheckpointInfo(CONFIG, settings={"tasks": tasks})
    save_flow(path, small_network().state_dict(), info)
    return path


def test_a_network_that_never_packed_has_its_designs_packed_by_the_packing_network(
    one: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--task", "design", "--input", str(one), "--steps", "2", "--device", "cpu"]
    folders = {}
    for name, weights in (("both", {"packing": 1.0, "design": 1.0}), ("alone", {"design": 1.0})):
        ckpt = ckpt_of(tmp_path / f"{name}.ckpt", **weights)
        folders[name] = tmp_path / name
        assert main([*words, "--ckpt", str(ckpt), "--out-dir", str(folders[name])]) == 0
        said = capsys.readouterr().err
        assert ("the network has never packed" in said) == (name == "alone")
    # The same sequence, with other side chains: those of the packing network.
    sequences = [
        (folder / "sequences.fasta").read_text().splitlines()[1] for folder in folders.values()
    ]
    assert sequences[0] == sequences[1]
    alone = structure_of(folders["alone"] / "one_1.cif")
    both = structure_of(folders["both"] / "one_1.cif")
    assert not np.allclose(alone.structure.positions, both.structure.positions, atol=0.1)
    packed = Sampler.load("packing", device="cpu").sample(
        "packing", input=folders["alone"] / "one_1.cif"
    )[0]
    assert np.allclose(packed.structure.positions, alone.structure.positions, atol=2e-3)
