"""``interfaces.parquet`` from build to subset: every command carries it, and none needs it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from biotite.structure import AtomArray, sasa

import pipeline.build.build_parts
import pipeline.commands.progress_line
import pipeline.crew.batches
import pipeline.upgrade.interfaces
import tests.support.build_runs as runs
from pipeline.built.built_dataset import BuiltDataset
from pipeline.built.errors import UnfinishedBuild
from pipeline.built.layout import Layout
from pipeline.built.stored_chains import read_entries
from pipeline.interfaces import interfaces_digest
from pipeline.subset.command import main as subset
from pipeline.upgrade.command import main as upgrade
from pipeline.upgrade.interfaces import buried_area
from pipeline.verify.check_dataset import Thoroughness, check_dataset
from pipeline.verify.command import main as verify

TABLE = "interfaces.parquet"
BESIDE = ["n_ligand_residues_1", "n_ligand_residues_2", "n_ligands"]
BESIDE += ["n_nucleic_residues_1", "n_nucleic_residues_2", "n_nucleotides"]
SMALL = 10_000


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``in`` and ``out``: single chains, and three entries of two chains with a zinc between."""
    folder = tmp_path_factory.mktemp("interfaces")
    source = runs.write_peptides(folder / "in", 8, 20)
    for k in range(3):
        (source / f"d{k}.pdb").write_text(runs.dimer(20, seed=k))
    build(source, folder / "out")
    assert len(runs.shards(folder / "out")) > 3
    return folder


def build(source: Path, out: Path, **options: object) -> dict:
    return runs.build_here(source, out, min_part=SMALL, report=False, **options)


@pytest.fixture
def here(built: Path, tmp_path: Path) -> Path:
    """A copy of both."""
    for name in ("in", "out"):
        shutil.copytree(built / name, tmp_path / name)
    options = tmp_path / "out" / "options.yaml"
    options.write_text(options.read_text().replace(str(built), str(tmp_path)))
    return tmp_path


@pytest.fixture(autouse=True)
def without_workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(pipeline.build.build_parts, "Crew", runs.CrewOfNone)
    return


def table(dataset: Path) -> pa.Table:
    return pq.read_table(dataset / TABLE)


def summary(dataset: Path) -> dict:
    return json.loads((dataset / "build.json").read_text())


def digest(dataset: Path) -> str | None:
    return summary(dataset).get("interfaces_digest")


def make_old(dataset: Path) -> None:
    """As the program built it before there was the table."""
    (dataset / TABLE).unlink()
    for path in (dataset / "build.json", *(dataset / ".build").glob("part-*.json")):
        content = json.loads(path.read_text())
        content.pop("interfaces_digest", None)
        content.pop("interfaces", None)
        path.write_text(json.dumps(content, indent=1) + "\n")


def left_out(dataset: Path) -> set[str]:
    """Entries whose files have the flag, each once."""
    inputs = pq.read_table(dataset / "inputs.parquet").to_pylist()
    flags = {r["entry_id"]: r["flags"].count("interfaces_left_out") for r in inputs}
    assert set(flags.values()) <= {0, 1}
    return {entry for entry, n in flags.items() if n}


def problems(dataset: Path) -> list[str]:
    return [str(p) for p in check_dataset(Layout(dataset), Thoroughness(n_jobs=1)).damage]


def test_a_build_says_which_chains_are_in_contact(built: Path) -> None:
    found = table(built / "out")
    assert found["entry_id"].to_pylist() == ["d0", "d1", "d2"]
    assert found["chain_uid_1"].to_pylist() == ["d0_1_A", "d1_1_A", "d2_1_A"]
    assert found["chain_uid_2"].to_pylist() == ["d0_1_B", "d1_1_B", "d2_1_B"]
    assert set(found["n_ligands"].to_pylist()) == {1}
    assert min(found["n_atom_contacts"].to_pylist()) > 0
    assert digest(built / "out") == interfaces_digest(found)
    assert problems(built / "out") == []


