"""A dataset as a table of residues: against the shards, and against other linear algebra."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from pipeline.build.command import main
from pipeline.residues import RESTYPES
from pipeline.selection import COLUMNS, residue_batches, residue_table, residues
from pipeline.shards import DamagedShard, writer
from pipeline.subset.command import main as subset
from tests.support.places import EXAMPLES, ROOT


def stored(dataset: Path, column: str) -> NDArray[np.float64]:
    """A list column of all shards, laid end to end."""
    tables = [pq.read_table(path, columns=[column]) for path in sorted(dataset.glob("shards/*"))]
    values = pa.concat_tables(tables)[column].combine_chunks().flatten()
    while pa.types.is_list(values.type) or pa.types.is_fixed_size_list(values.type):
        values = values.flatten()
    return values.to_numpy(zero_copy_only=False)


def test_every_residue_has_a_row_in_the_order_of_the_shards(examples_dataset: Path) -> None:
    assert "three_di" not in residues(examples_dataset).column_names  # older datasets lack it
    table = residues(examples_dataset, columns=list(COLUMNS))
    index = pq.read_table(examples_dataset / "index.parquet")
    assert table.num_rows == pc.sum(index["length"]).as_py()
    assert table.column_names == ["chain_uid", *COLUMNS]
    uids = np.repeat(index["chain_uid"].to_numpy(), index["length"].to_numpy())
    assert table["chain_uid"].to_pylist() == uids.tolist()
    for name in ("residue_index", "auth_seq_id"):
        assert np.array_equal(table[name].to_numpy(), stored(examples_dataset, name))
    atoms = stored(examples_dataset, "atom14_mask").astype(int)
    assert 0 < (atoms == 0).sum() < 100
    for name in ("b_factor", "sse"):
        assert np.array_equal(pc.is_null(table[name]).to_numpy(), atoms == 0)
    b_factors = stored(examples_dataset, "b_factor")[atoms > 0]
    assert np.array_equal(table["b_factor"].drop_null().to_numpy(), b_factors)
    types = np.array([*RESTYPES, "UNK"])[stored(examples_dataset, "aatype").astype(int)]
    assert table["residue"].to_pylist() == types.tolist()
    codes = stored(examples_dataset, "sse").astype(int)[atoms > 0]
    words = np.array(["coil", "helix", "strand"])[codes].tolist()
    assert [word for word in table["sse"].to_pylist() if word is not None] == words
    letters = "".join(
        text
        for path in sorted(examples_dataset.glob("shards/*"))
        for text in pq.read_table(path, columns=["three_di"])["three_di"].to_pylist()
    )
    assert "".join(table["three_di"].to_pylist()) == letters
    assert table["n_atoms"].to_pylist() == [bin(mask).count("1") for mask in atoms]


@pytest.mark.parametrize("shape", ["axis_aligned", "full"])
def test_axes_and_directions_are_the_stored_covariance(shape: str, tmp_path: Path) -> None:
    """Σ = R V diag(a²) Vᵀ Rᵀ, with R from the atoms of the file."""
    out = tmp_path / "dataset"
    command = ["--pdb-dir", str(EXAMPLES), "--out-dir", str(out), "--n-jobs", "1", "--quiet"]
    assert main([*command, "--shape", shape]) == 0
    table = residues(out, where="length < 150")
    index = pq.read_table(out / "index.parquet")
    chosen = np.repeat(pc.less(index["length"], 150).to_numpy(), index["length"].to_numpy())
    xx, xy, xz, yy, yz, zz = stored(out, "covariance").reshape(-1, 6)[chosen].T
    sigma = np.moveaxis(np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]), -1, 0)
    resolved = table["resolved"].to_numpy()
    axes = np.stack([table[f"semi_axis_{k}"].to_numpy() for k in (1, 2, 3)], -1)
    directions = np.stack(
        [[table[f"direction_{k}_{x}"].to_numpy() for k in (1, 2, 3)] for x in "xyz"], 0
    ).transpose(2, 0, 1)
    assert bool((np.diff(axes[resolved]) <= 0).all())
    rotations = frames(out)[chosen]
    turned = rotations @ directions
    again = turned @ (axes[:, :, None] ** 2 * turned.swapaxes(1, 2))
    assert np.abs(again[resolved] - sigma[resolved]).max() < 1e-3
    largest = np.take_along_axis(directions, np.abs(directions).argmax(1)[:, None], 1)
    assert bool((largest[resolved] > 0).all())
    if shape == "full":
        assert float(np.median(np.abs(directions[resolved][:, :, 0]).max(-1))) < 0.99


def frames(dataset: Path) -> NDArray[np.float64]:
    """(R, 3, 3) of N, CA and C by Gram and Schmidt, as AlphaFold 2 defines them (algorithm 21)."""
    found = []
    for path in sorted(dataset.glob("shards/*")):
        for row in pq.read_table(path, columns=["x", "y", "z", "atom14_mask"]).to_pylist():
            xyz = np.array([row["x"], row["y"], row["z"]], float).T / 1000
            begin = 0
            for mask in row["atom14_mask"]:
                rotation = np.full((3, 3), np.nan)
                if mask & 7 == 7:
                    n, ca, c = xyz[begin : begin + 3]
                    first = (c - ca) / np.linalg.norm(c - ca)
                    second = (n - ca) - first * (first @ (n - ca))
                    second /= np.linalg.norm(second)
                    rotation = np.stack([first, second, np.cross(first, second)], -1)
                found.append(rotation)
                begin += bin(mask).count("1")
    return np.array(found)


def test_unresolved_residues_have_no_ellipsoid(examples_dataset: Path) -> None:
    table = residues(examples_dataset)
    missing = pc.invert(table["resolved"])
    assert 0 < pc.sum(missing).as_py() < table.num_rows
    for name in ("semi_axis_1", "direction_3_z", "centroid_x"):
        assert table[name].null_count == pc.sum(missing).as_py()
        assert pc.all(pc.is_null(table[name].filter(missing))).as_py()


def test_columns_of_chains_are_those_of_each_of_their_residues(examples_dataset: Path) -> None:
    table = residues(
        examples_dataset,
        where="length between 60 and 120",
        columns=["semi_axis_1", "length", "resolution", "chain_uid"],
    )
    assert table.column_names == ["chain_uid", "semi_axis_1", "length", "resolution"]
    index = pq.read_table(examples_dataset / "index.parquet")
    index = index.filter(
        pc.and_(pc.greater_equal(index["length"], 60), pc.less_equal(index["length"], 120))
    )
    counts = table.group_by("chain_uid", use_threads=False).aggregate(
        [("length", "mean"), ("length", "count")]
    )
    assert counts["length_mean"].to_pylist() == counts["length_count"].to_pylist()
    assert counts["length_count"].to_pylist() == index["length"].to_pylist()


def test_batches_are_the_table_in_parts(
    examples_dataset: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out = tmp_path / "dataset"
    monkeypatch.setattr(writer, "ROWS_PER_GROUP", 4)
    assert subset([str(examples_dataset), "--out-dir", str(out), "--where", "length > 0"]) == 0
    whole = residues(examples_dataset, where="length > 100", columns=["residue", "semi_axis_2"])
    monkeypatch.setattr(residue_table, "READ_GROUPS", 2)
    with residue_batches(out, where="length > 100", columns=["residue", "semi_axis_2"]) as reader:
        batches = list(reader)
    assert len(batches) > 4
    joined = pa.Table.from_batches(batches).unify_dictionaries()
    for name in whole.column_names:
        assert joined[name].to_pylist() == whole[name].to_pylist()


def test_an_unknown_column_is_named_with_one_like_it(examples_dataset: Path) -> None:
    with pytest.raises(ValueError, match=r"columns is a list of names, such as \['sse'\]"):
        residues(examples_dataset, columns="sse")
    with pytest.raises(ValueError, match=r"no column 'semi_axis1': did you mean semi_axis_1\?"):
        residues(examples_dataset, columns=["semi_axis1"])


def test_chains_that_are_not_those_of_the_index_are_refused(
    examples_dataset: Path, tmp_path: Path
) -> None:
    out = tmp_path / "dataset"
    command = ["--pdb-dir", str(EXAMPLES), "--out-dir", str(out), "--n-jobs", "1", "--quiet"]
    assert main([*command, "--part-size", "1"]) == 0
    first, second = sorted(out.glob("shards/*"))[:2]
    first.write_bytes(second.read_bytes())
    with pytest.raises(DamagedShard, match="not those of the index"):
        residues(out)


def test_the_table_needs_no_torch() -> None:
    program = (
        "import sys; from pipeline.selection import residues; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0
