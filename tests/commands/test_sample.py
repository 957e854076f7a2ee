"""Samples: what is held comes back, what is hidden is not read, a seed is a sample."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import biotite.structure.io.pdb as biotite_pdb
import biotite.structure.io.pdbx as biotite_pdbx
import gemmi
import numpy as np
import pytest
import torch

from model.errors import AlreadyThere
from model.flow.generate import PASSES
from model.metrics import Structure, rmsd, superpose
from model.network import FlowNetwork
from model.sample import Request, Sampler, Samples
from model.sample.embedded import embedded
from model.sample.run import Drawing, batches, run_problems
from model.sample.sampler import read_problems
from model.tasks import Problem
from model.tasks.design import design_problem
from model.tasks.inputs import InputError, InputStructure, read_inputs
from model.tasks.packing import packing_problem
from pipeline.errors import UsageError
from pipeline.parsing import read_chains
from pipeline.residues import ATOM14_EXISTS, ONE_LETTER, sequence_string
from tests.support.places import EXAMPLES
from tests.support.sample_network import (
    CONFIG,
    UBIQUITIN,
    is_backbone,
    small_network,
    ubiquitin_lines,
    with_other_side_chains,
    with_other_types,
    write_pdb,
)

STEPS = 3


@pytest.fixture(scope="module")
def flow() -> Sampler:
    torch.set_num_threads(1)
    return Sampler(small_network(), device="cpu")


@pytest.fixture(scope="module")
def ubiquitin() -> InputStructure:
    ((_, structure),) = read_inputs(UBIQUITIN)
    assert isinstance(structure, InputStructure)
    return structure


def texts(samples: Samples, folder: Path) -> dict[str, str]:
    samples.save(folder)
    return {path.name: path.read_text() for path in sorted(folder.glob("*.cif"))}


# ---- what is held -------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [0.0, 3000.0])
def test_packing_keeps_the_backbone_and_makes_all_side_chain_atoms(
    flow: Sampler, ubiquitin: InputStructure, tmp_path: Path, shift: float
) -> None:
    lines = [
        f"{line[:30]}{float(line[30:38]) + shift:8.3f}{line[38:]}" for line in ubiquitin_lines()
    ]
    path = write_pdb(tmp_path / "moved.pdb", lines)
    (sample,) = flow.sample("packing", input=path, steps=STEPS)
    found, given = sample.structure, ubiquitin.structure
    expected = given.positions[:, :4] + np.array([shift, 0, 0])
    np.testing.assert_allclose(found.positions[:, :4], expected, atol=1e-6)
    np.testing.assert_array_equal(found.mask, ATOM14_EXISTS[given.aatype])
    np.testing.assert_array_equal(found.aatype, given.aatype)
    side = found.positions[:, 4:] - found.positions[:, 1:2]
    assert (np.linalg.norm(side, axis=-1)[found.mask[:, 4:]] < 40).all()


def test_design_keeps_fixed_residues_with_their_side_chains(
    flow: Sampler, ubiquitin: InputStructure
) -> None:
    (sample,) = flow.sample("design", input=UBIQUITIN, fixed="A10-20,A35", steps=STEPS)
    found, given = sample.structure, ubiquitin.structure
    fixed = np.zeros(len(given), bool)
    fixed[[*range(9, 20), 34]] = True
    np.testing.assert_array_equal(found.aatype[fixed], given.aatype[fixed])
    np.testing.assert_array_equal(found.mask[fixed], given.mask[fixed])
    np.testing.assert_array_equal(found.positions[fixed], given.positions[fixed])
    np.testing.assert_array_equal(found.positions[:, :4], given.positions[:, :4])
    assert (found.aatype[~fixed] != given.aatype[~fixed]).any()
    assert (found.aatype < 20).all()


def test_design_keeps_the_letters_of_a_partial_sequence(flow: Sampler) -> None:
    partial = "_" * 30 + "WWWXX" + "_" * 41
    (sample,) = flow.sample("design", input=UBIQUITIN, partial_sequence=partial, steps=STEPS)
    assert sample.sequences["A"][30:33] == "WWW"
    assert sample.metrics()["n_designed"] == 73


def test_inpainting_keeps_the_motif_rigidly_and_in_place(
    flow: Sampler, ubiquitin: InputStructure
) -> None:
    (sample,) = flow.sample(
        "inpainting", input=UBIQUITIN, contigs="4/A10-20/2-6/A40-45/0 3/A60-62", steps=STEPS
    )
    found, given = sample.structure, ubiquitin.structure
    n_between = len(found) - 4 - 11 - 6 - 3 - 3
    assert 2 <= n_between <= 6
    rows = [*range(4, 15), *range(15 + n_between, 21 + n_between), len(found) - 3, len(found) - 2]
    motif = [*range(9, 20), *range(39, 45), 59, 60]
    np.testing.assert_array_equal(found.positions[rows], given.positions[motif])
    np.testing.assert_array_equal(found.aatype[rows], given.aatype[motif])
    a, b = found.ca[rows], given.ca[motif]
    rotation, translation = superpose(a, b)
    assert rmsd(a @ rotation.T + translation, b) < 0.001
    assert sample.metrics()["motif_rmsd"] < 0.001
    assert list(sample.sequences) == ["A", "B"]
    assert found.residue_index.tolist()[-6:] == [1, 2, 3, 4, 5, 6]
    assert set(found.chain_index.tolist()) == {0, 1}


def test_unconditional_samples_have_the_chains_and_lengths_asked_for(flow: Sampler) -> None:
    samples = flow.sample("unconditional", lengths=["12", "9+7"], number=2, steps=STEPS)
    assert [s.name for s in samples] == ["new_12_1", "new_12_2", "new_9+7_1", "new_9+7_2"]
    assert [[len(q) for q in s.sequences.values()] for s in samples] == [[12], [12], [9, 7], [9, 7]]
    for sample in samples:
        found = sample.structure
        np.testing.assert_array_equal(found.mask, ATOM14_EXISTS[found.aatype])


def test_partial_diffusion_starts_near_its_input(flow: Sampler, ubiquitin: InputStructure) -> None:
    far = flow.sample("unconditional", input=UBIQUITIN, start=0.5, steps=1)[0].metrics()
    near = flow.sample("unconditional", input=UBIQUITIN, start=0.999, steps=1)[0].metrics()
    # An untrained network knows nothing: what agrees are the types that it began with, and luck.
    assert 0.35 < far["identity"] < 0.75
    assert near["identity"] > 0.95
    (sample,) = flow.sample("unconditional", input=UBIQUITIN, start=0.999, steps=1)
    # A variation lies where its input lies.
    apart = rmsd(sample.structure.ca, ubiquitin.structure.ca)
    assert apart == pytest.approx(near["ca_rmsd"], abs=0.01)
    assert set(near) >= {"ca_rmsd", "tm_score"}


def test_types_that_partial_diffusion_begins_with_count_as_given(flow: Sampler) -> None:
    (sample,) = flow.sample("design", input=UBIQUITIN, start=0.5, steps=4)
    found = sample.metrics()
    assert 0.3 * 76 < found["n_designed"] < 0.7 * 76
    assert found["recovery"] < 0.3, "an untrained network knows nothing of the others"
    assert sample.output.log_probabilities is not None
    np.testing.assert_array_equal(
        sample.output.drawn, (sample.output.log_probabilities != 0).any(1)
    )


# ---- what is hidden -----------------------------------------------------------------------------


def test_side_chains_of_the_input_never_influence_packing(flow: Sampler, tmp_path: Path) -> None:
    lines = ubiquitin_lines()
    inputs = {
        "whole": lines,
        "garbage": with_other_side_chains(lines),
        "bare": [line for line in lines if is_backbone(line)],
    }
    found = {}
    for name, kept in inputs.items():
        path = write_pdb(tmp_path / name / "1ubi.pdb", kept)
        found[name] = texts(flow.sample("packing", input=path, steps=STEPS), tmp_path / "o" / name)
    assert len(found["whole"]) == 1
    assert found["whole"] == found["garbage"] == found["bare"]


def test_types_and_side_chains_of_the_input_never_influence_design(
    flow: Sampler, tmp_path: Path
) -> None:
    lines = ubiquitin_lines()
    found = []
    for name, kept in (("a", lines), ("b", with_other_types(lines))):
        path = write_pdb(tmp_path / name / "1ubi.pdb", kept)
        found.append(texts(flow.sample("design", input=path, steps=STEPS), tmp_path / "o" / name))
    assert found[0] == found[1] != {}


def test_what_is_outside_the_motif_never_influences_inpainting(
    flow: Sampler, tmp_path: Path
) -> None:
    lines = ubiquitin_lines()
    kept = [
        line
        if 20 <= int(line[22:26]) <= 30
        else f"{line[:30]}{float(line[30:38]) * 3:8.3f}{line[38:]}"
        for line in lines
    ]
    found = []
    for name, text in (("a", lines), ("b", kept)):
        path = write_pdb(tmp_path / name / "1ubi.pdb", text)
        samples = flow.sample("inpainting", input=path, contigs="5/A20-30/5", steps=STEPS)
        found.append(texts(samples, tmp_path / "o" / name))
    assert found[0] == found[1] != {}


def test_a_bare_backbone_is_packed_with_a_given_sequence(flow: Sampler, tmp_path: Path) -> None:
    path = write_pdb(tmp_path / "bare.pdb", with_other_types(ubiquitin_lines()))
    sequence = ("WYKRGA" * 13)[:76]
    (sample,) = flow.sample("packing", input=path, sequence=sequence, steps=STEPS)
    assert sample.sequences == {"A": sequence}
    assert "chi1_recovery" not in sample.metrics()
    letters = [ONE_LETTER.index(c) for c in sequence]
    np.testing.assert_array_equal(sample.structure.mask, ATOM14_EXISTS[letters])


def test_embeddings_are_read_only_where_the_whole_sequence_is_given(
    ubiquitin: InputStructure,
) -> None:
    torch.manual_seed(1)
    network = FlowNetwork(dataclasses.replace(CONFIG, c_embedding=5)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    random = np.random.default_rng(0)

    def outputs(problem: Problem) -> list[np.ndarray]:
        found = []
        for _ in range(2):
            embedding = random.normal(size=(len(problem), 5)).astype(np.float16)
            given = dataclasses.replace(problem, embedding=embedding)
            found += [o for _, o in run_problems(network, [given], ["a"], Drawing(steps=2))]
        return [o.structure.positions for o in found]

    one, other = outputs(packing_problem(Request("packing"), "a", ubiquitin))
    assert np.abs(one - other).max() > 0.01
    one, other = outputs(design_problem(Request("design"), "a", ubiquitin))
    np.testing.assert_array_equal(one, other)


def test_a_language_model_is_asked_for_only_by_networks_that_know_one(flow: Sampler) -> None:
    with pytest.raises(UsageError, match="trained without embeddings"):
        flow.sample("packing", input=UBIQUITIN, esm="nowhere")
    problems, _ = read_problems(Request("packing", input=UBIQUITIN))
    with pytest.raises(match="nowhere"):
        embedded(problems, "./nowhere", 5)


# ---- seeds and batches --------------------------------------------------------------------------


def test_several_packings_are_drawn_and_one_is_the_likeliest(flow: Sampler) -> None:
    def side_chains(**options: object) -> list[np.ndarray]:
        samples = flow.sample("packing", input=UBIQUITIN, **options)
        return [sample.structure.positions[:, 4:] for sample in samples]

    (one,) = side_chains()
    (again,) = side_chains(seed=5)
    np.testing.assert_array_equal(one, again)
    first, second = side_chains(number=2)
    assert np.abs(first - second).max() > 1
    np.testing.assert_array_equal(side_chains(number=3)[1], second)
    for alike in side_chains(number=2, temperature=0.0):
        np.testing.assert_array_equal(alike, one)
    # An untrained network holds everything likely: what does not clash is something else.
    assert np.abs(side_chains(no_relax=True)[0] - one).max() > 1


def test_a_seed_is_a_sample_whatever_else_is_sampled(flow: Sampler) -> None:
    kind = {"steps": STEPS, "seed": 5}
    together = flow.sample("unconditional", lengths=["20", "11"], number=3, **kind)
    alone = flow.sample("unconditional", lengths=["11", "20"], number=2, batch_size=1, **kind)
    others = {sample.name: sample for sample in together}
    for sample in alone:
        other = others[sample.name]
        assert sample.sequences == other.sequences
        np.testing.assert_allclose(
            sample.structure.positions, other.structure.positions, atol=0.0021
        )


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_ones(
    flow: Sampler, tmp_path: Path
) -> None:
    def sampled(seed: int, folder: str) -> dict[str, str]:
        samples = flow.sample("design", input=UBIQUITIN, seed=seed, number=2, steps=STEPS)
        return texts(samples, tmp_path / folder)

    first, again, other = sampled(0, "a"), sampled(0, "b"), sampled(1, "c")
    assert first == again
    assert set(first) == set(other)
    assert all(first[name] != other[name] for name in first)
    one, two = first.values()
    assert one.replace("1ubi_1", "") != two.replace("1ubi_2", "")


def test_the_best_of_candidates_has_the_least_predicted_error(flow: Sampler) -> None:
    options = {"lengths": ["15"], "number": 6, "steps": STEPS, "batch_size": 3}
    one = flow.sample("unconditional", **options)
    best = flow.sample("unconditional", best_of=4, **options)
    for single, chosen in zip(one, best, strict=True):
        assert chosen.predicted_error <= single.predicted_error
        if chosen.candidate == 0:
            np.testing.assert_allclose(
                chosen.structure.positions, single.structure.positions, atol=0.0021
            )
    assert any(chosen.candidate > 0 for chosen in best)


def test_batches_hold_every_problem_once_with_its_like() -> None:
    lengths = [30, 500, 20, 31, 3000, 29, 20]
    made = batches(lengths, 3)
    order = [k for batch in made for k in batch]
    assert sorted(order) == list(range(7))
    assert made[0] == [4]
    assert all(len(batch) <= 3 for batch in made)
    assert [lengths[k] for k in order] == sorted(lengths, reverse=True)
    # Whoever is much shorter than the longest is not padded to it.
    assert [[lengths[k] for k in batch] for batch in made[1:]] == [[500], [31, 30, 29], [20, 20]]


# ---- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["cif", "pdb"])
@pytest.mark.parametrize(
    "options",
    [
        {"task": "packing", "input": EXAMPLES / "1bd2.cif.gz", "chains": ["D", "E"]},
        {"task": "design", "input": EXAMPLES / "1bd2.cif.gz", "chains": ["E"]},
        {"task": "inpainting", "input": UBIQUITIN, "contigs": "4/A10-20/3/0 A40-45"},
        {"task": "unconditional", "lengths": ["12+9"]},
    ],
    ids=lambda value: value["task"] if isinstance(value, dict) else None,
)
def test_files_are_read_back_by_three_readers_with_the_same_coordinates(
    flow: Sampler, tmp_path: Path, options: dict, kind: str
) -> None:
    samples = flow.sample(steps=2, **options)
    samples.save(tmp_path, format=kind)
    (sample,) = samples
    path = tmp_path / f"{sample.name}.{kind}"
    found = sample.structure
    expected = found.positions[found.mask]
    with_gemmi = gemmi.read_structure(str(path))
    # OXT comes back from the input, and a structure has no slot for it.
    xyz = [a.pos.tolist() for c in with_gemmi[0] for r in c for a in r if a.name != "OXT"]
    np.testing.assert_allclose(xyz, expected, atol=0.00051)
    assert len(with_gemmi[0]) == len(sample.problem.labels)
    b = np.array([r[0].b_iso for c in with_gemmi[0] for r in c])
    there = found.mask[:, 1]
    np.testing.assert_allclose(b, sample.output.predicted_error[there], atol=0.00501)
    if kind == "cif":
        atoms = biotite_pdbx.get_structure(biotite_pdbx.CIFFile.read(path), model=1)
    else:
        atoms = biotite_pdb.PDBFile.read(path).get_structure(model=1)
    coordinates = atoms.coord[atoms.atom_name != "OXT"]
    np.testing.assert_allclose(coordinates, expected, atol=0.00051)
    chains = read_chains(path.read_bytes(), sample.name).chains
    ours = np.concatenate(
        [Structure.from_chain(c).positions[Structure.from_chain(c).mask] for c in chains]
    )
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    letters = "".join(sequence_string(c.aatype[c.resolved]) for c in chains)
    assert letters == sequence_string(found.aatype[there])
    assert "predicted error" in path.read_text().replace("\n", " ")


def test_a_trajectory_has_a_model_for_each_step_and_ends_with_the_sample(
    flow: Sampler, tmp_path: Path
) -> None:
    samples = flow.sample(
        "inpainting", input=UBIQUITIN, contigs="4/A10-20/3", steps=STEPS, trajectory=True
    )
    for kind in ("cif", "pdb"):
        samples.save(tmp_path, format=kind, trajectory=True, overwrite=True)
        models = gemmi.read_structure(str(tmp_path / f"1ubi_1_trajectory.{kind}"))
        last = gemmi.read_structure(str(tmp_path / f"1ubi_1.{kind}"))[0]
        assert len(models) == STEPS + PASSES + 1
        positions = [[a.pos.tolist() for c in m for r in c for a in r] for m in models]
        assert len({len(p) for p in positions}) == 1
        assert positions[-1] == [a.pos.tolist() for c in last for r in c for a in r]
        motif = np.array(positions)[:, [a.name == "CA" for c in last for r in c for a in r]]
        # The motif does not move; what is made around it does.
        np.testing.assert_allclose(
            motif[:, 4:15], motif[-1:, 4:15].repeat(len(models), 0), atol=0.0011
        )
        assert np.abs(motif[0, :4] - motif[-1, :4]).max() > 0.1


def test_saving_writes_sequences_metrics_and_options(flow: Sampler, tmp_path: Path) -> None:
    samples = flow.sample("packing", input=UBIQUITIN, number=2, steps=STEPS)
    out = tmp_path / "out"
    samples.save(out)
    assert sorted(p.name for p in out.iterdir()) == [
        *("1ubi_1.cif", "1ubi_2.cif", "metrics.csv", "options.yaml"),
        *("residues.csv", "sequences.fasta"),
    ]
    with open(out / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["1ubi_1", "1ubi_2"]
    assert float(rows[0]["side_chain_rmsd"]) > 0
    assert float(rows[0]["predicted_error"]) == samples[0].predicted_error
    text = (out / "sequences.fasta").read_text()
    assert text.count(">") == 2
    assert "MQIFVKTLTGK" in text
    with pytest.raises(AlreadyThere, match="--overwrite"):
        samples.save(out)
    samples.save(out, overwrite=True)


def test_a_table_says_how_sure_the_network_is_of_each_residue(
    flow: Sampler, tmp_path: Path
) -> None:
    samples = flow.sample("packing", input=UBIQUITIN, number=2, steps=STEPS)
    samples.save(tmp_path)
    with open(tmp_path / "residues.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 76
    first = rows[:76]
    assert {row["name"] for row in first} == {"1ubi_1"}
    assert [row["residue"] for row in first] == [str(k) for k in range(1, 77)]
    assert "".join(row["type"] for row in first).startswith("MQIFVKTLTGK")
    output = samples[0].output
    for row, error, p in zip(
        first, output.predicted_error, output.rotamer_probability, strict=True
    ):
        assert float(row["predicted_error"]) == error
        assert (row["rotamer_probability"] == "") == (row["type"] in "AGX") == np.isnan(p)
    free = [float(r["predicted_error"]) for r in first if r["rotamer_probability"]]
    assert samples[0].predicted_error == pytest.approx(np.mean(free))
    some = [float(row["rotamer_probability"]) for row in first if row["rotamer_probability"]]
    assert 0 < min(some) <= max(some) <= 1
    with open(tmp_path / "metrics.csv", newline="") as file:
        row = next(csv.DictReader(file))
    assert float(row["rotamer_probability"]) == pytest.approx(np.mean(some))


def test_residues_without_a_backbone_are_left_out_and_the_rest_is_packed(
    flow: Sampler, tmp_path: Path
) -> None:
    lines = [
        line
        for line in ubiquitin_lines()
        if not (int(line[22:26]) == 5 and line[12:16].strip() == "C")
    ]
    path = write_pdb(tmp_path / "gap.pdb", lines)
    (sample,) = flow.sample("packing", input=path, steps=STEPS)
    assert not sample.structure.mask[4].any()
    assert sample.structure.mask[5].any()
    assert np.isnan(sample.output.predicted_error[4])


# ---- wrong requests -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"task": "packing"}, "--task packing needs --input"),
        ({"task": "unconditional"}, "needs --lengths"),
        ({"task": "unconditional", "lengths": ["80+"]}, "'80\\+'"),
        ({"task": "unconditional", "lengths": ["0"]}, "--lengths '0'"),
        ({"task": "unconditional", "start": 0.5}, "give --input"),
        ({"task": "unconditional", "lengths": ["9"], "input": UBIQUITIN}, "reads no --input"),
        ({"task": "inpainting", "input": UBIQUITIN}, "needs --contigs"),
        ({"task": "packing", "input": UBIQUITIN, "fixed": "A1"}, "--fixed is for --task design"),
        ({"task": "packing", "input": UBIQUITIN, "steps": 0}, "--steps is at least 1"),
        ({"task": "packing", "input": UBIQUITIN, "start": 1.0}, "--start is a time"),
        ({"task": "packing", "input": UBIQUITIN, "noise_scale": -1.0}, "--noise-scale"),
        ({"task": "packing", "input": UBIQUITIN, "noise_scale": 0.5}, "--noise-scale is for what"),
        ({"task": "packing", "input": UBIQUITIN, "start": 0.5}, "--start is for what flows"),
        (
            {"task": "design", "input": UBIQUITIN, "step_noise": 0.5},
            "for --task inpainting and --task unconditional",
        ),
        (
            {"task": "unconditional", "lengths": ["9"], "step_noise": 0.5, "noise_scale": 0.5},
            "give one of them",
        ),
        ({"task": "unconditional", "lengths": ["9"], "step_noise": -0.5}, "--step-noise is a"),
        ({"task": "design", "input": UBIQUITIN, "start": 0.5, "noise_scale": 0.0}, "stay as it is"),
        ({"task": "packing", "input": "no/such.pdb"}, "does not exist"),
        (
            {"task": "design", "input": UBIQUITIN, "fixed": "B3"},
            "'B3': 1ubi has no chain B; it has A",
        ),
        ({"task": "design", "input": UBIQUITIN, "fixed": "A3-99"}, "no residue 99.* from 1 to 76"),
        (
            {"task": "inpainting", "input": UBIQUITIN, "contigs": "A3-9/5/A8-12"},
            "'A8-12' and 'A3-9' have residues in common",
        ),
        (
            {"task": "inpainting", "input": UBIQUITIN, "contigs": "5/A8-12", "start": 0.5},
            "as many residues as 1ubi has, 76.*found 10",
        ),
    ],
)
def test_wrong_requests_are_refused_in_words(flow: Sampler, options: dict, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        flow.sample(**options)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"task": "packing", "sequence": "AAA"}, "3 letters for chain A of 1ubi, which has 76"),
        ({"task": "packing", "sequence": "AAA:AAA"}, "has 2 chains"),
        ({"task": "packing", "sequence": "B" * 76}, "'B' is no residue type"),
        ({"task": "packing", "chains": ["Z"]}, "has no chain Z; it has A"),
        (
            {"task": "design", "fixed": "A1", "partial_sequence": "W" + "_" * 75},
            "A1 of 1ubi is M by --fixed and W by --partial-sequence",
        ),
    ],
)
def test_what_does_not_fit_an_input_is_named(flow: Sampler, options: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        flow.sample(input=UBIQUITIN, **options)


def test_a_motif_without_coordinates_is_refused(flow: Sampler, tmp_path: Path) -> None:
    lines = [
        line for line in ubiquitin_lines() if not (int(line[22:26]) == 12 and is_backbone(line))
    ]
    path = write_pdb(tmp_path / "gap.pdb", lines)
    with pytest.raises(UsageError, match="'A10-20': 1 of its residues have no backbone"):
        flow.sample("inpainting", input=path, contigs="5/A10-20")


def test_requests_are_plain_values() -> None:
    assert dataclasses.asdict(Request("unconditional", lengths=["5"]))["lengths"] == ["5"]