def test_a_chain_that_is_dropped_is_in_no_pair(built: Path, tmp_path: Path) -> None:
    """One of two is too short: it is read, and in no row."""
    text = (built / "in" / "d0.pdb").read_text().splitlines()
    short = [line for line in text if line[21:22] != "B" or int(line[22:26]) <= 5]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "d0.pdb").write_text("\n".join(short) + "\n")
    build(tmp_path / "in", tmp_path / "all")
    assert table(tmp_path / "all").num_rows == 1
    build(tmp_path / "in", tmp_path / "long", min_length=10)
    assert table(tmp_path / "long").num_rows == 0
    assert digest(tmp_path / "long") is not None


def test_an_interrupted_build_resumes_to_the_same_table(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []
    original = runs.build_part

    def until_the_third(part: object, *others: object, **more: object) -> object:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(part)
        return original(part, *others, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(runs, "build_part", until_the_third)
    with pytest.raises((KeyboardInterrupt, AssertionError)):
        build(built / "in", tmp_path / "out")
    assert not (tmp_path / "out" / TABLE).exists()
    monkeypatch.setattr(runs, "build_part", original)
    build(built / "in", tmp_path / "out")
    assert len(done) == 2
    assert digest(tmp_path / "out") == digest(built / "out")
    assert table(tmp_path / "out").equals(table(built / "out"))


def test_a_file_whose_interfaces_cannot_be_found_costs_itself_alone(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = pipeline.crew.batches.find_interfaces

    def fails(chains: list, beside: dict) -> object:
        if any(chain.entry_id == "d1" for chain in chains):
            raise ZeroDivisionError("of this file")
        return original(chains, beside)

    monkeypatch.setattr(pipeline.crew.batches, "find_interfaces", fails)
    found = build(built / "in", tmp_path / "out", status=1)
    assert found["counts"]["failed"] == 1
    assert found["reasons"]["failed"] == {"internal-error": 1}
    assert table(tmp_path / "out")["entry_id"].to_pylist() == ["d0", "d2"]


def test_entries_with_too_many_atoms_in_one_place_are_flagged_and_kept(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.geometry.neighbours.MAX_PAIRS", 1)
    found = build(built / "in", tmp_path / "out")
    assert found["digest"] == summary(built / "out")["digest"]
    assert table(tmp_path / "out").num_rows == 0
    assert left_out(tmp_path / "out") == {"d0", "d1", "d2"}


def test_an_update_renews_the_rows_of_what_changed(here: Path) -> None:
    (here / "in" / "d1.pdb").unlink()
    (here / "in" / "d3.pdb").write_text(runs.dimer(20, seed=9))
    build(here / "in", here / "out", update=True)
    updated = table(here / "out")
    assert updated["entry_id"].to_pylist() == ["d0", "d2", "d3"]
    build(here / "in", here / "fresh")
    assert digest(here / "out") == digest(here / "fresh")
    assert updated.equals(table(here / "fresh"))
    assert problems(here / "out") == []


def test_a_dataset_of_before_gets_the_table_when_it_is_resumed(
    here: Path, built: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline.commands.progress_line, "PLAIN_SECONDS", 0.0)
    make_old(here / "out")
    assert problems(here / "out") == []
    assert BuiltDataset.open(here / "out").interfaces() is None
    shards = runs.shards(here / "out")
    build(here / "in", here / "out")
    assert runs.shards(here / "out") == shards
    said = capfd.readouterr().out
    assert f"from the shards of {len(shards)} parts" in said
    for k in range(len(shards)):
        assert f"{k}/{len(shards)} parts\n" in said
    made, was = table(here / "out"), table(built / "out")
    assert all(made[name].null_count == 3 for name in BESIDE)
    assert made.drop_columns(BESIDE).equals(was.drop_columns(BESIDE))
    assert digest(here / "out") == digest(built / "out")
    assert problems(here / "out") == []
    build(here / "in", here / "out")
    assert "from the shards" not in capfd.readouterr().out


def test_an_update_of_a_dataset_of_before_has_the_table_of_a_fresh_build(here: Path) -> None:
    make_old(here / "out")
    (here / "in" / "d1.pdb").unlink()
    (here / "in" / "d3.pdb").write_text(runs.dimer(20, seed=9))
    build(here / "in", here / "out", update=True)
    build(here / "in", here / "fresh")
    made, fresh = table(here / "out"), table(here / "fresh")
    assert digest(here / "out") == digest(here / "fresh")
    assert made.drop_columns(BESIDE).equals(fresh.drop_columns(BESIDE))
    of_new = made.filter(pc.equal(made["entry_id"], "d3"))
    assert all(of_new[name].null_count == 0 for name in BESIDE)
    assert problems(here / "out") == []


def test_a_damaged_shard_of_before_is_built_again(here: Path, built: Path) -> None:
    make_old(here / "out")
    path = here / "out" / "shards" / "part-00001.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + bytes(100) + whole[300:])
    with pytest.raises(UnfinishedBuild, match="part-00001"):
        build(here / "in", here / "out")
    build(here / "in", here / "out")
    assert path.read_bytes() == whole
    assert digest(here / "out") == digest(built / "out")


def test_an_upgrade_makes_the_table_from_shards(
    here: Path, built: Path, capfd: pytest.CaptureFixture
) -> None:
    make_old(here / "out")
    assert upgrade([str(here / "out"), "--quiet"]) == 0
    assert f"{TABLE}: 3 pairs" in capfd.readouterr().out
    assert digest(here / "out") == digest(built / "out")
    made, was = table(here / "out"), table(built / "out")
    assert all(made[name].null_count == 3 for name in BESIDE)
    assert made.drop_columns(BESIDE).equals(was.drop_columns(BESIDE))
    assert problems(here / "out") == []
    written = (here / "out" / TABLE).read_bytes()
    build(here / "in", here / "out")
    assert (here / "out" / TABLE).read_bytes() == written
    (here / "in" / "d3.pdb").write_text(runs.dimer(20, seed=9))
    build(here / "in", here / "out", update=True)
    assert table(here / "out")["entry_id"].to_pylist() == ["d0", "d1", "d2", "d3"]


def test_an_upgrade_flags_the_files_of_entries_that_it_leaves_out(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    make_old(here / "out")
    monkeypatch.setattr("pipeline.geometry.neighbours.MAX_PAIRS", 1)
    was = pq.read_table(here / "out" / "inputs.parquet")
    assert upgrade([str(here / "out"), "--quiet"]) == 0
    assert "d0, d1, d2: too many atoms in one place" in capfd.readouterr().out
    now = pq.read_table(here / "out" / "inputs.parquet")
    assert now.drop_columns(["flags"]).equals(was.drop_columns(["flags"]))
    assert left_out(here / "out") == {"d0", "d1", "d2"}
    assert problems(here / "out") == []
    # The records have the flags: a build that goes on finds its tables as it would write them.
    written = (here / "out" / "inputs.parquet").read_bytes()
    build(here / "in", here / "out")
    assert (here / "out" / "inputs.parquet").read_bytes() == written


def test_a_resumed_build_of_before_flags_the_same_files(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_old(here / "out")
    monkeypatch.setattr("pipeline.geometry.neighbours.MAX_PAIRS", 1)
    build(here / "in", here / "out")
    assert left_out(here / "out") == {"d0", "d1", "d2"}


def test_an_upgrade_that_is_interrupted_begins_again(
    here: Path, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_old(here / "out")
    before = (here / "out" / "build.json").read_bytes()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    original = pipeline.upgrade.interfaces.write_table
    monkeypatch.setattr(pipeline.upgrade.interfaces, "write_table", interrupted)
    assert upgrade([str(here / "out"), "--quiet"]) == 130
    assert (here / "out" / "build.json").read_bytes() == before
    assert not (here / "out" / TABLE).exists()
    monkeypatch.setattr(pipeline.upgrade.interfaces, "write_table", original)
    assert upgrade([str(here / "out"), "--quiet"]) == 0
    assert digest(here / "out") == digest(built / "out")


def test_the_buried_area_is_what_biotite_gives_for_whole_chains(here: Path, built: Path) -> None:
    assert upgrade([str(here / "out"), "--buried-area", "--quiet"]) == 0
    found = table(here / "out")
    assert found.drop_columns(["buried_area"]).equals(
        table(built / "out").drop_columns(["buried_area"])
    )
    assert digest(here / "out") == interfaces_digest(found)
    assert problems(here / "out") == []
    dataset = BuiltDataset.open(here / "out")
    chains = {
        stored.chain.uid: stored.chain
        for entry in read_entries(dataset, dataset.index())
        for stored in entry
    }
    for row in found.to_pylist():
        one, other = chains[row["chain_uid_1"]], chains[row["chain_uid_2"]]
        assert row["buried_area"] == pytest.approx(buried_area(one, other), abs=0.01)
        areas = []
        for several in ((one,), (other,), (one, other)):
            coords = np.concatenate([chain.coords for chain in several]) / 1000
            atoms = AtomArray(len(coords))
            atoms.coord = coords
            names = "NCCOC"[: len(one.coords) // len(one)] * (len(coords) * len(one))
            atoms.element = np.array(list(names[: len(coords)]))
            radii = np.array([{"C": 1.7, "N": 1.55, "O": 1.52}[e] for e in atoms.element])
            areas.append(sasa(atoms, point_number=100, vdw_radii=radii).sum())
        assert row["buried_area"] == pytest.approx(areas[0] + areas[1] - areas[2], rel=1e-3)
        assert row["buried_area"] > 100


def test_a_subset_has_the_pairs_both_of_whose_chains_it_has(
    built: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    out = str(built / "out")
    where = "entry_id != 'd0' and chain_uid != 'd1_1_B'"
    assert subset([out, "--out-dir", str(tmp_path / "some"), "--where", where]) == 0
    assert table(tmp_path / "some")["entry_id"].to_pylist() == ["d2"]
    assert digest(tmp_path / "some") == interfaces_digest(table(tmp_path / "some"))
    assert problems(tmp_path / "some") == []
    shutil.copytree(out, tmp_path / "old")
    make_old(tmp_path / "old")
    both = [out, str(tmp_path / "old"), "--out-dir", str(tmp_path / "both")]
    assert subset(both) == 0
    assert digest(tmp_path / "both") is None
    assert "interfaces.parquet was left out" in capfd.readouterr().err
    assert problems(tmp_path / "both") == []


def changed(dataset: Path, name: str) -> None:
    """Another number in the table, whose checksums agree with it."""
    found = table(dataset)
    values = found[name].to_pylist()
    values[1] += 1
    k = found.schema.get_field_index(name)
    other = found.set_column(k, found.schema.field(name), pa.array(values, pa.int32()))
    pq.write_table(other, dataset / TABLE, write_page_checksum=True)


@pytest.mark.parametrize("name", ["n_atom_contacts", "min_distance", "n_ligands"])
def test_another_number_is_found_and_mended(here: Path, built: Path, name: str) -> None:
    changed(here / "out", name)
    (problem,) = problems(here / "out")
    assert TABLE in problem
    assert verify([str(here / "out"), "--repair", "--quiet"]) == 0
    assert (here / "out" / TABLE).read_bytes() == (built / "out" / TABLE).read_bytes()


def test_a_wrong_digest_in_build_json_is_found_and_mended(here: Path, built: Path) -> None:
    path = here / "out" / "build.json"
    path.write_text(path.read_text().replace(str(digest(here / "out")), "0" * 64))
    (problem,) = problems(here / "out")
    assert "build.json" in problem
    assert verify([str(here / "out"), "--repair", "--quiet"]) == 0
    assert path.read_bytes() == (built / "out" / "build.json").read_bytes()


def test_without_records_the_table_is_made_again_from_the_inputs(here: Path, built: Path) -> None:
    for record in (here / "out" / ".build").glob("part-*.json"):
        record.unlink()
    (here / "out" / TABLE).unlink()
    assert verify([str(here / "out"), "--repair", "--quiet"]) == 0
    assert table(here / "out").equals(table(built / "out"))
    assert digest(here / "out") == digest(built / "out")
    assert problems(here / "out") == []
